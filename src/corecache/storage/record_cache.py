"""The records that were read last, as objects: what a read finds here costs it a look into a dictionary.

RocksDB's own memory answers too, at ten to fifty times the cost: memtables, filters, indexes and blocks are searched,
and the more there is stored, the more levels there are to search, and the colder they are. (Its cache of rows would do
the same, and does not go together with range tombstones, by which logs are cut and replicas emptied.)

Rule: whoever changes a record on the disk forgets it here in the same turn of the loop, and what is put here was read
in that turn. So there is no moment at which the two differ.

Two generations stand for an order of use: what is found in the old one becomes young again, and when the young one is
full it takes the place of the old one, which is dropped.
"""

from collections.abc import Sequence
from typing import cast

from corecache.identity import PartitionId
from corecache.operations import Record
from corecache.replication.log import Entry
from corecache.storage.keyspace import PREFIX

_OVERHEAD_BYTES = 300
"""What the interpreter takes for an entry besides key and value: five objects and a place in a dictionary."""
_LARGEST_SHARE = 64
"""A record above this share of a generation is left to RocksDB: it would push out too many others."""


class RecordCache:
    """Records by their keys on the disk, in at most so many bytes."""

    __slots__ = ("_generation_bytes", "_largest_bytes", "_old", "_young", "_young_bytes")

    def __init__(self, bytes_max: int) -> None:
        """Takes what keys, values and what is around them may have together."""
        self._generation_bytes = bytes_max // 2
        self._largest_bytes = self._generation_bytes // _LARGEST_SHARE
        self._young: dict[bytes, Record] = {}
        self._old: dict[bytes, Record] = {}
        self._young_bytes = 0

    def get(self, raw_key: bytes) -> Record | None:
        """Returns a record, None if it is not here, which says nothing of the disk."""
        record = self._young.get(raw_key)
        if record is None and self._old:
            record = self._old.pop(raw_key, None)
            if record is not None:
                self.put(raw_key, record)
        return record

    def get_all(self, raw_keys: Sequence[bytes]) -> list[Record] | None:
        """Returns the records, if all are young, else None."""
        records = list(map(self._young.get, raw_keys))
        return cast(list[Record], records) if all(records) else None

    def put(self, raw_key: bytes, record: Record) -> None:
        """Keeps a record that is not here. Requires: it is what the disk has, in this turn of the loop."""
        size_bytes = _size_bytes(raw_key, record)
        if size_bytes > self._largest_bytes:
            return
        self._young[raw_key] = record
        self._young_bytes += size_bytes
        if self._young_bytes > self._generation_bytes:
            self._old, self._young = self._young, {}
            self._young_bytes = 0

    def forget(self, entries: Sequence[tuple[PartitionId, Entry]]) -> None:
        """Forgets the records that entries have changed."""
        if not (self._young or self._old):
            return
        for partition, entry in entries:
            start = PREFIX.pack(partition)
            for operation in entry.operations:
                raw_key = start + operation.key
                record = self._young.pop(raw_key, None)
                if record is not None:
                    self._young_bytes -= _size_bytes(raw_key, record)
                elif self._old:
                    self._old.pop(raw_key, None)

    def clear(self) -> None:
        """Forgets everything."""
        self._young, self._old = {}, {}
        self._young_bytes = 0


def _size_bytes(raw_key: bytes, record: Record) -> int:
    return len(raw_key) + len(record.value) + _OVERHEAD_BYTES
