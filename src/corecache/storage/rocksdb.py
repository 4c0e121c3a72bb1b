"""The store on RocksDB: one database for all partitions of a node, so that one sync serves them all.

Every write is one atomic batch, written on the event loop (a few microseconds: it goes to memory and to the operating
system); what has to be durable then waits for the shared sync on a thread. Reads that memory can answer are answered
on the loop (`peek`), the others on reader threads. RocksDB flushes and compacts on threads of its own.

Rule 1: batches reach RocksDB in the order of the calls. While the tree is stalled, the first waits and all others wait
behind it; the loop never blocks, because a write that would have to wait is told so and tried again.
Rule 2: after a failed write or sync nothing more is written or acknowledged. The first failure is the answer to all.
Rule 3: what is read at opening is durable before it is trusted.

The bytes are `keyspace.py`'s, the settings `rocksdb_options.py`'s.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from rocksdict import (
    BottommostLevelCompaction,
    Cache,
    ColumnFamily,
    CompactOptions,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from corecache.config import Config
from corecache.errors import Broken, CoreCacheError
from corecache.identity import PartitionId, Timestamp
from corecache.identity import Sequence as LogSequence
from corecache.operations import Record
from corecache.ports import UNCACHED, Item, Uncached
from corecache.replication.log import Entry
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, NodeFacts, Recovered, ReplicaFacts
from corecache.reports import StorageReport
from corecache.storage import keyspace, rocksdb_options, rocksdb_report, rocksdb_scan, space
from corecache.storage.directory import DataDirectory
from corecache.storage.keyspace import PREFIX, KeyspaceError
from corecache.storage.rocksdb_opening import Contents, opened, recover
from corecache.storage.threads import Syncer, Threads

T = TypeVar("T")

_READERS: Final = 2
_LOOK_INTERVAL_S: Final = 0.5
_RETRY_FIRST_S: Final = 0.001
_RETRY_MAX_S: Final = 0.05


class RocksStore:
    """A `ports.Store` on RocksDB. Made by `open`; its coroutines are called on the loop that opened it."""

    def __init__(
        self,
        directory: DataDirectory,
        config: Config,
        options: Options,
        database: Rdict,
        contents: Contents,
        room: space.Space,
    ) -> None:
        """Takes what `open` has opened."""
        self._directory = directory
        self._config = config.storage
        self._durable = config.replication.durability == "fsync"
        self._options = options
        self._database = database
        self._families: dict[str, Rdict] = {name: database.get_column_family(name) for name in keyspace.FAMILIES}
        self._handles: dict[str, ColumnFamily] = {
            name: database.get_column_family_handle(name) for name in keyspace.FAMILIES
        }
        self._may_exist = self._families[keyspace.RECORDS].key_may_exist
        self._write_options = WriteOptions()
        self._write_options.no_slowdown = True
        self._turn = asyncio.Lock()
        self._failure: str | None = None
        self._closed = False
        self._contents = contents
        self._applied = dict(contents.applied)
        self._cut = dict(contents.cut)
        self._space = room
        self._readers = Threads("corecache-read", _READERS)
        self._syncer = Syncer(partial(database.flush_wal, True))
        self._watch = asyncio.get_running_loop().create_task(self._watch_space())

    @classmethod
    async def open(cls, directory: DataDirectory, config: Config) -> "RocksStore":
        """Opens the database in a data directory, or makes it, and reads what it recovered.

        Raises: CallerFault if a setting or the directory is to blame, Broken if the files are damaged.
        """
        cache = Cache(config.storage.memory_bytes)
        options = rocksdb_options.database_options(config.storage, cache)
        families = rocksdb_options.family_options(config.storage, cache)
        room = await asyncio.to_thread(space.look, directory.path, config.storage)
        database = await asyncio.to_thread(opened, directory.database, options, families)
        try:
            contents = await asyncio.to_thread(recover, database, directory.database)
            return cls(directory, config, options, database, contents, room)
        except BaseException:
            database.close()
            raise

    def recovered(self) -> tuple[NodeFacts | None, Mapping[PartitionId, Recovered]]:
        """Returns what the disk held at opening."""
        return self._contents.node, self._contents.replicas

    async def save(self, node: NodeFacts | None, replicas: Mapping[PartitionId, ReplicaFacts]) -> None:
        """Makes facts durable, all or none."""

        def fill(batch: WriteBatch) -> None:
            facts = self._handles[keyspace.FACTS]
            if node is not None:
                batch.put(keyspace.NODE_FACTS_KEY, keyspace.node_facts_bytes(node), facts)
            for partition, replica in replicas.items():
                batch.put(keyspace.replica_facts_key(partition), keyspace.replica_facts_bytes(replica), facts)

        async with self._turn:
            await self._write(fill)
        await self._sync()

    async def append(self, entries: Sequence[tuple[PartitionId, Entry]]) -> None:
        """Adds entries to the logs, all or none, and waits for the sync."""

        def fill(batch: WriteBatch) -> None:
            put, log = batch.put, self._handles[keyspace.LOG]
            for partition, entry in entries:
                put(keyspace.log_key(partition, entry.sequence), keyspace.entry_bytes(entry), log)

        async with self._turn:
            await self._write(fill)
        if self._durable:
            await self._sync()

    async def apply(self, entries: Sequence[tuple[PartitionId, Entry]]) -> None:
        """Brings the records up to these entries and notes them as applied."""
        async with self._turn:
            points: dict[PartitionId, AppliedPoint] = {}
            await self._write(partial(self._fill_applied, entries, points))
            self._applied.update(points)

    def _fill_applied(
        self, entries: Sequence[tuple[PartitionId, Entry]], points: dict[PartitionId, AppliedPoint], batch: WriteBatch
    ) -> None:
        """Puts the entries' records, their index entries and the new applied points, also noted in `points`."""
        put, delete, prefix, header = batch.put, batch.delete, PREFIX.pack, keyspace.HEADER.pack
        records, expiry, facts = (self._handles[name] for name in (keyspace.RECORDS, keyspace.EXPIRY, keyspace.FACTS))
        for partition, entry in entries:
            before = points.get(partition) or self._applied.get(partition, NOTHING_APPLIED)
            highest = before.version
            start = prefix(partition)
            for operation in entry.operations:
                record = operation.record
                if record is None:
                    delete(start + operation.key, records)
                    continue
                version, expires = record.version, record.expires
                put(start + operation.key, header(version, record.timestamp, expires) + record.value, records)
                if version > highest:
                    highest = version
                if expires:
                    put(keyspace.expiry_key(expires, partition, version, operation.key), b"", expiry)
            points[partition] = AppliedPoint(entry.sequence, entry.epoch, highest)
        for partition, point in points.items():
            put(keyspace.applied_key(partition), keyspace.applied_bytes(point), facts)

    async def cut(self, upto: Mapping[PartitionId, LogSequence]) -> None:
        """Removes applied entries from the logs."""
        async with self._turn:
            ends: dict[PartitionId, LogSequence] = {}
            for partition, sequence in upto.items():
                end = min(sequence, self._applied.get(partition, NOTHING_APPLIED).sequence)
                if end > self._cut.get(partition, 0):
                    ends[partition] = end

            def fill(batch: WriteBatch) -> None:
                for partition, end in ends.items():
                    first = LogSequence(self._cut.get(partition, 0) + 1)
                    batch.delete_range(
                        keyspace.log_key(partition, first),
                        keyspace.log_key(partition, LogSequence(end + 1)),
                        self._handles[keyspace.LOG],
                    )
                    batch.put(keyspace.cut_key(partition), keyspace.cut_bytes(end), self._handles[keyspace.FACTS])

            await self._write(fill)
            self._cut.update(ends)

    def peek(self, partition: PartitionId, key: bytes) -> Record | Uncached | None:
        """Returns the record if memory has it, None if there is surely none, UNCACHED if a file must be read."""
        # rocksdict types the answer of both forms of the call together; with `fetch` it is a pair.
        may_exist, raw = self._may_exist(PREFIX.pack(partition) + key, True)  # type: ignore[misc]
        if not may_exist:
            return None
        return UNCACHED if raw is None else keyspace.read_record(raw)

    async def get(self, keys: Sequence[tuple[PartitionId, bytes]]) -> list[Record | None]:
        """Returns the records, read on a thread."""
        raw_keys: list[str | int | float | bytes | bool] = [PREFIX.pack(partition) + key for partition, key in keys]

        def read() -> list[Record | None]:
            raws = self._families[keyspace.RECORDS].get(raw_keys) or []
            return [None if raw is None else keyspace.read_record(raw) for raw in raws]

        return await self._read(read) if raw_keys else []

    async def scan(
        self,
        partitions: Sequence[PartitionId],
        start: bytes,
        end: bytes | None,
        items_max: int,
        bytes_max: int,
        values: bool,
    ) -> tuple[list[Item], bytes | None]:
        """Returns records in the order of their keys, as of one moment."""
        records = self._families[keyspace.RECORDS]
        return await self._read(
            partial(rocksdb_scan.scan, records, partitions, start, end, items_max, bytes_max, values)
        )

    async def expired(self, before: Timestamp, keys_max: int) -> list[tuple[PartitionId, bytes, Record]]:
        """Returns records that are due, and removes index entries that belong to none any more."""
        look = partial(
            rocksdb_scan.due, self._families[keyspace.EXPIRY], self._families[keyspace.RECORDS], before, keys_max
        )
        while True:
            due = await self._read(look)
            if due.stale and self._failure is None:
                async with self._turn:
                    await self._write(partial(self._fill_stale, due.stale))
            if due.records or due.complete or not due.stale or self._failure is not None:
                return due.records

    def _fill_stale(self, stale: list[bytes], batch: WriteBatch) -> None:
        for index_key in stale:
            batch.delete(index_key, self._handles[keyspace.EXPIRY])

    async def flush(self) -> None:
        """Writes all memtables to SSTables."""
        await self._maintain("flush", self._flush)

    async def compact(self) -> None:
        """Flushes, then merges all SSTables."""

        def compact() -> None:
            self._flush()
            options = CompactOptions()
            options.set_bottommost_level_compaction(BottommostLevelCompaction.force_optimized())
            options.set_exclusive_manual_compaction(False)
            for family in self._families.values():
                family.compact_range(None, None, options)

        await self._maintain("compaction", compact)

    async def report(self) -> StorageReport:
        """Returns the tree as it stands."""

        def read() -> StorageReport:
            room = space.look(self._directory.path, self._config)
            records = self._families[keyspace.RECORDS]
            return rocksdb_report.report(
                records, self._options, self._directory.database, self._config.memory_bytes, room
            )

        return await self._maintain("report", read)

    def accepts_puts(self) -> bool:
        """Says whether there is room, as of the last look."""
        return self._space.accepts_puts

    async def close(self) -> None:
        """Finishes what was begun, flushes, and gives the directory up."""
        if self._closed:
            return
        async with self._turn:
            self._closed = True
        self._watch.cancel()
        await asyncio.to_thread(self._close)
        self._directory.close()

    def _close(self) -> None:
        self._readers.stop()
        self._syncer.stop()
        try:
            if self._failure is None:
                self._database.flush_wal(True)
                self._flush()
        finally:
            # RocksDB gives its lock up when the last of these is gone.
            self._handles.clear()
            del self._may_exist
            for family in self._families.values():
                family.close()
            self._database.close()

    def _flush(self) -> None:
        for family in self._families.values():
            family.flush()

    async def _write(self, fill: Callable[[WriteBatch], None]) -> None:
        """Writes one batch, as soon as the tree takes it. Requires: `_turn` is held. Raises: Broken."""
        self._refuse_if_unusable()
        wait_s = _RETRY_FIRST_S
        while True:
            batch = WriteBatch(raw_mode=True)
            fill(batch)
            size_bytes = batch.size_in_bytes()
            try:
                self._database.write(batch, self._write_options)
            except Exception as error:
                if "Write stall" not in str(error):
                    raise self._failed("write", error) from error
            else:
                return
            await asyncio.sleep(max(wait_s, self._delay_s(size_bytes)))
            wait_s = min(wait_s * 2, _RETRY_MAX_S)

    def _delay_s(self, size_bytes: int) -> float:
        """Returns how long a slowed tree makes a batch of this size wait, at most a second.

        RocksDB puts the date from which it takes the batch off by one such delay at every attempt that comes too soon,
        so that a large batch that is tried too often would never be taken.
        """
        slowed = self._families[keyspace.RECORDS].property_int_value("rocksdb.actual-delayed-write-rate") or 0
        return min(2 * size_bytes / slowed, 1.0) if slowed else 0.0

    async def _sync(self) -> None:
        """Returns when all that was written before is on the disk. Raises: Broken."""
        try:
            await self._syncer.begin()
        except Exception as error:
            raise self._failed("sync", error) from error
        if self._failure is not None:
            self._refuse_if_unusable()

    async def _read(self, call: Callable[[], T]) -> T:
        """Runs a read on a reader thread. Raises: Broken."""
        if self._closed:
            raise Broken("storage_closed", "The store is closed.")
        try:
            return await self._readers.run(call)
        except CoreCacheError:
            raise
        except Exception as error:
            raise self._unreadable(error) from error

    async def _maintain(self, what: str, call: Callable[[], T]) -> T:
        """Runs something long on a thread of its own. Raises: Broken."""
        if self._closed:
            raise Broken("storage_closed", "The store is closed.")
        try:
            return await asyncio.to_thread(call)
        except Exception as error:
            raise Broken(
                "storage_failed", f"The {what} in {self._directory.path} failed: {error}. Look at the disk."
            ) from error

    def _refuse_if_unusable(self) -> None:
        if self._closed:
            raise Broken("storage_closed", "The store is closed.")
        if self._failure is not None:
            raise Broken("storage_failed", self._failure)

    def _failed(self, what: str, error: Exception) -> Broken:
        """Notes a failure for good and returns the answer to everyone from now on."""
        if self._failure is None:
            self._failure = (
                f"A {what} to the data directory {self._directory.path} failed: {error}. Nothing more is written. "
                "Free space or replace the disk, then start the node again."
            )
        return Broken("storage_failed", self._failure)

    def _unreadable(self, error: Exception) -> Broken:
        if isinstance(error, KeyspaceError):
            return Broken("storage_corrupt", f"{self._directory.database} holds what no CoreCache wrote: {error}.")
        return Broken(
            "storage_unreadable",
            f"A read of the data directory {self._directory.path} failed: {error}. "
            "Check the disk; if a file is damaged, restore the directory from a copy.",
        )

    async def _watch_space(self) -> None:
        """Looks at the room on the disk, for `accepts_puts`, for as long as the store is open."""
        while True:
            await asyncio.sleep(_LOOK_INTERVAL_S)
            try:
                self._space = await asyncio.to_thread(space.look, self._directory.path, self._config)
            except OSError as error:
                self._failed("look at the size", error)
                return
