"""Calls of other nodes: executed here at most once, or refused, never forwarded (R20).

Rule 1: each call gets one reply, over this node's own connection to the caller. If that is gone the reply is lost, and
the caller says *unknown* for a write.
Rule 2: what this node does not lead is answered *not done*, with the newest view known here, so that the caller finds
the way (*moved*).
Rule 3: calls under way are bounded; what is more is refused.
Rule 4: a read that memory can answer is answered in the same turn, without a task.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from corecache.config import Replication
from corecache.errors import Broken, CoreCacheError, NotDone
from corecache.identity import Milliseconds, NodeId, PartitionId
from corecache.node.local import Local, not_here
from corecache.node.views import Views
from corecache.operations import NEVER, Result
from corecache.ports import Clock, Link, Uncached
from corecache.wire.calls import (
    Call,
    CopyCall,
    CopyReply,
    Failure,
    FailureReply,
    ReadCall,
    ReadReply,
    Reply,
    ScanCall,
    ScanReply,
    StaleCall,
    StaleReply,
    WriteCall,
    WriteReply,
)

_TASKS_MAX = 4096

log = structlog.get_logger("corecache.node")


class Callee:
    """Executes other nodes' calls. `link` is set before the first. `taken` counts them."""

    def __init__(self, local: Local, views: Views, clock: Clock, limits: Replication) -> None:
        """Takes what executes, and where views are known."""
        self.link: Link | None = None
        self.taken = 0
        self.under_way = 0
        self._local = local
        self._views = views
        self._clock = clock
        self._limits = limits
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, sender: NodeId, call: Call) -> None:
        """Takes a call."""
        self.taken += 1
        deadline = Milliseconds(self._clock.now() + call.left_ms)
        if isinstance(call, ReadCall):
            self._read(sender, call, deadline)
        elif isinstance(call, WriteCall):
            self._write(sender, call, deadline)
        elif isinstance(call, ScanCall):
            self._begin(sender, call.number, None, self._scan(sender, call, deadline))
        elif isinstance(call, CopyCall):
            self.reply(sender, CopyReply(call.number, self._local.copy(call.partition)))
        else:
            self._begin(sender, call.number, call.partition, self._read_stale(sender, call))

    def _read(self, sender: NodeId, call: ReadCall, deadline: Milliseconds) -> None:
        try:
            record = self._local.peek(call.partition, call.key)
        except Broken as error:
            self.refuse(sender, call.number, call.partition, error)
            return
        if not isinstance(record, Uncached):
            self.reply(sender, ReadReply(call.number, record))
        elif not self._local.leads(call.partition):
            self.refuse(sender, call.number, call.partition, self._local.refusal(call.partition))
        else:
            self._begin(sender, call.number, call.partition, self._get(sender, call, deadline))

    async def _get(self, sender: NodeId, call: ReadCall, deadline: Milliseconds) -> None:
        self.reply(sender, ReadReply(call.number, await self._local.get(call.partition, call.key, deadline)))

    def _write(self, sender: NodeId, call: WriteCall, deadline: Milliseconds) -> None:
        if not self._local.leads(call.partition):
            self.refuse(sender, call.number, call.partition, self._local.refusal(call.partition))
        elif self.under_way >= self._limits.uncommitted_requests_max:
            self.refuse(sender, call.number, call.partition, _overloaded(self.under_way))
        else:
            reply = _WriteReply(self, sender, call.number, call.partition)
            try:
                self._local.submit(call.partition, call.operations, deadline, reply)
            except CoreCacheError as error:
                self.refuse(sender, call.number, call.partition, error)
            else:
                self.under_way += 1

    async def _scan(self, sender: NodeId, call: ScanCall, deadline: Milliseconds) -> None:
        items, resume = await self._local.scan(
            call.partitions, call.start, call.end, call.items_max, deadline, call.values
        )
        today = self._clock.today()
        found = tuple((item.key, item.record) for item in items if not NEVER < item.record.expires <= today)
        self.reply(sender, ScanReply(call.number, found, resume))

    async def _read_stale(self, sender: NodeId, call: StaleCall) -> None:
        found = await self._local.get_stale(call.partition, call.key)
        if found is None:
            raise not_here()
        self.reply(sender, StaleReply(call.number, *found))

    def _begin(
        self, sender: NodeId, number: int, partition: PartitionId | None, execute: Coroutine[Any, Any, None]
    ) -> None:
        if len(self._tasks) >= _TASKS_MAX:
            execute.close()
            self.refuse(sender, number, partition, _overloaded(len(self._tasks)))
            return
        task = asyncio.get_running_loop().create_task(self._execute(sender, number, partition, execute))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute(
        self, sender: NodeId, number: int, partition: PartitionId | None, execute: Coroutine[Any, Any, None]
    ) -> None:
        try:
            await execute
        except CoreCacheError as error:
            self.refuse(sender, number, partition, error)
        except Exception:
            log.exception("a call of another node failed", node=sender)
            self.refuse(sender, number, partition, Broken("internal", "An unexpected error; the log has more."))

    # Replies.

    def reply(self, sender: NodeId, reply: Reply) -> None:
        """Sends a reply, if there is a connection."""
        if self.link is not None:
            self.link.call(sender, (reply,))

    def refuse(self, sender: NodeId, number: int, partition: PartitionId | None, error: CoreCacheError) -> None:
        """Replies that there is no result; with *not done* goes the newest view known."""
        view = self._views.get(partition) if partition is not None and isinstance(error, NotDone) else None
        self.reply(sender, FailureReply(number, Failure.of(error, view)))

    async def close(self) -> None:
        """Ends what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _WriteReply:
    """Sends a write's outcome to the node that called (see `requests.Reply`)."""

    __slots__ = ("_callee", "_number", "_partition", "_sender", "_told")

    def __init__(self, callee: Callee, sender: NodeId, number: int, partition: PartitionId) -> None:
        self._callee = callee
        self._sender = sender
        self._number = number
        self._partition = partition
        self._told = False

    def done(self) -> bool:
        """Says whether the reply is sent."""
        return self._told

    def set_result(self, result: Sequence[Result], /) -> None:
        """Sends the results."""
        self._tell()
        self._callee.reply(self._sender, WriteReply(self._number, tuple(result)))

    def set_exception(self, exception: CoreCacheError, /) -> None:
        """Sends that there are none, and why."""
        self._tell()
        self._callee.refuse(self._sender, self._number, self._partition, exception)

    def _tell(self) -> None:
        self._told = True
        self._callee.under_way -= 1


def _overloaded(count: int) -> NotDone:
    return NotDone("overloaded", f"{count} calls of other nodes wait already; try again.")
