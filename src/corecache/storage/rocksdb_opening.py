"""Opening RocksDB's files and reading what they hold of the node and its replicas.

Rule 1: what is read is durable before it is returned: RocksDB has flushed what it recovered of its write-ahead log,
and one sync more closes the case in which the files were written by a process whose last sync never came.
Rule 2: a hole in a log, an entry of a partition without facts, a record that nobody here wrote: `Broken`. Nothing is
repaired by guessing.

Rule 3: of a write-ahead log only a torn last write is dropped (`rocksdb_log.py` judges), and its bytes are kept beside
it. An older log may have one too: a disk that loses power can keep a newer file's bytes and lose an older one's end,
if neither was synced (`rocksdb_reapply.py`).

RocksDB's refusals are plain sentences; here they become our errors, with the file and the cure.
"""

import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog
from rocksdict import Options, Rdict

from corecache.errors import Broken, CallerFault, CoreCacheError
from corecache.identity import PartitionId
from corecache.identity import Sequence as LogSequence
from corecache.replication.log import Entry
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, NodeFacts, Recovered, ReplicaFacts
from corecache.storage import keyspace
from corecache.storage.keyspace import KeyspaceError
from corecache.storage.rocksdb_log import LogDamage, torn_at
from corecache.storage.rocksdb_reapply import Due, reapply

log = structlog.get_logger(__name__)


class Contents(msgspec.Struct):
    """What the database held at opening."""

    node: NodeFacts | None = None
    replicas: Mapping[PartitionId, Recovered] = {}
    applied: dict[PartitionId, AppliedPoint] = {}
    cut: dict[PartitionId, LogSequence] = {}


def opened(path: Path, options: Options, families: dict[str, Options], refuse_damage: bool) -> tuple[Rdict, Due]:
    """Opens the database, or makes it. Blocks for as long as the recovery takes. Raises: CallerFault, Broken.

    The second part is for `recover`. With `refuse_damage` a write-ahead log that no crash leaves so is refused;
    without, RocksDB's options decide. Requires: nobody else has the data directory.
    """
    if not (path / "CURRENT").exists() and (remains := sorted([*path.glob("*.sst"), *path.glob("*.log")])):
        # RocksDB would make an empty database and remove the files.
        raise Broken(
            "storage_corrupt",
            f"{path} holds {remains[0].name} but no file CURRENT. Restore the data directory from a copy, or start "
            "with an empty one.",
        )
    try:
        if refuse_damage:
            _drop_torn_tails(path)
        due = Due(path)
        return Rdict(str(path), options, column_families=families), due
    except CoreCacheError:
        raise
    except Exception as error:
        raise _refusal(path, str(error)) from error


def _drop_torn_tails(path: Path) -> None:
    """Cuts torn last writes off the write-ahead logs. Raises: Broken if one is damaged, OSError."""
    for file in sorted((file for file in path.glob("*.log") if file.stat().st_size), key=lambda file: int(file.stem)):
        try:
            with file.open("rb") as opened_file, mmap.mmap(opened_file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                start = torn_at(content)
                torn = b"" if start is None else content[start:].rstrip(b"\0")
            if start is None:
                continue
        except LogDamage as error:
            raise _damage(file, str(error)) from error
        kept = file.with_suffix(".log.torn")
        with kept.open("wb") as copy:
            copy.write(torn)
            copy.flush()
            os.fsync(copy.fileno())
        with file.open("rb+") as cut:
            cut.truncate(start)
            os.fsync(cut.fileno())
        log.warning("dropped a write that a crash cut short", file=str(file), at_bytes=start, copy=str(kept))


def recover(database: Rdict, path: Path, due: Due) -> Contents:
    """Reads facts, applied points and the logs' entries above them. Blocks. Raises: Broken.

    Records of applied entries that a power cut may have taken are put back (`rocksdb_reapply.py`).
    """
    try:
        families = {name: database.get_column_family(name) for name in keyspace.FAMILIES}
        contents, facts = _facts(families[keyspace.FACTS])
        if due.known:
            handles = {name: database.get_column_family_handle(name) for name in keyspace.FAMILIES}
            reapply(database, families, handles, contents.applied, contents.cut)
        database.flush_wal(True)
        due.done()
        log = families[keyspace.LOG]
        contents.replicas = {
            partition: Recovered(
                replica,
                contents.applied.get(partition, NOTHING_APPLIED),
                _entries(log, partition, contents.applied.get(partition, NOTHING_APPLIED).sequence),
                contents.cut.get(partition, LogSequence(0)),
            )
            for partition, replica in facts.items()
        }
        strangers = sorted(contents.applied.keys() - facts.keys())
        if strangers:
            raise KeyspaceError(f"partition {strangers[0]} has records but no facts")
        return contents
    except KeyspaceError as error:
        raise Broken(
            "storage_corrupt",
            f"{path} is damaged: {error}. Restore the data directory from a copy, or start with an empty one.",
        ) from error
    except CoreCacheError:
        raise
    except Exception as error:
        raise _refusal(path, str(error)) from error


def _facts(facts: Rdict) -> tuple[Contents, dict[PartitionId, ReplicaFacts]]:
    contents = Contents()
    replicas: dict[PartitionId, ReplicaFacts] = {}
    iterator = facts.iter()
    iterator.seek_to_first()
    while iterator.valid():
        kind, partition = keyspace.read_facts_key(iterator.key())
        raw = iterator.value()
        if partition is None:
            contents.node = keyspace.read_node_facts(raw)
        elif kind == "replica":
            replicas[partition] = keyspace.read_replica_facts(raw)
        elif kind == "applied":
            contents.applied[partition] = keyspace.read_applied(raw)
        else:
            contents.cut[partition] = keyspace.read_cut(raw)
        iterator.next()
    iterator.status()
    return contents, replicas


def _entries(log: Rdict, partition: PartitionId, applied: LogSequence) -> tuple[Entry, ...]:
    """Returns the entries above a sequence. Raises: KeyspaceError if one is missing between them."""
    entries: list[Entry] = []
    iterator = log.iter()
    iterator.seek(keyspace.log_key(partition, LogSequence(applied + 1)))
    while iterator.valid():
        owner, sequence = keyspace.read_log_key(iterator.key())
        if owner != partition:
            break
        entry = keyspace.read_entry(iterator.value())
        expected = applied + 1 + len(entries)
        if sequence != expected or entry.sequence != expected:
            raise KeyspaceError(f"the log of partition {partition} lacks entry {expected}")
        entries.append(entry)
        iterator.next()
    iterator.status()
    return tuple(entries)


def _refusal(path: Path, reason: str) -> CoreCacheError:
    """Returns our error for RocksDB's refusal to open or to read its files."""
    lowered = reason.lower()
    if "lock" in lowered and ("no locks available" in lowered or "temporarily unavailable" in lowered):
        return CallerFault("data_dir_locked", f"{path} is in use by another process ({reason}). Stop that one.")
    if "permission denied" in lowered or "read-only file system" in lowered:
        return CallerFault(
            "data_dir_unwritable", f"{path} can't be written ({reason}). Make it writable for this user."
        )
    if "no space left" in lowered or "quota exceeded" in lowered:
        return Broken("disk_full", f"There is no space left for {path} ({reason}). Free some and start the node again.")
    if "column families not opened" in lowered:
        return CallerFault("data_dir_newer", f"{path} was written by a newer program ({reason}). Start that one.")
    if "corruption" in lowered:
        if re.search(r"\.sst|manifest|ahead of wals", lowered) is None and (damaged := _damaged_log(path)) is not None:
            return _damage(damaged, reason)
        return Broken(
            "storage_corrupt",
            f"{path} is damaged ({reason}). Restore the data directory from a copy, or start with an empty one.",
        )
    return Broken("storage_failed", f"{path} can't be opened: {reason}. Look at the disk and start the node again.")


def _damage(file: Path, reason: str) -> Broken:
    return Broken(
        "log_damaged",
        f"The write-ahead log {file} has a damaged record ({reason}). Restore the data directory from a copy; "
        "or, to start without that record and all after it, acknowledged ones included, set "
        'storage.damaged_log = "truncate".',
    )


def _damaged_log(path: Path) -> Path | None:
    """Returns the write-ahead log that RocksDB's diary blames, or else the newest, None if there is none."""
    try:
        blamed = re.findall(r"(\d+\.log): dropping", (path / "LOG").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        blamed = []
    if blamed:
        return path / str(blamed[-1])
    return max(path.glob("*.log"), default=None)
