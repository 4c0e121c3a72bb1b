"""What the tests of links share: nodes that write down what they hear, settings, messages, and connections by hand."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from random import Random
from typing import Any, Self

import msgspec
import structlog
import uvloop

from corecache.chaos.processes import PortLease
from corecache.config import Link
from corecache.identity import Epoch, Incarnation, NodeId, PartitionId, ReplicaId
from corecache.identity import Sequence as LogSequence
from corecache.link.tcp import TcpLink
from corecache.node.clock import SystemClock
from corecache.operations import Record, Resolved
from corecache.replication.log import Entry, Position
from corecache.replication.messages import Envelope, Invite, Message, Replicate
from corecache.wire.frame import FrameDecoder, frame_of
from corecache.wire.link_codec import VERSION, Farewell, Hello, Post, Refusal, Welcome, decode, encode_greeting

PATIENCE_SECONDS = 20.0
CLUSTER = "red"
PARTITIONS = 8
N1 = NodeId("n1")
N2 = NodeId("n2")

SETTINGS = Link(reconnect_first_ms=1, reconnect_max_ms=20, connect_timeout_ms=10_000)
"""Impatient in dialling, patient in greeting: the machine may be busy."""
LEASES: list[PortLease] = []
"""Of the ports that `free_port` gave, held until the tests end."""


def invite(number: int) -> Invite:
    """Returns a small message that a test can tell from others."""
    return Invite(PartitionId(number))


def replicate(entries: int, value: bytes = bytes(100)) -> Replicate:
    """Returns a message with entries, each a put of a value."""
    record = Record(value, 7, 1_700_000_000_000)  # type: ignore[arg-type]
    return Replicate(
        PartitionId(1),
        Epoch(4),
        ReplicaId("0123456789abcdef"),
        ReplicaId("fedcba9876543210"),
        Position(Epoch(4), LogSequence(8)),
        tuple(
            Entry(Epoch(4), LogSequence(9 + number), (Resolved(b"key:%012d" % number, record),))
            for number in range(entries)
        ),
        LogSequence(8),
    )


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Makes a test of a coroutine: on the loop that a node uses, and with a limit."""

    @wraps(test)
    def played(*arguments: Any, **named: Any) -> None:
        async def limited() -> None:
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                await test(*arguments, **named)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(limited())

    return played


class Heard:
    """Writes down what a link tells. Implements `ports.LinkEvents`."""

    def __init__(self) -> None:
        self.told: list[tuple[str, NodeId, object]] = []
        """Of connections: ("connected", node, incarnation) and ("lost", node, refused)."""
        self.envelopes: list[Envelope] = []
        self.calls: list[tuple[NodeId, Incarnation, Sequence[object]]] = []
        self._changed = asyncio.Event()

    def connected(self, node: NodeId, incarnation: Incarnation) -> None:
        """Writes it down."""
        self.told.append(("connected", node, incarnation))
        self._changed.set()

    def lost(self, node: NodeId, refused: bool) -> None:
        """Writes it down."""
        self.told.append(("lost", node, refused))
        self._changed.set()

    def received(self, envelope: Envelope) -> None:
        """Writes it down."""
        self.envelopes.append(envelope)
        self._changed.set()

    def called(self, sender: NodeId, incarnation: Incarnation, calls: Sequence[object]) -> None:
        """Writes it down."""
        self.calls.append((sender, incarnation, calls))
        self._changed.set()

    @property
    def messages(self) -> list[Message]:
        """Returns all messages that came, in their order."""
        return [message for envelope in self.envelopes for message in envelope.messages]

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits for something that is heard to make a condition true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_told(self, *expected: tuple[str, NodeId, object]) -> None:
        """Waits for as many tidings of connections as are expected; then they must be these, and are forgotten."""
        await self.until(lambda: len(self.told) >= len(expected))
        assert self.told == list(expected)
        self.told.clear()


async def until(condition: Callable[[], object]) -> None:
    """Waits for a condition that nobody tells of, a turn of the loop at a time."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


def free_port() -> int:
    """Returns a port on which nobody listens, and that no outgoing connection is given."""
    lease = PortLease()
    LEASES.append(lease)
    return lease.number


class Node:
    """A link over TCP with somebody who listens to it."""

    def __init__(
        self,
        name: NodeId,
        incarnation: int = 1,
        settings: Link = SETTINGS,
        cluster: str = CLUSTER,
        partitions: int = PARTITIONS,
        stall_ms: int = 60_000,
    ) -> None:
        self.name = name
        self.heard = Heard()
        self.hands: list[Hand] = []
        """Connections by hand to this node, which are closed at its end."""
        self.address = ""
        if not settings.port:
            settings = msgspec.structs.replace(settings, port=free_port())
        self.port = settings.port
        self.link = TcpLink(
            cluster,
            partitions,
            name,
            Incarnation(incarnation),
            settings,
            SystemClock(),
            Random(1),
            self.heard,
            stall_ms=stall_ms,
        )

    async def __aenter__(self) -> Self:
        host, port = await self.link.start()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for hand in self.hands:
            hand.close()
        await self.link.close()

    async def meets(self, other: "Node", incarnation: int = 1) -> None:
        """Dials another and is connected."""
        self.link.meet({other.name: other.address})
        await self.heard.until_told(("connected", other.name, incarnation))


def hello(node: NodeId = N2, wanted: NodeId = N1, incarnation: int = 1, bulk: bool = False) -> Hello:
    """Returns a proper greeting."""
    return Hello(VERSION, CLUSTER, PARTITIONS, node, Incarnation(incarnation), wanted, bulk)


class Hand:
    """A connection by hand, of whoever dialled it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.port = writer.get_extra_info("sockname")[1]
        self.decoder = FrameDecoder(1 << 20)

    @classmethod
    async def dial(cls, node: Node, greeting: Hello | None = None) -> "Hand":
        """Dials a node; with a greeting it is welcomed."""
        hand = cls(*await asyncio.open_connection("127.0.0.1", node.port))
        node.hands.append(hand)
        if greeting is not None:
            hand.say(greeting)
            assert isinstance(await hand.hear(), Welcome)
        return hand

    def say(self, message: Hello | Welcome | Refusal | Farewell) -> None:
        """Sends a greeting."""
        self.writer.write(encode_greeting(message))

    def send(self, payload: bytes) -> None:
        """Sends a payload as a frame."""
        self.writer.write(frame_of(payload))

    async def hear(self) -> Hello | Welcome | Refusal | Farewell | Post | None:
        """Returns the next message, None at the end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (payload := self.decoder.take()) is None:
                try:
                    octets = await self.reader.read(1 << 16)
                except ConnectionError:
                    octets = b""
                if not octets:
                    return None
                self.decoder.feed(octets)
        return decode(payload)

    def close(self) -> None:
        """Goes away at once."""
        self.writer.transport.abort()


class Acceptor:
    """A server by hand: `arrived` are the connections that it got."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Hand] = asyncio.Queue()
        self.address = ""
        self._server: asyncio.Server | None = None
        self._hands: list[Hand] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._arrive, "127.0.0.1", 0, limit=1 << 20)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def _arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hand = Hand(reader, writer)
        self._hands.append(hand)
        self.arrived.put_nowait(hand)

    async def next(self) -> Hand:
        """Returns the next connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.arrived.get()

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for hand in self._hands:
            hand.close()
        await self._server.wait_closed()


def logged(lines: list[structlog.typing.EventDict], event: str) -> list[structlog.typing.EventDict]:
    """Returns the lines of a log that tell of an event."""
    return [line for line in lines if line["event"] == event]
