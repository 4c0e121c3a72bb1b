"""What a power cut may have taken out of the middle: records that are put back from the log.

RocksDB's write-ahead log is several files at times. A disk that loses power keeps what was synced, with all before it;
of what was not, it may keep a newer file's bytes and lose an older file's end. The batches that nobody waited for, and
that others build on, are those that apply entries. So a later one may be there, with its applied point, and an earlier
one be missing: nothing would ever look for its records again.

Rule 1: an entry is synced before it is applied, and is cut off the log only when a sync has covered its application
(`rocksdb_cutting.py`). So whatever may be missing is still in the log.
Rule 2: if the write-ahead logs do not follow on at an opening, all that the log has up to the applied points is applied
again before anything is read. Entries hold whole records: where none is missing, nothing changes.
Rule 3: opening RocksDB removes the logs that tell, and half of this leaves old records in the place of newer ones. So a
file says that it is due until it is done (`Due`).
"""

import mmap
import os
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
from corecache.storage.directory import sync_directory
from corecache.storage.rocksdb_apply import Applier
from corecache.storage.rocksdb_log import span_of

_BATCH_BYTES: Final = MIB

log = structlog.get_logger(__name__)


class Due:
    """Whether entries have to be applied again in a database, by a file beside its own.

    Made before RocksDB opens the database. Raises: OSError.
    """

    def __init__(self, path: Path) -> None:
        self._mark = path / "reapply.due"
        self.known = self._mark.exists()
        if not self.known and may_lack_some(path):
            with self._mark.open("wb") as file:
                os.fsync(file.fileno())
            sync_directory(path)
            self.known = True

    def done(self) -> None:
        """Takes note that they are applied again, durably."""
        self._mark.unlink(missing_ok=True)
        self.known = False


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
        above = cut.get(partition, LogSequence(0))
        # What a cut that was lost should have taken; later ones begin behind it.
        first, end = keyspace.log_key(partition, LogSequence(1)), keyspace.log_key(partition, LogSequence(above + 1))
        families[keyspace.LOG].delete_range(first, end)
        for entries in _parts(families[keyspace.LOG], partition, above, point):
            batch = WriteBatch(raw_mode=True)
            applier.fill([(partition, entry) for entry in entries], applied, {}, batch)
            # As far as before is applied, also where the log has less than that.
            batch.put(keyspace.applied_key(partition), keyspace.applied_bytes(point), handles[keyspace.FACTS])
            database.write(batch)
            count += len(entries)
    if count:
        log.info("applied entries again, as a power cut may have lost some", entries=count)


def _parts(family: Rdict, partition: PartitionId, above: LogSequence, point: AppliedPoint) -> Iterator[list[Entry]]:
    """Yields the log's entries above a sequence up to an applied point, some at a time."""
    part: list[Entry] = []
    part_bytes = 0
    iterator = family.iter()
    iterator.seek(keyspace.log_key(partition, LogSequence(above + 1)))
    while iterator.valid():
        owner, sequence = keyspace.read_log_key(iterator.key())
        if owner != partition or sequence > point.sequence:
            break
        raw = iterator.value()
        part.append(keyspace.read_entry(raw))
        part_bytes += len(raw)
        if part_bytes >= _BATCH_BYTES:
            yield part
            part, part_bytes = [], 0
        iterator.next()
    iterator.status()
    if part:
        yield part
