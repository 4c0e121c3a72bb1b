"""The judge of write-ahead logs: torn or damaged, on a real log whose bytes are spoilt in every way we know."""

import asyncio
import os
import shutil
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corecache.errors import Broken
from corecache.storage.directory import DataDirectory
from corecache.storage.rocksdb import RocksStore
from corecache.storage.rocksdb_log import BLOCK_BYTES, HEADER_BYTES, LogDamage, crc32c, span_of, torn_at
from storage.store_lab import NODE, REPLICA, ZERO, config, entry, opened, record

SIZES = {"small": (20, 50), "blocks": (20, 2000), "large": (50_000, 5)}
Physical = tuple[int, int, int]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data directories as killed processes leave them, each with so many entries of such a size in the log."""
    path = tmp_path_factory.mktemp("killed")

    async def fill(name: str, length: int, count: int) -> None:
        async with opened(path / "live" / name, config("fsync")) as store:
            await store.save(NODE, {ZERO: REPLICA})
            entries = [(ZERO, entry(step, {b"k": record(os.urandom(length), step)})) for step in range(1, count + 1)]
            for one in entries:
                await store.append([one])
            shutil.copytree(path / "live" / name, path / name)

    for name, (length, count) in SIZES.items():
        asyncio.run(fill(name, length, count))
    return {name: path / name for name in SIZES}


def log_of(directory: Path) -> Path:
    """Returns the write-ahead log of a database that was opened once."""
    (log,) = (directory / "db").glob("*.log")
    return log


def records_of(log: bytes | bytearray) -> list[Physical]:
    """Returns place, length of content and kind of every physical record."""
    records, at = [], 0
    while at + HEADER_BYTES <= len(log):
        if BLOCK_BYTES - at % BLOCK_BYTES < HEADER_BYTES:
            at += BLOCK_BYTES - at % BLOCK_BYTES
            continue
        length, kind = struct.unpack_from("<4xHB", log, at)
        records.append((at, length, kind))
        at += HEADER_BYTES + length
    return records


def last_batch(log: bytes) -> int:
    """Returns where the last batch begins."""
    return [at for at, _, kind in records_of(log) if kind in (1, 2)][-1]


def kept(directory: Path, tmp_path: Path, log: bytes) -> int | str:
    """Returns how many entries a start finds with this log, or the code with which it refuses; twice the same."""
    path = tmp_path / "spoilt"
    shutil.copytree(directory, path)
    log_of(path).write_bytes(log)

    async def start() -> int | str:
        lock = DataDirectory.open(path)
        try:
            store = await RocksStore.open(lock, config())
        except Broken as error:
            lock.close()
            return error.code
        found = store.recovered()[1][ZERO].entries
        await store.close()
        assert [one.sequence for one in found] == list(range(1, len(found) + 1))
        return len(found)

    first = asyncio.run(start())
    assert asyncio.run(start()) == first
    return first


@pytest.mark.parametrize("bit", [0x01, 0x10, 0x80])
@pytest.mark.parametrize("byte", [4, 5])
@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("size", SIZES)
def test_a_damaged_length_in_the_last_block_is_damage(
    killed: dict[str, Path], size: str, where: str, byte: int, bit: int
) -> None:
    """A length with a flipped bit never makes what follows, or the record itself, a torn tail."""
    log = bytearray(log_of(killed[size]).read_bytes())
    records = records_of(log)
    late = [one for one in records if one[0] >= (len(log) - 1) // BLOCK_BYTES * BLOCK_BYTES]
    chosen = {"first": late[0], "middle": late[len(late) // 2], "last": late[-1]}[where]
    log[chosen[0] + byte] ^= bit
    with pytest.raises(LogDamage):
        torn_at(bytes(log))


@pytest.mark.parametrize("where", [1, -2, -1], ids=["second", "last but one", "last"])
@pytest.mark.parametrize("size", SIZES)
def test_a_node_refuses_to_start_on_a_damaged_length(
    killed: dict[str, Path], tmp_path: Path, size: str, where: int
) -> None:
    """No acknowledged write vanishes silently behind a length with a flipped bit."""
    log = bytearray(log_of(killed[size]).read_bytes())
    log[records_of(log)[where][0] + 5] ^= 0x80
    assert kept(killed[size], tmp_path, bytes(log)) == "log_damaged"


@pytest.mark.parametrize("spoil", ["header zeroed", "page zeroed", "rest zeroed but the last page"])
@pytest.mark.parametrize("size", ["blocks", "large"])
def test_zeros_before_whole_records_are_damage(killed: dict[str, Path], tmp_path: Path, size: str, spoil: str) -> None:
    """Zeros in the middle are not taken for the end."""
    log = bytearray(log_of(killed[size]).read_bytes())
    records = records_of(log)
    at = records[len(records) // 2][0]
    page = len(log) // 2 // 4096 * 4096
    start, end = {
        "header zeroed": (at + 4, at + 7),
        "page zeroed": (page, page + 4096),
        "rest zeroed but the last page": (page, records[-1][0]),
    }[spoil]
    log[start:end] = bytes(end - start)
    assert kept(killed[size], tmp_path, bytes(log)) == "log_damaged"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
@pytest.mark.parametrize("left", ["zeros", "nothing", "many zeros"])
@pytest.mark.parametrize("size", SIZES)
def test_a_torn_last_batch_is_dropped_and_its_bytes_are_kept(
    killed: dict[str, Path], tmp_path: Path, size: str, left: str, share: float
) -> None:
    """What a power cut leaves of the last write, cut or zeros, is no damage; a copy stays beside the log."""
    log = log_of(killed[size]).read_bytes()
    start = last_batch(log)
    cut = start + round(share * (len(log) - start))
    rest = {"zeros": bytes(len(log) - cut), "nothing": b"", "many zeros": bytes(100_000)}[left]
    assert torn_at(log[:cut] + rest) == (start if share or rest else None)
    assert kept(killed[size], tmp_path, log[:cut] + rest) == SIZES[size][1] - 1
    copies = [file.read_bytes() for file in (tmp_path / "spoilt" / "db").glob("*.torn")]
    assert copies == ([log[start:cut].rstrip(b"\0")] if share or rest else [])


def test_a_checksum_is_the_castagnoli_one() -> None:
    """The check value of RFC 3720's polynomial."""
    assert crc32c(b"123456789") == 0xE3069283


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_judged(killed: dict[str, Path], data: st.DataObject) -> None:
    """Whatever the bytes, the judge gives a place in the file, None, or its one declared error."""
    real = log_of(killed["blocks"]).read_bytes()[: data.draw(st.sampled_from([0, 300, BLOCK_BYTES - 5, 70_000]))]
    spoilt = bytearray(real + data.draw(st.binary(max_size=200)) + bytes(data.draw(st.sampled_from([0, 7, 9000]))))
    for at, byte in data.draw(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4)):
        if spoilt:
            spoilt[round(at * (len(spoilt) - 1))] = byte
    with suppress(LogDamage):
        start = torn_at(bytes(spoilt))
        assert start is None or 0 <= start <= len(spoilt)
    assert span_of(bytes(spoilt)) is None or spoilt


def test_a_log_spans_the_numbers_of_its_changes(killed: dict[str, Path]) -> None:
    """From the first to the one that the next log has to begin with; whatever is behind its last batch."""
    for name in SIZES:
        log = log_of(killed[name]).read_bytes()
        start = last_batch(log)
        last = int.from_bytes(log[start + HEADER_BYTES : start + HEADER_BYTES + 8], "little")
        count = int.from_bytes(log[start + HEADER_BYTES + 8 : start + HEADER_BYTES + 12], "little")
        span = span_of(log)
        assert span is not None
        assert span[0] < span[1] == last + count
        assert span_of(log + bytes(100)) == span
        for torn in (log[:start], log[:-1], log[: start + (len(log) - start) * 9 // 10]):
            assert span_of(torn) == (span[0], last)
    assert span_of(b"") is None
