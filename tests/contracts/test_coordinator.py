"""What every `ports.Coordinator` promises, run on each implementation."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from corecache.coordination.local import LocalCoordinator
from corecache.coordination.memory import MemoryCoordinator
from corecache.errors import CallerFault
from corecache.identity import Epoch, Incarnation, Lineage, Member, NodeId, PartitionId, ReplicaId
from corecache.placement.view import VersionedView, View
from corecache.ports import Coordinator

PARTITIONS = 8
DEADLINE_SECONDS = 20
ONE = PartitionId(1)
TWO = PartitionId(2)

Scene = Callable[[Coordinator], Awaitable[None]]


def view(epoch: int) -> View:
    """Returns the view of a cluster of one in an epoch."""
    member = Member(NodeId("n1"), ReplicaId("r1"))
    return View(Lineage(0), Epoch(epoch), member, Incarnation(1), (member,), (member.node,))


async def created(coordinator: Coordinator) -> None:
    """Creates the cluster that most scenes play in."""
    await coordinator.create("red", PARTITIONS, {PartitionId(number): view(0) for number in range(PARTITIONS)})


@pytest.fixture(params=["memory", "local"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scene], None]:
    """Plays a scene on a fresh coordinator of one kind."""

    async def staged(scene: Scene) -> None:
        coordinator: Coordinator
        if request.param == "memory":
            coordinator = MemoryCoordinator()
        else:
            coordinator = await LocalCoordinator.open(tmp_path / "coordinator.json")
        try:
            await scene(coordinator)
        finally:
            await coordinator.close()

    return lambda scene: asyncio.run(staged(scene))


def test_there_are_no_views_before_the_cluster_is_created(play: Callable[[Scene], None]) -> None:
    """A fresh coordinator has no views; a created cluster has all of its own, at version 0."""

    async def scene(coordinator: Coordinator) -> None:
        assert await coordinator.views() == {}
        await created(coordinator)
        assert await coordinator.views() == {
            PartitionId(number): VersionedView(view(0), 0) for number in range(PARTITIONS)
        }

    play(scene)


def test_creating_again_changes_nothing(play: Callable[[Scene], None]) -> None:
    """The same creation twice leaves the views that the cluster has come to meanwhile."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        await coordinator.propose(ONE, view(1), 0)
        await created(coordinator)
        assert (await coordinator.views())[ONE] == VersionedView(view(1), 1)

    play(scene)


def test_creating_with_other_facts_is_refused(play: Callable[[Scene], None]) -> None:
    """Another name or number of partitions is the caller's fault, names the culprit, and changes nothing."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        with pytest.raises(CallerFault, match=r"cluster\.name") as name:
            await coordinator.create("blue", PARTITIONS, {PartitionId(n): view(9) for n in range(PARTITIONS)})
        with pytest.raises(CallerFault, match=r"cluster\.partitions") as number:
            await coordinator.create("red", 1, {PartitionId(0): view(9)})
        assert (name.value.code, number.value.code) == ("other_cluster", "other_partitions")
        assert all(found == VersionedView(view(0), 0) for found in (await coordinator.views()).values())

    play(scene)


def test_a_proposal_on_the_present_version_wins(play: Callable[[Scene], None]) -> None:
    """It returns the view with a version one higher, and that is what everybody reads from then on."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        assert await coordinator.propose(ONE, view(1), 0) == VersionedView(view(1), 1)
        assert (await coordinator.views())[ONE] == VersionedView(view(1), 1)
        assert (await coordinator.views())[TWO] == VersionedView(view(0), 0)

    play(scene)


def test_a_proposal_on_another_version_loses(play: Callable[[Scene], None]) -> None:
    """An older or a future version returns None and changes nothing."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        await coordinator.propose(ONE, view(1), 0)
        assert await coordinator.propose(ONE, view(2), 0) is None
        assert await coordinator.propose(ONE, view(2), 2) is None
        assert (await coordinator.views())[ONE] == VersionedView(view(1), 1)

    play(scene)


def test_an_unchanged_view_can_be_proposed_and_gets_a_new_version(play: Callable[[Scene], None]) -> None:
    """So that a proposer can settle a lost answer: after it the lost proposal can no longer win (R18)."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        assert await coordinator.propose(ONE, view(0), 0) == VersionedView(view(0), 1)
        assert await coordinator.propose(ONE, view(7), 0) is None

    play(scene)


def test_of_rivals_on_one_version_exactly_one_wins(play: Callable[[Scene], None]) -> None:
    """Twenty proposals at once on the same version: one wins, and its view is the one that stands."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        rivals = await asyncio.gather(*(coordinator.propose(ONE, view(epoch), 0) for epoch in range(1, 21)))
        won = [confirmed for confirmed in rivals if confirmed is not None]
        assert len(won) == 1
        assert (await coordinator.views())[ONE] == won[0]

    play(scene)


def test_all_partitions_can_propose_at_once(play: Callable[[Scene], None]) -> None:
    """Concurrent proposals for different partitions all win."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        await asyncio.gather(*(coordinator.propose(PartitionId(n), view(n + 1), 0) for n in range(PARTITIONS)))
        assert await coordinator.views() == {PartitionId(n): VersionedView(view(n + 1), 1) for n in range(PARTITIONS)}

    play(scene)


def test_watchers_hear_of_every_change_in_order(play: Callable[[Scene], None]) -> None:
    """Every watcher is called for each accepted proposal after its `watch`, and for nothing else."""

    async def scene(coordinator: Coordinator) -> None:
        heard: asyncio.Queue[tuple[PartitionId, VersionedView]] = asyncio.Queue()
        late: asyncio.Queue[tuple[PartitionId, VersionedView]] = asyncio.Queue()
        await created(coordinator)
        coordinator.watch(lambda partition, confirmed: heard.put_nowait((partition, confirmed)))
        for version in range(3):
            await coordinator.propose(ONE, view(version + 1), version)
        assert await coordinator.propose(ONE, view(9), 0) is None
        coordinator.watch(lambda partition, confirmed: late.put_nowait((partition, confirmed)))
        await coordinator.propose(TWO, view(5), 0)
        last = (TWO, VersionedView(view(5), 1))
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await late.get() == last
            assert [await heard.get() for _ in range(4)] == [(ONE, VersionedView(view(n), n)) for n in (1, 2, 3)] + [
                last
            ]
        assert heard.empty()
        assert late.empty()

    play(scene)


def test_what_is_read_is_a_copy(play: Callable[[Scene], None]) -> None:
    """Changing the returned mapping changes nothing in the coordinator."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        (await coordinator.views()).clear()
        assert len(await coordinator.views()) == PARTITIONS

    play(scene)


def test_registering_returns_the_highest_incarnation(play: Callable[[Scene], None]) -> None:
    """An incarnation below one registered before is told so; each node has its own count."""

    async def scene(coordinator: Coordinator) -> None:
        addresses = {"http": "127.0.0.1:8000"}
        assert await coordinator.register(NodeId("n1"), Incarnation(1), addresses) == 1
        assert await coordinator.register(NodeId("n1"), Incarnation(5), addresses) == 5
        assert await coordinator.register(NodeId("n1"), Incarnation(3), addresses) == 5
        assert await coordinator.register(NodeId("n2"), Incarnation(2), addresses) == 2

    play(scene)
