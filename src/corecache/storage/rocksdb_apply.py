"""From log entries, or a snapshot's records, to the puts and deletes of one batch, the expiry index kept in step.

Rule 1: a record, its index key and the applied point are in one batch.
Rule 2: the index key of a record that is overwritten or deleted goes in the same batch, if memory still knows the
record; no file is read here. What is missed so is harmless (an index key carries its version) and found later: when its
time comes, or when room is short.
Rule 3: a database that never had an expiry pays nothing for it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rocksdict import ColumnFamily, Rdict, WriteBatch

from corecache.identity import PartitionId
from corecache.operations import NEVER, Record
from corecache.replication.log import Entry
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint
from corecache.storage import keyspace


class Applier:
    """Fills batches with what entries change."""

    def __init__(self, families: Mapping[str, Rdict], handles: Mapping[str, ColumnFamily]) -> None:
        """Takes the open column families, and looks whether any record expires."""
        self._may_exist: Callable[[bytes, bool], bool | tuple[bool, Any]]
        self._may_exist = families[keyspace.RECORDS].key_may_exist
        self._handles = handles
        iterator = families[keyspace.EXPIRY].iter()
        iterator.seek_to_first()
        self._any_expires = iterator.valid()

    def fill(
        self,
        entries: Sequence[tuple[PartitionId, Entry]],
        applied: Mapping[PartitionId, AppliedPoint],
        points: dict[PartitionId, AppliedPoint],
        batch: WriteBatch,
    ) -> None:
        """Puts the entries' records, their index entries and the new applied points, also noted in `points`."""
        put, delete, prefix, header = batch.put, batch.delete, keyspace.PREFIX.pack, keyspace.HEADER.pack
        handles = self._handles
        records, expiry, facts = handles[keyspace.RECORDS], handles[keyspace.EXPIRY], handles[keyspace.FACTS]
        indexed: dict[bytes, bytes | None] = {}
        for partition, entry in entries:
            before = points.get(partition) or applied.get(partition, NOTHING_APPLIED)
            highest = before.version
            start = prefix(partition)
            for operation in entry.operations:
                raw_key, record = start + operation.key, operation.record
                if self._any_expires:
                    replaced = indexed[raw_key] if raw_key in indexed else self._index_key(partition, operation.key)
                    indexed[raw_key] = None
                    if replaced is not None:
                        delete(replaced, expiry)
                if record is None:
                    delete(raw_key, records)
                    continue
                version, expires = record.version, record.expires
                put(raw_key, header(version, record.timestamp, expires) + record.value, records)
                if version > highest:
                    highest = version
                if expires:
                    self._any_expires = True
                    indexed[raw_key] = index_key = keyspace.expiry_key(expires, partition, version, operation.key)
                    put(index_key, b"", expiry)
            points[partition] = AppliedPoint(entry.sequence, entry.epoch, highest)
        for partition, point in points.items():
            put(keyspace.applied_key(partition), keyspace.applied_bytes(point), facts)

    def fill_records(
        self, partition: PartitionId, installed: Sequence[tuple[bytes, Record]], batch: WriteBatch
    ) -> None:
        """Puts records and their index entries. Requires: the partition has no other records of these keys."""
        put, start = batch.put, keyspace.PREFIX.pack(partition)
        records, expiry = self._handles[keyspace.RECORDS], self._handles[keyspace.EXPIRY]
        for key, record in installed:
            put(start + key, keyspace.record_bytes(record), records)
            if record.expires:
                self._any_expires = True
                put(keyspace.expiry_key(record.expires, partition, record.version, key), b"", expiry)

    def _index_key(self, partition: PartitionId, key: bytes) -> bytes | None:
        """Returns the index key of a record that memory knows and that expires."""
        # rocksdict types the answer of both forms of the call together; with `fetch` it is a pair.
        _, raw = self._may_exist(keyspace.record_key(partition, key), True)  # type: ignore[misc]
        # Bytes that are no record are for the reader of the key to complain of.
        if not raw or len(raw) < keyspace.HEADER.size:
            return None
        version, _, expires = keyspace.HEADER.unpack_from(raw)
        return None if expires == NEVER else keyspace.expiry_key(expires, partition, version, key)
