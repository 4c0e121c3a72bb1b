"""The expiry index: which records are due, and index keys that belong to no record any more removed.

An index key carries the version and the expiry of its record. Within one life of a replica no version is given twice,
so a key that does not belong to the present record never will, and may be removed at any later time.

Rule 1: a snapshot begins another life. While one is installed, a record may come back under the very index key that
was found stale a moment ago. So what was found before a partition's records were last replaced is not removed; if it
is stale still, the next look finds it.
Rule 2: a look is bounded, in keys and in bytes, and runs on a reader thread; a look for more goes on from where the
last one ended.

What belongs to a record is put by `rocksdb_apply.py` and `rocksdb_install.py`; this module only takes away.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from rocksdict import ColumnFamily, Rdict, WriteBatch

from corecache.identity import PartitionId, Timestamp
from corecache.operations import Record
from corecache.storage import keyspace, rocksdb_scan
from corecache.storage.rocksdb_reader import Reader
from corecache.storage.rocksdb_writer import Writer

_SWEEP_KEYS: Final = 1000
_LAST_DATE: Final = Timestamp(2**64 - 1)


class ExpiryIndex:
    """The index of one database."""

    def __init__(
        self, families: Mapping[str, Rdict], handles: Mapping[str, ColumnFamily], reader: Reader, writer: Writer
    ) -> None:
        """Takes the open column families and the ways in and out."""
        self._families = families
        self._handles = handles
        self._reader = reader
        self._writer = writer
        self._replacements = 0
        self._replaced: dict[PartitionId, int] = {}

    def note_replaced(self, partition: PartitionId) -> None:
        """Notes that a partition's records were just replaced. Called in the same turn of the loop as the write."""
        self._replacements += 1
        self._replaced[partition] = self._replacements

    async def due(self, before: Timestamp, keys_max: int) -> list[tuple[PartitionId, bytes, Record]]:
        """Returns up to `keys_max` records that expire at or before a date, earliest first. Raises: Broken."""
        found: list[tuple[PartitionId, bytes, Record]] = []
        resume: bytes | None = b""
        while resume is not None and len(found) < keys_max:
            due = await self._look(before, keys_max - len(found), resume)
            found += due.records
            resume = due.resume
        return found

    async def remove_stale(self) -> None:
        """Looks at the whole index and removes what is stale. Raises: Broken."""
        resume: bytes | None = b""
        while resume is not None:
            resume = (await self._look(_LAST_DATE, _SWEEP_KEYS, resume)).resume

    async def _look(self, before: Timestamp, keys_max: int, start: bytes) -> rocksdb_scan.Due:
        expiry, records = self._families[keyspace.EXPIRY], self._families[keyspace.RECORDS]
        replacements = self._replacements
        due = await self._reader.read(partial(rocksdb_scan.due, expiry, records, before, keys_max, start))
        if due.stale and self._writer.failure is None:
            async with self._writer.turn:
                await self._writer.write(partial(self._fill, due.stale, replacements))
        return due

    def _fill(self, stale: list[bytes], replacements: int, batch: WriteBatch) -> None:
        """Deletes index keys that were found after this many replacements of records."""
        for index_key in stale:
            partition = keyspace.read_expiry_key(index_key)[1]
            if self._replaced.get(partition, 0) <= replacements:
                batch.delete(index_key, self._handles[keyspace.EXPIRY])
