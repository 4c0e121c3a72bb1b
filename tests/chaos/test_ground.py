"""Who has what in hand, and what deeds do to processes: on real processes that do nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from corecache.chaos.campaign import Totals
from corecache.chaos.cluster import ChaosCluster
from corecache.chaos.faults import DEEDS
from corecache.chaos.ground import Ground, SkippedError, until
from corecache.chaos.plan import Planned
from corecache.chaos.report import Fault


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """Three "nodes" that live and do nothing."""
    with ChaosCluster(tmp_path, 3, 1, program=("sleep", "600")) as cluster:
        for node in cluster.nodes:
            node.spawn()
        yield Ground(cluster, None, None)


def state_of(pid: int) -> str:
    """Returns what the kernel says a process does: S sleeps, T stands still."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def planned(kind: str, roll: int = 0, seconds: float = 0.05) -> Planned:
    """Returns a fault of a kind."""
    return Planned(kind, seconds, roll, 0.0, together=False)


def test_a_node_is_taken_by_one_fault_at_a_time(ground: Ground) -> None:
    """The next one gets another; when none is free it is skipped, and whoever is given back can be taken again."""
    with ground.take(0) as first, ground.take(0) as second, ground.take(0) as third:
        assert {first.name, second.name, third.name} == {"n1", "n2", "n3"}
        assert not ground.is_undisturbed()
        with pytest.raises(SkippedError), ground.take(0):
            pass
    assert ground.is_undisturbed()
    with ground.take(4) as again:
        assert again.name == "n2"


def test_only_nodes_that_run_and_have_not_left_are_taken(ground: Ground) -> None:
    """A dead one can't be killed."""
    one, two, _ = ground.cluster.nodes
    one.kill()
    ground.left(two)
    with ground.take_all() as taken:
        assert [node.name for node in taken] == ["n3"]
    assert ground.names == ["n1", "n3"]


def test_what_all_share_is_held_by_one(ground: Ground) -> None:
    """Two faults of the network at once would mend each other's."""
    with ground.hold("network"), pytest.raises(SkippedError, match="network"), ground.hold("network"):
        pass


@pytest.mark.parametrize("kind", ["pause-short", "pause-lease", "pause-long"])
def test_a_pause_ends_also_when_it_is_cancelled(ground: Ground, kind: str) -> None:
    """What stands still goes on in the end."""

    async def stands_still() -> bool:
        return state_of(ground.cluster.nodes[1].process.pid) == "T"

    async def goes_on() -> bool:
        return not await stands_still()

    async def interrupted() -> None:
        struck = asyncio.Event()
        deed = asyncio.ensure_future(DEEDS[kind](ground, planned(kind, 1, 60), lambda target: struck.set()))
        await struck.wait()
        assert await until(stands_still, 10), "it goes on"
        deed.cancel()
        await asyncio.gather(deed, return_exceptions=True)

    asyncio.run(interrupted())
    assert asyncio.run(until(goes_on, 10)), "it stands still"
    assert ground.is_undisturbed()


def test_a_kill_that_is_cancelled_leaves_a_node_that_runs(ground: Ground) -> None:
    """Another process than before, under the same name."""
    node = ground.cluster.nodes[2]
    before = node.process.pid

    async def interrupted() -> None:
        struck = asyncio.Event()
        deed = asyncio.ensure_future(DEEDS["kill"](ground, planned("kill", 2, 60), lambda target: struck.set()))
        await struck.wait()
        await asyncio.sleep(0)
        assert not node.running
        deed.cancel()
        await asyncio.gather(deed, return_exceptions=True)

    asyncio.run(interrupted())
    assert node.running
    assert node.process.pid != before


def test_nothing_is_wiped_while_anything_else_goes_on(ground: Ground) -> None:
    """The other copies may be on their way."""
    node = ground.cluster.nodes[0]
    node.data_dir.mkdir()
    with ground.hold("network"), pytest.raises(SkippedError):
        asyncio.run(DEEDS["wipe"](ground, planned("wipe"), lambda target: None))
    with pytest.raises(SkippedError, match="whole"):
        asyncio.run(DEEDS["wipe"](ground, planned("wipe"), lambda target: None))
    assert node.data_dir.exists()
    assert node.running


FAULT = Fault("kill", "n1", 0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("totals", "why"),
    [
        (Totals(pauses=[100, 9, 100], faults=[FAULT], answered=1000), ""),
        (Totals(pauses=[9, 100], faults=[FAULT], answered=1000), "in 1 of 2 times between faults fewer than 10 calls"),
        (Totals(pauses=[100], faults=[FAULT] * 30, answered=1000), "1,000 calls were answered beside 30 faults"),
        (Totals(faults=[FAULT], answered=1000, keys=5, undecided={"k": "too long"}), "1 of 5 keys could not be judged"),
        (Totals(pauses=[100], answered=1000), "no fault has struck"),
        (Totals(pauses=[100], missed=[FAULT], answered=1000), "each fault has missed the moment that it was aimed at"),
        (Totals(faults=[FAULT], answered=1000, broke="no java"), "the ground did not hold: no java"),
    ],
)
def test_a_campaign_is_void_if_hardly_anything_was_answered_or_judged(totals: Totals, why: str) -> None:
    """It says why."""
    assert totals.why_void.startswith(why)
    assert bool(totals.why_void) == bool(why)
