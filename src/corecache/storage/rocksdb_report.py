"""The tree's figures: from RocksDB's properties, its list of files and its statistics to a `StorageReport`.

RocksDB lists the files of all column families together, with their entries and tombstones, and names those of one
family, level by level, in the property `rocksdb.sstables`; the two are joined by the file's number.

The levels are those of the records; `sstable_bytes` is all files, because all of them fill the disk.

All of it is read without stopping writes, so figures that change while they are read may not agree to the last digit.
"""

import re
from pathlib import Path

from rocksdict import Options, Rdict

from corecache.reports import Level, StorageReport
from corecache.storage.space import Space

_LEVEL = re.compile(r"--- level (\d+) ---")
_SSTABLE = re.compile(r"\s*(\d+):\d+\[")
_COUNTER = re.compile(r"^(\S+) COUNT : (\d+)$", re.MULTILINE)


def report(records: Rdict, options: Options, database: Path, memory_budget_bytes: int, space: Space) -> StorageReport:
    """Returns the tree's figures. Blocks; takes longer the more SSTables there are."""
    levels = _levels(records)
    counters = {name: int(count) for name, count in _COUNTER.findall(options.get_statistics() or "")}
    active_tombstones = _number(records, "num-deletes-active-mem-table")
    memtable_tombstones = active_tombstones + _number(records, "num-deletes-imm-mem-tables")
    return StorageReport(
        memtable_bytes=_number(records, "cur-size-all-mem-tables"),
        memtable_entries=_number(records, "num-entries-active-mem-table")
        + _number(records, "num-entries-imm-mem-tables"),
        memtable_tombstones=memtable_tombstones,
        memtables=1 + _number(records, "num-immutable-mem-table"),
        levels=levels,
        sstable_bytes=sum(file["size"] for file in records.live_files()),
        tombstones=memtable_tombstones + sum(level.tombstones for level in levels),
        log_bytes=_log_bytes(database),
        pending_compaction_bytes=_number(records, "estimate-pending-compaction-bytes"),
        running_flushes=_number(records, "num-running-flushes"),
        running_compactions=_number(records, "num-running-compactions"),
        writes_stopped=_number(records, "is-write-stopped") > 0,
        writes_slowed_bytes_per_second=_number(records, "actual-delayed-write-rate"),
        stall_ms=counters.get("rocksdb.stall.micros", 0) // 1000,
        cache_bytes=_number(records, "block-cache-usage"),
        cache_hits=counters.get("rocksdb.block.cache.hit", 0),
        cache_misses=counters.get("rocksdb.block.cache.miss", 0),
        filter_useful=counters.get("rocksdb.bloom.filter.useful", 0),
        memory_budget_bytes=memory_budget_bytes,
        disk_used_bytes=space.used_bytes,
        disk_budget_bytes=space.budget_bytes,
        disk_free_bytes=space.free_bytes,
        accepts_puts=space.accepts_puts,
    )


def tombstones(records: Rdict) -> int:
    """Returns the tombstones in memtables and SSTables. Blocks, like `report`."""
    in_memtables = _number(records, "num-deletes-active-mem-table") + _number(records, "num-deletes-imm-mem-tables")
    return in_memtables + sum(level.tombstones for level in _levels(records))


def _number(records: Rdict, name: str) -> int:
    return records.property_int_value(f"rocksdb.{name}") or 0


def _levels(records: Rdict) -> tuple[Level, ...]:
    """Returns every level of the tree, the empty ones included."""
    files = {int(Path(file["name"]).stem): file for file in records.live_files()}
    levels: list[Level] = []
    for line in (records.property_value("rocksdb.sstables") or "").splitlines():
        if level := _LEVEL.match(line):
            levels.append(Level(level=int(level[1]), sstables=0, bytes=0, entries=0, tombstones=0))
        elif (sstable := _SSTABLE.match(line)) and (file := files.get(int(sstable[1]))):
            last = levels[-1]
            levels[-1] = Level(
                level=last.level,
                sstables=last.sstables + 1,
                bytes=last.bytes + file["size"],
                entries=last.entries + file["num_entries"],
                tombstones=last.tombstones + file["num_deletions"],
            )
    return tuple(levels)


def _log_bytes(database: Path) -> int:
    """Returns the size of the write-ahead log's files."""
    sizes = 0
    for file in database.glob("*.log"):
        try:
            sizes += file.stat().st_size
        except FileNotFoundError:
            continue  # It was retired between the two calls.
    return sizes
