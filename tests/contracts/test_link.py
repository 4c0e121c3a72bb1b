"""What every `ports.Link` promises, run on each implementation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import msgspec
import pytest
import uvloop

from corecache.config import Link as Settings
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.link.memory import MemoryHub, MemoryLink
from corecache.link.tcp import TcpLink
from corecache.node.clock import SystemClock
from corecache.operations import Put
from corecache.replication.messages import Envelope
from corecache.wire.calls import Failure, FailureReply, ReadCall, WriteCall
from link.link_lab import CLUSTER, N1, N2, PARTITIONS, PATIENCE_SECONDS, SETTINGS, Heard, free_port, invite, replicate

N3 = NodeId("n3")


class Spot:
    """A node of a scene: its link, what it hears, and where it is."""

    def __init__(self, name: NodeId, link: MemoryLink | TcpLink, heard: Heard) -> None:
        self.name = name
        self.link = link
        self.heard = heard
        self.address = ""

    async def meets(self, other: "Spot", incarnation: int = 1) -> None:
        """Connects with another."""
        self.link.meet({other.name: other.address})
        await self.heard.until_told(("connected", other.name, incarnation))


class Ground:
    """Where links of one kind are made."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._hub = MemoryHub()

    @asynccontextmanager
    async def spot(
        self,
        name: NodeId,
        incarnation: int = 1,
        port: int = 0,
        settings: Settings = SETTINGS,
        cluster: str = CLUSTER,
        partitions: int = PARTITIONS,
    ) -> AsyncIterator[Spot]:
        """Starts a node, which is gone at the end."""
        heard = Heard()
        settings = msgspec.structs.replace(settings, port=port or (free_port() if self._kind == "tcp" else 0))
        link: MemoryLink | TcpLink
        if self._kind == "tcp":
            link = TcpLink(
                cluster, partitions, name, Incarnation(incarnation), settings, SystemClock(), Random(1), heard
            )
        else:
            link = MemoryLink(self._hub, cluster, partitions, name, Incarnation(incarnation), settings, heard)
        spot = Spot(name, link, heard)
        host, given = await link.start()
        spot.address = f"{host}:{given}"
        try:
            yield spot
        finally:
            await link.close()


Scene = Callable[[Ground], Awaitable[None]]
Play = Callable[[Scene], None]


@pytest.fixture(params=["memory", "tcp"])
def play(request: pytest.FixtureRequest) -> Play:
    """Plays a scene with links of one kind."""

    async def limited(scene: Scene) -> None:
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            await scene(Ground(request.param))

    def played(scene: Scene) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(limited(scene))

    return played


def test_what_is_sent_arrives_in_order_with_all_four_names(play: Play) -> None:
    """Messages of many turns arrive once, in their order, in envelopes that name both nodes and incarnations."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N1, incarnation=3) as one, ground.spot(N2, incarnation=5) as two:
            await one.meets(two, incarnation=5)
            for number in range(50):
                one.link.send(N2, [invite(number), invite(number + 1000)])
                await asyncio.sleep(0)
            await two.heard.until(lambda: len(two.heard.messages) >= 100)
            expected = [invite(number + plus) for number in range(50) for plus in (0, 1000)]
            assert two.heard.messages == expected
            assert {msgspec.structs.replace(envelope, messages=()) for envelope in two.heard.envelopes} == {
                Envelope(N1, Incarnation(3), N2, Incarnation(5), ())
            }

    play(scene)


def test_a_turn_of_the_loop_is_one_frame(play: Play) -> None:
    """What is sent to one node in one turn arrives together, calls and messages."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N1) as one, ground.spot(N2) as two:
            await one.meets(two)
            read = ReadCall(1, PartitionId(2), b"colour", 500)
            for number in range(5):
                one.link.send(N2, [invite(number)])
            assert one.link.call(N2, [read])
            one.link.send(N2, [replicate(3)])
            await two.heard.until(lambda: two.heard.calls)
            assert [envelope.messages for envelope in two.heard.envelopes] == [
                (*(invite(number) for number in range(5)), replicate(3))
            ]
            assert two.heard.calls == [(N1, 1, (read,))]

    play(scene)


def test_calls_arrive_in_order_and_tell_who_sent_them(play: Play) -> None:
    """Calls and replies arrive in their order, with the sender and its incarnation."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N1, incarnation=9) as one, ground.spot(N2) as two:
            await one.meets(two)
            sent = [
                WriteCall(1, PartitionId(2), (Put(b"a", b"1"),), 500),
                ReadCall(2, PartitionId(3), b"b", 500),
                FailureReply(3, Failure("NotDone", "overloaded", "Try again.")),
            ]
            for item in sent:
                assert one.link.call(N2, [item])
                await asyncio.sleep(0)
            await two.heard.until(lambda: sum(len(calls) for *_, calls in two.heard.calls) == 3)
            assert [item for *_, calls in two.heard.calls for item in calls] == sent
            assert {(node, incarnation) for node, incarnation, _ in two.heard.calls} == {(N1, 9)}

    play(scene)


def test_each_side_sends_on_a_connection_of_its_own(play: Play) -> None:
    """Whoever has not met a node can't send to it, though that one has dialled."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N1) as one, ground.spot(N2) as two:
            await one.meets(two)
            two.link.send(N1, [invite(1)])
            assert not two.link.call(N1, [ReadCall(1, PartitionId(2), b"b", 500)])
            await two.meets(one)
            two.link.send(N1, [invite(2)])
            await one.heard.until(lambda: one.heard.messages)
            assert one.heard.messages == [invite(2)]
            assert two.heard.told == []

    play(scene)


def test_nothing_is_sent_without_a_connection(play: Play) -> None:
    """Before a connection, and to strangers, messages are dropped and calls are refused, and both are counted."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N1) as one, ground.spot(N2) as two:
            one.link.meet({N2: two.address})
            one.link.send(N2, [invite(1), invite(2)])
            assert not one.link.call(N2, [ReadCall(1, PartitionId(2), b"b", 500)])
            one.link.send(N3, [invite(3)])
            assert not one.link.call(N3, [ReadCall(1, PartitionId(2), b"b", 500)])
            assert (one.link.counts.messages_dropped, one.link.counts.calls_refused) == (3, 2)
            await one.heard.until_told(("connected", N2, 1))
            one.link.send(N2, [invite(4)])
            await two.heard.until(lambda: two.heard.messages)
            assert two.heard.messages == [invite(4)]

    play(scene)


def test_a_node_that_ends_is_lost_and_then_refused_once(play: Play) -> None:
    """The end of a process is told twice: the connection is lost, and nobody listens there any more. Then silence."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N1) as one:
            async with ground.spot(N2) as two:
                await one.meets(two)
                port = int(two.address.rpartition(":")[2])
            await one.heard.until_told(("lost", N2, False), ("lost", N2, True))
            async with ground.spot(N2, incarnation=2, port=port):
                await one.heard.until_told(("connected", N2, 2))
            await one.heard.until_told(("lost", N2, False), ("lost", N2, True))

    play(scene)


def test_nobody_at_an_address_is_refused_once(play: Play) -> None:
    """A node that was never there is refused, without having been connected."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N1) as one:
            async with ground.spot(N2) as two:
                address = two.address
            one.link.meet({N2: address})
            await one.heard.until_told(("lost", N2, True))

    play(scene)


def test_what_was_taken_before_the_end_is_sent(play: Play) -> None:
    """Closing sends what is queued."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N2) as two:
            async with ground.spot(N1) as one:
                await one.meets(two)
                one.link.send(N2, [replicate(1000)])
            await two.heard.until(lambda: two.heard.messages)
            assert two.heard.messages == [replicate(1000)]

    play(scene)


def test_after_the_end_nothing_is_told_and_nothing_taken(play: Play) -> None:
    """A closed link drops, refuses and tells nothing; closing it again does nothing."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N1) as one, ground.spot(N2) as two:
            await one.meets(two)
            await two.meets(one)
            await one.link.close()
            await two.heard.until_told(("lost", N1, False), ("lost", N1, True))
            one.link.meet({N2: two.address, N3: two.address})
            one.link.send(N2, [invite(1)])
            assert not one.link.call(N2, [ReadCall(1, PartitionId(2), b"b", 500)])
            await one.link.close()
            assert (one.heard.told, one.heard.envelopes) == ([], [])

    play(scene)


def test_who_is_not_met_any_longer_is_let_go(play: Play) -> None:
    """A node that the next `meet` does not name gets nothing more, and its end is not told."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N1) as one, ground.spot(N3) as three:
            async with ground.spot(N2) as two:
                await one.meets(two)
                one.link.send(N2, [invite(1)])
                one.link.meet({N3: three.address, N1: one.address})
                await one.heard.until_told(("connected", N3, 1))
                await two.heard.until(lambda: two.heard.messages)
                one.link.send(N2, [invite(2)])
            one.link.send(N3, [invite(3)])
            await three.heard.until(lambda: three.heard.messages)
            assert two.heard.messages == [invite(1)]
            assert one.heard.told == []

    play(scene)


def test_a_node_at_another_address_is_dialled_there(play: Play) -> None:
    """A `meet` with another address lets the old connection go and makes a new one."""

    async def scene(ground: Ground) -> None:
        async with (
            ground.spot(N1) as one,
            ground.spot(N2) as old,
            ground.spot(N2, incarnation=2) as new,
        ):
            await one.meets(old)
            one.link.meet({N2: new.address})
            await one.heard.until_told(("lost", N2, False), ("connected", N2, 2))
            one.link.send(N2, [invite(1)])
            await new.heard.until(lambda: new.heard.messages)
            assert (old.heard.messages, new.heard.messages) == ([], [invite(1)])

    play(scene)


@pytest.mark.parametrize("change", [{"cluster": "blue"}, {"partitions": 16}, {"name": N3}])
def test_strangers_are_not_connected(play: Play, change: dict[str, object]) -> None:
    """Another cluster, another number of partitions, and another node than the wanted are refused."""

    async def scene(ground: Ground) -> None:
        stranger = {"name": N2, "cluster": CLUSTER, "partitions": PARTITIONS, **change}
        async with ground.spot(N1) as one, ground.spot(**stranger) as two:  # type: ignore[arg-type]
            port = int(two.address.rpartition(":")[2])
            one.link.meet({N2: two.address})
            for _ in range(50):
                await asyncio.sleep(0)
            assert one.heard.told == []
            assert not one.link.call(N2, [ReadCall(1, PartitionId(2), b"b", 500)])
            await two.link.close()
            async with ground.spot(N2, incarnation=7, port=port):
                await one.heard.until(lambda: one.heard.told and one.heard.told[-1] == ("connected", N2, 7))

    play(scene)


def test_what_has_no_room_is_dropped_and_refused(play: Play) -> None:
    """Beyond `link.queued_bytes_max` messages are dropped and calls refused; what was taken arrives, later ones too."""

    async def scene(ground: Ground) -> None:
        small = msgspec.structs.replace(SETTINGS, queued_bytes_max=10_000)
        async with ground.spot(N1, settings=small) as one, ground.spot(N2) as two:
            await one.meets(two)
            big = WriteCall(1, PartitionId(2), (Put(b"a", bytes(3000)),), 500)
            assert [one.link.call(N2, [big]) for _ in range(4)] == [True, True, True, False]
            one.link.send(N2, [replicate(50), invite(1)])
            assert not one.link.call(N2, [big, big])
            assert (one.link.counts.messages_dropped, one.link.counts.calls_refused) == (1, 3)
            await two.heard.until(lambda: two.heard.messages)
            one.link.send(N2, [invite(2)])
            assert one.link.call(N2, [big])
            await two.heard.until(lambda: len(two.heard.calls) == 2)
            assert two.heard.messages == [invite(1), invite(2)]
            assert [len(calls) for *_, calls in two.heard.calls] == [3, 1]

    play(scene)


def test_a_turn_that_exceeds_a_frame_becomes_several(play: Play) -> None:
    """No frame is longer than `link.frame_bytes_max`; a message that is by itself is dropped, the others are not."""

    async def scene(ground: Ground) -> None:
        small = msgspec.structs.replace(SETTINGS, frame_bytes_max=10_000)
        async with ground.spot(N1, settings=small) as one, ground.spot(N2, settings=small) as two:
            await one.meets(two)
            one.link.send(N2, [replicate(50), replicate(50)])
            one.link.send(N2, [invite(1), replicate(100), invite(2)])
            assert not one.link.call(N2, [WriteCall(1, PartitionId(2), (Put(b"a", bytes(10_000)),), 500)])
            await two.heard.until(lambda: len(two.heard.messages) == 4)
            assert two.heard.messages == [replicate(50), replicate(50), invite(1), invite(2)]
            assert [len(envelope.messages) for envelope in two.heard.envelopes] == [1, 3]
            assert one.link.counts.messages_dropped == 1

    play(scene)


def test_bulk_arrives_too(play: Play) -> None:
    """What is sent as bulk arrives in its own order, from the first on."""

    async def scene(ground: Ground) -> None:
        async with ground.spot(N1, incarnation=4) as one, ground.spot(N2) as two:
            await one.meets(two)
            for number in range(20):
                one.link.send(N2, [invite(number)], bulk=True)
                await asyncio.sleep(0)
            await two.heard.until(lambda: len(two.heard.messages) == 20)
            assert two.heard.messages == [invite(number) for number in range(20)]
            assert {envelope.sender_incarnation for envelope in two.heard.envelopes} == {4}

    play(scene)
