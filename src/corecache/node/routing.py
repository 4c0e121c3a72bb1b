"""Any node takes any request: here it finds the partition's primary, and follows it when it moves (R20).

A request is executed here if the newest view known names this node, else by a call to the node that it names; that one
never forwards. *Not done* of a kind that another try can cure is tried again until the request's deadline: at once when
a newer view says where to go, else when something is heard of the partition, or after a short pause. So a client is
told *not done* only if there was no primary for as long as it was ready to wait.

Rule 1: *unknown* is never tried again. A write has at most one call under way, and another only after the one before is
known to have left nothing behind.
Rule 2: of two writes on one key in `write_many`, the later one comes later: one that was refused is not tried again
once a later one on the same key was executed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from corecache.errors import CURABLE, CoreCacheError, NotDone
from corecache.identity import Milliseconds, NodeId, PartitionId
from corecache.identity import Sequence as LogSequence
from corecache.node.calls import Calls
from corecache.node.local import Local
from corecache.node.requests import ManyReplies, Slot, size_of
from corecache.node.views import Views
from corecache.operations import Operation, Record, Result, keys_of
from corecache.ports import Clock, Item, Reply
from corecache.wire.calls import ReadCall, ScanCall, ScanReply, StaleCall, StaleReply, WriteCall

_PAUSE_FIRST_MS = 5
_PAUSE_MAX_MS = 100
_READ_BYTES = 512

Outcome = Sequence[Result] | CoreCacheError
T = TypeVar("T")


class Router:
    """Finds primaries. `alone`: there are no other nodes, and nothing is tried twice. `retried` counts."""

    def __init__(self, node: NodeId, alone: bool, views: Views, local: Local, calls: Calls, clock: Clock) -> None:
        """Takes what executes here, and what calls others."""
        self.alone = alone
        self.retried = 0
        self.stopping = False
        self._node = node
        self._views = views
        self._local = local
        self._calls = calls
        self._clock = clock

    # Reads.

    async def get(self, partition: PartitionId, key: bytes, deadline: Milliseconds) -> Record | None:
        """Returns the newest committed record."""
        return await self._persist(partition, deadline, partial(self._get, partition, key, deadline))

    async def _get(self, partition: PartitionId, key: bytes, deadline: Milliseconds) -> Record | None:
        node = self._primary(partition)
        if node == self._node:
            return await self._local.get(partition, key, deadline)
        reply: asyncio.Future[Record | None] = asyncio.get_running_loop().create_future()
        self._begin_get(node, partition, key, deadline, reply)
        return await reply

    def begin_get(
        self, partition: PartitionId, key: bytes, deadline: Milliseconds, reply: Reply[Record | None]
    ) -> bool:
        """Asks the primary once, if it is another node; False says that nothing was begun."""
        try:
            node = self._primary(partition)
            if node != self._node:
                self._begin_get(node, partition, key, deadline, reply)
        except NotDone:
            return False
        return node != self._node

    def _begin_get(
        self, node: NodeId, partition: PartitionId, key: bytes, deadline: Milliseconds, reply: Reply[Record | None]
    ) -> None:
        def make(number: int) -> ReadCall:
            return ReadCall(number, partition, key, self._calls.left_ms(deadline))

        self._calls.begin(node, partition, make, reply, deadline, _READ_BYTES + len(key), writes=False)

    async def get_stale(
        self, partition: PartitionId, key: bytes, deadline: Milliseconds
    ) -> tuple[Record | None, LogSequence]:
        """Returns the record of any replica's applied state, this node's if it has one."""
        found = await self._local.get_stale(partition, key)
        if found is not None:
            return found
        return await self._persist(partition, deadline, partial(self._get_stale, partition, key, deadline))

    async def _get_stale(
        self, partition: PartitionId, key: bytes, deadline: Milliseconds
    ) -> tuple[Record | None, LogSequence]:
        primary = self._primary(partition)
        confirmed = self._views.get(partition)
        assert confirmed is not None
        holders = [primary, *(member.node for member in confirmed.view.in_sync if member.node != primary)]
        refusal = _unreachable(partition)
        for node in holders:
            try:
                reply: StaleReply = await self._call(
                    node,
                    partition,
                    lambda number: StaleCall(number, partition, key, self._calls.left_ms(deadline)),
                    deadline,
                    _READ_BYTES + len(key),
                )
            except NotDone as error:
                refusal = error
            else:
                return reply.record, reply.applied
        raise refusal

    async def scan(
        self,
        partitions: Iterable[PartitionId],
        start: bytes,
        end: bytes | None,
        items_max: int,
        deadline: Milliseconds,
        values: bool,
    ) -> tuple[list[Item], bytes | None]:
        """Returns a page of records of all partitions, each from its primary, in byte order of the keys."""
        everything = list(partitions)
        scan = partial(self._scan, everything, start, end, items_max, deadline, values)
        return await self._persist(everything[0], deadline, scan)

    async def _scan(
        self,
        partitions: Sequence[PartitionId],
        start: bytes,
        end: bytes | None,
        items_max: int,
        deadline: Milliseconds,
        values: bool,
    ) -> tuple[list[Item], bytes | None]:
        by_node: dict[NodeId, list[PartitionId]] = {}
        for partition in partitions:
            by_node.setdefault(self._primary(partition), []).append(partition)
        pages = await asyncio.gather(
            *(
                self._scan_at(node, theirs, start, end, items_max, deadline, values)
                for node, theirs in sorted(by_node.items())
            )
        )
        return merged(pages, items_max) if len(pages) > 1 else pages[0]

    async def _scan_at(
        self,
        node: NodeId,
        partitions: list[PartitionId],
        start: bytes,
        end: bytes | None,
        items_max: int,
        deadline: Milliseconds,
        values: bool,
    ) -> tuple[list[Item], bytes | None]:
        if node == self._node:
            return await self._local.scan(partitions, start, end, items_max, deadline, values)
        reply: ScanReply = await self._call(
            node,
            partitions[0],
            lambda number: ScanCall(
                number, tuple(partitions), start, end, items_max, values, self._calls.left_ms(deadline)
            ),
            deadline,
            _READ_BYTES,
        )
        return [Item(key, record) for key, record in reply.items], reply.resume

    # Writes.

    async def write(
        self, partition: PartitionId, operations: Sequence[Operation], deadline: Milliseconds
    ) -> Sequence[Result]:
        """Executes a write."""
        return await self._persist(partition, deadline, partial(self._write, partition, operations, deadline))

    async def _write(
        self, partition: PartitionId, operations: Sequence[Operation], deadline: Milliseconds
    ) -> Sequence[Result]:
        reply: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        self.begin_write(partition, operations, deadline, reply)
        return await reply

    def begin_write(
        self,
        partition: PartitionId,
        operations: Sequence[Operation],
        deadline: Milliseconds,
        reply: Reply[Sequence[Result]],
    ) -> None:
        """Begins a write, here or at its primary; `reply` is told the outcome. Raises: CallerFault, NotDone."""
        node = self._primary(partition)
        if node == self._node:
            self._local.submit(partition, operations, deadline, reply)
            return

        def make(number: int) -> WriteCall:
            return WriteCall(number, partition, tuple(operations), self._calls.left_ms(deadline))

        self._calls.begin(node, partition, make, reply, deadline, size_of(operations), writes=True)

    async def write_many(
        self, requests: Sequence[tuple[PartitionId, Sequence[Operation]]], deadline: Milliseconds
    ) -> list[Outcome]:
        """Executes many writes, begun in their order; returns each one's outcome."""
        outcomes: dict[int, Outcome] = {}
        left = list(range(len(requests)))
        pause_ms = _PAUSE_FIRST_MS
        while left:
            outcomes |= zip(left, await self._write_round(requests, left, deadline), strict=True)
            left = [] if self.alone else self._to_repeat(requests, left, outcomes)
            if left:
                pause_ms = await self._pause(requests[left[0]][0], pause_ms, deadline)
                if self._clock.now() >= deadline:
                    break
        return [outcomes[index] for index in range(len(requests))]

    async def _write_round(
        self,
        requests: Sequence[tuple[PartitionId, Sequence[Operation]]],
        indexes: Sequence[int],
        deadline: Milliseconds,
    ) -> list[Outcome]:
        replies = ManyReplies(len(indexes))
        for place, index in enumerate(indexes):
            partition, operations = requests[index]
            try:
                self.begin_write(partition, operations, deadline, Slot(replies, place))
            except CoreCacheError as error:
                replies.put(place, error)
        await replies.finished
        return [outcome for outcome in replies.outcomes if outcome is not None]

    def _to_repeat(
        self,
        requests: Sequence[tuple[PartitionId, Sequence[Operation]]],
        indexes: Sequence[int],
        outcomes: dict[int, Outcome],
    ) -> list[int]:
        """Returns which are tried again (rule 2)."""
        repeated: list[int] = []
        executed: set[bytes] = set()
        for index in reversed(indexes):
            partition, operations = requests[index]
            outcome = outcomes[index]
            keys = {key for operation in operations for key in keys_of(operation)}
            if isinstance(outcome, NotDone):
                if self.may_repeat(partition, outcome) and executed.isdisjoint(keys):
                    repeated.append(index)
            else:
                executed |= keys
        return repeated[::-1]

    # The way to the primary.

    def _primary(self, partition: PartitionId) -> NodeId:
        if self.alone or self._local.leads(partition):
            return self._node
        confirmed = self._views.get(partition)
        if confirmed is None:
            raise NotDone("not_ready", "This node does not know yet who leads the partition; try again.", 100)
        return confirmed.view.primary.node

    async def _call(
        self, node: NodeId, partition: PartitionId, make: Callable[[int], Any], deadline: Milliseconds, size_bytes: int
    ) -> Any:
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.begin(node, partition, make, reply, deadline, size_bytes, writes=False)
        return await reply

    async def _persist(self, partition: PartitionId, deadline: Milliseconds, attempt: Callable[[], Awaitable[T]]) -> T:
        """Tries until it is done, its deadline has passed, or another try would change nothing."""
        pause_ms = _PAUSE_FIRST_MS
        while True:
            before = self._views.get(partition)
            try:
                return await attempt()
            except NotDone as error:
                if not self.may_repeat(partition, error) or self._clock.now() >= deadline:
                    raise
                refused = error
            self.retried += 1
            if self._views.get(partition) is before or refused.code == "stopping":
                pause_ms = await self._pause(partition, pause_ms, deadline)
            if self._clock.now() >= deadline:
                raise refused

    def may_repeat(self, partition: PartitionId, error: NotDone) -> bool:
        """Says whether another try can cure it."""
        if self.alone or self.stopping or error.code not in CURABLE:
            return False
        if error.code != "storage_failed":
            return True
        confirmed = self._views.get(partition)
        return confirmed is not None and len(confirmed.view.in_sync) > 1

    async def _pause(self, partition: PartitionId, pause_ms: int, deadline: Milliseconds) -> int:
        """Waits for news of a partition, or for a while; returns how long the next such wait is."""
        left_ms = max(0, deadline - self._clock.now())
        await self._views.news(partition, min(pause_ms, left_ms) / 1000)
        return min(pause_ms * 2, _PAUSE_MAX_MS)


def merged(pages: Sequence[tuple[list[Item], bytes | None]], items_max: int) -> tuple[list[Item], bytes | None]:
    """Returns one page of several: as far as all of them reach, and as many items as a page may have."""
    ends = [resume for _, resume in pages if resume is not None]
    resume = min(ends, default=None)
    items = [item for page, _ in pages for item in page if resume is None or item.key < resume]
    items.sort(key=lambda item: item.key)
    if len(items) > items_max:
        return items[:items_max], items[items_max].key
    return items, resume


def _unreachable(partition: PartitionId) -> NotDone:
    return NotDone("unreachable", f"No holder of partition {partition} can be reached; try again.", 100)
