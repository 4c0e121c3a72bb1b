"""The store in memory: it defines what is right, and stands in for a disk in tests.

A `MemoryDisk` keeps every write in the order in which it was begun, and how many of them are durable. A crash keeps
those, and as many of the others as the test says, always a prefix. A `MemoryStore` is opened on a disk, replays it, and
is gone when the disk crashes or the store is closed; the disk can then be opened again.

It is written to be obviously right, not to be fast: a scan sorts all keys.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from corecache.errors import Broken
from corecache.identity import PartitionId, Timestamp
from corecache.identity import Sequence as LogSequence
from corecache.operations import NEVER, Record
from corecache.ports import Item, Uncached
from corecache.replication.log import Entry
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, NodeFacts, Recovered, ReplicaFacts
from corecache.reports import Level, StorageReport


class Contents(msgspec.Struct):
    """All that a store holds."""

    node: NodeFacts | None = None
    replicas: dict[PartitionId, ReplicaFacts] = {}
    applied: dict[PartitionId, AppliedPoint] = {}
    log: dict[PartitionId, dict[LogSequence, Entry]] = {}
    records: dict[tuple[PartitionId, bytes], Record] = {}


class MemoryDisk:
    """The writes that a store made, oldest first; the first `synced` of them survive any crash."""

    def __init__(self) -> None:
        self.writes: list[Callable[[Contents], None]] = []
        self.synced = 0
        self.failure: str | None = None
        self.room = True
        self.store: MemoryStore | None = None

    def crash(self, kept: int = 0) -> None:
        """Ends the open store and drops the writes that were not durable, except the first `kept` of them."""
        del self.writes[self.synced + kept :]
        self.synced = len(self.writes)
        self.failure = None
        if self.store is not None:
            self.store.closed = True
            self.store = None

    def fail(self, reason: str) -> None:
        """Makes every write from now on fail, those under way included."""
        self.failure = reason


class MemoryStore:
    """A `ports.Store` on a `MemoryDisk`."""

    def __init__(self, disk: MemoryDisk) -> None:
        """Opens the disk. Requires: no other store has it open."""
        assert disk.store is None, "the disk is in use"
        disk.store = self
        self.closed = False
        self._disk = disk
        self._contents = Contents()
        for write in disk.writes:
            write(self._contents)
        disk.synced = len(disk.writes)
        self._recovered = self._read_recovered()

    def recovered(self) -> tuple[NodeFacts | None, Mapping[PartitionId, Recovered]]:
        """Returns what the disk held at opening."""
        return self._recovered

    async def save(self, node: NodeFacts | None, replicas: Mapping[PartitionId, ReplicaFacts]) -> None:
        """Makes facts durable, all or none."""

        def write(contents: Contents) -> None:
            contents.node = contents.node if node is None else node
            contents.replicas.update(replicas)

        self._begin(write)
        await self._sync()

    async def append(self, entries: Sequence[tuple[PartitionId, Entry]]) -> None:
        """Adds entries to the logs."""

        def write(contents: Contents) -> None:
            for partition, entry in entries:
                contents.log.setdefault(partition, {})[entry.sequence] = entry

        self._begin(write)
        await self._sync()

    async def apply(self, entries: Sequence[tuple[PartitionId, Entry]]) -> None:
        """Brings the records up to these entries and notes them as applied."""

        def write(contents: Contents) -> None:
            for partition, entry in entries:
                highest = contents.applied.get(partition, NOTHING_APPLIED).version
                for operation in entry.operations:
                    if operation.record is None:
                        contents.records.pop((partition, operation.key), None)
                    else:
                        contents.records[partition, operation.key] = operation.record
                        highest = max(highest, operation.record.version)
                contents.applied[partition] = AppliedPoint(entry.sequence, entry.epoch, highest)

        self._begin(write)

    async def cut(self, upto: Mapping[PartitionId, LogSequence]) -> None:
        """Removes applied entries from the logs."""

        def write(contents: Contents) -> None:
            for partition, sequence in upto.items():
                end = min(sequence, contents.applied.get(partition, NOTHING_APPLIED).sequence)
                log = contents.log.get(partition, {})
                contents.log[partition] = {at: entry for at, entry in log.items() if at > end}

        self._begin(write)

    def peek(self, partition: PartitionId, key: bytes) -> Record | Uncached | None:
        """Returns the record; memory always knows."""
        self._refuse_if_closed()
        return self._contents.records.get((partition, key))

    async def get(self, keys: Sequence[tuple[PartitionId, bytes]]) -> list[Record | None]:
        """Returns the records."""
        self._refuse_if_closed()
        return [self._contents.records.get(key) for key in keys]

    async def scan(
        self,
        partitions: Sequence[PartitionId],
        start: bytes,
        end: bytes | None,
        items_max: int,
        bytes_max: int,
        values: bool,
    ) -> tuple[list[Item], bytes | None]:
        """Returns records in the order of their keys."""
        self._refuse_if_closed()
        wanted = [
            (key, record)
            for (partition, key), record in self._contents.records.items()
            if partition in partitions and start <= key and (end is None or key < end)
        ]
        wanted.sort(key=lambda found: found[0])
        items: list[Item] = []
        found_bytes = 0
        for key, record in wanted:
            if len(items) >= items_max or found_bytes > bytes_max:
                return items, key
            items.append(Item(key, record if values else msgspec.structs.replace(record, value=b"")))
            found_bytes += len(key) + (len(record.value) if values else 0)
        return items, None

    async def expired(self, before: Timestamp, keys_max: int) -> list[tuple[PartitionId, bytes, Record]]:
        """Returns records that are due, earliest first."""
        self._refuse_if_closed()
        due = [
            (partition, key, msgspec.structs.replace(record, value=b""))
            for (partition, key), record in self._contents.records.items()
            if record.expires != NEVER and record.expires <= before
        ]
        due.sort(key=lambda found: (found[2].expires, found[0], found[2].version))
        return due[:keys_max]

    async def flush(self) -> None:
        """Makes everything durable."""
        await self._sync()

    async def compact(self) -> None:
        """Makes everything durable: a dict keeps nothing that was overwritten."""
        await self._sync()

    async def report(self) -> StorageReport:
        """Returns a tree that is one memtable."""
        records = self._contents.records
        size = sum(len(key) + len(record.value) for (_, key), record in records.items())
        return StorageReport(
            memtable_bytes=size,
            memtable_entries=len(records),
            memtable_tombstones=0,
            memtables=1,
            levels=(Level(level=0, sstables=0, bytes=0, entries=0, tombstones=0),),
            sstable_bytes=0,
            tombstones=0,
            log_bytes=0,
            pending_compaction_bytes=0,
            running_flushes=0,
            running_compactions=0,
            writes_stopped=False,
            writes_slowed_bytes_per_second=0,
            stall_ms=0,
            cache_bytes=0,
            cache_hits=0,
            cache_misses=0,
            filter_useful=0,
            memory_budget_bytes=0,
            disk_used_bytes=0,
            disk_budget_bytes=0,
            disk_free_bytes=0,
            accepts_puts=self._disk.room,
        )

    def accepts_puts(self) -> bool:
        """Says what the disk's `room` says."""
        return self._disk.room

    async def close(self) -> None:
        """Makes everything durable and gives the disk up."""
        if not self.closed:
            self.closed = True
            self._disk.store = None
            if self._disk.failure is None:
                self._disk.synced = len(self._disk.writes)

    def _begin(self, write: Callable[[Contents], None]) -> None:
        """Does a write, in the order of the calls; it is not durable yet. Raises: Broken."""
        self._refuse_if_closed()
        if self._disk.failure is not None:
            raise Broken("storage_failed", self._disk.failure)
        self._disk.writes.append(write)
        write(self._contents)

    async def _sync(self) -> None:
        """Makes what was written before durable. Raises: Broken, also if the store ends in the meantime."""
        written = len(self._disk.writes)
        await asyncio.sleep(0)
        self._refuse_if_closed()
        if self._disk.failure is not None:
            raise Broken("storage_failed", self._disk.failure)
        self._disk.synced = max(self._disk.synced, written)

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise Broken("storage_closed", "The store is closed.")

    def _read_recovered(self) -> tuple[NodeFacts | None, Mapping[PartitionId, Recovered]]:
        replicas = {}
        for stranger in sorted(self._contents.applied.keys() - self._contents.replicas.keys()):
            raise Broken("storage_corrupt", f"Partition {stranger} has records but no facts.")
        for partition, facts in self._contents.replicas.items():
            applied = self._contents.applied.get(partition, NOTHING_APPLIED)
            log = self._contents.log.get(partition, {})
            entries = tuple(log[at] for at in sorted(log) if at > applied.sequence)
            expected = tuple(range(applied.sequence + 1, applied.sequence + 1 + len(entries)))
            if tuple(entry.sequence for entry in entries) != expected:
                raise Broken("storage_corrupt", f"The log of partition {partition} has a hole.")
            replicas[partition] = Recovered(facts, applied, entries)
        return self._contents.node, replicas
