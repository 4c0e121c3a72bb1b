"""The store in memory: it defines what is right, and stands in for a disk in tests.

A `MemoryDisk` keeps every write in the order in which it was begun, and how many of them are durable. A crash keeps
those, and as many of the others as the test says, always a prefix. A `MemoryStore` is opened on a disk, replays it, and
is gone when the disk crashes or the store is closed; the disk can then be opened again.

It is written to be obviously right, not to be fast: a scan sorts all keys, a snapshot copies all records.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from corecache.errors import Broken
from corecache.identity import PartitionId, Timestamp
from corecache.identity import Sequence as LogSequence
from corecache.operations import NEVER, Record
from corecache.ports import Item, Uncached
from corecache.replication.log import Entry
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, NodeFacts, Recovered, ReplicaFacts
from corecache.reports import Level, StorageReport
from corecache.storage import keyspace
from corecache.storage.checksum import Checksum


class Contents(msgspec.Struct):
    """All that a store holds."""

    node: NodeFacts | None = None
    replicas: dict[PartitionId, ReplicaFacts] = {}
    applied: dict[PartitionId, AppliedPoint] = {}
    cut: dict[PartitionId, LogSequence] = {}
    log: dict[PartitionId, dict[LogSequence, Entry]] = {}
    records: dict[tuple[PartitionId, bytes], Record] = {}

    def drop(self, partition: PartitionId) -> None:
        """Drops all that there is of a partition."""
        for kept in (self.replicas, self.applied, self.cut, self.log):
            kept.pop(partition, None)
        self.records = {place: record for place, record in self.records.items() if place[0] != partition}


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

    async def append(
        self,
        entries: Sequence[tuple[PartitionId, Entry]],
        truncated: Mapping[PartitionId, LogSequence] = MappingProxyType({}),
    ) -> None:
        """Cuts logs off above a sequence, then adds entries."""

        def write(contents: Contents) -> None:
            for partition, above in truncated.items():
                log = contents.log.get(partition, {})
                contents.log[partition] = {at: entry for at, entry in log.items() if at <= above}
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
                if end > contents.cut.get(partition, 0):
                    contents.cut[partition] = end

        self._begin(write)

    async def read_log(
        self, partition: PartitionId, above: LogSequence, upto: LogSequence, bytes_max: int
    ) -> tuple[Entry, ...]:
        """Returns entries from `above` + 1 on."""
        self._refuse_if_closed()
        log = self._contents.log.get(partition, {})
        present = sorted(at for at in log if above < at <= upto)
        found: list[Entry] = []
        found_bytes = 0
        for expected, at in enumerate(present, above + 1):
            if not found and at != expected:
                break
            found_bytes += len(keyspace.entry_bytes(log[at]))
            if found and found_bytes > bytes_max:
                break
            if at != expected:
                raise Broken("storage_corrupt", f"The log of partition {partition} lacks entry {expected}.")
            found.append(log[at])
        return tuple(found)

    def snapshot(self, partition: PartitionId) -> "MemorySnapshot":
        """Returns a copy of the records as they are now."""
        self._refuse_if_closed()
        contents = self._contents
        records = sorted((key, record) for (owner, key), record in contents.records.items() if owner == partition)
        return MemorySnapshot(self, contents.applied.get(partition, NOTHING_APPLIED), records)

    async def begin_install(self, partition: PartitionId, facts: ReplicaFacts) -> None:
        """Drops all that there is of a partition and saves new facts."""

        def write(contents: Contents) -> None:
            contents.drop(partition)
            contents.replicas[partition] = facts

        self._begin(write)
        await self._sync()

    async def install(
        self,
        partition: PartitionId,
        records: Sequence[tuple[bytes, Record]],
        whole: tuple[ReplicaFacts, AppliedPoint] | None,
    ) -> None:
        """Adds records to a partition; with `whole` it is complete, durably."""

        def write(contents: Contents) -> None:
            contents.records.update({(partition, key): record for key, record in records})
            if whole is not None:
                contents.replicas[partition], contents.applied[partition] = whole
                contents.cut[partition] = whole[1].sequence

        self._begin(write)
        if whole is not None:
            await self._sync()

    async def discard(self, partition: PartitionId) -> None:
        """Drops all that there is of a partition."""
        self._begin(lambda contents: contents.drop(partition))
        await self._sync()

    async def digest(self, partition: PartitionId) -> tuple[LogSequence, str]:
        """Returns the applied sequence and the checksum of the records."""
        snapshot = self.snapshot(partition)
        checksum = Checksum()
        for key, record in snapshot.records:
            checksum.add(key, keyspace.record_bytes(record))
        return snapshot.point.sequence, checksum.text()

    def peek_many(self, partitions: Sequence[PartitionId], keys: Sequence[bytes]) -> list[Record] | None:
        """Returns the applied records of all these keys, None if there is none of one of them."""
        records = [self.peek(*place) for place in zip(partitions, keys, strict=True)]
        found = [record for record in records if isinstance(record, Record)]
        return found if len(found) == len(records) else None

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
            cut = self._contents.cut.get(partition, LogSequence(0))
            replicas[partition] = Recovered(facts, applied, entries, cut)
        return self._contents.node, replicas


class MemorySnapshot:
    """A `ports.Snapshot`: a copy of a partition's records."""

    def __init__(self, store: MemoryStore, point: AppliedPoint, records: list[tuple[bytes, Record]]) -> None:
        """Takes the records in the order of their keys, and the store without which they are not readable."""
        self.point = point
        self.records = records
        self._store = store
        self._read = 0
        self._closed = False

    async def read(self, bytes_max: int) -> tuple[list[tuple[bytes, Record]], bool]:
        """Returns the next records, and whether these were the last."""
        if self._closed or self._store.closed:
            raise Broken("storage_closed", "The snapshot or its store is closed.")
        begin, found_bytes = self._read, 0
        while self._read < len(self.records) and (found_bytes < bytes_max or self._read == begin):
            key, record = self.records[self._read]
            found_bytes += len(key) + len(keyspace.record_bytes(record))
            self._read += 1
        return self.records[begin : self._read], self._read == len(self.records)

    def close(self) -> None:
        """Lets go."""
        self._closed = True
