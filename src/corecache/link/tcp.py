"""The link over TCP. Every node dials every peer: it sends on the connections it dialled, and receives on the others.

So each side learns by itself, from its own connection, when the other's process is gone. A peer costs two connections
each way at most, one of them for bulk; all partitions share them. The bytes are described in `docs/link.md`.

The parts, in reading order: `greeting.py` says who may speak to whom; `dialled.py` and `outgoing.py` are one
connection and what it has yet to send; `peer.py` makes it again whenever it is lost; `accepted.py` and `reception.py`
are the other end. This file puts them together.

Rule 1: events are told on the loop, never from inside a call.
Rule 2: nothing grows without a limit, and nothing waits for a peer: what there is no room for is dropped, and counted.
"""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import cast

from corecache.config import Link
from corecache.identity import Incarnation, NodeId
from corecache.link.dialled import Dialled
from corecache.link.greeting import Local
from corecache.link.notices import LinkCounts, Notices
from corecache.link.peer import Means, Peer
from corecache.link.reception import Reception
from corecache.ports import Clock, LinkEvents
from corecache.replication.messages import Message
from corecache.wire.link_codec import Item

STALL_MS = 5000
"""A peer that reads nothing for this long, though something waits for it, is dialled anew."""

_CLOSE_MS = 1000
_STOPPING = "the node is stopping"


class TcpLink:
    """Implements `ports.Link`. Made on the event loop; `start` once, `close` once."""

    def __init__(
        self,
        cluster: str,
        partitions: int,
        node: NodeId,
        incarnation: Incarnation,
        settings: Link,
        clock: Clock,
        dice: Random,
        events: LinkEvents,
        stall_ms: int = STALL_MS,
    ) -> None:
        self.counts = LinkCounts()
        self._node = node
        local = Local(cluster, partitions, node, incarnation)
        self._means = Means(local, settings, clock, dice, events, self.counts, Notices(), stall_ms)
        self._reception = Reception(local, settings, self.counts, events)
        self._peers: dict[NodeId, Peer] = {}
        self._leaving: set[Dialled] = set()
        self._closed = False

    async def start(self) -> tuple[str, int]:
        """Listens; returns host and port. Raises: CallerFault `port_in_use` or `cannot_listen`."""
        return await self._reception.start()

    def meet(self, addresses: Mapping[NodeId, str]) -> None:
        """Dials the nodes that are new, at "host:port", and lets go of those that are not named."""
        if self._closed:
            return
        for node in [known for known in self._peers if known not in addresses]:
            self._leaving = {connection for connection in self._leaving if not connection.closed.is_set()}
            self._leaving.update(self._peers.pop(node).close("it is not needed any longer"))
        for node, address in addresses.items():
            peer = self._peers.get(node)
            if peer is not None:
                peer.move(address)
            elif node != self._node:
                self._peers[node] = Peer(node, address, self._means)

    def send(self, node: NodeId, messages: Sequence[Message], bulk: bool = False) -> None:
        """Sends messages, in one frame with all of this turn of the loop, or drops them."""
        peer = self._peers.get(node)
        if peer is not None:
            peer.send(messages, bulk)
        else:
            self.counts.messages_dropped += len(messages)

    def call(self, node: NodeId, calls: Sequence[object]) -> bool:
        """Sends calls or replies, all or none; False: none."""
        peer = self._peers.get(node)
        if peer is not None and peer.call(cast("Sequence[Item]", calls)):
            return True
        self.counts.calls_refused += len(calls)
        return False

    async def close(self) -> None:
        """Sends what was taken, for up to a second, and ends. No event is told from now on."""
        if self._closed:
            return
        self._closed = True
        for peer in self._peers.values():
            self._leaving.update(peer.close(_STOPPING))
        self._peers.clear()
        waiting = [asyncio.ensure_future(connection.closed.wait()) for connection in self._leaving]
        await self._reception.close(_CLOSE_MS)
        if waiting:
            await asyncio.wait(waiting, timeout=_CLOSE_MS / 1000)
        for connection in self._leaving:
            connection.abort(_STOPPING)
        for wait in waiting:
            wait.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
