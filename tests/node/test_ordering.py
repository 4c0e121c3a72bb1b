"""Orders and forced promotions at a node on memory twins: lost races, lost answers, and who is asked."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from corecache.coordination.memory import MemoryCoordinator, MemoryHub
from corecache.errors import CallerFault, CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import Epoch, Incarnation, Member, NodeId, PartitionId, ReplicaId
from corecache.node.node import Node
from corecache.operations import Put
from corecache.placement.partition_map import NodeEntry, Orders
from corecache.placement.slots import partition_of
from corecache.placement.view import VersionedView, View
from corecache.ports import SessionState
from corecache.reports import OrdersReport
from node.running import Running, config_of, running

GHOST = NodeId("ghost")
HERE = NodeId("here")
KEY = b"colour"
P = partition_of(KEY, 4)


class Interfered(MemoryCoordinator):
    """A coordinator that lets others be first `races` times, and loses the answers to `losses` changes.

    After the next change its session is what `then` says.
    """

    def __init__(self, hub: MemoryHub) -> None:
        super().__init__(hub)
        self.races = 0
        self.losses = 0
        self.then: SessionState | None = None

    async def order(self, orders: Orders, expected: int) -> bool:
        """Orders, after somebody else if there is a race left."""
        if self.races:
            self.races -= 1
            present, version = await self.orders()
            await super().order(msgspec.structs.replace(present, min_in_sync=1 - present.min_in_sync), version)
        done = await super().order(orders, expected)
        self._lose()
        return done

    async def propose(self, partition: PartitionId, view: View, expected: int) -> VersionedView | None:
        """Proposes, after somebody else if there is a race left."""
        if self.races:
            self.races -= 1
            present = await self.view(partition)
            await super().propose(partition, present.view, present.version)
        confirmed = await super().propose(partition, view, expected)
        self._lose()
        return confirmed

    def _lose(self) -> None:
        if self.then is not None:
            self.interrupt(self.then)
            self.then = None
        if self.losses:
            self.losses -= 1
            raise OutcomeUnknown("zookeeper_unknown", "The answer is lost.")


class Stage:
    """A node that is alone in its hub, unless a test lists others."""

    def __init__(self, at: Running, hub: MemoryHub, coordinator: Interfered) -> None:
        self.node: Node = at.node
        self.at = at
        self.hub = hub
        self.coordinator = coordinator

    async def list_alive(self, *names: str) -> None:
        """Lists more nodes as alive, of which nobody answers."""
        for name in names:
            entry = NodeEntry(NodeId(name), Incarnation(1), {"http": f"http://{name}:8000"})
            await MemoryCoordinator(self.hub).register(entry)

    async def orphan(self, replicas: tuple[NodeId, ...] = (HERE, GHOST)) -> VersionedView:
        """Lets the view of the key's partition trust nobody but a ghost; returns it once this node knows it."""
        confirmed = await self.coordinator.view(P)
        ghost = Member(GHOST, ReplicaId("g1"))
        view = msgspec.structs.replace(
            confirmed.view, epoch=Epoch(confirmed.view.epoch + 1), primary=ghost, in_sync=(ghost,), replicas=replicas
        )
        lost = await self.coordinator.propose(P, view, confirmed.version)
        assert lost is not None
        async with asyncio.timeout(5):
            while self.at.driver.views.get(P) != lost:  # noqa: ASYNC110 (a turn or two)
                await asyncio.sleep(0)
        return lost

    async def refused(self, call: Awaitable[object], code: str) -> CoreCacheError:
        """Returns the error that a call meets, which has this code."""
        with pytest.raises(CoreCacheError) as error:
            await call
        assert error.value.code == code
        return error.value


def staged(scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Plays a scene with a started node named `here`."""

    async def whole() -> None:
        hub = MemoryHub()
        coordinator = Interfered(hub)
        config = config_of()
        config = msgspec.structs.replace(config, node=msgspec.structs.replace(config.node, id=HERE))
        async with running(config, coordinator=coordinator) as at:
            await scene(Stage(at, hub, coordinator))
            assert at.broken == []

    asyncio.run(whole())


def test_an_order_that_lost_a_race_is_judged_anew_and_keeps_the_other_one() -> None:
    """Two operators at once: both orders stand in the end."""

    async def scene(stage: Stage) -> None:
        stage.coordinator.races = 3
        report = await stage.node.rebalance(False)
        assert (report.rebalancing, report.min_in_sync) == (False, 1)

    staged(scene)


def test_an_order_gives_up_when_others_are_always_first() -> None:
    """Not done, and nothing was ordered."""

    async def scene(stage: Stage) -> None:
        stage.coordinator.races = 1000
        await stage.refused(stage.node.rebalance(False), "orders_contended")
        assert (await stage.node.orders()).rebalancing

    staged(scene)


def test_an_order_whose_answer_is_lost_is_settled() -> None:
    """It is found to stand."""

    async def scene(stage: Stage) -> None:
        stage.coordinator.losses = 1
        assert not (await stage.node.rebalance(False)).rebalancing

    staged(scene)


def test_an_order_that_may_stand_is_never_called_not_done() -> None:
    """Its answer is lost, or the report fails, and nobody can be asked any more: the outcome is unknown."""

    async def scene(stage: Stage) -> None:
        for losses in (1, 0):
            stage.coordinator.losses = losses
            stage.coordinator.then = SessionState.SUSPENDED
            error = await stage.refused(stage.node.rebalance(losses == 0), "order_unknown")
            assert isinstance(error, OutcomeUnknown)
            stage.coordinator.interrupt(SessionState.CONNECTED)
        assert (await stage.node.orders()).rebalancing

    staged(scene)


def test_the_report_says_how_far_it_is() -> None:
    """A drained node holds something until no view names it; steps that wait are counted."""

    async def scene(stage: Stage) -> None:
        await stage.list_alive("n1", "n2", "n3")
        before: OrdersReport = await stage.node.orders()
        assert (before.controller, before.draining, before.moving) == (None, (), ())
        stage.coordinator.campaign(lambda _: None)
        report = await stage.node.drain(HERE, cancel=False)
        (drain,) = report.draining
        assert (report.controller, drain.node, drain.holds, drain.drained) == (HERE, HERE, 4, False)
        assert report.moves_left == len(await stage.node.moves()) > 0
        for number in range(4):
            partition = PartitionId(number)
            confirmed = await stage.coordinator.view(partition)
            other = Member(NodeId("n1"), ReplicaId("r"))
            view = msgspec.structs.replace(
                confirmed.view, primary=other, in_sync=(other,), replicas=(NodeId("n1"), NodeId("n2"))
            )
            await stage.coordinator.propose(partition, view, confirmed.version)
        report = await stage.node.orders()
        (drain,) = report.draining
        assert (drain.holds, drain.drained, report.moving) == (0, True, (0, 1, 2, 3))

    staged(scene)


def test_a_preview_changes_nothing_and_asks_what_would_be() -> None:
    """Moves are shown although evening out is off; those of a drain as the orders stand otherwise."""

    async def scene(stage: Stage) -> None:
        await stage.list_alive("n1", "n2", "n3")
        await stage.node.rebalance(False)
        even = {step.reason for step in await stage.node.moves()}
        drain = [step for step in await stage.node.moves(HERE) if HERE in step.after]
        assert any("evened out" in reason for reason in even)
        assert drain == []
        report = await stage.node.orders()
        assert (report.rebalancing, report.draining) == (False, ())
        await stage.refused(stage.node.moves(NodeId("nobody")), "node_unknown")

    staged(scene)


def test_a_node_alone_refuses_what_it_can_not_do() -> None:
    """There is nowhere to go, and one copy."""

    async def scene(stage: Stage) -> None:
        await stage.refused(stage.node.drain(HERE, cancel=False), "too_few_nodes")
        await stage.refused(stage.node.require_in_sync(2), "too_few_nodes")
        await stage.refused(stage.node.recover(P, HERE, True), "nothing_to_recover")
        assert (await stage.node.require_in_sync(1)).min_in_sync == 1
        assert await stage.node.moves() == ()

    staged(scene)


@pytest.mark.parametrize(("races", "losses"), [(0, 0), (2, 0), (0, 1)])
def test_a_partition_goes_on_from_the_copy_here(races: int, losses: int) -> None:
    """It is served again, in another lineage; a lost race is judged anew, a lost answer is settled."""

    async def scene(stage: Stage) -> None:
        await stage.node.write((Put(KEY, b"red"),), stage.at.deadline())
        lost = await stage.orphan()
        stage.coordinator.races, stage.coordinator.losses = races, losses
        report = await stage.node.recover(P, HERE, True)
        assert (report.records, report.bytes) == (1, len(KEY) + 3)
        assert report.newest == stage.at.clock.date
        confirmed = await stage.coordinator.view(P)
        assert (confirmed.view.lineage, confirmed.view.epoch) == (2, lost.view.epoch + 1)
        async with asyncio.timeout(5):
            while stage.node.unready() is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        record = await stage.node.get(KEY, stage.at.deadline())
        assert record is not None
        assert record.value == b"red"

    staged(scene)


def test_a_promotion_that_may_have_been_is_never_called_not_done() -> None:
    """Its answer is lost, and then nobody can be asked."""

    async def scene(stage: Stage) -> None:
        await stage.orphan()
        stage.coordinator.losses, stage.coordinator.then = 1, SessionState.LOST
        error = await stage.refused(stage.node.recover(P, HERE, True), "promotion_unknown")
        assert isinstance(error, OutcomeUnknown)
        stage.coordinator.interrupt(SessionState.CONNECTED)
        assert (await stage.coordinator.view(P)).view.lineage == 2

    staged(scene)


def test_a_forced_promotion_needs_the_loss_accepted() -> None:
    """The refusal says what is there, and nothing has changed."""

    async def scene(stage: Stage) -> None:
        await stage.node.write((Put(KEY, b"red"),), stage.at.deadline())
        lost = await stage.orphan()
        error = await stage.refused(stage.node.recover(P, HERE, False), "data_loss_not_accepted")
        assert "holds 1 records, 9 bytes, the newest written at 2023-11-14 22:13:20+00:00" in error.message
        assert await stage.coordinator.view(P) == lost

    staged(scene)


def test_a_forced_promotion_is_refused_where_it_would_be_wrong() -> None:
    """At another node, of no node, of no partition, and while a member that does not answer may live."""

    async def scene(stage: Stage) -> None:
        await stage.orphan()
        await stage.list_alive("ghost", "n2")
        error = await stage.refused(stage.node.recover(P, NodeId("n2"), True), "other_node")
        assert "http://n2:8000" in error.message
        assert isinstance(error, CallerFault)
        await stage.refused(stage.node.recover(P, NodeId("nobody"), True), "node_unknown")
        await stage.refused(stage.node.recover(PartitionId(4), HERE, True), "bad_parameter")
        silent = await stage.refused(stage.node.recover(P, HERE, True), "member_silent")
        assert isinstance(silent, NotDone)

    staged(scene)
