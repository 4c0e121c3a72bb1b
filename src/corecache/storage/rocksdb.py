"""The store on RocksDB: one database for all partitions of a node, so that one sync serves them all.

Every write is one atomic batch, written on the event loop (a few microseconds: it goes to memory and to the operating
system); what has to be durable then waits for the shared sync on a thread. Reads that memory can answer are answered
on the loop (`peek`), the others on reader threads. RocksDB flushes and compacts on threads of its own.

Rule 1: a log entry, a record and what belongs to it (its place in the expiry index, the applied point) change in one
batch or not at all.
Rule 2: what the store remembers of the disk, how far records and logs go, changes in the same turn of the loop as the
disk, so whoever looks at both sees one moment.

What a batch of entries changes is `rocksdb_apply.py`'s, the order of batches and what happens after a failure
`rocksdb_writer.py`'s, reads and their failures `rocksdb_reader.py`'s. Snapshots are taken by `rocksdb_snapshot.py` and
installed by `rocksdb_install.py`; `rocksdb_expiry.py` finds what expires; `rocksdb_cutting.py` cuts the logs. Opening
is `rocksdb_opening.py`'s, and `rocksdb_reapply.py` puts back what a power cut has taken out of the middle. The bytes
are `keyspace.py`'s, the settings `rocksdb_options.py`'s.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from rocksdict import (
    BottommostLevelCompaction,
    Cache,
    ColumnFamily,
    CompactOptions,
    Options,
    Rdict,
    WriteBatch,
)

from corecache.config import Config
from corecache.errors import Broken
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
from corecache.storage.record_cache import RecordCache
from corecache.storage.rocksdb_apply import Applier
from corecache.storage.rocksdb_cutting import Cutter
from corecache.storage.rocksdb_expiry import ExpiryIndex
from corecache.storage.rocksdb_install import Installer
from corecache.storage.rocksdb_opening import Contents, opened, recover
from corecache.storage.rocksdb_reader import Reader
from corecache.storage.rocksdb_snapshot import RocksSnapshot
from corecache.storage.rocksdb_writer import Writer

T = TypeVar("T")


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
        self._may_exist: Callable[[bytes, bool], bool | tuple[bool, Any]]
        self._may_exist = self._families[keyspace.RECORDS].key_may_exist
        self._applier = Applier(self._families, self._handles)
        self._writer = Writer(database, directory.path)
        self._contents = contents
        self._applied = dict(contents.applied)
        self._cut = dict(contents.cut)
        self._cutter = Cutter(self._handles, self._writer, self._applied, self._cut, self._durable)
        self._reader = Reader(directory)
        self._records = RecordCache(rocksdb_options.record_cache_bytes(config.storage))
        self._index = ExpiryIndex(self._families, self._handles, self._reader, self._writer)
        self._installer = Installer(
            self._handles, self._applier, self._writer, self._index, self._records, self._applied, self._cut
        )
        self._snapshots: set[RocksSnapshot] = set()
        self._compacting = asyncio.Lock()
        self._maintenance: set[asyncio.Task[object]] = set()
        self._watch = space.Watch(
            directory.path, config.storage, room, lambda: self._writer.written_bytes, self._tombstones, self._reclaim
        )

    @classmethod
    async def open(cls, directory: DataDirectory, config: Config) -> "RocksStore":
        """Opens the database in a data directory, or makes it, and reads what it recovered.

        Raises: CallerFault if a setting or the directory is to blame, Broken if the files are damaged.
        """
        space.refuse_small_budget(config.storage)
        cache = Cache(rocksdb_options.block_cache_bytes(config.storage))
        options = rocksdb_options.database_options(config.storage, cache)
        families = rocksdb_options.family_options(config.storage, cache)
        refuse_damage = config.storage.damaged_log == "refuse"
        database, due = await asyncio.to_thread(opened, directory.database, options, families, refuse_damage)
        try:
            contents = await asyncio.to_thread(recover, database, directory.database, due)
            room = await asyncio.to_thread(space.look, directory.path, config.storage)
            space.warn_if_full(room, config.storage)
            return cls(directory, config, options, database, contents, room)
        except OSError as error:
            database.close()
            raise Broken("storage_failed", f"The data directory {directory.path} can't be read: {error}.") from error
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

        async with self._writer.turn:
            await self._writer.write(fill)
        await self._cutter.sync()

    async def append(
        self,
        entries: Sequence[tuple[PartitionId, Entry]],
        truncated: Mapping[PartitionId, LogSequence] = MappingProxyType({}),
    ) -> None:
        """Cuts logs off above a sequence, adds entries, all or none, and waits for the sync."""

        def fill(batch: WriteBatch) -> None:
            put, log = batch.put, self._handles[keyspace.LOG]
            for partition, above in truncated.items():
                # What the batch puts after this is not deleted by it.
                batch.delete_range(keyspace.log_key(partition, LogSequence(above + 1)), PREFIX.pack(partition + 1), log)
            for partition, entry in entries:
                put(keyspace.log_key(partition, entry.sequence), keyspace.entry_bytes(entry), log)

        async with self._writer.turn:
            await self._writer.write(fill)
        if self._durable:
            await self._cutter.sync()

    async def apply(self, entries: Sequence[tuple[PartitionId, Entry]]) -> None:
        """Brings the records up to these entries and notes them as applied."""
        async with self._writer.turn:
            points: dict[PartitionId, AppliedPoint] = {}
            try:
                await self._writer.write(partial(self._applier.fill, entries, self._applied, points))
            finally:
                self._records.forget(entries)
            self._applied.update(points)
            self._cutter.note_applied(points)

    async def cut(self, upto: Mapping[PartitionId, LogSequence]) -> None:
        """Removes applied entries from the logs."""
        await self._cutter.cut(upto)

    async def read_log(
        self, partition: PartitionId, above: LogSequence, upto: LogSequence, bytes_max: int
    ) -> tuple[Entry, ...]:
        """Returns entries from `above` + 1 on, read on a thread."""
        log = self._families[keyspace.LOG]
        return await self._reader.read(partial(rocksdb_scan.entries, log, partition, above, upto, bytes_max))

    def snapshot(self, partition: PartitionId) -> RocksSnapshot:
        """Returns the records as of the applied point of this moment. Raises: Broken after closing."""
        self._reader.refuse_if_closed()
        records, point = self._families[keyspace.RECORDS], self._applied.get(partition, NOTHING_APPLIED)
        snapshot = RocksSnapshot(records, partition, point, self._reader, self._snapshots.discard)
        self._snapshots.add(snapshot)
        return snapshot

    async def begin_install(self, partition: PartitionId, facts: ReplicaFacts) -> None:
        """Drops a partition's records, log and applied point and saves new facts."""
        await self._empty(partition, facts)

    async def install(
        self,
        partition: PartitionId,
        records: Sequence[tuple[bytes, Record]],
        whole: tuple[ReplicaFacts, AppliedPoint] | None,
    ) -> None:
        """Adds records to a partition; with `whole` it is complete."""
        await self._installer.fill(partition, records, whole)

    async def discard(self, partition: PartitionId) -> None:
        """Drops all that there is of a partition."""
        await self._empty(partition, None)

    async def _empty(self, partition: PartitionId, facts: ReplicaFacts | None) -> None:
        self._cutter.note_emptying(partition)
        await self._installer.empty(partition, facts)
        self._cutter.note_emptied(partition)

    async def digest(self, partition: PartitionId) -> tuple[LogSequence, str]:
        """Returns the applied sequence and a checksum of the records as of it."""
        snapshot = self.snapshot(partition)
        try:
            return snapshot.point.sequence, await snapshot.checksum()
        finally:
            snapshot.close()

    def peek(self, partition: PartitionId, key: bytes) -> Record | Uncached | None:
        """Returns the record if memory has it, None if there is surely none, UNCACHED if a file must be read."""
        raw_key = PREFIX.pack(partition) + key
        record = self._records.get(raw_key)
        if record is not None:
            return record
        # rocksdict types the answer of both forms of the call together; with `fetch` it is a pair.
        may_exist, raw = self._may_exist(raw_key, True)  # type: ignore[misc]
        if not may_exist:
            return None
        if not raw:
            # No record is empty: RocksDB also gives an empty value when not even the file's index is in memory.
            return UNCACHED
        try:
            record = keyspace.read_record(raw)
        except KeyspaceError as error:
            raise self._reader.unreadable(error) from error
        self._records.put(raw_key, record)
        return record

    def peek_many(self, partitions: Sequence[PartitionId], keys: Sequence[bytes]) -> list[Record] | None:
        """Returns the records of all these keys, if they are among those that were read last, else None."""
        prefix = PREFIX.pack
        return self._records.get_all([prefix(partition) + key for partition, key in zip(partitions, keys, strict=True)])

    async def get(self, keys: Sequence[tuple[PartitionId, bytes]]) -> list[Record | None]:
        """Returns the records, read on a thread."""
        raw_keys: list[str | int | float | bytes | bool] = [PREFIX.pack(partition) + key for partition, key in keys]

        def read() -> list[Record | None]:
            raws = self._families[keyspace.RECORDS].get(raw_keys) or []
            return [None if raw is None else keyspace.read_record(raw) for raw in raws]

        return await self._reader.read(read) if raw_keys else []

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
        return await self._reader.read(
            partial(rocksdb_scan.scan, records, partitions, start, end, items_max, bytes_max, values)
        )

    async def expired(self, before: Timestamp, keys_max: int) -> list[tuple[PartitionId, bytes, Record]]:
        """Returns records that are due, and removes index entries that belong to none any more."""
        return await self._index.due(before, keys_max)

    async def flush(self) -> None:
        """Writes all memtables to SSTables."""
        await self._maintain("flush", self._flush)

    async def compact(self) -> None:
        """Flushes, then merges all SSTables. One at a time: another waits."""
        async with self._compacting:
            await self._maintain("compaction", partial(self._compact, BottommostLevelCompaction.force_optimized()))

    async def report(self) -> StorageReport:
        """Returns the tree as it stands."""

        def read() -> StorageReport:
            room = space.look(self._directory.path, self._config)
            if self._writer.failure is not None:
                room = msgspec.structs.replace(room, spare_bytes=-1)
            records = self._families[keyspace.RECORDS]
            return rocksdb_report.report(
                records, self._options, self._directory.database, self._config.memory_bytes, room
            )

        return await self._maintain("report", read)

    def accepts_puts(self) -> bool:
        """Says whether there is room, as of the last look."""
        return self._watch.accepts_puts()

    async def close(self) -> None:
        """Finishes what was begun, flushes, and gives the directory up."""
        if self._writer.closed:
            return
        await self._writer.close()
        self._reader.closed = True
        self._may_exist = _refuse_peek
        self._records.clear()
        for snapshot in tuple(self._snapshots):
            snapshot.close()
        self._watch.cancel()
        if self._maintenance:
            self._database.cancel_all_background(False)
            await asyncio.wait(self._maintenance)
        try:
            await asyncio.to_thread(self._close)
        finally:
            self._directory.close()

    def _close(self) -> None:
        """Ends the threads and the database, with a flush, so that the next opening has no log to replay."""
        self._reader.stop()
        self._watch.stop()
        self._writer.stop()
        try:
            if self._writer.failure is None:
                self._database.flush_wal(True)
        except Exception as error:
            raise self._writer.failed("sync", error) from error
        finally:
            # RocksDB gives its lock up when the last of these is closed. Closing flushes; where that is impossible,
            # after a failure or in an interrupted compaction, the write-ahead log has it all.
            self._handles.clear()
            for opened_part in (*self._families.values(), self._database):
                with suppress(Exception):
                    opened_part.close()

    def _compact(self, bottommost: BottommostLevelCompaction) -> None:
        """Flushes and compacts. RocksDB reports a failure of its background work only by counting it."""
        errors = self._database.property_int_value("rocksdb.background-errors")
        self._flush()
        options = CompactOptions()
        options.set_bottommost_level_compaction(bottommost)
        options.set_exclusive_manual_compaction(False)
        for family in self._families.values():
            family.compact_range(None, None, options)
        if self._writer.closed:
            raise InterruptedError("the store was closed before it ended")
        if self._database.property_int_value("rocksdb.background-errors") != errors:
            raise OSError("RocksDB counted a background error; the file LOG beside its tables has the details")

    def _flush(self) -> None:
        for family in self._families.values():
            family.flush()

    async def _maintain(self, what: str, call: Callable[[], T]) -> T:
        """Runs something long on a thread of its own, to its end even if nobody waits any more. Raises: Broken."""
        self._reader.refuse_if_closed()
        task = asyncio.create_task(asyncio.to_thread(call))
        self._maintenance.add(task)
        task.add_done_callback(self._maintained)
        try:
            return await asyncio.shield(task)
        except Exception as error:
            raise Broken(
                "storage_failed", f"The {what} in {self._directory.path} failed: {error}. Look at the disk."
            ) from error

    def _maintained(self, task: asyncio.Task[object]) -> None:
        self._maintenance.discard(task)
        if not task.cancelled():
            task.exception()  # Looked at, lest asyncio complain of an error that nobody awaited.

    def _tombstones(self) -> int:
        return rocksdb_report.tombstones(self._families[keyspace.RECORDS])

    async def _reclaim(self) -> None:
        """Removes all stale index keys and brings tombstones together with what they delete: that makes room."""
        with suppress(Broken):
            await self._index.remove_stale()
            async with self._compacting:
                await self._maintain("compaction", partial(self._compact, BottommostLevelCompaction.skip()))


def _refuse_peek(key: bytes, fetch: bool) -> bool:
    """Answers a peek after closing."""
    raise Broken("storage_closed", "The store is closed.")
