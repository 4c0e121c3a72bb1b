"""Calls to other nodes that wait for their replies (R20): the caller's side.

Rule 1: a call is sent once. Whatever is known to have left nothing behind is *not done*; a write whose call has left
and whose reply is lost is *unknown*, a read is *not done*.
Rule 2: calls under way are bounded, in number and in bytes; one more is refused.
Rule 3: a reply counts if it comes from the node that was called. Numbers are unique over all starts of this node, so
that a reply to an earlier start means nothing.

Who is called, and whether it is tried again, is decided in `routing.py`; `callee.py` is the other side.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from corecache.config import Replication
from corecache.errors import CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import Incarnation, Milliseconds, NodeId, PartitionId
from corecache.node.views import Views
from corecache.ports import Clock, Link
from corecache.wire.calls import (
    Call,
    CopyReply,
    FailureReply,
    ReadReply,
    Reply,
    ScanReply,
    StaleReply,
    WriteReply,
)

_SWEEP_SECONDS = 0.05
_GRACE_MS = 100
"""What a reply may come late: the other node counts the time from when the call arrived."""
_READ_SILENCE_MS = 1000
"""A read that was not answered for so long is as good as lost; to ask again does no harm."""


class Waiting(msgspec.Struct):
    """A call under way. `reply` is told its outcome; `until` is when it is given up."""

    node: NodeId
    partition: PartitionId
    reply: Any
    writes: bool
    size_bytes: int
    until: Milliseconds


class Calls:
    """The calls under way. `link` is set before the first. `sent` counts them."""

    def __init__(self, incarnation: Incarnation, views: Views, clock: Clock, limits: Replication) -> None:
        """Takes the node's incarnation, and where to note the views that replies bring."""
        self.link: Link | None = None
        self.sent = 0
        self.unknown = 0
        self.size_bytes = 0
        self._views = views
        self._clock = clock
        self._limits = limits
        self._number = incarnation << 32
        self._waiting: dict[int, Waiting] = {}
        self._sweeping = False

    @property
    def under_way(self) -> int:
        """Returns how many calls wait for their replies."""
        return len(self._waiting)

    def left_ms(self, deadline: Milliseconds) -> int:
        """Returns what a call says of its deadline."""
        return max(0, deadline - self._clock.now())

    def begin(
        self,
        node: NodeId,
        partition: PartitionId,
        make: Callable[[int], Call],
        reply: Any,
        deadline: Milliseconds,
        size_bytes: int,
        writes: bool,
    ) -> None:
        """Calls a node; `reply` is told the outcome. Raises: NotDone `overloaded` or `unreachable`, nothing sent."""
        limits = self._limits
        if len(self._waiting) >= limits.uncommitted_requests_max or (
            self._waiting and self.size_bytes + size_bytes > limits.uncommitted_bytes_max
        ):
            raise NotDone("overloaded", f"{len(self._waiting)} calls to other nodes wait already; try again.")
        self._number += 1
        number = self._number
        if self.link is None or not self.link.call(node, (make(number),)):
            raise NotDone("unreachable", f"Node {node} leads the partition and can't be reached now; try again.", 100)
        now = self._clock.now()
        until = deadline + _GRACE_MS if writes else min(deadline + _GRACE_MS, now + _READ_SILENCE_MS)
        self._waiting[number] = Waiting(node, partition, reply, writes, size_bytes, Milliseconds(until))
        self.size_bytes += size_bytes
        self.sent += 1
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def take(self, sender: NodeId, reply: Reply) -> None:
        """Takes a reply."""
        waiting = self._waiting.get(reply.number)
        if waiting is None or waiting.node != sender:
            return
        self._leave(reply.number, waiting)
        told = waiting.reply
        if isinstance(reply, FailureReply):
            if reply.failure.view is not None:
                self._views.note(waiting.partition, reply.failure.view)
            if not told.done():
                told.set_exception(reply.failure.error())
        elif told.done():
            return
        elif isinstance(reply, WriteReply):
            told.set_result(reply.results)
        elif isinstance(reply, ReadReply):
            told.set_result(reply.record)
        else:
            assert isinstance(reply, ScanReply | StaleReply | CopyReply)
            told.set_result(reply)

    def lost(self, node: NodeId) -> None:
        """Ends all calls to a node: the connection is lost."""
        for number, waiting in [each for each in self._waiting.items() if each[1].node == node]:
            self._give_up(number, waiting, f"The connection with node {node} was lost")

    def close(self) -> None:
        """Ends all calls: the node is stopping."""
        for number, waiting in list(self._waiting.items()):
            self._give_up(number, waiting, "The node is stopping")

    def _sweep(self) -> None:
        now = self._clock.now()
        for number, waiting in [each for each in self._waiting.items() if each[1].until <= now]:
            self._give_up(number, waiting, f"Node {waiting.node} did not answer in time")
        self._sweeping = bool(self._waiting)
        if self._sweeping:
            asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def _give_up(self, number: int, waiting: Waiting, what: str) -> None:
        self._leave(number, waiting)
        if waiting.reply.done():
            return
        error: CoreCacheError
        if waiting.writes:
            self.unknown += 1
            error = OutcomeUnknown("unanswered", f"{what}: the write may have been done.")
        else:
            error = NotDone("unanswered", f"{what}; try again.", 100)
        waiting.reply.set_exception(error)

    def _leave(self, number: int, waiting: Waiting) -> None:
        del self._waiting[number]
        self.size_bytes -= waiting.size_bytes
