"""Reading ranges of RocksDB: records in the order of their keys over several partitions, and what has expired.

A scan sees the tree as of one moment, because it uses one iterator for all partitions: each partition's part is read
in slices, by seeking, and the slices are merged. (Iterators of rocksdict's snapshots show later writes; one iterator
does not.) Values above `_HELD_BYTES` are not kept in a slice but fetched again when their turn comes, so a scan holds
little more than what it returns.

Everything here blocks and belongs on a reader thread. The interpreter's lock is given up between the steps of an
iterator by the interpreter itself, at its switch interval.
"""

import heapq
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from rocksdict import Rdict, RdictIter

from corecache.identity import PartitionId, Timestamp
from corecache.operations import Record
from corecache.ports import Item
from corecache.storage import keyspace

_SLICE_MIN: Final = 8
_SLICE_MAX: Final = 128
_HELD_BYTES: Final = 4 * 1024
_EXAMINED_MAX: Final = 1000


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
    iterator = records.iter()
    slice_max = min(max(items_max // max(len(partitions), 1) + 1, _SLICE_MIN), _SLICE_MAX)
    runs = [_run(iterator, keyspace.PREFIX.pack(partition), start, end, slice_max, values) for partition in partitions]
    items: list[Item] = []
    found_bytes = 0
    for key, prefix, raw in heapq.merge(*runs, key=lambda found: found[0]):
        if len(items) >= items_max or found_bytes > bytes_max:
            return items, key
        if raw is None:
            iterator.seek(prefix + key)
            raw = iterator.value()
        items.append(Item(key, keyspace.read_record(raw)))
        found_bytes += len(key) + (len(raw) - keyspace.HEADER.size)
    return items, None


def _run(
    iterator: RdictIter, prefix: bytes, start: bytes, end: bytes | None, slice_max: int, values: bool
) -> Iterator[tuple[bytes, bytes, bytes | None]]:
    """Yields key, prefix and record of one partition; None for a record to be fetched again."""
    position = prefix + start
    while True:
        found, position = _slice(iterator, prefix, position, end, slice_max, values)
        yield from found
        if len(found) < slice_max:
            return


def _slice(
    iterator: RdictIter, prefix: bytes, position: bytes, end: bytes | None, slice_max: int, values: bool
) -> tuple[list[tuple[bytes, bytes, bytes | None]], bytes]:
    """Returns the next records of a partition, and where those after them start."""
    stop = None if end is None else prefix + end
    header = keyspace.HEADER.size
    found: list[tuple[bytes, bytes, bytes | None]] = []
    iterator.seek(position)
    while len(found) < slice_max and iterator.valid():
        raw_key = iterator.key()
        if not raw_key.startswith(prefix) or (stop is not None and raw_key >= stop):
            return found, position
        raw = iterator.value()
        held = raw if values else raw[:header]
        found.append((raw_key[len(prefix) :], prefix, held if len(held) <= _HELD_BYTES else None))
        position = raw_key + b"\0"
        iterator.next()
    iterator.status()
    return found, position


class Due(msgspec.Struct):
    """What a look at the expiry index gave. `stale` are index keys that belong to no record any more."""

    records: list[tuple[PartitionId, bytes, Record]]
    stale: list[bytes]
    complete: bool


def due(expiry: Rdict, records: Rdict, before: Timestamp, keys_max: int) -> Due:
    """Returns up to `keys_max` records that expire at or before a date, earliest first, from a bounded look.

    It is `complete` if no further index key is due. Raises: KeyspaceError, and what rocksdict raises.
    """
    index_keys: list[bytes] = []
    iterator = expiry.iter()
    iterator.seek_to_first()
    more = False
    while iterator.valid():
        raw_key = iterator.key()
        if keyspace.read_expiry_key(raw_key)[0] > before:
            break
        if len(index_keys) >= max(keys_max, _EXAMINED_MAX):
            more = True
            break
        index_keys.append(raw_key)
        iterator.next()
    else:
        iterator.status()
    return _verified(records, index_keys, keys_max, more)


def _verified(records: Rdict, index_keys: list[bytes], keys_max: int, more: bool) -> Due:
    """Returns which of these index keys name a record as it is now."""
    due = Due([], [], not more)
    named = [keyspace.read_expiry_key(index_key) for index_key in index_keys]
    raws = records.get([keyspace.record_key(partition, key) for _, partition, _, key in named]) if named else []
    for index_key, (expires, partition, version, key), raw in zip(index_keys, named, raws or [], strict=True):
        record = None if raw is None else keyspace.read_record(raw)
        if record is None or record.version != version or record.expires != expires:
            due.stale.append(index_key)
        elif len(due.records) < keys_max:
            due.records.append((partition, key, record))
        else:
            due.complete = False
            break
    return due
