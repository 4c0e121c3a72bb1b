"""Opening what crashes and bad disks leave: real damage done to the files of a real database."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corecache.config import Config
from corecache.errors import Broken, CallerFault, CoreCacheError
from corecache.replication.log import Entry
from corecache.storage.directory import DataDirectory
from corecache.storage.rocksdb import RocksStore
from storage.store_lab import NODE, REPLICA, ZERO, config, entry, opened, record

ENTRIES = [entry(number, {b"k%d" % number: record(bytes([number]) * 100, number)}) for number in range(1, 11)]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as a killed process leaves it: ten entries in the log, none applied, nothing flushed."""
    path = tmp_path_factory.mktemp("killed")

    async def fill() -> None:
        async with opened(path / "live", config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            for one in ENTRIES:
                await store.append([(ZERO, one)])
            shutil.copytree(path / "live", path / "copy")

    asyncio.run(fill())
    return path / "copy"


def log_of(directory: Path) -> Path:
    """Returns the write-ahead log of a database that was opened once."""
    (log,) = (directory / "db").glob("*.log")
    return log


def recovered(directory: Path, settings: Config) -> tuple[Entry, ...]:
    """Opens and closes a store and returns the entries that it recovered."""

    async def read() -> tuple[Entry, ...]:
        async with opened(directory, settings) as store:
            node, replicas = store.recovered()
            assert (node is None) == (not replicas)
            return replicas[ZERO].entries if replicas else ()

    return asyncio.run(read())


def refusal(directory: Path, settings: Config) -> CoreCacheError:
    """Returns the error with which a store refuses to open."""

    async def refuse() -> CoreCacheError:
        lock = DataDirectory.open(directory)
        try:
            with pytest.raises(CoreCacheError) as caught:
                await RocksStore.open(lock, settings)
        finally:
            lock.close()
        return caught.value

    return asyncio.run(refuse())


def test_a_record_cut_short_at_the_end_of_the_log_is_dropped(killed: Path, tmp_path: Path) -> None:
    """What a crash in the middle of a write leaves is no damage: the node starts with all that was complete."""
    shutil.copytree(killed, tmp_path / "d")
    log = log_of(tmp_path / "d")
    os.truncate(log, log.stat().st_size - 10)
    assert recovered(tmp_path / "d", config()) == tuple(ENTRIES[:-1])
    assert recovered(tmp_path / "d", config()) == tuple(ENTRIES[:-1])


@pytest.mark.parametrize("from_end", [20, 700], ids=["last", "middle"])
def test_a_damaged_record_is_refused_and_the_message_names_file_and_setting(
    killed: Path, tmp_path: Path, from_end: int
) -> None:
    """A flipped bit in the log stops the start; the message says where, and what `truncate` would lose."""
    shutil.copytree(killed, tmp_path / "d")
    log = log_of(tmp_path / "d")
    flip(log, from_end)
    for _ in range(2):
        error = refusal(tmp_path / "d", config())
        assert isinstance(error, Broken)
        assert error.code == "log_damaged"
        assert str(log) in error.message
        assert 'storage.damaged_log = "truncate"' in error.message
        assert "\n" not in error.message


@pytest.mark.parametrize(("from_end", "kept"), [(20, 9), (700, None)], ids=["last", "middle"])
def test_a_damaged_log_can_be_truncated(killed: Path, tmp_path: Path, from_end: int, kept: int | None) -> None:
    """With `truncate` the node starts with the entries before the damage, and starts again afterwards."""
    shutil.copytree(killed, tmp_path / "d")
    flip(log_of(tmp_path / "d"), from_end)
    entries = recovered(tmp_path / "d", config(damaged_log="truncate"))
    assert entries == tuple(ENTRIES[: len(entries)])
    assert len(entries) == kept if kept is not None else 0 < len(entries) < 9
    assert recovered(tmp_path / "d", config()) == entries


@given(st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_recovery_from_a_log_cut_anywhere_is_a_prefix(
    killed: Path, tmp_path_factory: pytest.TempPathFactory, where: float
) -> None:
    """However much of the log a crash keeps, what is recovered is a prefix of what was appended."""
    directory = tmp_path_factory.mktemp("cut") / "d"
    shutil.copytree(killed, directory)
    log = log_of(directory)
    os.truncate(log, round(where * log.stat().st_size))
    entries = recovered(directory, config())
    assert entries == tuple(ENTRIES[: len(entries)])


def test_damage_in_an_sstable_is_never_served(tmp_path: Path) -> None:
    """A flipped bit in a file gives a clear error, at opening or at the read, and no wrong value."""

    async def fill() -> None:
        async with opened(tmp_path) as store:
            await store.save(NODE, {ZERO: REPLICA})
            await store.apply([(ZERO, entry(1, {b"k%d" % number: record(b"v" * 99, number) for number in range(99)}))])

    asyncio.run(fill())
    largest = max((tmp_path / "db").glob("*.sst"), key=lambda file: file.stat().st_size)
    flip(largest, largest.stat().st_size - 100)

    async def read() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(Broken) as caught:
                await store.get([(ZERO, b"k%d" % number) for number in range(99)])
            assert caught.value.code == "storage_unreadable"
            assert largest.name in caught.value.message

        async with opened(tmp_path) as store:
            with pytest.raises(Broken) as caught:
                await store.compact()
            assert caught.value.code == "storage_failed"

    asyncio.run(read())


def test_files_without_their_current_are_not_taken_for_an_empty_database(killed: Path, tmp_path: Path) -> None:
    """RocksDB would make an empty database of it and remove the files: opening is refused, the files stay."""
    shutil.copytree(killed, tmp_path / "d")
    (tmp_path / "d" / "db" / "CURRENT").unlink()
    assert refusal(tmp_path / "d", config()).code == "storage_corrupt"
    assert log_of(tmp_path / "d").stat().st_size > 1000


def test_a_database_that_another_has_open_is_refused(killed: Path, tmp_path: Path) -> None:
    """RocksDB's own lock is the second line of defence; its refusal becomes ours."""

    async def scene() -> None:
        async with opened(tmp_path / "d"):
            (tmp_path / "d" / "lock").unlink()
            lock = DataDirectory.open(tmp_path / "d")
            with pytest.raises(CallerFault) as caught:
                await RocksStore.open(lock, config())
            assert caught.value.code == "data_dir_locked"
            lock.close()

    asyncio.run(scene())


def test_a_disk_budget_below_its_reserve_is_refused(tmp_path: Path) -> None:
    """With such settings no put would ever be accepted: the start says so, with both names."""
    error = refusal(tmp_path, config(disk_bytes=100, disk_reserve_bytes=100))
    assert error.code == "disk_budget_too_small"
    assert "storage.disk_bytes" in error.message
    assert "storage.disk_reserve_bytes" in error.message


def flip(file: Path, from_end: int) -> None:
    """Flips a bit in a file."""
    raw = bytearray(file.read_bytes())
    raw[-from_end] ^= 1
    file.write_bytes(raw)
