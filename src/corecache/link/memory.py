"""The link as it should be, without sockets: nodes in one process that meet on a hub.

It keeps every promise of `ports.Link`, by the same rules of greeting (`greeting.py`), of frames and of limits
(`outgoing.py`), and passes the same contract tests as the link over TCP. What is sent becomes bytes and is read again,
so that nothing is shared by mistake. Time plays no part: what is sent arrives in the next turns of the loop, and
whoever could not be reached is tried again when somebody joins the hub.

`MemoryHub.cut` breaks a connection, as a cable may; there is no other fault here: the simulator has those.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from corecache.config import Link
from corecache.identity import Incarnation, NodeId
from corecache.link.greeting import Local, hello, refusal_of
from corecache.link.notices import LinkCounts, Notices
from corecache.link.outgoing import Outgoing
from corecache.ports import LinkEvents
from corecache.replication.messages import Envelope, Message
from corecache.wire.frame import FrameDecoder
from corecache.wire.link_codec import Item, Post, decode

HOST = "memory"


class MemoryHub:
    """Where links find each other, by their addresses."""

    def __init__(self) -> None:
        self._links: dict[str, MemoryLink] = {}
        self._places = 0

    def join(self, link: "MemoryLink", port: int) -> int:
        """Takes a link in, at a port or, with 0, at a new one, which is returned."""
        if not port:
            self._places += 1
            port = self._places
        self._links[f"{HOST}:{port}"] = link
        self._changed()
        return port

    def leave(self, link: "MemoryLink") -> None:
        """Takes a link out: its connections are lost."""
        for address in [address for address, known in self._links.items() if known is link]:
            del self._links[address]
        for other in list(self._links.values()):
            other.lose(link)

    def find(self, address: str) -> "MemoryLink | None":
        """Returns who is at an address."""
        return self._links.get(address)

    def cut(self, origin: "MemoryLink", target: "MemoryLink") -> None:
        """Breaks the connection that `origin` has dialled; what was under way is lost."""
        origin.lose(target)

    def _changed(self) -> None:
        for link in list(self._links.values()):
            link.try_again()


class _Wire:
    """One connection, as its dialer has it."""

    def __init__(self, origin: Local, target: "MemoryLink", frame_bytes_max: int) -> None:
        self.open = True
        self.lost = False
        """Whether what is under way does not arrive any more."""
        self.target = target
        self.waiting_bytes = 0
        self._origin = origin
        self._decoder = FrameDecoder(frame_bytes_max)

    def write(self, frame: bytes | bytearray) -> None:
        """Lets a frame arrive in a later turn."""
        self.waiting_bytes += len(frame)
        asyncio.get_running_loop().call_soon(self._arrive, bytes(frame))

    def _arrive(self, frame: bytes) -> None:
        self.waiting_bytes -= len(frame)
        if not self.lost:
            self._decoder.feed(frame)
            payload = self._decoder.take()
            assert payload is not None
            post = decode(payload)
            assert isinstance(post, Post)
            self.target.brought(self._origin, post)


class _Way:
    """A peer, and the connection to it."""

    def __init__(self, address: str, outgoing: Outgoing[_Wire]) -> None:
        self.address = address
        self.outgoing = outgoing
        self.told_refused = False
        self.telling = False
        """Whether a loss has yet to be told: only then it is dialled again."""


class MemoryLink:
    """Implements `ports.Link` on a hub. Made on the event loop; `start` once, `close` once."""

    def __init__(
        self,
        hub: MemoryHub,
        cluster: str,
        partitions: int,
        node: NodeId,
        incarnation: Incarnation,
        settings: Link,
        events: LinkEvents,
    ) -> None:
        self.counts = LinkCounts()
        self.local = Local(cluster, partitions, node, incarnation)
        self._hub = hub
        self._settings = settings
        self._events = events
        self._notices = Notices()
        self._loop = asyncio.get_running_loop()
        self._ways: dict[NodeId, _Way] = {}
        self._callers: dict[NodeId, Incarnation] = {}
        self._closed = False

    async def start(self) -> tuple[str, int]:
        """Can be found from now on, at the address that it returns."""
        return HOST, self._hub.join(self, self._settings.port)

    def meet(self, addresses: Mapping[NodeId, str]) -> None:
        """Connects with the nodes that are new, and lets go of those that are not named."""
        if self._closed:
            return
        for node in [known for known in self._ways if known not in addresses]:
            self._end(self._ways.pop(node))
        for node, address in addresses.items():
            way = self._ways.get(node)
            if way is None and node != self.local.node:
                self._ways[node] = _Way(address, Outgoing(node, self._settings, self._notices))
            elif way is not None and way.address != address:
                way.address = address
                if way.outgoing.connection is not None:
                    self.lose(way.outgoing.connection.target)
        self.try_again()

    def send(self, node: NodeId, messages: Sequence[Message], bulk: bool = False) -> None:
        """Sends messages, in one frame with all of this turn of the loop, or drops them."""
        way = self._ways.get(node)
        self.counts.messages_dropped += len(messages) if way is None else way.outgoing.send(messages)

    def call(self, node: NodeId, calls: Sequence[object]) -> bool:
        """Sends calls or replies, all or none; False: none."""
        way = self._ways.get(node)
        if way is not None and way.outgoing.add(cast("Sequence[Item]", calls)):
            return True
        self.counts.calls_refused += len(calls)
        return False

    async def close(self) -> None:
        """Sends what was taken, and ends. No event is told from now on."""
        if self._closed:
            return
        self._closed = True
        for way in self._ways.values():
            self._end(way)
        self._ways.clear()
        # Frames arrive in the order in which they were written, one callback of the loop each; this comes after them.
        arrived = self._loop.create_future()
        self._loop.call_soon(arrived.set_result, None)
        await arrived
        self._hub.leave(self)

    def try_again(self) -> None:
        """Connects, in a later turn, with all that are not connected."""
        for node in self._ways:
            self._loop.call_soon(self._connect, node)

    def _connect(self, node: NodeId) -> None:
        way = self._ways.get(node)
        if way is None or way.telling or way.outgoing.connection is not None or self._closed:
            return
        target = self._hub.find(way.address)
        if target is None:
            if not way.told_refused:
                way.told_refused = True
                self._events.lost(node, True)
        elif target.welcomes(self.local, node):
            way.told_refused = False
            way.outgoing.take(_Wire(self.local, target, self._settings.frame_bytes_max))
            self._events.connected(node, target.local.incarnation)

    def welcomes(self, caller: Local, wanted: NodeId) -> bool:
        """Judges a caller, as every node does."""
        connected = self._callers.get(caller.node, Incarnation(0))
        if refusal_of(self.local, hello(caller, wanted, bulk=False), connected, full=False) is not None:
            return False
        self._callers[caller.node] = caller.incarnation
        return True

    def brought(self, sender: Local, post: Post) -> None:
        """Hands over what came."""
        if self._closed:
            return
        messages, calls = post.parted()
        if messages:
            local = self.local
            self._events.received(
                Envelope(sender.node, sender.incarnation, local.node, local.incarnation, messages),
            )
        if calls:
            self._events.called(sender.node, sender.incarnation, calls)

    def lose(self, target: "MemoryLink") -> None:
        """Loses the connection with a link, if there is one, tells so in a later turn, and tries again."""
        for node, way in self._ways.items():
            connection = way.outgoing.connection
            if connection is not None and connection.target is target:
                self._end(way, lost=True)
                way.telling = True
                self._loop.call_soon(self._tell_lost, node, way)

    def _tell_lost(self, node: NodeId, way: _Way) -> None:
        way.telling = False
        if not self._closed and self._ways.get(node) is way:
            self._events.lost(node, False)
            self._connect(node)

    def _end(self, way: _Way, lost: bool = False) -> None:
        connection = way.outgoing.connection
        if connection is not None:
            if not lost:
                way.outgoing.flush()
            connection.open = False
            connection.lost = lost
            self.counts.messages_dropped += way.outgoing.drop()
