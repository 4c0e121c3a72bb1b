"""What every `ports.Coordinator` promises, run on each implementation: memory, the local file, and real ZooKeeper."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from coordination.coordinator_stage import (
    FACTS,
    PARTITIONS,
    Ear,
    LocalStage,
    MemoryStage,
    Stage,
    ViewEar,
    ZooKeeperStage,
    created,
    entry,
    facts_given,
    played,
    view,
)
from corecache.errors import CallerFault
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.placement.partition_map import ClusterFacts, Orders
from corecache.placement.view import VersionedView
from corecache.ports import Coordinator, SessionState

ONE = PartitionId(1)
TWO = PartitionId(2)

Scene = Callable[[Coordinator], Awaitable[None]]
Play = Callable[[Scene], None]
ClusterScene = Callable[[Stage], Awaitable[None]]
PlayCluster = Callable[[ClusterScene], None]


def made(kind: str, request: pytest.FixtureRequest) -> Stage:
    """Returns a fresh stage of one kind. ZooKeeper is started only if it is asked for."""
    if kind == "zookeeper":
        return ZooKeeperStage(request.getfixturevalue("zookeeper_address"))
    return MemoryStage() if kind == "memory" else LocalStage(request.getfixturevalue("tmp_path"))


@pytest.fixture(params=["memory", "local", "zookeeper"])
def play(request: pytest.FixtureRequest) -> Play:
    """Plays a scene on a fresh coordinator of one kind."""

    def start(scene: Scene) -> None:
        async def alone(stage: Stage) -> None:
            await scene(await stage.coordinator())

        played(made(request.param, request), alone)

    return start


@pytest.fixture(params=["memory", "zookeeper"])
def play_cluster(request: pytest.FixtureRequest) -> PlayCluster:
    """Plays a scene on the coordinators of several nodes, of one kind."""
    return lambda scene: played(made(request.param, request), scene)


def test_there_are_no_views_before_the_cluster_is_created(play: Play) -> None:
    """A fresh coordinator has no views; a created cluster has all of its own, at version 0."""

    async def scene(coordinator: Coordinator) -> None:
        assert await coordinator.views() == {}
        await created(coordinator)
        assert await coordinator.views() == {
            PartitionId(number): VersionedView(view(0), 0) for number in range(PARTITIONS)
        }

    play(scene)


def test_creating_again_changes_nothing(play: Play) -> None:
    """The same creation twice leaves the views that the cluster has come to meanwhile."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        await coordinator.propose(ONE, view(1), 0)
        await created(coordinator)
        assert (await coordinator.views())[ONE] == VersionedView(view(1), 1)

    play(scene)


def test_the_facts_are_those_of_the_creation(play: Play) -> None:
    """There are none before; a later creation with another replication factor changes nothing."""

    async def scene(coordinator: Coordinator) -> None:
        assert await coordinator.facts() is None
        views = {PartitionId(n): view(0) for n in range(PARTITIONS)}
        assert await coordinator.create(ClusterFacts("red", PARTITIONS, 2), views)
        assert await facts_given(coordinator) == ClusterFacts("red", PARTITIONS, 2)
        assert not await coordinator.create(ClusterFacts("red", PARTITIONS, 5), views)
        assert await facts_given(coordinator) == ClusterFacts("red", PARTITIONS, 2)

    play(scene)


def test_a_creation_has_a_name_of_its_own(play_cluster: PlayCluster) -> None:
    """The same for all nodes, and for good; whatever is given, nobody else's; and one of two who create says so."""

    async def scene(stage: Stage) -> None:
        first, second = await stage.coordinator(), await stage.coordinator()
        given = msgspec.structs.replace(FACTS, creation="mine")
        views = {PartitionId(n): view(0) for n in range(PARTITIONS)}
        created = await asyncio.gather(first.create(given, views), second.create(given, views))
        assert sorted(created) == [False, True]
        found = await first.facts()
        assert found is not None
        assert found.creation not in ("", "mine")
        assert await second.facts() == found
        await second.create(given, views)
        assert await first.facts() == found == await (await stage.coordinator()).facts()

    play_cluster(scene)


def test_creating_with_other_facts_is_refused(play: Play) -> None:
    """Another name or number of partitions is the caller's fault, names the culprit, and changes nothing."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        nine = {PartitionId(n): view(9) for n in range(PARTITIONS)}
        with pytest.raises(CallerFault, match=r"cluster\.name") as name:
            await coordinator.create(ClusterFacts("blue", PARTITIONS), nine)
        with pytest.raises(CallerFault, match=r"cluster\.partitions") as number:
            await coordinator.create(ClusterFacts("red", 1), {PartitionId(0): view(9)})
        assert (name.value.code, number.value.code) == ("other_cluster", "other_partitions")
        assert await facts_given(coordinator) == FACTS
        assert all(found == VersionedView(view(0), 0) for found in (await coordinator.views()).values())

    play(scene)


def test_one_view_can_be_read_alone(play: Play) -> None:
    """It is the newest at the time of the call."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        assert await coordinator.view(ONE) == VersionedView(view(0), 0)
        await coordinator.propose(ONE, view(1), 0)
        assert await coordinator.view(ONE) == VersionedView(view(1), 1)

    play(scene)


def test_a_proposal_on_the_present_version_wins(play: Play) -> None:
    """It returns the view with a version one higher, and that is what everybody reads from then on."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        assert await coordinator.propose(ONE, view(1), 0) == VersionedView(view(1), 1)
        assert (await coordinator.views())[ONE] == VersionedView(view(1), 1)
        assert (await coordinator.views())[TWO] == VersionedView(view(0), 0)

    play(scene)


def test_a_proposal_on_another_version_loses(play: Play) -> None:
    """An older or a future version returns None and changes nothing."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        await coordinator.propose(ONE, view(1), 0)
        assert await coordinator.propose(ONE, view(2), 0) is None
        assert await coordinator.propose(ONE, view(2), 2) is None
        assert (await coordinator.views())[ONE] == VersionedView(view(1), 1)

    play(scene)


def test_an_unchanged_view_can_be_proposed_and_gets_a_new_version(play: Play) -> None:
    """So that a proposer can settle a lost answer: after it the lost proposal can no longer win (R18)."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        assert await coordinator.propose(ONE, view(0), 0) == VersionedView(view(0), 1)
        assert await coordinator.propose(ONE, view(7), 0) is None

    play(scene)


def test_of_rivals_on_one_version_exactly_one_wins(play: Play) -> None:
    """Twenty proposals at once on the same version: one wins, and its view is the one that stands."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        rivals = await asyncio.gather(*(coordinator.propose(ONE, view(epoch), 0) for epoch in range(1, 21)))
        won = [confirmed for confirmed in rivals if confirmed is not None]
        assert len(won) == 1
        assert (await coordinator.views())[ONE] == won[0]

    play(scene)


def test_all_partitions_can_propose_at_once(play: Play) -> None:
    """Concurrent proposals for different partitions all win."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        await asyncio.gather(*(coordinator.propose(PartitionId(n), view(n + 1), 0) for n in range(PARTITIONS)))
        assert await coordinator.views() == {PartitionId(n): VersionedView(view(n + 1), 1) for n in range(PARTITIONS)}

    play(scene)


def test_watchers_hear_of_followed_partitions_only(play: Play) -> None:
    """The last change of a followed partition is told, versions growing; one that is not followed is never told."""

    async def scene(coordinator: Coordinator) -> None:
        heard, late = ViewEar(), ViewEar()
        await created(coordinator)
        coordinator.watch(heard)
        coordinator.follow([ONE])
        for version in range(3):
            await coordinator.propose(ONE, view(version + 1), version)
            await coordinator.propose(TWO, view(version + 1), version)
        assert await coordinator.propose(ONE, view(9), 0) is None
        await heard.until(ONE, 3)
        assert heard.last[ONE] == VersionedView(view(3), 3)
        coordinator.watch(late)
        await coordinator.propose(ONE, view(4), 3)
        await heard.until(ONE, 4)
        await late.until(ONE, 4)
        heard.check_growing()
        assert (set(heard.versions), late.versions) == ({ONE}, {ONE: [4]})

    play(scene)


def test_a_partition_is_told_once_when_it_begins_to_be_followed(play: Play) -> None:
    """Also without a change, and also when it was followed before; what goes on being followed is not told again."""

    async def scene(coordinator: Coordinator) -> None:
        heard = ViewEar()
        await created(coordinator)
        coordinator.watch(heard)
        coordinator.follow([ONE])
        await heard.until(ONE, 0)
        coordinator.follow([ONE, TWO])
        await heard.until(TWO, 0)
        assert heard.versions == {ONE: [0], TWO: [0]}
        coordinator.follow([TWO])
        await coordinator.propose(ONE, view(1), 0)
        await coordinator.propose(TWO, view(1), 0)
        await heard.until(TWO, 1)
        assert heard.versions == {ONE: [0], TWO: [0, 1]}
        coordinator.follow([ONE, TWO])
        await heard.until(ONE, 1)
        assert heard.versions == {ONE: [0, 1], TWO: [0, 1]}

    play(scene)


def test_what_was_followed_before_the_creation_is_told_after_it(play: Play) -> None:
    """A partition may be followed before it exists."""

    async def scene(coordinator: Coordinator) -> None:
        heard = ViewEar()
        coordinator.watch(heard)
        coordinator.follow([TWO])
        await created(coordinator)
        await heard.until(TWO, 0)
        assert heard.versions == {TWO: [0]}

    play(scene)


def test_no_callback_comes_from_inside_a_call(play: Play) -> None:
    """Whoever watches, follows or stands is called in a later turn of the loop."""

    async def scene(coordinator: Coordinator) -> None:
        called: Ear[str] = Ear()
        await created(coordinator)
        coordinator.watch(lambda partition, confirmed: called("view"))
        coordinator.follow([ONE])
        coordinator.watch_session(lambda state: called("session"))
        coordinator.campaign(lambda won: called("election"))
        assert called.heard == []
        await called.until(lambda heard: sorted(heard) == ["election", "session", "view"])

    play(scene)


def test_what_is_read_is_a_copy(play: Play) -> None:
    """Changing the returned mapping changes nothing in the coordinator."""

    async def scene(coordinator: Coordinator) -> None:
        await created(coordinator)
        (await coordinator.views()).clear()
        assert len(await coordinator.views()) == PARTITIONS

    play(scene)


def test_registering_returns_the_highest_incarnation(play: Play) -> None:
    """An incarnation below one registered before is told so, and not listed; each node has its own count."""

    async def scene(coordinator: Coordinator) -> None:
        assert await coordinator.register(entry(incarnation=1)) == 1
        assert await coordinator.register(entry(incarnation=5)) == 5
        assert await coordinator.register(entry(incarnation=3)) == 5
        assert (await coordinator.nodes()) == {NodeId("n1"): entry(incarnation=5)}

    play(scene)


def test_a_registered_node_is_alive_with_all_that_it_said(play: Play) -> None:
    """And whoever watches the living is called."""

    async def scene(coordinator: Coordinator) -> None:
        called: Ear[str] = Ear()
        assert await coordinator.nodes() == {}
        coordinator.watch_nodes(lambda: called("changed"))
        await coordinator.register(entry())
        await called.until(bool)
        assert await coordinator.nodes() == {NodeId("n1"): entry()}

    play(scene)


def test_orders_change_by_compare_and_set(play: Play) -> None:
    """They are the defaults at version 0 until somebody orders; an order on another version is refused."""

    async def scene(coordinator: Coordinator) -> None:
        assert await coordinator.orders() == (Orders(), 0)
        draining = Orders(draining=(NodeId("n2"),), rebalancing=False, min_in_sync=2)
        assert not await coordinator.order(draining, 1)
        assert await coordinator.order(draining, 0)
        assert await coordinator.orders() == (draining, 1)
        assert not await coordinator.order(Orders(), 0)
        assert await coordinator.order(Orders(), 1)
        assert await coordinator.orders() == (Orders(), 2)

    play(scene)


def test_who_stands_alone_is_the_controller(play: Play) -> None:
    """The only candidate wins, and everybody can be told."""

    async def scene(coordinator: Coordinator) -> None:
        elected: Ear[bool] = Ear()
        await coordinator.register(entry())
        assert await coordinator.controller() is None
        coordinator.campaign(elected)
        assert await elected.until(bool) == [True]
        assert await coordinator.controller() == entry().node

    play(scene)


def test_the_present_state_of_the_session_is_told(play: Play) -> None:
    """Whoever begins to watch it hears that it is CONNECTED."""

    async def scene(coordinator: Coordinator) -> None:
        states: Ear[SessionState] = Ear()
        coordinator.watch_session(states)
        assert await states.until(bool) == [SessionState.CONNECTED]

    play(scene)


def test_nobody_is_called_after_the_end(play: Play) -> None:
    """A closed coordinator is silent, also about what happened just before."""

    async def scene(coordinator: Coordinator) -> None:
        called: Ear[object] = Ear()
        await created(coordinator)
        coordinator.watch(called)
        coordinator.follow([ONE])
        coordinator.watch_nodes(lambda: called(None))
        coordinator.campaign(called)
        await coordinator.close()
        before = list(called.heard)
        for _ in range(10):
            await asyncio.sleep(0)
        assert called.heard == before

    play(scene)


def test_nodes_see_each_other_come_and_go(play_cluster: PlayCluster) -> None:
    """The list of the living is the same for all; one that closes leaves it, and the others are called."""

    async def scene(stage: Stage) -> None:
        first, second = await stage.coordinator(), await stage.coordinator()
        called: Ear[str] = Ear()
        first.watch_nodes(lambda: called("changed"))
        await first.register(entry("n1"))
        await second.register(entry("n2", 4))
        both = {NodeId("n1"): entry("n1"), NodeId("n2"): entry("n2", 4)}
        assert await first.nodes() == both == await second.nodes()
        await called.until(bool)
        called.heard.clear()
        await second.close()
        await called.until(bool)
        assert await first.nodes() == {NodeId("n1"): entry("n1")}

    play_cluster(scene)


def test_a_change_is_told_to_the_followers_of_all_nodes(play_cluster: PlayCluster) -> None:
    """Whoever proposed it."""

    async def scene(stage: Stage) -> None:
        first, second = await stage.coordinator(), await stage.coordinator()
        heard = ViewEar()
        await created(first)
        second.watch(heard)
        second.follow([ONE])
        await heard.until(ONE, 0)
        assert await first.propose(ONE, view(1), 0) == VersionedView(view(1), 1)
        await heard.until(ONE, 1)
        assert await second.propose(ONE, view(9), 0) is None
        assert await second.view(ONE) == VersionedView(view(1), 1)

    play_cluster(scene)


def test_of_creators_at_once_one_has_its_views_stand(play_cluster: PlayCluster) -> None:
    """All of its views and nobody else's; the others find the cluster as it is."""

    async def scene(stage: Stage) -> None:
        nodes = [await stage.coordinator() for _ in range(4)]
        await asyncio.gather(
            *(
                node.create(FACTS, {PartitionId(n): view(number) for n in range(PARTITIONS)})
                for number, node in enumerate(nodes)
            )
        )
        found = [await node.views() for node in nodes]
        assert all(views == found[0] for views in found)
        assert len(found[0]) == PARTITIONS
        assert len({confirmed.view.epoch for confirmed in found[0].values()}) == 1

    play_cluster(scene)


def test_one_is_controller_until_it_goes(play_cluster: PlayCluster) -> None:
    """Of several candidates one wins; when it closes another one does, and never two at once."""

    async def scene(stage: Stage) -> None:
        nodes = [await stage.coordinator() for _ in range(3)]
        elected: Ear[tuple[int, bool]] = Ear()
        closed: list[Coordinator] = []
        for number, node in enumerate(nodes):
            await node.register(entry(f"n{number}"))
            node.campaign(lambda won, number=number: elected((number, won)))  # type: ignore[misc]
        for turn in range(3):
            await elected.until(lambda heard, turn=turn: len(heard) > turn)  # type: ignore[misc]
            number, won = elected.heard[turn]
            assert won
            for node in nodes:
                if node not in closed:
                    assert await node.controller() == NodeId(f"n{number}")
            await nodes[number].close()
            closed.append(nodes[number])
        assert sorted(elected.heard) == [(0, True), (1, True), (2, True)]

    play_cluster(scene)


def test_a_lost_session_is_made_up_for(play_cluster: PlayCluster) -> None:
    """The node hears of it, is no controller meanwhile, is listed again, and hears of what it missed."""

    async def scene(stage: Stage) -> None:
        first, second = await stage.coordinator(), await stage.coordinator()
        states: Ear[SessionState] = Ear()
        elected: Ear[bool] = Ear()
        heard = ViewEar()
        await created(first)
        await first.register(entry())
        first.watch(heard)
        first.follow([ONE])
        first.watch_session(states)
        first.campaign(elected)
        await elected.until(lambda won: won == [True])
        await heard.until(ONE, 0)
        await states.until(lambda told: told == [SessionState.CONNECTED])
        await stage.expire(first)
        await second.propose(ONE, view(1), 0)
        await states.until(lambda told: told[-2:] == [SessionState.LOST, SessionState.CONNECTED])
        await elected.until(lambda won: won == [True, False, True])
        await heard.until(ONE, 1)
        heard.check_growing()
        assert await second.nodes() == {NodeId("n1"): entry()}

    play_cluster(scene)


def test_a_later_start_of_a_node_takes_its_place(play_cluster: PlayCluster) -> None:
    """What an older session left is replaced; the older start is not listed again, whatever happens to its session."""

    async def scene(stage: Stage) -> None:
        old, new = await stage.coordinator(), await stage.coordinator()
        await old.register(entry(incarnation=1))
        assert await new.register(entry(incarnation=2)) == 2
        assert await new.nodes() == {NodeId("n1"): entry(incarnation=2)}
        states: Ear[SessionState] = Ear()
        old.watch_session(states)
        await states.until(bool)
        await stage.expire(old)
        await states.until(lambda told: told[-2:] == [SessionState.LOST, SessionState.CONNECTED])
        assert await old.register(entry(incarnation=1)) == 2
        await old.close()
        assert await new.nodes() == {NodeId("n1"): entry(incarnation=2)}
        assert (await new.nodes())[NodeId("n1")].incarnation == Incarnation(2)

    play_cluster(scene)
