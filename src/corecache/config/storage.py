"""The settings of the log-structured merge tree."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from corecache.config.units import GIB, KIB, MIB


class Storage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The log-structured merge tree: its two budgets, and when it flushes and compacts."""

    memory_bytes: Annotated[
        int,
        Meta(
            ge=32 * MIB,
            le=1024 * GIB,
            description="Block cache, memtables, Bloom filters, indexes and the records read last together. The "
            "process needs about 150 MiB besides.",
        ),
    ] = 256 * MIB
    disk_bytes: Annotated[
        int,
        Meta(ge=0, le=1024 * 1024 * GIB, description="The data directory's budget. 0: what its file system holds."),
    ] = 0
    disk_reserve_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1024 * GIB,
            description="Kept free of the budget, and of the file system, for compaction and deletes: puts are refused "
            "(507) when less is left, and accepted again by themselves when there is room.",
        ),
    ] = 256 * MIB
    flush_memtable_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=16 * GIB,
            description="A memtable of this size is flushed to an SSTable. 0: a sixteenth of memory_bytes, at least "
            "4 MiB.",
        ),
    ] = 0
    flush_memtables_max: Annotated[
        int, Meta(ge=2, le=16, description="Memtables in memory, the active one included, before writes are slowed.")
    ] = 4
    flush_wal_bytes: Annotated[
        int,
        Meta(
            ge=0, le=64 * GIB, description="Flush when the write-ahead log has grown to this. 0: half of memory_bytes."
        ),
    ] = 0
    compact_level0_files: Annotated[
        int, Meta(ge=2, le=100, description="Level-0 SSTables that start a compaction.")
    ] = 4
    slow_level0_files: Annotated[int, Meta(ge=3, le=1000, description="Level-0 SSTables that slow writes down.")] = 20
    stop_level0_files: Annotated[int, Meta(ge=4, le=2000, description="Level-0 SSTables that hold writes back.")] = 36
    compact_level_base_bytes: Annotated[
        int,
        Meta(
            ge=MIB, le=1024 * GIB, description="Size of the first level below level 0; each next one is ten times that."
        ),
    ] = 256 * MIB
    sstable_bytes: Annotated[int, Meta(ge=MIB, le=16 * GIB, description="Target size of an SSTable.")] = 64 * MIB
    compaction_bytes_per_second: Annotated[
        int, Meta(ge=0, le=64 * GIB, description="Flush and compaction write no faster than this. 0: no limit.")
    ] = 0
    background_jobs: Annotated[int, Meta(ge=2, le=64, description="Flushes and compactions at once.")] = 2
    block_bytes: Annotated[
        int,
        Meta(ge=KIB, le=MIB, description="A block is what one disk read brings into the cache, neighbours included."),
    ] = 4 * KIB
    bloom_bits_per_key: Annotated[
        int,
        Meta(ge=0, le=32, description="10 lets 1 in 100 searches for an absent key through to the file. 0: no filter."),
    ] = 10
    compression: Annotated[Literal["none", "lz4", "zstd"], Meta(description="Of SSTable blocks.")] = "lz4"
    damaged_log: Annotated[
        Literal["refuse", "truncate"],
        Meta(
            description="When the write-ahead log has a record with a wrong checksum: 'refuse' to start and say so, or "
            "'truncate' the log there, which loses that record and all after it, acknowledged ones included."
        ),
    ] = "refuse"
