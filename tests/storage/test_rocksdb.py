"""What a tree on a disk must do beyond its port: flush, compact, filter and cache without ever being wrong."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from corecache.config import KIB, MIB
from corecache.errors import Broken
from corecache.identity import Sequence, Timestamp
from corecache.operations import Record
from corecache.ports import UNCACHED
from corecache.storage.directory import DataDirectory
from corecache.storage.rocksdb import RocksStore
from storage.store_lab import DEADLINE_S, NODE, ONE, REPLICA, ZERO, config, entry, opened, put_many, record

Changes = dict[bytes, Record | None]


def noise(seed: int, length: int) -> bytes:
    """Returns bytes that do not compress."""
    return random.Random(seed).randbytes(length)


def numbered(count: int, version: int = 1, length: int = 100) -> Changes:
    """Returns records under the keys 000000, 000001, …, each with a value of its own."""
    return {b"%06d" % number: record(noise(version + number, length), version + number) for number in range(count)}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until a condition holds. Raises: TimeoutError after the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110 - what is waited for is RocksDB's, which sets no event
            await asyncio.sleep(0.01)


async def assert_holds(store: RocksStore, expected: Changes) -> None:
    """Asserts that the store has exactly these records in partition 0, by reading and by listing."""
    keys = list(expected)
    assert await store.get([(ZERO, key) for key in keys]) == list(expected.values())
    items, resume = await store.scan([ZERO], b"", None, len(keys) + 1, 1 << 40, True)
    assert resume is None
    assert {item.key: item.record for item in items} == {key: one for key, one in expected.items() if one is not None}


def test_a_put_during_a_flush_is_never_lost(tmp_path: Path) -> None:
    """Puts that arrive while memtables are flushed again and again are all there, then and after opening again."""
    expected: Changes = {}

    async def scene() -> None:
        async with opened(tmp_path, config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            flushing = True
            during = 0

            async def flush() -> None:
                nonlocal flushing
                for _ in range(10):
                    await store.flush()
                flushing = False

            task = asyncio.create_task(flush())
            step = 0
            while flushing or step < 50:
                step += 1
                during += flushing
                changes: Changes = {b"k%d" % (step % 70): record(noise(step, 2000), step)}
                await store.append([(ZERO, entry(step, changes))])
                await store.apply([(ZERO, entry(step, changes))])
                expected.update(changes)
            await task
            assert during > 10
            await assert_holds(store, expected)
        async with opened(tmp_path) as store:
            await assert_holds(store, expected)

    asyncio.run(scene())


def test_after_a_flush_memtables_are_empty_and_every_key_reads(tmp_path: Path) -> None:
    """A flush leaves no entry in memory; records, now in SSTables, read as before."""

    async def scene() -> None:
        expected = numbered(3000)
        async with opened(tmp_path) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await put_many(store, 1, expected)
            before = await store.report()
            assert before.memtable_entries == 3000
            assert before.memtable_bytes > 300_000
            await store.flush()
            after = await store.report()
            assert (after.memtable_entries, after.memtables) == (0, 1)
            assert after.memtable_bytes < 10_000
            assert sum(level.entries for level in after.levels) == 3000
            assert after.sstable_bytes > 300_000
            await assert_holds(store, expected)

    asyncio.run(scene())


def test_a_key_read_once_is_served_from_memory_and_its_neighbours_too(tmp_path: Path) -> None:
    """After one cold read, a peek answers for the key and for those in its block, and no further miss is counted."""

    async def scene() -> None:
        expected = numbered(20_000)
        async with opened(tmp_path) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await put_many(store, 1, expected)
            await store.compact()
        async with opened(tmp_path) as store:
            key = b"010000"
            assert store.peek(ZERO, key) is UNCACHED
            assert await store.get([(ZERO, key)]) == [expected[key]]
            misses = (await store.report()).cache_misses
            assert store.peek(ZERO, key) == expected[key]
            neighbours = [b"%06d" % number for number in range(9_960, 10_041)]
            served = [one for one in neighbours if store.peek(ZERO, one) is not UNCACHED]
            assert len(served) > 10
            assert all(store.peek(ZERO, one) == expected[one] for one in served)
            assert await store.get([(ZERO, one) for one in served]) == [expected[one] for one in served]
            after = await store.report()
            assert after.cache_misses - misses <= len(neighbours) - len(served)
            assert after.cache_bytes > 0

    asyncio.run(scene())


def test_bloom_filters_spare_a_get_of_an_absent_key_the_files(tmp_path: Path) -> None:
    """Of gets of absent keys, RocksDB's own statistics say that nearly all were answered by a filter."""

    async def filtered(path: Path, bits: int) -> tuple[int, int]:
        async with opened(path, config(bloom_bits_per_key=bits, compact_level0_files=50)) as store:
            await store.save(NODE, {ZERO: REPLICA})
            step = 1
            for part in range(5):
                changes = {key + b"%d" % part: one for key, one in numbered(2000).items()}
                step = await put_many(store, step, changes)
                await store.flush()
            assert (await store.report()).levels[0].sstables == 5
            before = await store.report()
            absent = [(ZERO, b"%06dx" % number) for number in range(1000)]
            assert await store.get(absent) == [None] * 1000
            after = await store.report()
            looked_up = after.cache_hits + after.cache_misses - before.cache_hits - before.cache_misses
            return after.filter_useful - before.filter_useful, looked_up

    with_filters, _ = asyncio.run(filtered(tmp_path / "with", 10))
    without_filters, _ = asyncio.run(filtered(tmp_path / "without", 0))
    assert with_filters > 4500
    assert without_filters == 0


def test_a_timestamp_survives_flush_compaction_and_reopening(tmp_path: Path) -> None:
    """Version, timestamp and expiry of a record are those it was accepted with, wherever it is read from."""

    async def scene() -> None:
        expected: Changes = {b"k%d" % number: record(b"v", number + 1, number * 7) for number in range(200)}
        async with opened(tmp_path) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await put_many(store, 1, expected)
            await assert_holds(store, expected)
            await store.flush()
            await assert_holds(store, expected)
            await store.compact()
            await assert_holds(store, expected)
        async with opened(tmp_path) as store:
            await assert_holds(store, expected)

    asyncio.run(scene())


def test_compaction_removes_overwritten_and_deleted_records_from_the_files(tmp_path: Path) -> None:
    """By bytes and by tombstones: what was overwritten and deleted is gone from the files after a compaction."""

    async def scene() -> None:
        async with opened(tmp_path, config(compact_level0_files=50, compression="none")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            step = await put_many(store, 1, numbered(2000, 1, 1000))
            await store.flush()
            step = await put_many(store, step, numbered(2000, 10_000, 1000))
            await store.flush()
            deleted: Changes = dict.fromkeys(list(numbered(2000))[:1500])
            await put_many(store, step, deleted)
            assert (await store.report()).memtable_tombstones == 1500
            await store.flush()
            before = await store.report()
            assert before.tombstones == 1500
            assert before.sstable_bytes > 4_000_000
            await store.compact()
            after = await store.report()
            assert after.tombstones == 0
            assert 500_000 < after.sstable_bytes < 700_000
            assert sum(level.entries for level in after.levels) == 500
            await assert_holds(store, numbered(2000, 10_000, 1000) | deleted)

    asyncio.run(scene())


def test_reads_during_compaction_are_right(tmp_path: Path) -> None:
    """While SSTables are merged, every get, peek and scan gives the value written last."""

    async def scene() -> None:
        async with opened(tmp_path, config(compact_level0_files=50, compaction_bytes_per_second=8 * MIB)) as store:
            await store.save(NODE, {ZERO: REPLICA})
            step = 1
            for version in (1, 100_000):
                expected = numbered(3000, version, 1000)
                step = await put_many(store, step, expected)
                await store.flush()
            compaction = asyncio.create_task(store.compact())
            reads = 0
            while not compaction.done():
                key = b"%06d" % (reads % 3000)
                assert await store.get([(ZERO, key)]) == [expected[key]]
                assert store.peek(ZERO, key) in (expected[key], UNCACHED)
                items, _ = await store.scan([ZERO], key, None, 5, MIB, True)
                assert all(item.record == expected[item.key] for item in items)
                reads += 1
            await compaction
            assert reads > 20
            await assert_holds(store, expected)

    asyncio.run(scene())


def test_flush_and_compaction_at_once(tmp_path: Path) -> None:
    """Flushes, compactions, writes and reads at the same time raise nothing and lose nothing."""

    async def scene() -> None:
        expected: Changes = {}
        async with opened(tmp_path, config(flush_memtable_bytes=256 * KIB, compact_level0_files=2)) as store:
            await store.save(NODE, {ZERO: REPLICA})
            step = 1
            for turn in range(6):
                changes = numbered(800, turn * 10_000 + 1, 400)
                if turn % 2:
                    changes.update(dict.fromkeys(list(changes)[::3]))
                tasks = [asyncio.create_task(call()) for call in (store.flush, store.compact, store.flush)]
                step = await put_many(store, step, changes, 50)
                expected.update(changes)
                await asyncio.gather(*tasks)
                await assert_holds(store, expected)

    asyncio.run(scene())


def test_compaction_works_in_bounded_memory(tmp_path: Path) -> None:
    """Data six times the memory budget is written and compacted by a process that grows by little more than that."""
    ended = subprocess.run(
        [sys.executable, "-c", COMPACTION, str(tmp_path), *sys.path], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    stored_bytes, grown_bytes = map(int, ended.stdout.split())
    assert stored_bytes > 180 * MIB
    assert grown_bytes < 96 * MIB


COMPACTION = """
import sys
path, sys.path[:] = sys.argv[1], sys.argv[2:]
import asyncio, os, pathlib
from storage.store_lab import NODE, REPLICA, ZERO, config, entry, opened, record

def peak_bytes():
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

async def main():
    before = peak_bytes()
    async with opened(pathlib.Path(path), config(compression="none", sstable_bytes=16 << 20)) as store:
        await store.save(NODE, {ZERO: REPLICA})
        block = os.urandom(4000)
        for step in range(1, 501):
            keys = [b"%d" % (step * 7919 % 500 + 1000 * number) for number in range(100)]
            await store.apply([(ZERO, entry(step, {key: record(key + block, step) for key in keys}))])
        await store.compact()
        print((await store.report()).sstable_bytes, peak_bytes() - before)

asyncio.run(main())
"""


def test_writes_are_held_back_while_the_tree_is_stalled_and_keep_their_order(tmp_path: Path) -> None:
    """A stalled tree delays writes without blocking the loop; afterwards all are there, the later over the earlier."""

    async def scene() -> None:
        settings = config(
            flush_memtable_bytes=64 * KIB,
            flush_memtables_max=2,
            compaction_bytes_per_second=2 * MIB,
            compression="none",
        )
        async with opened(tmp_path, settings) as store:
            await store.save(NODE, {ZERO: REPLICA})
            steps = range(1, 161)
            entries = [entry(step, {b"k%d" % (step % 9): record(noise(step, 40_000), step)}) for step in steps]
            tasks = [asyncio.create_task(store.apply([(ZERO, one)])) for one in entries]
            await asyncio.sleep(0)
            held_back = sum(not task.done() for task in tasks)
            turns = 0
            while not all(task.done() for task in tasks):
                await asyncio.sleep(0.001)
                turns += 1
            await asyncio.gather(*tasks)
            assert held_back > 0
            assert turns > 20
            expected: Changes = {}
            for one in entries:
                expected.update({operation.key: operation.record for operation in one.operations})
            await assert_holds(store, expected)

    asyncio.run(scene())


def test_a_failed_write_is_the_last_one(tmp_path: Path) -> None:
    """When a file can't grow, the append raises Broken, as does all that is written later; the acknowledged stays.

    The system's limit on the size of a file stands in for a full disk.
    """
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), *sys.path], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    acknowledged = int(ended.stdout)
    assert acknowledged > 10

    async def scene() -> None:
        async with opened(tmp_path) as store:
            entries = store.recovered()[1][ZERO].entries
            assert [one.sequence for one in entries[:acknowledged]] == list(range(1, acknowledged + 1))

    asyncio.run(scene())


FULL = """
import sys
path, sys.path[:] = sys.argv[1], sys.argv[2:]
import asyncio, os, pathlib, resource, signal
from corecache.errors import Broken
from storage.store_lab import NODE, REPLICA, ZERO, config, entry, opened, record

async def refused(call):
    try:
        await call
    except Broken as error:
        assert error.code == "storage_failed" and path in error.message and "Free space" in error.message, error.message
    else:
        raise AssertionError("accepted")

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with opened(pathlib.Path(path), config("fsync")) as store:
        await store.save(NODE, {ZERO: REPLICA})
        await store.apply([(ZERO, entry(0, {b"k": record(b"v", 1)}))])
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        acknowledged = 0
        while acknowledged < 1000:
            one = entry(acknowledged + 1, {b"big": record(os.urandom(5000), 2)})
            try:
                await store.append([(ZERO, one)])
            except Broken:
                break
            acknowledged += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await refused(store.append([(ZERO, entry(acknowledged + 1))]))
        await refused(store.apply([(ZERO, entry(1))]))
        await refused(store.save(NODE, {}))
        await refused(store.cut({ZERO: 1}))
        await refused(store.begin_install(ZERO, REPLICA))
        await refused(store.install(ZERO, [], None))
        await refused(store.discard(ZERO))
        assert store.peek(ZERO, b"k") == record(b"v", 1)
        assert await store.get([(ZERO, b"k")]) == [record(b"v", 1)]
        print(acknowledged)

asyncio.run(main())
"""


def test_puts_are_refused_at_the_disk_budget_and_accepted_again_after_deletes(tmp_path: Path) -> None:
    """Near the budget `accepts_puts` says no; when records are deleted, room comes back without anybody's help."""

    async def scene() -> None:
        settings = config(disk_bytes=24 * MIB, disk_reserve_bytes=8 * MIB, compression="none")
        async with opened(tmp_path, settings) as store:
            await store.save(NODE, {ZERO: REPLICA})
            assert store.accepts_puts()
            keys = [b"%03d" % number for number in range(120)]
            for step, key in enumerate(keys, 1):
                await store.apply([(ZERO, entry(step, {key: record(noise(step, 200_000), step)}))])

            async def refuses() -> bool:
                return not store.accepts_puts()

            async def accepts() -> bool:
                return store.accepts_puts()

            await until(refuses)
            report = await store.report()
            assert not report.accepts_puts
            assert report.disk_budget_bytes == 24 * MIB
            assert report.disk_used_bytes > 16 * MIB
            await store.apply([(ZERO, entry(121, dict.fromkeys(keys[:110])))])
            await until(accepts)
            assert (await store.report()).disk_used_bytes < 16 * MIB
            assert [one is None for one in await store.get([(ZERO, key) for key in keys])] == [True] * 110 + [
                False
            ] * 10

    asyncio.run(scene())


def test_index_entries_of_overwritten_records_are_removed_when_their_time_comes(tmp_path: Path) -> None:
    """Many stale index entries never hide what is due, however few keys are asked for, and are looked at once."""

    async def scene() -> None:
        async with opened(tmp_path) as store:
            await store.save(NODE, {ZERO: REPLICA})
            for step in range(1, 3001):
                await store.apply([(ZERO, entry(step, {b"often": record(b"", step, step)}))])
            await store.apply([(ZERO, entry(3001, {b"due": record(b"", 3001, 5000)}))])
            found = await store.expired(Timestamp(2999), 1)
            assert found == []
            found = await store.expired(Timestamp(6000), 1)
            assert [key for _, key, _ in found] == [b"often"]
            found = await store.expired(Timestamp(6000), 5)
            assert [key for _, key, _ in found] == [b"often", b"due"]

    asyncio.run(scene())


FAR = 1 << 50


def test_a_key_overwritten_with_an_expiry_takes_the_room_of_one(tmp_path: Path) -> None:
    """Its index keys go with the records they name: overwritten alone, many in one call, after opening, or deleted."""

    async def scene() -> None:
        key = noise(1, 8000)
        async with opened(tmp_path) as store:
            await store.save(NODE, {ZERO: REPLICA})
            for step in range(1, 301):
                await store.apply([(ZERO, entry(step, {key: record(b"v", step, FAR + step)}))])
            await store.apply([(ZERO, entry(step, {key: record(b"v", step, FAR + step)})) for step in range(301, 600)])
            await store.compact()
            assert (await store.report()).sstable_bytes < 100_000
            assert await store.expired(Timestamp(FAR * 2), 9) == [(ZERO, key, record(b"", 599, FAR + 599))]
        async with opened(tmp_path) as store:
            assert await store.get([(ZERO, key)]) == [record(b"v", 599, FAR + 599)]
            await store.apply([(ZERO, entry(step, {key: record(b"v", step, FAR + step)})) for step in range(600, 900)])
            await store.apply([(ZERO, entry(900, {key: None}))])
            await store.compact()
            assert (await store.report()).sstable_bytes < 10_000
            assert await store.expired(Timestamp(FAR * 2), 9) == []

    asyncio.run(scene())


def test_stale_index_keys_give_their_room_back_when_it_is_short(tmp_path: Path) -> None:
    """Index keys of records that were not in memory when they were deleted do not fill the disk until their date."""

    async def scene() -> None:
        settings = config(disk_bytes=20 * MIB, disk_reserve_bytes=8 * MIB, compression="none")
        keys = [noise(number, 8000) for number in range(1800)]
        async with opened(tmp_path, settings) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await put_many(store, 1, {key: record(b"v", at, FAR) for at, key in enumerate(keys[:-1], 1)})
            await store.apply([(ONE, entry(1, {keys[-1]: record(b"v", 1, FAR)}))])
            await store.save(None, {ONE: REPLICA})
        async with opened(tmp_path, settings) as store:
            await store.apply([(ZERO, entry(9, dict.fromkeys(keys[:-1])))])

            async def accepts() -> bool:
                return store.accepts_puts()

            await until(accepts)
            assert (await store.report()).sstable_bytes < 1_000_000
            assert await store.expired(Timestamp(FAR), 9) == [(ONE, keys[-1], record(b"", 1, FAR))]

    asyncio.run(scene())


def test_what_is_due_or_listed_is_not_all_held_in_memory(tmp_path: Path) -> None:
    """A look at 40 due records of 4 MiB, and a listing of one key in 16,384 partitions, need little memory."""
    ended = subprocess.run(
        [sys.executable, "-c", READING, str(tmp_path), *sys.path], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    due_bytes, listed_bytes = map(int, ended.stdout.split())
    assert due_bytes < 96 * MIB
    assert listed_bytes < 64 * MIB


READING = """
import sys
path, sys.path[:] = sys.argv[1], sys.argv[2:]
import asyncio, os, pathlib
from storage.store_lab import NODE, REPLICA, ZERO, config, entry, opened, record

def grown_bytes(name):
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))

async def peak_bytes(call):
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = grown_bytes("VmRSS")
    await call
    return grown_bytes("VmHWM") - before

async def main():
    async with opened(pathlib.Path(path), config(compression="none")) as store:
        await store.save(NODE, {ZERO: REPLICA})
        for key in range(4):
            await store.apply([(one, entry(1, {b"%d" % key: record(os.urandom(3000), 1)})) for one in range(1, 16384)])
        await store.flush()
        listed = await peak_bytes(store.scan(range(1, 16384), b"", None, 1, 1 << 20, True))
        for step in range(1, 41):
            await store.apply([(ZERO, entry(step, {b"%d" % step: record(bytes(4 << 20), step, step)}))])
        await store.flush()
        due = await peak_bytes(store.expired(1000, 1000))
        assert len(await store.expired(1000, 1000)) == 40
        print(due, listed)

asyncio.run(main())
"""


def test_closing_interrupts_a_compaction(tmp_path: Path) -> None:
    """A store closes though a long compaction is under way; that one says so; nothing is lost."""

    async def scene() -> None:
        expected = numbered(5000, 1, 2000)
        settings = config(compact_level0_files=50, compaction_bytes_per_second=512 * KIB, compression="none")
        async with opened(tmp_path, config(compact_level0_files=50, compression="none")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await put_many(store, 1, expected)
            await store.flush()
        store = await RocksStore.open(DataDirectory.open(tmp_path), settings)
        compaction = asyncio.create_task(store.compact())

        async def compacting() -> bool:
            return (await store.report()).running_compactions > 0

        await until(compacting)
        await asyncio.wait_for(store.close(), DEADLINE_S / 2)
        with pytest.raises(Broken):
            await compaction
        async with opened(tmp_path) as again:
            await assert_holds(again, expected)

    asyncio.run(scene())


def test_every_setting_of_the_tree_reaches_rocksdb(tmp_path: Path) -> None:
    """The options file that RocksDB writes has the configured values, for the records and for the whole."""

    async def scene() -> None:
        settings = config(
            flush_memtable_bytes=5 * MIB,
            flush_memtables_max=7,
            flush_wal_bytes=77 * MIB,
            compact_level0_files=6,
            slow_level0_files=21,
            stop_level0_files=37,
            compact_level_base_bytes=99 * MIB,
            sstable_bytes=33 * MIB,
            compression="zstd",
            background_jobs=3,
            block_bytes=8 * KIB,
        )
        async with opened(tmp_path, settings):
            file = max((tmp_path / "db").glob("OPTIONS-*"))
            written = file.read_text()
        records = written.split('[CFOptions "records"]')[1].split("[CFOptions")[0]
        for line in (
            f"write_buffer_size={5 * MIB}",
            "max_write_buffer_number=7",
            "level0_file_num_compaction_trigger=6",
            "level0_slowdown_writes_trigger=21",
            "level0_stop_writes_trigger=37",
            f"max_bytes_for_level_base={99 * MIB}",
            f"target_file_size_base={33 * MIB}",
            "compression=kZSTD",
            f"block_size={8 * KIB}",
        ):
            assert line in records, line
        for line in (f"max_total_wal_size={77 * MIB}", "max_background_jobs=3"):
            assert line in written, line

    asyncio.run(scene())


def test_appends_of_several_partitions_share_one_batch(tmp_path: Path) -> None:
    """Entries of many partitions appended together are recovered for each, and cut for each."""

    async def scene() -> None:
        async with opened(tmp_path, config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA, ONE: REPLICA})
            pairs = [(partition, entry(step)) for step in range(1, 4) for partition in (ZERO, ONE)]
            await store.append(pairs)
            await store.apply(pairs)
            await store.append([(ONE, entry(4))])
            await store.cut({ZERO: Sequence(3), ONE: Sequence(3)})
            await store.flush()
        async with opened(tmp_path) as store:
            replicas = store.recovered()[1]
            assert replicas[ZERO].entries == ()
            assert replicas[ONE].entries == (entry(4),)

    asyncio.run(scene())
