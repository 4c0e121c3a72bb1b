"""What every `ports.Store` promises of installing a snapshot and of dropping a partition, crashes included."""

import asyncio
from pathlib import Path

import pytest

from contracts.store_ground import KINDS, PARTITIONS, PLENTY, Ground, Play, on, scan_all
from corecache.identity import Epoch, Lineage, ReplicaId, Sequence, Timestamp, Version
from corecache.operations import Record
from corecache.ports import UNCACHED, Item, Store
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, Recovered, ReplicaFacts
from storage.store_lab import NODE, ONE, REPLICA, ZERO, entry, record

FRESH = ReplicaFacts(ReplicaId("r2"), Epoch(5), Lineage(3), True)
WHOLE = ReplicaFacts(ReplicaId("r2"), Epoch(5), Lineage(3), False)
POINT = AppliedPoint(Sequence(40), Epoch(4), Version(99))
OLD: dict[bytes, Record | None] = {b"old": record(b"o", 3), b"both": record(b"o", 4)}
NEW = [(b"both", record(b"n", 4)), (b"new", record(b"n", 99))]


@pytest.fixture(params=KINDS)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a scene on a fresh ground of one kind."""
    return on(request.param, tmp_path)


async def filled(ground: Ground) -> Store:
    """Returns a store whose partitions both have records, a log with a part cut off and entries not applied."""
    store = await ground.begin()
    for partition in PARTITIONS:
        await store.append([(partition, entry(1, OLD)), (partition, entry(2)), (partition, entry(3))])
        await store.apply([(partition, entry(1, OLD)), (partition, entry(2))])
    await store.cut(dict.fromkeys(PARTITIONS, Sequence(1)))
    return store


def test_what_has_been_read_is_gone_with_the_replica(play: Play) -> None:
    """What was read before it was emptied, filled or dropped is not what is there now."""

    async def scene(ground: Ground) -> None:
        store = await filled(ground)
        for _ in range(2):
            assert [store.peek(ZERO, key) for key in OLD] == list(OLD.values())
        await store.begin_install(ZERO, FRESH)
        assert [store.peek(ZERO, key) in (None, UNCACHED) for key in OLD] == [True, True]
        await store.install(ZERO, NEW[:1], None)
        await store.install(ZERO, NEW[1:], (WHOLE, POINT))
        for _ in range(2):
            assert [store.peek(ZERO, key) for key, _ in NEW] == [there for _, there in NEW]
        assert store.peek(ZERO, b"old") in (None, UNCACHED)
        await store.discard(ZERO)
        assert [store.peek(ZERO, key) in (None, UNCACHED) for key, _ in NEW] == [True, True]
        await assert_untouched(store)
        await store.close()

    play(scene)


async def assert_untouched(store: Store) -> None:
    """Asserts that partition 1 is as `filled` made it."""
    assert await store.get([(ONE, key) for key in OLD]) == list(OLD.values())
    assert await store.read_log(ONE, Sequence(1), Sequence(9), PLENTY) == (entry(2), entry(3))


def test_what_begins_to_install_is_empty_and_marked(play: Play) -> None:
    """Records, log, applied point and cut are gone, the new facts are there: at once, and after a kill."""

    async def scene(ground: Ground) -> None:
        store = await filled(ground)
        await store.begin_install(ZERO, FRESH)
        for life in range(2):
            assert [store.peek(ZERO, key) in (None, UNCACHED) for key in OLD] == [True, True]
            assert await store.get([(ZERO, key) for key in OLD]) == [None, None]
            assert [item.key for item in (await store.scan([ZERO], b"", None, 9, PLENTY, True))[0]] == []
            assert await store.read_log(ZERO, Sequence(1), Sequence(9), PLENTY) == ()
            assert store.snapshot(ZERO).point == NOTHING_APPLIED
            await assert_untouched(store)
            if not life:
                await ground.kill(store)
                store = await ground.open()
        assert store.recovered()[1][ZERO] == Recovered(FRESH, NOTHING_APPLIED, ())
        assert store.recovered()[1][ONE].cut == 1
        await store.close()

    play(scene)


def test_what_is_half_installed_is_never_taken_for_whole(play: Play) -> None:
    """After a kill in the middle of an install the replica is marked, without a point or a log, and can begin anew."""

    async def scene(ground: Ground) -> None:
        store = await filled(ground)
        await store.begin_install(ZERO, FRESH)
        await store.install(ZERO, NEW[:1], None)
        assert store.peek(ZERO, b"both") == record(b"n", 4)
        await ground.kill(store)

        again = await ground.open()
        assert again.recovered()[1][ZERO] == Recovered(FRESH, NOTHING_APPLIED, ())
        await again.begin_install(ZERO, FRESH)
        assert await again.get([(ZERO, b"both")]) == [None]
        await again.install(ZERO, NEW[1:], (WHOLE, POINT))
        await ground.kill(again)
        third = await ground.open()
        assert third.recovered()[1][ZERO].facts == WHOLE
        assert await third.get([(ZERO, b"both"), (ZERO, b"new")]) == [None, record(b"n", 99)]
        await third.close()

    play(scene)


def test_what_is_installed_is_whole_and_goes_on(play: Play) -> None:
    """With its last part a replica has facts, point and cut, durably; then its log begins after the point."""

    async def scene(ground: Ground) -> None:
        store = await filled(ground)
        await store.begin_install(ZERO, FRESH)
        await store.install(ZERO, NEW[:1], None)
        await store.install(ZERO, NEW[1:], (WHOLE, POINT))
        assert store.snapshot(ZERO).point == POINT
        await ground.kill(store)

        again = await ground.open()
        assert again.recovered()[1][ZERO] == Recovered(WHOLE, POINT, (), POINT.sequence)
        assert (await again.scan([ZERO], b"", None, 9, PLENTY, True))[0] == [Item(key, one) for key, one in NEW]
        await assert_untouched(again)
        step = entry(41, {b"both": record(b"m", 100)}, epoch=5)
        await again.append([(ZERO, step)])
        await again.apply([(ZERO, step)])
        assert again.snapshot(ZERO).point == AppliedPoint(Sequence(41), Epoch(5), Version(100))
        assert await again.read_log(ZERO, Sequence(40), Sequence(99), PLENTY) == (step,)
        assert await again.read_log(ZERO, Sequence(1), Sequence(99), PLENTY) == ()
        await again.cut({ZERO: Sequence(41)})
        await again.close()
        third = await ground.open()
        assert third.recovered()[1][ZERO].cut == 41
        assert third.recovered()[1][ZERO].entries == ()
        await third.close()

    play(scene)


def test_an_empty_snapshot_can_be_installed(play: Play) -> None:
    """A last part without records makes a replica whole all the same."""

    async def scene(ground: Ground) -> None:
        store = await filled(ground)
        await store.begin_install(ZERO, FRESH)
        await store.install(ZERO, [], None)
        await store.install(ZERO, [], (WHOLE, NOTHING_APPLIED))
        await ground.kill(store)
        again = await ground.open()
        assert again.recovered()[1][ZERO] == Recovered(WHOLE, NOTHING_APPLIED, ())
        await again.close()

    play(scene)


def test_a_snapshot_of_one_store_makes_an_equal_replica_in_another(play: Play) -> None:
    """Read in pieces and installed in parts, a partition has the digest it was read from, and the same expiries."""

    async def scene(ground: Ground) -> None:
        store = await filled(ground)
        changes: dict[bytes, Record | None] = {
            b"%04d" % number: record(b"v" * (number % 300), number + 10, number % 3 * 100) for number in range(2000)
        }
        await store.apply([(ONE, entry(3, changes))])
        await store.begin_install(ZERO, FRESH)
        snapshot, last = store.snapshot(ONE), False
        while not last:
            records, last = await snapshot.read(10_000)
            await store.install(ZERO, records, (WHOLE, snapshot.point) if last else None)
        snapshot.close()
        assert await store.digest(ZERO) == await store.digest(ONE)
        due = await store.expired(Timestamp(100), 9999)
        keys = {partition: [key for owner, key, _ in due if owner == partition] for partition in PARTITIONS}
        assert keys[ZERO] == keys[ONE]
        assert len(keys[ZERO]) == sum(number % 3 == 1 for number in range(2000))
        await store.close()

    play(scene)


def test_expiries_are_those_of_the_installed_records(play: Play) -> None:
    """Also of a key that comes back with the version that it had, and another expiry, the first one again, or none."""

    async def scene(ground: Ground) -> None:
        store = await filled(ground)
        await store.apply([(ZERO, entry(3, {b"k": record(b"v", 7, 100), b"gone": record(b"v", 8, 50)}))])
        for expires in (200, 100, 0, 300, 100):
            await store.begin_install(ZERO, FRESH)
            assert await store.expired(Timestamp(1000), 9) == []
            await store.install(ZERO, [(b"k", record(b"v", 7, expires))], (WHOLE, POINT))
            if expires:
                assert await store.expired(Timestamp(expires - 1), 9) == []
            found = await store.expired(Timestamp(1000), 9)
            assert found == ([(ZERO, b"k", record(b"", 7, expires))] if expires else [])
        await store.apply([(ZERO, entry(41, {b"k": None}))])
        assert await store.expired(Timestamp(1000), 9) == []
        await store.close()

    play(scene)


def test_parts_begun_together_keep_their_order(play: Play) -> None:
    """What is begun after a part comes after it, though the part is large: nothing of it is in what is emptied then."""

    async def scene(ground: Ground) -> None:
        store = await filled(ground)
        large = [(b"%05d" % number, record(b"v" * 50, number + 1)) for number in range(3000)]
        calls = [
            store.begin_install(ZERO, FRESH),
            store.install(ZERO, large, None),
            store.begin_install(ZERO, FRESH),
            store.install(ZERO, NEW[:1], None),
            store.append([(ONE, entry(4))]),
            store.install(ZERO, NEW[1:], (WHOLE, POINT)),
            store.append([(ZERO, entry(41))]),
            store.install(ONE, [], None),
        ]
        await asyncio.gather(*calls)
        await ground.kill(store)
        again = await ground.open()
        assert (await again.scan([ZERO], b"", None, 9, PLENTY, True))[0] == [Item(key, one) for key, one in NEW]
        assert again.recovered()[1][ZERO] == Recovered(WHOLE, POINT, (entry(41),), POINT.sequence)
        assert again.recovered()[1][ONE].entries == (entry(3), entry(4))
        await again.close()

    play(scene)


def test_nothing_is_left_of_what_is_discarded(play: Play) -> None:
    """Records, log, point, cut and facts are gone, durably; a replica of the partition can be made anew."""

    async def scene(ground: Ground) -> None:
        store = await filled(ground)
        await store.discard(ZERO)
        await store.discard(ZERO)
        await ground.kill(store)
        again = await ground.open()
        assert again.recovered()[0] == NODE
        assert list(again.recovered()[1]) == [ONE]
        await assert_untouched(again)
        assert [item.key for item in await scan_all(again)] == sorted(OLD)
        assert await again.read_log(ZERO, Sequence(1), Sequence(9), PLENTY) == ()
        await again.save(None, {ZERO: REPLICA})
        await again.append([(ZERO, entry(1))])
        await again.apply([(ZERO, entry(1))])
        await again.cut({ZERO: Sequence(1)})
        await again.close()
        third = await ground.open()
        expected = AppliedPoint(Sequence(1), Epoch(1), Version(0))
        assert third.recovered()[1][ZERO] == Recovered(REPLICA, expected, (), Sequence(1))
        await third.close()

    play(scene)
