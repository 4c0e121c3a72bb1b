"""Replacing what a replica holds: emptying it, filling it from a snapshot, dropping it for good.

Rule 1: a replica that is emptied is marked so in the same batch in which its records go, so no crash leaves a part of
them that looks whole; and it becomes whole in one batch with its applied point, when its records are synced.
Rule 2: the records of a part are written in slices, each a batch of its own, between which the event loop gets its
turn. A crash may keep some of them: they mean nothing until the replica is whole. The store's other writes come before
or after a part's records, never among them, so that the order of the calls is the order on the disk.
Rule 3: emptying is a range tombstone: it takes no longer for a large partition than for a small one. What it covers
leaves the files by compaction.
Rule 4: index keys of the records that go stay behind. They are found to be stale when their time comes
(`rocksdb_expiry.py`), also where the new record of a key has the same version with another expiry.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from rocksdict import ColumnFamily, WriteBatch

from corecache.config import KIB
from corecache.identity import PartitionId
from corecache.identity import Sequence as LogSequence
from corecache.operations import Record
from corecache.replication.recovered import AppliedPoint, ReplicaFacts
from corecache.storage import keyspace
from corecache.storage.record_cache import RecordCache
from corecache.storage.rocksdb_apply import Applier
from corecache.storage.rocksdb_expiry import ExpiryIndex
from corecache.storage.rocksdb_writer import Writer

_SLICE_RECORDS: Final = 256
_SLICE_BYTES: Final = 128 * KIB

Pairs = Sequence[tuple[bytes, Record]]


class Installer:
    """Empties, fills and drops replicas. Keeps the store's applied points and cuts in step with the disk."""

    def __init__(
        self,
        handles: Mapping[str, ColumnFamily],
        applier: Applier,
        writer: Writer,
        index: ExpiryIndex,
        records: RecordCache,
        applied: dict[PartitionId, AppliedPoint],
        cut: dict[PartitionId, LogSequence],
    ) -> None:
        """Takes what the store shares with it; `applied` and `cut` are the store's own."""
        self._handles = handles
        self._applier = applier
        self._writer = writer
        self._index = index
        self._records = records
        self._applied = applied
        self._cut = cut

    async def empty(self, partition: PartitionId, facts: ReplicaFacts | None) -> None:
        """Drops all that there is of a partition and saves new facts, or none, durably. Raises: Broken."""

        def fill(batch: WriteBatch) -> None:
            start, end = keyspace.PREFIX.pack(partition), keyspace.PREFIX.pack(partition + 1)
            batch.delete_range(start, end, self._handles[keyspace.RECORDS])
            batch.delete_range(start, end, self._handles[keyspace.LOG])
            saved, key = self._handles[keyspace.FACTS], keyspace.replica_facts_key(partition)
            batch.delete(keyspace.applied_key(partition), saved)
            batch.delete(keyspace.cut_key(partition), saved)
            if facts is None:
                batch.delete(key, saved)
            else:
                batch.put(key, keyspace.replica_facts_bytes(facts), saved)

        async with self._writer.turn:
            try:
                await self._writer.write(fill)
            finally:
                self._records.clear()
            self._index.note_replaced(partition)
            self._applied.pop(partition, None)
            self._cut.pop(partition, None)
        await self._writer.sync()

    async def fill(
        self, partition: PartitionId, records: Pairs, whole: tuple[ReplicaFacts, AppliedPoint] | None
    ) -> None:
        """Adds records; with `whole` the replica holds all of them, durably. Raises: Broken."""
        async with self._writer.turn:
            self._writer.refuse_if_unusable()
            for part in _slices(records):
                # The partition has had no records of these keys, so that none is kept that would have to be forgotten.
                await self._writer.write(partial(self._applier.fill_records, partition, part))
                self._index.note_replaced(partition)
                await asyncio.sleep(0)
        if whole is None:
            return
        # All records first: of what no sync has covered, a power cut may keep the end and take the middle.
        await self._writer.sync()
        async with self._writer.turn:
            facts, point = whole
            await self._writer.write(partial(self._fill_whole, partition, facts, point))
            self._applied[partition] = point
            self._cut[partition] = point.sequence
        await self._writer.sync()

    def _fill_whole(self, partition: PartitionId, facts: ReplicaFacts, point: AppliedPoint, batch: WriteBatch) -> None:
        saved = self._handles[keyspace.FACTS]
        batch.put(keyspace.replica_facts_key(partition), keyspace.replica_facts_bytes(facts), saved)
        batch.put(keyspace.applied_key(partition), keyspace.applied_bytes(point), saved)
        batch.put(keyspace.cut_key(partition), keyspace.cut_bytes(point.sequence), saved)


def _slices(records: Pairs) -> Iterator[Pairs]:
    """Yields the records in runs that end with the one that reaches a number or a size."""
    begin = found_bytes = 0
    for at, (key, record) in enumerate(records):
        found_bytes += len(key) + len(record.value)
        if at + 1 - begin >= _SLICE_RECORDS or found_bytes >= _SLICE_BYTES:
            yield records[begin : at + 1]
            begin, found_bytes = at + 1, 0
    if begin < len(records):
        yield records[begin:]
