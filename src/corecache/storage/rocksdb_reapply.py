"""What a power cut may have taken out of the middle: records that are put back from the log.

RocksDB's write-ahead log is several files at times. A disk that loses power keeps what was synced, with all before it;
of what was not, it may keep a newer file's bytes and lose an older file's end. The batches that nobody waited for are
those that apply entries. So a later one may be there, with its applied point, and an earlier one be missing: nothing
would ever look for its records again.

Rule 1: an entry is synced before it is applied, and is cut off the log only when a sync has covered its application
(`RocksStore.cut`). So whatever may be missing is still in the log.
Rule 2: if the write-ahead logs do not follow on at an opening, all that the log has up to the applied points is applied
again before anything is read. Entries hold whole records: where none is missing, nothing changes.
"""

import mmap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final

import structlog
from rocksdict import ColumnFamily, Rdict, WriteBatch

from corecache.config import MIB
from corecache.identity import PartitionId
from corecache.identity import Sequence as LogSequence
from corecache.replication.log import Entry
from corecache.replication.recovered import AppliedPoint
from corecache.storage import keyspace
from corecache.storage.rocksdb_apply import Applier
from corecache.storage.rocksdb_log import span_of

_BATCH_BYTES: Final = MIB

log = structlog.get_logger(__name__)


def may_lack_some(path: Path) -> bool:
    """Says whether the middle of what was written may be missing. Requires: the database is not open yet.

    Each change has the next sequence number, from log to log. Logs that RocksDB needs no more, and was about to remove,
    may look as if some were missing.
    """
    files = sorted(path.glob("*.log"), key=lambda file: int(file.stem))
    spans = [_span(file) for file in files] if len(files) > 1 else []
    while spans and spans[-1] is None:
        del spans[-1]
    # An empty log before one that is not has lost all it had.
    return any(before is None or after is None or before[1] != after[0] for before, after in pairwise(spans))


def _span(file: Path) -> tuple[int, int] | None:
    if not file.stat().st_size:
        return None
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return span_of(content)


def reapply(
    database: Rdict,
    families: Mapping[str, Rdict],
    handles: Mapping[str, ColumnFamily],
    applied: Mapping[PartitionId, AppliedPoint],
    cut: Mapping[PartitionId, LogSequence],
) -> None:
    """Applies again what the log has of applied entries. Blocks. Raises: KeyspaceError, and what rocksdict raises."""
    applier = Applier(families, handles)
    count = 0
    for partition, point in applied.items():
        entries: list[tuple[PartitionId, Entry]] = []
        entries_bytes = 0
        for entry, size_bytes in _entries(families[keyspace.LOG], partition, cut.get(partition, LogSequence(0)), point):
            entries.append((partition, entry))
            entries_bytes += size_bytes
            if entries_bytes >= _BATCH_BYTES or entry.sequence == point.sequence:
                batch = WriteBatch(raw_mode=True)
                applier.fill(entries, applied, {}, batch)
                # A crash from now on must not find less applied than before.
                batch.put(keyspace.applied_key(partition), keyspace.applied_bytes(point), handles[keyspace.FACTS])
                database.write(batch)
                count += len(entries)
                entries, entries_bytes = [], 0
    if count:
        log.info("applied entries again, as a power cut may have lost some", entries=count)


def _entries(
    family: Rdict, partition: PartitionId, above: LogSequence, point: AppliedPoint
) -> Iterator[tuple[Entry, int]]:
    """Yields the log's entries above a sequence up to an applied point, with their sizes in bytes."""
    iterator = family.iter()
    iterator.seek(keyspace.log_key(partition, LogSequence(above + 1)))
    while iterator.valid():
        owner, sequence = keyspace.read_log_key(iterator.key())
        if owner != partition or sequence > point.sequence:
            break
        raw = iterator.value()
        yield keyspace.read_entry(raw), len(raw)
        iterator.next()
    iterator.status()
