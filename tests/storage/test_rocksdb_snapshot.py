"""Snapshots on RocksDB: what they cost the others, and what a damaged file does to them."""

import asyncio
from pathlib import Path

import pytest

from corecache.config import MIB
from corecache.errors import Broken
from corecache.operations import Record
from storage.store_lab import NODE, REPLICA, ZERO, config, entry, opened, put_many, record

RECORDS: dict[bytes, Record | None] = {b"%06d" % number: record(b"v" * 1000, number + 1) for number in range(8000)}


def test_a_snapshot_does_not_push_the_blocks_of_others_out_of_memory(tmp_path: Path) -> None:
    """Reading a whole partition leaves the block cache as it was, but for the files' indexes."""

    async def scene() -> None:
        settings = config(compression="none")
        async with opened(tmp_path, settings) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await put_many(store, 1, RECORDS)
            await store.compact()
        async with opened(tmp_path, settings) as store:
            await store.get([(ZERO, b"000007")])
            before = (await store.report()).cache_bytes
            snapshot, last = store.snapshot(ZERO), False
            read_bytes = 0
            while not last:
                records, last = await snapshot.read(MIB)
                read_bytes += sum(len(one.value) for _, one in records)
            snapshot.close()
            await store.digest(ZERO)
            assert read_bytes == 8_000_000
            assert (await store.report()).cache_bytes - before < MIB
            assert store.peek(ZERO, b"000007") == RECORDS[b"000007"]

    asyncio.run(scene())


def test_an_open_snapshot_keeps_the_files_and_a_closed_one_gives_them_back(tmp_path: Path) -> None:
    """What was compacted away stays on the disk while a snapshot may still read it, and no longer."""

    async def scene() -> None:
        async with opened(tmp_path, config(compression="none")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await put_many(store, 1, RECORDS)
            await store.flush()
            snapshot = store.snapshot(ZERO)
            await store.discard(ZERO)
            await store.compact()
            assert on_disk(tmp_path) > 8_000_000
            assert (await snapshot.read(1))[0] == [(b"000000", RECORDS[b"000000"])]
            snapshot.close()
            async with asyncio.timeout(30):
                while on_disk(tmp_path) > MIB:  # noqa: ASYNC110 - RocksDB removes them on a thread of its own
                    await asyncio.sleep(0.01)

    asyncio.run(scene())


def test_a_damaged_file_breaks_a_snapshot_and_a_digest(tmp_path: Path) -> None:
    """A flipped bit gives a clear error instead of a shorter snapshot; the store can then be closed and opened."""

    async def scene() -> None:
        async with opened(tmp_path, config(compression="none")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await store.apply([(ZERO, entry(1, RECORDS))])
        largest = max((tmp_path / "db").glob("*.sst"), key=lambda file: file.stat().st_size)
        raw = bytearray(largest.read_bytes())
        raw[len(raw) // 2] ^= 1
        largest.write_bytes(raw)
        for _ in range(2):
            async with opened(tmp_path) as store:
                snapshot = store.snapshot(ZERO)
                for broken in (snapshot.read(1 << 30), store.digest(ZERO)):
                    with pytest.raises(Broken) as caught:
                        await broken
                    assert caught.value.code == "storage_unreadable"
                    assert largest.name in caught.value.message
                snapshot.close()

    asyncio.run(scene())


def on_disk(directory: Path) -> int:
    """Returns the bytes of all SSTables."""
    return sum(file.stat().st_size for file in (directory / "db").glob("*.sst") if file.exists())
