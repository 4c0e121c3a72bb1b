"""Installing on RocksDB: crashes at any byte, range tombstones, bounded memory, stale index keys, older formats."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corecache.config import MIB
from corecache.identity import Epoch, Lineage, ReplicaId, Sequence, Timestamp, Version
from corecache.operations import Record
from corecache.ports import UNCACHED
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, Recovered, ReplicaFacts
from corecache.storage import keyspace
from corecache.storage.directory import FORMAT
from storage.store_lab import NODE, ONE, REPLICA, ZERO, config, entry, opened, put_many, record

T = TypeVar("T")

FRESH = ReplicaFacts(ReplicaId("r2"), Epoch(5), Lineage(2), True)
WHOLE = msgspec.structs.replace(FRESH, installing=False)
POINT = AppliedPoint(Sequence(40), Epoch(4), Version(2000))
OLD: dict[bytes, Record | None] = {b"%03d" % number: record(b"o" * 50, number + 1) for number in range(300)}
NEW = [(b"%04d" % number, record(b"n" * 50, number + 1, number % 2)) for number in range(1000)]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as a process leaves it that was killed after an install: all is in the write-ahead log."""
    path = tmp_path_factory.mktemp("killed")

    async def fill() -> None:
        async with opened(path / "live", config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await put_many(store, 1, OLD)
            await store.append([(ZERO, entry(2))])
            await store.begin_install(ZERO, FRESH)
            await store.install(ZERO, NEW[:600], None)
            await store.install(ZERO, NEW[600:], (WHOLE, POINT))
            shutil.copytree(path / "live", path / "copy")

    asyncio.run(fill())
    return path / "copy"


@given(st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_a_crash_at_any_byte_of_an_install_leaves_the_old_the_marked_or_the_whole(
    killed: Path, tmp_path_factory: pytest.TempPathFactory, where: float
) -> None:
    """However much of the write-ahead log a crash keeps, no part of the new records looks whole, or like the old."""
    directory = tmp_path_factory.mktemp("cut") / "d"
    shutil.copytree(killed, directory)
    (log,) = (directory / "db").glob("*.log")
    os.truncate(log, round(where * log.stat().st_size))

    async def read() -> tuple[Recovered | None, list[tuple[bytes, Record]]]:
        async with opened(directory) as store:
            snapshot = store.snapshot(ZERO)
            records, _ = await snapshot.read(1 << 30)
            return store.recovered()[1].get(ZERO), records

    recovered, records = asyncio.run(read())
    if recovered is None or recovered.facts == REPLICA:
        applied = recovered is not None and recovered.applied.sequence == 1
        assert records == (list(OLD.items()) if applied else [])
    elif recovered.facts == FRESH:
        assert recovered == Recovered(FRESH, NOTHING_APPLIED, ())
        assert records == NEW[: len(records)]
    else:
        assert recovered == Recovered(WHOLE, POINT, (), POINT.sequence)
        assert records == NEW


@pytest.mark.parametrize("place", ["memory", "files", "files that were read"])
def test_records_that_a_range_tombstone_covers_are_seen_by_nobody(tmp_path: Path, place: str) -> None:
    """Wherever the records are, and wherever the tombstone: a peek, a read and a listing see none of them."""

    async def scene() -> None:
        async with opened(tmp_path) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await put_many(store, 1, OLD)
            await store.apply([(ONE, entry(1, OLD))])
            if place != "memory":
                await store.flush()
            if place == "files that were read":
                assert await store.get([(ZERO, key) for key in OLD]) == list(OLD.values())
                assert store.peek(ZERO, b"100") == OLD[b"100"]
            await store.begin_install(ZERO, FRESH)
            for _ in range(2):
                assert all(store.peek(ZERO, key) in (None, UNCACHED) for key in OLD)
                assert await store.get([(ZERO, key) for key in OLD]) == [None] * len(OLD)
                assert await store.scan([ZERO], b"", None, 9, MIB, True) == ([], None)
                assert await store.get([(ONE, key) for key in OLD]) == list(OLD.values())
                await store.flush()
            await store.install(ZERO, NEW, (WHOLE, POINT))
            assert store.peek(ZERO, b"0100") == NEW[100][1]
            await store.compact()
            assert await store.get([(ZERO, key) for key, _ in NEW]) == [one for _, one in NEW]
            assert sum(level.entries for level in (await store.report()).levels) == len(NEW) + len(OLD)

    asyncio.run(scene())


def test_an_index_key_that_comes_back_while_it_is_found_stale_stays(tmp_path: Path) -> None:
    """A look for what expires that began before an install does not remove an index key that the install has put."""

    async def scene() -> None:
        async with opened(tmp_path) as store:
            await store.save(NODE, {ZERO: REPLICA, ONE: REPLICA})
            both = {b"k": record(b"v", 7, 100), b"gone": record(b"v", 8, 100)}
            await store.apply([(ZERO, entry(1, both)), (ONE, entry(1, {b"k": record(b"v", 1, 100)}))])
            await store.begin_install(ZERO, FRESH)
            reader, looked, go_on = store._reader, asyncio.Event(), asyncio.Event()
            read = reader.read

            async def read_and_wait(call: Callable[[], T]) -> T:
                found = await read(call)
                looked.set()
                await go_on.wait()
                return found

            reader.read = read_and_wait  # type: ignore[method-assign]
            look = asyncio.create_task(store.expired(Timestamp(1000), 9))
            await looked.wait()
            await store.install(ZERO, [(b"k", record(b"v", 7, 100))], (WHOLE, POINT))
            go_on.set()
            assert [(partition, key) for partition, key, _ in await look] == [(ONE, b"k")]
            due = [(ZERO, b"k", record(b"", 7, 100)), (ONE, b"k", record(b"", 1, 100))]
            for _ in range(2):
                found = await store.expired(Timestamp(1000), 9)
                assert sorted(found) == sorted(due)

    asyncio.run(scene())


def test_installing_and_reading_work_in_bounded_memory(tmp_path: Path) -> None:
    """A replica six times the memory budget is installed, read as a snapshot and summed up in little more than that."""
    ended = subprocess.run(
        [sys.executable, "-c", TRANSFER, str(tmp_path), *sys.path], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    stored_bytes, grown_bytes = map(int, ended.stdout.split())
    assert stored_bytes > 180 * MIB
    assert grown_bytes < 96 * MIB


TRANSFER = """
import sys
path, sys.path[:] = sys.argv[1], sys.argv[2:]
import asyncio, os, pathlib
from storage.store_lab import NODE, REPLICA, ZERO, config, opened, record
from corecache.replication.recovered import AppliedPoint

def peak_bytes():
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

async def main():
    before = peak_bytes()
    async with opened(pathlib.Path(path), config(compression="none", sstable_bytes=16 << 20)) as store:
        await store.save(NODE, {ZERO: REPLICA})
        await store.begin_install(ZERO, REPLICA)
        block = os.urandom(4000)
        for part in range(200):
            chunk = [(b"%06d" % number, record(block, number + 1)) for number in range(part * 250, part * 250 + 250)]
            await store.install(ZERO, chunk, (REPLICA, AppliedPoint(9, 1, 60_000)) if part == 199 else None)
        snapshot, last, stored = store.snapshot(ZERO), False, 0
        while not last:
            records, last = await snapshot.read(1 << 20)
            stored += sum(len(one.value) for _, one in records)
        snapshot.close()
        await store.digest(ZERO)
        print(stored, peak_bytes() - before)

asyncio.run(main())
"""


def test_a_directory_of_the_first_format_opens_with_all_that_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts as format 1 wrote them are read, of lineage 1 and whole; the directory's format is then ours."""

    async def scene() -> None:
        with monkeypatch.context() as past:
            past.setattr(keyspace, "replica_facts_bytes", lambda facts: bytes.fromhex("92a2723104"))
            async with opened(tmp_path) as store:
                await store.save(NODE, {ZERO: REPLICA})
                await store.append([(ZERO, entry(1)), (ZERO, entry(2))])
                await store.apply([(ZERO, entry(1, {b"k": record(b"v", 3)}))])
        (tmp_path / "format").write_text("corecache data directory, format 1\n")
        async with opened(tmp_path) as store:
            node, replicas = store.recovered()
            assert node == NODE
            facts = ReplicaFacts(ReplicaId("r1"), Epoch(4), Lineage(1), False)
            assert replicas[ZERO] == Recovered(facts, AppliedPoint(Sequence(1), Epoch(1), Version(3)), (entry(2),))
            assert await store.get([(ZERO, b"k")]) == [record(b"v", 3)]
        assert (tmp_path / "format").read_text() == f"corecache data directory, format {FORMAT}\n"

    asyncio.run(scene())


def test_a_replica_is_whole_when_a_sync_has_covered_its_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut may keep a newer log, which says that it is whole, and take records at the end of an older one."""

    async def scene() -> None:
        async with opened(tmp_path / "live", config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await store.begin_install(ZERO, FRESH)
            (log,) = (tmp_path / "live" / "db").glob("*.log")
            synced_bytes = log.stat().st_size
            lengths: list[int] = []
            sync = store._writer.sync

            async def noted() -> None:
                lengths.append(log.stat().st_size)
                await sync()

            monkeypatch.setattr(store._writer, "sync", noted)
            await store.install(ZERO, NEW[:600], None)
            assert lengths == []
            unsynced_bytes = log.stat().st_size
            assert unsynced_bytes > synced_bytes
            await store.install(ZERO, [], (WHOLE, POINT))
            assert lengths[0] == unsynced_bytes
            assert lengths[1] > unsynced_bytes

    asyncio.run(scene())
