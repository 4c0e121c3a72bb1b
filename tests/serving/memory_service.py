"""A node in memory: what the tests of the servers serve.

It keeps every promise of `ports.Service` that a dict can keep: versions and timestamps grow, expiry and conditions are
honoured, several operations are atomic, keys of different partitions are refused, errors that a test has `arranged` are
raised before anything happens. It has no log, no disk and no second node.
"""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from corecache.errors import CallerFault, CoreCacheError
from corecache.identity import (
    Epoch,
    Incarnation,
    Lineage,
    Member,
    Milliseconds,
    NodeId,
    PartitionId,
    ReplicaId,
    Timestamp,
    Version,
)
from corecache.identity import Sequence as LogSequence
from corecache.operations import (
    NEVER,
    Absent,
    AssignNew,
    Condition,
    ConditionFailed,
    Delete,
    Deleted,
    Duplicate,
    Expire,
    Found,
    IfAbsent,
    Operation,
    Put,
    Read,
    Record,
    Rejected,
    Result,
    Updated,
    Written,
    keys_of,
)
from corecache.placement.partition_map import NodeEntry, Orders
from corecache.placement.slots import slot_of
from corecache.placement.view import View
from corecache.ports import UNCACHED, Item, Page, Reply, Uncached
from corecache.replication.updating import Change, updated
from corecache.reports import (
    ClusterReport,
    DigestReport,
    DrainReport,
    Level,
    MoveReport,
    NodeReport,
    OrdersReport,
    PartitionReport,
    RecoveryReport,
    StorageReport,
)


class SystemClock:
    """The machine's time."""

    def now(self) -> Milliseconds:
        """Returns the steady clock."""
        return Milliseconds(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000)

    def today(self) -> Timestamp:
        """Returns the date."""
        return Timestamp(time.time_ns() // 1_000_000)


class MemoryService:
    """A node in a dict.

    `arranged` is raised by every call while it is set; `gate`, when set, holds calls back until it opens. `begun`
    counts the calls, so that a test can wait until one has come as far as this. `elsewhere` are keys that another node
    leads: nothing is known of them without waiting. `slots_are_partitions`: only keys of one slot can be written at
    once, as if there were as many partitions, and not one.
    """

    def __init__(self) -> None:
        self.records: dict[bytes, Record] = {}
        self.arranged: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.begun = 0
        self.not_ready: str | None = None
        self.ordered = Orders()
        self.page_bytes_max = 8 * 1024 * 1024
        self.elsewhere: set[bytes] = set()
        self.slots_are_partitions = True
        self._clock = SystemClock()
        self._version = 0
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def _pass(self) -> None:
        self.begun += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.arranged is not None:
            raise self.arranged

    def _find(self, key: bytes) -> Record | None:
        record = self.records.get(key)
        if record is not None and record.expires != NEVER and record.expires <= self._clock.today():
            del self.records[key]
            return None
        return record

    async def get(self, key: bytes, deadline: Milliseconds) -> Record | None:
        """Returns the record."""
        if self.gate is not None or self.arranged is not None:
            await self._pass()
        return self._find(key)

    def begin_get(self, key: bytes, deadline: Milliseconds, reply: Reply[Record | None]) -> bool:
        """Asks "another node", as `get` does, if it is one of `elsewhere`."""
        if key not in self.elsewhere:
            return False

        async def ask() -> None:
            try:
                reply.set_result(await self.get(key, deadline))
            except CoreCacheError as error:
                reply.set_exception(error)

        task = asyncio.create_task(ask())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def get_stale(self, key: bytes) -> tuple[Record | None, LogSequence]:
        """Returns the record and how many writes there were."""
        await self._pass()
        return self._find(key), LogSequence(self._version)

    async def write(self, operations: Sequence[Operation], deadline: Milliseconds) -> Sequence[Result]:
        """Executes operations, all or none."""
        if self.gate is not None or self.arranged is not None:
            await self._pass()
        keys = [key for operation in operations for key in keys_of(operation)]
        if self.slots_are_partitions and len({slot_of(key) for key in keys}) > 1:
            raise CallerFault("cross_partition", "The keys do not share a partition; give them one hash tag.")
        before = dict.fromkeys(key for operation in operations for key in keys_of(operation))
        saved = {key: self.records.get(key) for key in before} if len(operations) > 1 else {}
        results = [self._execute(operation) for operation in operations]
        if len(operations) > 1 and any(isinstance(result, ConditionFailed) for result in results):
            for key, record in saved.items():
                self.records.pop(key, None)
                if record is not None:
                    self.records[key] = record
        return results

    def leads(self, key: bytes) -> bool:
        """Says whether the key is not elsewhere."""
        return key not in self.elsewhere

    def primary(self, key: bytes) -> NodeEntry | None:
        """Returns the one node there is, for what is elsewhere too."""
        return NodeEntry(NodeId("memory"), Incarnation(1), {"resp": "127.0.0.1:6379"})

    def peek(self, key: bytes) -> Record | Uncached | None:
        """Returns the record, unless calls are to be held back."""
        if self.gate is not None or self.arranged is not None or key in self.elsewhere:
            return UNCACHED
        return self._find(key)

    def peek_many(self, keys: Sequence[bytes]) -> list[Record] | None:
        """Returns the records, if they are there and can all be peeked at."""
        found = [record for record in map(self.peek, keys) if isinstance(record, Record)]
        return found if len(found) == len(keys) else None

    def begin(self, operations: Sequence[Operation], deadline: Milliseconds, reply: Reply[Sequence[Result]]) -> None:
        """Executes operations in a while, in the order of the calls."""
        task = asyncio.get_running_loop().create_task(self._execute_in_turn(operations, deadline, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute_in_turn(
        self, operations: Sequence[Operation], deadline: Milliseconds, reply: Reply[Sequence[Result]]
    ) -> None:
        async with self._turn:
            try:
                results = await self.write(operations, deadline)
            except CoreCacheError as error:
                reply.set_exception(error)
            else:
                reply.set_result(results)

    async def write_many(
        self, requests: Sequence[Sequence[Operation]], deadline: Milliseconds
    ) -> list[Sequence[Result] | CoreCacheError]:
        """Executes many writes, each on its own."""
        outcomes: list[Sequence[Result] | CoreCacheError] = []
        for operations in requests:
            try:
                outcomes.append(await self.write(operations, deadline))
            except CoreCacheError as error:
                outcomes.append(error)
        return outcomes

    def _execute(self, operation: Operation) -> Result:
        key = operation.key
        present = self._find(key)
        if isinstance(operation, Read):
            return Absent() if present is None else Found(present)
        if isinstance(operation, Expire):
            return Deleted() if self.records.pop(key, None) else Absent()
        if isinstance(operation, Duplicate):
            return self._duplicate(operation, present)
        if isinstance(operation, AssignNew):
            return self._assign_new(operation)
        if not isinstance(operation, Put | Delete):
            change, result = updated(operation, present, self._clock.today())
            if change is not None:
                self._change(key, change)
            return result
        if not _holds(operation.condition, present):
            return ConditionFailed(None if present is None else present.version)
        if isinstance(operation, Delete):
            return Deleted() if self.records.pop(key, None) else Absent()
        return self._store(operation)

    def _assign_new(self, assign: AssignNew) -> Result:
        if any(self._find(key) is not None for key, _ in assign.pairs):
            return Updated(False)
        for key, value in assign.pairs:
            self._change(key, Change(value, self._clock.today(), NEVER))
        return Updated(True)

    def _duplicate(self, duplicate: Duplicate, present: Record | None) -> Result:
        if present is None:
            return Rejected("absent")
        if not duplicate.replaces and self._find(duplicate.to) is not None:
            return Updated(False)
        if duplicate.to != duplicate.key:
            self._change(duplicate.to, Change(present.value, present.timestamp, present.expires))
            if duplicate.moves:
                del self.records[duplicate.key]
        return Updated(True)

    def _change(self, key: bytes, change: Change) -> None:
        if change.value is None:
            self.records.pop(key, None)
            return
        self._version += 1
        self.records[key] = Record(change.value, Version(self._version), change.timestamp, change.expires)

    def _store(self, put: Put) -> Written:
        self._version += 1
        today = self._clock.today()
        expires = NEVER if put.ttl_ms is None else Timestamp(today + put.ttl_ms)
        self.records[put.key] = Record(put.value, Version(self._version), today, expires)
        return Written(Version(self._version))

    async def scan(
        self, start: bytes, end: bytes | None, items_max: int, deadline: Milliseconds, values: bool = True
    ) -> Page:
        """Returns a page."""
        await self._pass()
        items: list[Item] = []
        size_bytes = 0
        for key in sorted(key for key in self.records if key >= start and (end is None or key < end)):
            record = self._find(key)
            if record is None:
                continue
            if len(items) == items_max or size_bytes > self.page_bytes_max:
                return Page(tuple(items), key)
            size_bytes += len(key) + len(record.value)
            shown = record if values else Record(b"", record.version, record.timestamp, record.expires)
            items.append(Item(key, shown))
        return Page(tuple(items), None)

    async def flush(self) -> StorageReport:
        """Has nothing to flush."""
        return await self.storage()

    async def compact(self) -> StorageReport:
        """Has nothing to compact."""
        return await self.storage()

    async def storage(self) -> StorageReport:
        """Returns what a dict can say of itself."""
        await self._pass()
        numbers = {
            name: 0
            for name, kind in StorageReport.__annotations__.items()
            if kind is int and name not in ("memtable_entries", "memtable_bytes")
        }
        return StorageReport(
            memtable_bytes=sum(len(key) + len(record.value) for key, record in self.records.items()),
            memtable_entries=len(self.records),
            levels=(Level(0, 0, 0, 0, 0),),
            writes_stopped=False,
            accepts_puts=True,
            **numbers,
        )

    async def digest(self, partition: PartitionId) -> DigestReport:
        """Returns the checksum of the one replica there is. Raises: CallerFault for any other."""
        if partition != 0:
            raise CallerFault("not_held", f"This node holds no replica of partition {partition}; ask one that does.")
        return DigestReport(partition, int(self._version), "00")

    def cluster(self) -> ClusterReport:
        """Returns a cluster of one node with one partition."""
        node = NodeId("memory")
        member = Member(node, ReplicaId("r1"))
        view = View(Lineage(1), Epoch(1), member, Incarnation(1), (member,), (node,))
        version = int(self._version)
        return ClusterReport(
            "test",
            node,
            (NodeReport(node, Incarnation(1), True, {"http": "127.0.0.1:8000"}, "0"),),
            (PartitionReport(PartitionId(0), 0, 16_383, view, 1, "primary", version, version, version, 0),),
        )

    async def orders(self) -> OrdersReport:
        """Returns what was ordered; there is nothing that could be under way."""
        await self._pass()
        draining = tuple(DrainReport(node, 1, False) for node in self.ordered.draining)
        least = self.ordered.min_in_sync
        return OrdersReport(NodeId("memory"), draining, self.ordered.rebalancing, least, 0, (), 0)

    async def moves(self, drained: NodeId | None = None) -> tuple[MoveReport, ...]:
        """Returns one move that nobody makes."""
        await self._pass()
        if drained is not None:
            self._check(drained)
        return (MoveReport(PartitionId(0), (NodeId("memory"),), (NodeId("other"),), "a test wants it"),)

    async def drain(self, node: NodeId, cancel: bool) -> OrdersReport:
        """Notes a drain. Raises: CallerFault for any other node."""
        self._check(node)
        self.ordered = msgspec.structs.replace(self.ordered, draining=() if cancel else (node,))
        return await self.orders()

    async def rebalance(self, run: bool) -> OrdersReport:
        """Notes whether loads are to be evened out."""
        self.ordered = msgspec.structs.replace(self.ordered, rebalancing=run)
        return await self.orders()

    async def require_in_sync(self, min_in_sync: int) -> OrdersReport:
        """Notes the number. Raises: CallerFault above 1."""
        if min_in_sync > 1:
            raise CallerFault("bad_min_in_sync", "This service has one copy.")
        self.ordered = msgspec.structs.replace(self.ordered, min_in_sync=min_in_sync)
        return await self.orders()

    async def recover(self, partition: PartitionId, node: NodeId, accept_data_loss: bool) -> RecoveryReport:
        """Has nothing to recover. Raises: CallerFault for another node, and without the acceptance."""
        if node != "memory":
            raise CallerFault("other_node", f"Only {node} itself can go on from its copy.")
        if not accept_data_loss:
            raise CallerFault("data_loss_not_accepted", "Accept the loss, or don't.")
        await self._pass()
        return RecoveryReport(partition, node, Lineage(2), Epoch(2), len(self.records), 0, Timestamp(0))

    def _check(self, node: NodeId) -> None:
        if node != "memory":
            raise CallerFault("node_unknown", f"There is no node {node!r}.")

    def unready(self) -> str | None:
        """Returns what the test has set."""
        return self.not_ready


def _holds(condition: Condition | None, present: Record | None) -> bool:
    if condition is None:
        return True
    if isinstance(condition, IfAbsent):
        return present is None
    return present is not None and (condition.versions is None or present.version in condition.versions)
