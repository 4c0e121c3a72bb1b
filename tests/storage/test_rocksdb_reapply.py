"""A power cut takes the end of an older write-ahead log and leaves a newer one: nothing that was synced is missing.

The logs are RocksDB's own. What the power cut takes is cut off them as a disk may lose it: nothing below the length
that the older log had at its last sync.
"""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from rocksdict import WriteBatch

from corecache.errors import CoreCacheError
from corecache.identity import Epoch, PartitionId, Sequence, Timestamp, Version
from corecache.replication.recovered import AppliedPoint
from corecache.storage import keyspace, rocksdb_reapply
from corecache.storage.rocksdb import RocksStore
from storage.store_lab import NODE, REPLICA, ZERO, config, entry, opened, record

ENTRIES = [entry(number, {b"k%d" % number: record(b"v" * 100, number, expires=number)}) for number in range(1, 6)]
PAIRS = [(ZERO, one) for one in ENTRIES]


def logs(directory: Path) -> list[Path]:
    """Returns the write-ahead logs, oldest first."""
    return sorted((directory / "db").glob("*.log"), key=lambda file: int(file.stem))


def switch_logs(store: RocksStore, path: Path) -> None:
    """Has RocksDB begin another write-ahead log: a family that is flushed does that. Records stay in memory."""
    before = logs(path)
    store._families[keyspace.LOG].flush()
    assert logs(path)[-1] not in before


@pytest.fixture(scope="module", params=["between two batches", "within a batch", "of a batch of several blocks"])
def holed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with five entries in the log, the first and the third applied for all that one can see."""
    path = tmp_path_factory.mktemp("holed")
    live, left = path / "live", path / "left"
    large = [entry(2, {b"k2": record(bytes(100_000), 2, expires=2)})] if "several" in request.param else []

    async def fill() -> None:
        async with opened(live, config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await store.append([*PAIRS[:1], *[(ZERO, one) for one in large or ENTRIES[1:2]], *PAIRS[2:]])
            await store.apply(PAIRS[:1])
            await store.append([(PartitionId(1), entry(1))])
            (log,) = logs(live)
            synced_bytes = log.stat().st_size
            await store.apply([(ZERO, (large or ENTRIES[1:2])[0])])
            switch_logs(store, live)
            await store.apply(PAIRS[2:3])
            shutil.copytree(live, left)
            more_bytes = {"b": 0, "w": 10, "o": 50_000}[request.param[0]]
            os.truncate(left / "db" / log.name, synced_bytes + more_bytes)

    asyncio.run(fill())
    return left


def test_what_was_applied_before_the_applied_point_is_there(holed: Path, tmp_path: Path) -> None:
    """The entries that the log holds are applied again, with their places in the index of what expires."""
    shutil.copytree(holed, tmp_path / "d")

    async def read() -> None:
        async with opened(tmp_path / "d", config("fsync")) as store:
            recovered = store.recovered()[1][ZERO]
            assert recovered.applied == AppliedPoint(Sequence(3), Epoch(1), Version(3))
            assert [one.sequence for one in recovered.entries] == [4, 5]
            found = await store.get([(ZERO, b"k%d" % number) for number in range(1, 6)])
            assert [one.version if one is not None else None for one in found] == [1, 2, 3, None, None]
            due = await store.expired(Timestamp(100), 10)
            assert sorted(key for _, key, _ in due) == [b"k1", b"k2", b"k3"]

    for _ in range(2):
        asyncio.run(read())


@pytest.mark.parametrize("batches", [0, 1, 2, 3])
def test_a_start_that_ends_in_the_middle_of_it_does_no_harm(
    holed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """The next one does all of it again: the logs that told are gone, and what was applied again may be old."""
    shutil.copytree(holed, tmp_path / "d")
    written = 0

    class Ended(Exception):
        """The process ends here."""

    def batch(**details: bool) -> WriteBatch:
        nonlocal written
        if written == batches:
            shutil.copytree(tmp_path / "d", tmp_path / "ended")
            raise Ended
        written += 1
        return WriteBatch(**details)

    async def scene() -> None:
        with monkeypatch.context() as during:
            during.setattr(rocksdb_reapply, "_BATCH_BYTES", 1)
            during.setattr(rocksdb_reapply, "WriteBatch", batch)
            if batches < 3:
                with pytest.raises(CoreCacheError):
                    async with opened(tmp_path / "d", config("fsync")):
                        raise AssertionError("it was not interrupted")
            else:
                async with opened(tmp_path / "d", config("fsync")):
                    shutil.copytree(tmp_path / "d", tmp_path / "ended")
        async with opened(tmp_path / "ended", config("fsync")) as store:
            found = await store.get([(ZERO, b"k%d" % number) for number in range(1, 4)])
            assert [one.version if one is not None else None for one in found] == [1, 2, 3]

    asyncio.run(scene())


def test_a_key_does_not_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One key, written often: what is applied again in parts is old until the last of them."""
    pairs = [(ZERO, entry(number, {b"k": record(b"v" * 100, number)})) for number in range(1, 6)]
    made: list[Path] = []

    def batch(**details: bool) -> WriteBatch:
        made.append(Path(shutil.copytree(tmp_path / "left", tmp_path / f"ended{len(made)}")))
        return WriteBatch(**details)

    async def scene() -> None:
        async with opened(tmp_path / "live", config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await store.append(pairs)
            await store.apply(pairs[:1])
            await store.append([(PartitionId(1), entry(1))])
            (log,) = logs(tmp_path / "live")
            synced_bytes = log.stat().st_size
            await store.apply(pairs[1:2])
            switch_logs(store, tmp_path / "live")
            await store.apply(pairs[2:])
            shutil.copytree(tmp_path / "live", tmp_path / "left")
        os.truncate(tmp_path / "left" / "db" / log.name, synced_bytes)
        with monkeypatch.context() as during:
            during.setattr(rocksdb_reapply, "_BATCH_BYTES", 1)
            during.setattr(rocksdb_reapply, "WriteBatch", batch)
            async with opened(tmp_path / "left", config("fsync")):
                pass
        assert len(made) == 5
        for path in (tmp_path / "left", *made):
            async with opened(path, config("fsync")) as store:
                (found,) = await store.get([(ZERO, b"k")])
                assert found is not None
                assert found.version == 5

    asyncio.run(scene())


def test_where_nothing_is_missing_nothing_is_applied_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary stop or crash leaves logs that follow on, however many: what takes time is not done."""

    async def scene() -> None:
        async with opened(tmp_path / "live", config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            for pair in PAIRS:
                await store.append([pair])
                switch_logs(store, tmp_path / "live")
                await store.apply([pair])
            assert len(logs(tmp_path / "live")) > 3
            shutil.copytree(tmp_path / "live", tmp_path / "copy")
        monkeypatch.setattr("corecache.storage.rocksdb_opening.reapply", None)
        for directory in ("live", "copy"):
            async with opened(tmp_path / directory, config("fsync")) as store:
                assert len(await store.get([(ZERO, b"k1")])) == 1

    asyncio.run(scene())


def noting_syncs(store: RocksStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list that grows by the log's first sequence with each sync that begins from now on."""
    begun: list[int] = []
    sync = store._writer.sync

    async def noted() -> None:
        first = await store.read_log(ZERO, Sequence(store._cut.get(ZERO, 0)), Sequence(99), 1 << 20)
        begun.append(first[0].sequence)
        await sync()

    monkeypatch.setattr(store._writer, "sync", noted)
    return begun


def test_an_entry_is_cut_when_a_sync_has_covered_its_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its records could be lost, and nobody could apply it again; but no sync is made that was made already."""

    async def scene() -> None:
        async with opened(tmp_path, config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await store.append(PAIRS[:4])
            await store.apply(PAIRS[:3])
            begun = noting_syncs(store, monkeypatch)
            await store.cut({ZERO: Sequence(2)})
            assert begun == [1]
            await store.cut({ZERO: Sequence(3)})
            assert begun == [1]
            await store.apply(PAIRS[3:4])
            await store.append(PAIRS[4:])
            assert begun == [1, 4]
            await store.cut({ZERO: Sequence(4)})
            assert begun == [1, 4]
            await store.apply(PAIRS[4:])
            await store.cut({ZERO: Sequence(5)})
            assert begun == [1, 4, 5]

    asyncio.run(scene())


def test_a_replica_that_was_emptied_has_nothing_applied_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sequences may come again, with other entries."""

    async def scene() -> None:
        async with opened(tmp_path, config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await store.append(PAIRS)
            await store.apply(PAIRS)
            await store.append([(PartitionId(1), entry(1))])
            await store.begin_install(ZERO, REPLICA)
            await store.install(ZERO, [], (REPLICA, AppliedPoint(Sequence(1), Epoch(1), Version(1))))
            await store.append(PAIRS[1:4])
            await store.apply(PAIRS[1:4])
            begun = noting_syncs(store, monkeypatch)
            await store.cut({ZERO: Sequence(3)})
            assert begun == [2]

    asyncio.run(scene())
