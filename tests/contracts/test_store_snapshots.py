"""What every `ports.Store` promises of snapshots and digests: the records as of one applied sequence."""

import asyncio
from pathlib import Path

import pytest

from contracts.store_ground import KINDS, PARTITIONS, PLENTY, Ground, Play, on
from corecache.errors import Broken
from corecache.identity import Epoch, Sequence, Version
from corecache.operations import Record
from corecache.ports import Snapshot
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint
from storage.store_lab import ONE, ZERO, entry, record

Pairs = list[tuple[bytes, Record]]


@pytest.fixture(params=KINDS)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a scene on a fresh ground of one kind."""
    return on(request.param, tmp_path)


async def read_all(snapshot: Snapshot, bytes_max: int) -> tuple[Pairs, int]:
    """Returns all records of a snapshot and the number of pieces in which they came."""
    found: Pairs = []
    pieces, last = 0, False
    while not last:
        records, last = await snapshot.read(bytes_max)
        assert records or last
        found += records
        pieces += 1
    return found, pieces


def numbered(count: int) -> dict[bytes, Record | None]:
    """Returns records under the keys 000, 001 and so on."""
    return {b"%03d" % number: record(b"v" * 100, number + 1) for number in range(count)}


def test_a_snapshot_has_all_records_of_its_partition_in_order(play: Play) -> None:
    """Its pieces, of whatever size, are the partition's records in the order of their keys, and know which is last."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        changes = numbered(50) | {b"\xff" * 8192: record(b"", 51), b"\0": record(bytes(5000), 52, 7)}
        await store.apply([(ONE, entry(1, changes, epoch=3)), (ZERO, entry(1, {b"k": record(b"w", 1)}))])
        expected = sorted(changes.items())
        for bytes_max, wanted in [(0, 52), (1, 52), (1270, 7), (PLENTY, 1)]:
            snapshot = store.snapshot(ONE)
            assert snapshot.point == AppliedPoint(Sequence(1), Epoch(3), Version(52))
            found, pieces = await read_all(snapshot, bytes_max)
            assert found == expected
            assert pieces == wanted
            assert await snapshot.read(PLENTY) == ([], True)
            snapshot.close()
        await store.close()

    play(scene)


def test_large_pieces_end_where_small_ones_would(play: Play) -> None:
    """A piece of many megabytes ends after the record that reaches its size, neither before nor later."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        await store.apply([(ZERO, entry(1, {b"%d" % number: record(bytes(700_000), 1) for number in range(9)}))])
        size = 1 + 24 + 700_000
        for bytes_max, count in [(4 * size, 4), (4 * size + 1, 5), (9 * size, 9), (PLENTY, 9)]:
            snapshot = store.snapshot(ZERO)
            records, last = await snapshot.read(bytes_max)
            assert (len(records), last) == (count, count == 9)
            assert len((await snapshot.read(PLENTY))[0]) == 9 - count
            snapshot.close()
        await store.close()

    play(scene)


def test_an_empty_partition_has_an_empty_snapshot(play: Play) -> None:
    """A partition to which nothing was applied gives no record, and says so."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        await store.apply([(ONE, entry(1, numbered(3)))])
        snapshot = store.snapshot(ZERO)
        assert snapshot.point == NOTHING_APPLIED
        assert await snapshot.read(PLENTY) == ([], True)
        snapshot.close()
        await store.close()

    play(scene)


def test_a_snapshot_shows_nothing_that_happens_after_it(play: Play) -> None:
    """Whatever is applied, flushed, compacted or dropped, a snapshot gives the records as they were at its making."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        before = numbered(200)
        await store.apply([(ZERO, entry(1, before))])
        snapshot, unread = store.snapshot(ZERO), store.snapshot(ZERO)
        found, _ = await snapshot.read(1000)
        await store.apply([(ZERO, entry(2, dict.fromkeys(before) | {b"100x": record(b"new", 300)}))])
        await store.flush()
        await store.compact()
        found += (await snapshot.read(1000))[0]
        await store.discard(ZERO)
        await store.flush()
        await store.compact()
        found += (await read_all(snapshot, 1000))[0]
        assert found == sorted(before.items())
        assert (await read_all(unread, PLENTY))[0] == sorted(before.items())
        assert snapshot.point == unread.point == AppliedPoint(Sequence(1), Epoch(1), Version(200))
        snapshot.close()
        unread.close()
        await store.close()

    play(scene)


def test_a_snapshot_taken_while_writes_are_under_way_is_of_its_point(play: Play) -> None:
    """However writes and snapshots interleave, each snapshot has exactly what its point says was applied."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()

        async def write() -> None:
            for step in range(1, 101):
                await store.apply([(ZERO, entry(step, {b"a": record(b"%d" % step, step), b"b%d" % step: None}))])
                await asyncio.sleep(0)

        async def look() -> None:
            for _ in range(30):
                snapshot = store.snapshot(ZERO)
                found, _ = await read_all(snapshot, PLENTY)
                snapshot.close()
                step = snapshot.point.sequence
                assert found == ([(b"a", record(b"%d" % step, step))] if step else [])

        await asyncio.gather(write(), look(), look())
        await store.close()

    play(scene)


def test_a_closed_snapshot_gives_nothing_more(play: Play) -> None:
    """It can be closed twice, unread, or while it is read; the read under way ends, later ones raise Broken."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        await store.apply([(ZERO, entry(1, numbered(500)))])
        for _ in range(5):
            snapshot = store.snapshot(ZERO)
            reading = asyncio.create_task(snapshot.read(20_000))
            await asyncio.sleep(0)
            snapshot.close()
            snapshot.close()
            (answer,) = await asyncio.gather(reading, return_exceptions=True)
            assert isinstance(answer, Broken | tuple)
            with pytest.raises(Broken):
                await snapshot.read(1)
        store.snapshot(ZERO).close()
        await store.close()

    play(scene)


def test_a_store_closes_with_snapshots_open(play: Play) -> None:
    """A snapshot that nobody closed does not keep the store from closing, nor the disk from being opened again."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        await store.apply([(ZERO, entry(1, numbered(10)))])
        snapshot = store.snapshot(ZERO)
        begun = store.snapshot(ZERO)
        await begun.read(1)
        await store.close()
        again = await ground.open()
        assert again.recovered()[1][ZERO].applied.sequence == 1
        for closed in (snapshot, begun):
            with pytest.raises(Broken):
                await closed.read(1)
            closed.close()
        await again.close()

    play(scene)


def test_equal_records_have_equal_digests(play: Play) -> None:
    """However they came to be, and after flush, compaction and opening again; the sequence is the applied one."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        changes = numbered(300) | {b"e": record(bytes(2_000_000), 301, 9)}
        await store.apply([(ZERO, entry(1, changes))])
        for step, (key, value) in enumerate(reversed(changes.items()), 1):
            await store.apply([(ONE, entry(step, {key: value, b"gone": record(b"x", 999)}))])
        await store.apply([(ONE, entry(302, {b"gone": None}))])
        sequence, checksum = await store.digest(ZERO)
        assert sequence == 1
        assert await store.digest(ONE) == (302, checksum)
        await store.compact()
        assert await store.digest(ZERO) == (1, checksum)
        await store.close()
        again = await ground.open()
        assert await again.digest(ONE) == (302, checksum)
        await again.close()

    play(scene)


def test_different_records_have_different_digests(play: Play) -> None:
    """A key, a byte of a value, a version, a date, or bytes that wander from one record to the next: each shows."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        seen = {(await store.digest(ZERO))[1]}
        contents: list[dict[bytes, Record | None]] = [
            {b"a": record(b"1", 1)},
            {b"b": record(b"1", 1)},
            {b"a": record(b"2", 1)},
            {b"a": record(b"1", 2)},
            {b"a": record(b"1", 1, 5)},
            {b"a": record(b"", 1), b"b": record(b"", 1)},
            {b"ab": record(b"", 1)},
        ]
        for step, content in enumerate(contents, 1):
            await store.apply([(ZERO, entry(step, dict.fromkeys([b"a", b"b", b"ab"]) | content))])
            seen.add((await store.digest(ZERO))[1])
        assert len(seen) == len(contents) + 1
        assert len({(await store.digest(partition))[1] for partition in PARTITIONS}) == 2
        await store.close()

    play(scene)
