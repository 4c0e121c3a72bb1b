"""Reading ranges of RocksDB: records by key over several partitions, what has expired, a stretch of a log.

Rule 1: what is held is bounded by what is returned. A scan holds one page and one record more, however many partitions
there are: it reads them one after the other, each only as far as its keys still belong to the page as found so far. A
look for what has expired holds one value at a time and returns none.
Rule 2: a scan sees the tree as of one moment, because it uses one iterator for all partitions. (Iterators of
rocksdict's snapshots show later writes; one iterator does not.)

Everything here blocks and belongs on a reader thread. The interpreter's lock is given up between the steps of an
iterator by the interpreter itself, at its switch interval.
"""

from bisect import insort
from collections.abc import Sequence
from typing import Final

import msgspec
from rocksdict import Rdict

from corecache.config import MIB
from corecache.identity import PartitionId, Timestamp
from corecache.identity import Sequence as LogSequence
from corecache.operations import Record
from corecache.ports import Item
from corecache.replication.log import Entry
from corecache.storage import keyspace
from corecache.storage.keyspace import KeyspaceError

_EXAMINED_MAX: Final = 1000
_READ_BYTES_MAX: Final = 16 * MIB


class _Page:
    """The records with the smallest keys of those offered: what a page may hold, and the one after it."""

    def __init__(self, items_max: int, bytes_max: int) -> None:
        self.found: list[tuple[bytes, bytes]] = []
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def ends_before(self, key: bytes) -> bool:
        """Says whether the page is full of smaller keys."""
        found = self.found
        full = len(found) > self._items_max or (found and self._bytes - _size_bytes(found[-1]) > self._bytes_max)
        return bool(full) and key >= found[-1][0]

    def offer(self, key: bytes, raw: bytes) -> None:
        """Adds a record, and drops those at the end that no longer belong."""
        found = self.found
        insort(found, (key, raw))
        self._bytes += _size_bytes((key, raw))
        while len(found) > self._items_max + 1 or (
            len(found) > 2 and self._bytes - _size_bytes(found[-1]) - _size_bytes(found[-2]) > self._bytes_max
        ):
            self._bytes -= _size_bytes(found.pop())

    def items(self) -> tuple[list[Item], bytes | None]:
        """Returns the page, and the key after it if there is one."""
        items: list[Item] = []
        found_bytes = 0
        for key, raw in self.found:
            if len(items) >= self._items_max or found_bytes > self._bytes_max:
                return items, key
            items.append(Item(key, keyspace.read_record(raw)))
            found_bytes += _size_bytes((key, raw))
        return items, None


def _size_bytes(found: tuple[bytes, bytes]) -> int:
    return len(found[0]) + len(found[1]) - keyspace.HEADER.size


def scan(
    records: Rdict,
    partitions: Sequence[PartitionId],
    start: bytes,
    end: bytes | None,
    items_max: int,
    bytes_max: int,
    values: bool,
) -> tuple[list[Item], bytes | None]:
    """Returns what `Store.scan` promises. Raises: KeyspaceError, and what rocksdict raises."""
    page = _Page(items_max, bytes_max)
    iterator = records.iter()
    header = keyspace.HEADER.size
    for partition in partitions:
        prefix = keyspace.PREFIX.pack(partition)
        iterator.seek(prefix + start)
        while iterator.valid():
            raw_key = iterator.key()
            key = raw_key[len(prefix) :]
            if not raw_key.startswith(prefix) or (end is not None and key >= end) or page.ends_before(key):
                break
            raw = iterator.value()
            page.offer(key, raw if values else raw[:header])
            iterator.next()
        else:
            iterator.status()
    return page.items()


class Due(msgspec.Struct):
    """What a look at the expiry index gave.

    `records` have empty values; `stale` are index keys that belong to no record any more; `resume` is the index key to
    go on from, None if no further one is due.
    """

    records: list[tuple[PartitionId, bytes, Record]]
    stale: list[bytes]
    resume: bytes | None = None


def due(expiry: Rdict, records: Rdict, before: Timestamp, keys_max: int, start: bytes) -> Due:
    """Returns up to `keys_max` records that expire at or before a date, earliest first, from a bounded look.

    The look begins at an index key. Raises: KeyspaceError, and what rocksdict raises.
    """
    found = Due([], [])
    examined = read_bytes = 0
    iterator = expiry.iter()
    iterator.seek(start)
    while iterator.valid():
        index_key = iterator.key()
        expires, partition, version, key = keyspace.read_expiry_key(index_key)
        if expires > before:
            return found
        if len(found.records) >= keys_max or examined >= _EXAMINED_MAX or read_bytes >= _READ_BYTES_MAX:
            found.resume = index_key
            return found
        raw = records.get(keyspace.record_key(partition, key))
        examined += 1
        read_bytes += 0 if raw is None else len(raw)
        record = None if raw is None else keyspace.read_record(raw[: keyspace.HEADER.size])
        if record is None or record.version != version or record.expires != expires:
            found.stale.append(index_key)
        else:
            found.records.append((partition, key, record))
        iterator.next()
    iterator.status()
    return found


def entries(
    log: Rdict, partition: PartitionId, above: LogSequence, upto: LogSequence, bytes_max: int
) -> tuple[Entry, ...]:
    """Returns the log's entries above + 1 to `upto`, as many as `bytes_max` holds, but one at least.

    None if the log does not hold the first of them. Raises: KeyspaceError, also if one is missing between others, and
    what rocksdict raises.
    """
    found: list[Entry] = []
    found_bytes = 0
    iterator = log.iter()
    iterator.seek(keyspace.log_key(partition, LogSequence(above + 1)))
    while iterator.valid():
        owner, sequence = keyspace.read_log_key(iterator.key())
        if owner != partition or sequence > upto:
            break
        expected = above + 1 + len(found)
        if not found and sequence != expected:
            return ()
        raw = iterator.value()
        found_bytes += len(raw)
        if found and found_bytes > bytes_max:
            break
        entry = keyspace.read_entry(raw)
        if sequence != expected or entry.sequence != expected:
            raise KeyspaceError(f"the log of partition {partition} lacks entry {expected}")
        found.append(entry)
        iterator.next()
    iterator.status()
    return tuple(found)
