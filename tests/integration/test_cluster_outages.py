"""ZooKeeper stops, hangs, or loses its leader, for longer than its sessions last: nobody who reads or writes notices.

The views stand still meanwhile, and nothing but the views is there. When it is back every node is listed again, and all
views are what they were: an outage of ZooKeeper is no reason to move anything.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corecache.chaos.zookeeper import Ensemble, ZooKeeperServer
from integration.cluster_harness import Cluster
from integration.cluster_load import Load
from integration.cluster_stores import await_equal

SESSION_SECONDS = 2.0
OUTAGE_SECONDS = 2 * SESSION_SECONDS
AFTER_SECONDS = 1.5 * SESSION_SECONDS
"""Watched after the outage: the controller believes that a node is gone after one session time-out."""
GAP_SECONDS_MAX = 2.0
"""Without an acknowledged write in a partition: less than a takeover by silence would cost."""
PAUSE_SECONDS = 0.005
"""Between two requests of a client: the test is long, and not about speed."""
WRITES = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    """A ZooKeeper that may be stopped. Each test leaves it running."""
    with ZooKeeperServer(tmp_path_factory.mktemp("outages-zookeeper")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, server: ZooKeeperServer) -> Iterator[Cluster]:
    """Three nodes. Each test leaves them running, whole and settled."""
    with running(tmp_path_factory.mktemp("outages"), server.address) as cluster:
        yield cluster


@contextmanager
def running(directory: Path, zookeeper: str) -> Iterator[Cluster]:
    """Runs a settled cluster."""
    cluster = Cluster(directory, zookeeper, settings={"coordination.session_timeout_ms": int(1000 * SESSION_SECONDS)})
    with cluster.settled():
        yield cluster


def unnoticed(cluster: Cluster, begin: Callable[[], None], end: Callable[[], None], seconds: float) -> None:
    """Has an outage of so many seconds under load, in which every request succeeds, and after which no view changed."""
    views = cluster.views()
    with Load(cluster, pause=PAUSE_SECONDS).running() as load:
        load.await_successes(WRITES)
        began = time.monotonic()
        begin()
        cluster.let_pass(seconds)
        end()
        cluster.await_true(lambda: all_listed(cluster), "all nodes listed as alive by all")
        back = time.monotonic()
        cluster.let_pass(AFTER_SECONDS)
        gap = max(load.longest_gaps(began, time.monotonic()).values())
    assert all_listed(cluster)
    sys.stdout.write(f"longest gap {gap:.3f} s; listed again after {back - began - seconds:.1f} s; {load.summary()}\n")
    assert cluster.views() == views, "something was moved"
    assert load.outcomes.keys() == {"acknowledged"}, load.failures
    assert load.reads.keys() == {"answered"}
    assert gap < GAP_SECONDS_MAX
    await_equal(cluster)


def all_listed(cluster: Cluster) -> bool:
    """Says whether every node lists all as alive."""
    reports = [node.report() for node in cluster.running]
    return all(report is not None and all(node["alive"] for node in report["nodes"]) for report in reports)


def test_nobody_notices_that_zookeeper_is_stopped(cluster: Cluster, server: ZooKeeperServer) -> None:
    """Its process is ended, and starts again with what it had."""
    unnoticed(cluster, server.stop, server.start, OUTAGE_SECONDS)


def test_nobody_notices_that_zookeeper_hangs(cluster: Cluster, server: ZooKeeperServer) -> None:
    """It stands still with its connections open, and finds all sessions expired when it goes on."""
    unnoticed(cluster, server.pause, server.resume, OUTAGE_SECONDS)


def test_nobody_notices_that_an_ensemble_loses_its_leader(tmp_path: Path) -> None:
    """The leader of three is killed, and comes back later."""
    with (
        Ensemble(tmp_path / "ensemble", 3) as ensemble,
        running(tmp_path, ensemble.address) as cluster,
    ):
        leader = ensemble.leader()
        assert leader is not None
        unnoticed(cluster, leader.kill, leader.start, OUTAGE_SECONDS)


def test_a_death_during_an_outage_is_dealt_with_after_it(cluster: Cluster, server: ZooKeeperServer) -> None:
    """While no view can change, nothing is acknowledged that the dead node lacks; after it all goes on."""
    victim = cluster.nodes[0]
    with Load(cluster, deadline_ms=1000).running() as load:
        load.await_successes(WRITES)
        server.stop()
        victim.kill()
        died = time.monotonic()
        cluster.await_true(lambda: load.outcomes["not done"] + load.outcomes["unknown"] >= WRITES, "writes that fail")
        assert not any(load.since(died).values()), "acknowledged without a copy that the view counts on"
        server.start()
        resumed = load.await_resumed(time.monotonic())
        victim.start()
        cluster.await_settled()
    sys.stdout.write(f"resumed {max(resumed.values()):.3f} s after the outage; {load.summary()}\n")
    await_equal(cluster)
