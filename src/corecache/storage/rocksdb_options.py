"""From our settings to RocksDB's: how `storage.memory_bytes` is shared out, and when the tree flushes and compacts.

A sixteenth of `memory_bytes`, at most 64 MiB, is for the records read last (`record_cache.py`). A block cache of all
the rest holds what grows with the amount stored: blocks, and with them indexes and Bloom filters (which are cut in
parts, so that a tree larger than the cache does not push itself out), and the memtables, which are charged to it.
Memtables of all column families together are flushed when they reach half of `memory_bytes`.

The column families differ: `records` is the tree that the settings speak of. `log` is written once, cut soon, and read
only at a start. `expiry` and `facts` are small.

RocksDB's own switches that are not derived from a setting are set here, each with its reason, and nowhere else.
"""

import resource
from typing import Final

from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    WriteBufferManager,
)

from corecache.config import KIB, MIB, Storage
from corecache.storage import keyspace

_RECORDS_SHARE: Final = 16
_RECORDS_BYTES_MAX: Final = 64 * MIB
_DELETIONS_WINDOW: Final = 128 * KIB
_DELETIONS_TRIGGER: Final = 32 * KIB
_COMPRESSIONS: Final = {
    "none": DBCompressionType.none,
    "lz4": DBCompressionType.lz4,
    "zstd": DBCompressionType.zstd,
}


def record_cache_bytes(storage: Storage) -> int:
    """Returns what the records read last may have; more would be freed in one go, which the event loop would feel."""
    return min(storage.memory_bytes // _RECORDS_SHARE, _RECORDS_BYTES_MAX)


def block_cache_bytes(storage: Storage) -> int:
    """Returns the size of the block cache."""
    return storage.memory_bytes - record_cache_bytes(storage)


def memtable_bytes(storage: Storage) -> int:
    """Returns the size at which a memtable of records is flushed."""
    return storage.flush_memtable_bytes or max(4 * MIB, storage.memory_bytes // 16)


def database_options(storage: Storage, cache: Cache) -> Options:
    """Returns the options that all column families share."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.enable_statistics()
    options.set_wal_recovery_mode(
        DBRecoveryMode.tolerate_corrupted_tail_records()
        if storage.damaged_log == "refuse"
        else DBRecoveryMode.point_in_time()
    )
    options.set_max_total_wal_size(storage.flush_wal_bytes or storage.memory_bytes // 2)
    options.set_write_buffer_manager(
        WriteBufferManager.new_write_buffer_manager_with_cache(storage.memory_bytes // 2, False, cache)
    )
    options.set_max_background_jobs(storage.background_jobs)
    options.set_max_open_files(_open_files_max(storage))
    if storage.compaction_bytes_per_second:
        options.set_ratelimiter(storage.compaction_bytes_per_second, 100_000, 10)
    # Flushed and compacted files go to the disk as they are written, not in one burst that a sync of the log waits for.
    options.set_bytes_per_sync(MIB)
    # Files that a read was the last to use are deleted by a background thread, not by the reader.
    options.set_avoid_unnecessary_blocking_io(True)
    # RocksDB's own diary: bounded, and without figures that nobody reads.
    options.set_max_log_file_size(4 * MIB)
    options.set_keep_log_file_num(4)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    return options


def family_options(storage: Storage, cache: Cache) -> dict[str, Options]:
    """Returns the options of each column family."""
    whole = memtable_bytes(storage)
    shares = {keyspace.RECORDS: 1, keyspace.LOG: 2, keyspace.EXPIRY: 4, keyspace.FACTS: 8}
    return {name: _family(storage, cache, max(MIB, whole // share)) for name, share in shares.items()}


def _family(storage: Storage, cache: Cache, write_buffer_bytes: int) -> Options:
    options = Options(raw_mode=True)
    options.set_write_buffer_size(write_buffer_bytes)
    options.set_max_write_buffer_number(storage.flush_memtables_max)
    options.set_level_zero_file_num_compaction_trigger(storage.compact_level0_files)
    options.set_level_zero_slowdown_writes_trigger(storage.slow_level0_files)
    options.set_level_zero_stop_writes_trigger(storage.stop_level0_files)
    options.set_max_bytes_for_level_base(storage.compact_level_base_bytes)
    options.set_level_compaction_dynamic_level_bytes(True)
    options.set_target_file_size_base(storage.sstable_bytes)
    # What one compaction writes before it removes what it read fits in the reserve that is kept for it.
    options.set_max_compaction_bytes(
        min(25 * storage.sstable_bytes, max(4 * storage.sstable_bytes, storage.disk_reserve_bytes))
    )
    options.set_compression_type(_COMPRESSIONS[storage.compression]())
    # A file with many tombstones close together, which slow listings down, is compacted though its level is not full.
    options.add_compact_on_deletion_collector_factory(_DELETIONS_WINDOW, _DELETIONS_TRIGGER, 0.0)
    options.set_block_based_table_factory(_tables(storage, cache))
    return options


def _tables(storage: Storage, cache: Cache) -> BlockBasedOptions:
    tables = BlockBasedOptions()
    tables.set_block_cache(cache)
    tables.set_block_size(storage.block_bytes)
    tables.set_format_version(5)
    tables.set_cache_index_and_filter_blocks(True)
    tables.set_pin_l0_filter_and_index_blocks_in_cache(True)
    tables.set_index_type(BlockBasedIndexType.two_level_index_search())
    tables.set_pin_top_level_index_and_filter(True)
    if storage.bloom_bits_per_key:
        tables.set_bloom_filter(storage.bloom_bits_per_key, False)
        tables.set_partition_filters(True)
    return tables


def _open_files_max(storage: Storage) -> int:
    """Returns how many SSTables may be open: what the memory for their readers allows, and half the process's limit."""
    of_process = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    of_memory = storage.memory_bytes // (256 * KIB)
    return max(64, of_memory if of_process == resource.RLIM_INFINITY else min(of_memory, of_process // 2))
