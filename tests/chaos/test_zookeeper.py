"""A ZooKeeper server that agrees to nothing any more is found and started anew; one that does is left alone."""

from pathlib import Path

from corecache.chaos.sessions import opens_session
from corecache.chaos.zookeeper import Ensemble


def test_a_server_that_agrees_to_nothing_is_started_anew(tmp_path: Path) -> None:
    """It stands still here; what it says of itself is not asked. Then it is as the others are."""
    with Ensemble(tmp_path, 3) as ensemble:
        assert ensemble.mend() == []
        follower = next(each for each in ensemble.servers if not each.leads())
        follower.pause()
        assert not opens_session(follower.host, follower.port)
        assert ensemble.mend(patience_seconds=3) == [ensemble.names[ensemble.servers.index(follower)]]
        assert ensemble.serves()
        assert ensemble.mend() == []


def test_without_a_majority_none_agrees(tmp_path: Path) -> None:
    """A session takes a majority: of three servers, one alone opens none, and all are started anew."""
    with Ensemble(tmp_path, 3) as ensemble:
        for server in ensemble.servers[:2]:
            server.pause()
        assert not opens_session(ensemble.servers[2].host, ensemble.servers[2].port)
        assert ensemble.mend(patience_seconds=1) == ensemble.names
        assert ensemble.mend() == []
