"""What every `ports.Store` promises, run on each implementation; the one in memory defines what is right.

Logs, snapshots and installs have files of their own beside this one, as have histories that are made up at random.
"""

import asyncio
from pathlib import Path

import pytest

from contracts.store_ground import KINDS, PARTITIONS, PLENTY, Ground, Play, on, scan_all
from corecache.errors import Broken
from corecache.identity import Epoch, Sequence, Timestamp, Version
from corecache.operations import Record
from corecache.ports import Item
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, Recovered, ReplicaFacts
from storage.store_lab import NODE, ONE, REPLICA, ZERO, entry, record


@pytest.fixture(params=KINDS)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a scene on a fresh ground of one kind."""
    return on(request.param, tmp_path)


def test_a_fresh_store_holds_nothing(play: Play) -> None:
    """Nothing was recovered, no key has a record, and the listing is empty."""

    async def scene(ground: Ground) -> None:
        store = await ground.open()
        assert store.recovered() == (None, {})
        assert store.peek(ZERO, b"k") is None
        assert await store.get([(ZERO, b"k"), (ONE, b"k")]) == [None, None]
        assert await store.get([]) == []
        assert await scan_all(store) == []
        assert await store.expired(Timestamp(1 << 60), 10) == []
        assert store.accepts_puts()
        await store.close()

    play(scene)


def test_facts_log_and_records_survive_closing(play: Play) -> None:
    """After closing and opening again, facts, records, applied point and the entries above it are what they were."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        written = entry(1, {b"k": record(b"v", 7)}, epoch=2)
        pending = [entry(2, {b"k": None}, epoch=2), entry(3, epoch=3)]
        await store.append([(ZERO, written)])
        await store.apply([(ZERO, written)])
        await store.append([(ZERO, one) for one in pending])
        await store.close()

        again = await ground.open()
        node, replicas = again.recovered()
        assert node == NODE
        applied = AppliedPoint(Sequence(1), Epoch(2), Version(7))
        assert replicas[ZERO] == Recovered(REPLICA, applied, tuple(pending))
        assert replicas[ONE] == Recovered(REPLICA, NOTHING_APPLIED, ())
        assert await again.get([(ZERO, b"k")]) == [record(b"v", 7)]
        await again.close()

    play(scene)


def test_what_was_awaited_of_append_and_save_survives_a_kill(play: Play) -> None:
    """Entries and facts are durable when `append` and `save` return; a kill loses none of them."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        entries = [entry(number, {b"%d" % number: record(b"v", number)}) for number in range(1, 51)]
        await asyncio.gather(*(store.append([(ZERO, one)]) for one in entries))
        await ground.kill(store)

        again = await ground.open()
        node, replicas = again.recovered()
        assert node == NODE
        assert replicas[ZERO].entries == tuple(entries)
        await again.close()

    play(scene)


def test_facts_saved_later_replace_those_saved_before(play: Play) -> None:
    """Saving without a node keeps the node's facts; saving a replica's replaces that one's alone."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        later = ReplicaFacts(REPLICA.replica, Epoch(9))
        await store.save(None, {ONE: later})
        await ground.kill(store)

        again = await ground.open()
        node, replicas = again.recovered()
        assert node == NODE
        assert {partition: replica.facts for partition, replica in replicas.items()} == {ZERO: REPLICA, ONE: later}
        await again.close()

    play(scene)


def test_entries_become_visible_when_they_are_applied(play: Play) -> None:
    """An appended entry changes nothing; an applied one changes all of its keys, in the order of its operations."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        first = entry(1, {b"a": record(b"1", 1), b"b": record(b"2", 2)})
        await store.append([(ZERO, first)])
        assert store.peek(ZERO, b"a") is None
        await store.apply([(ZERO, first)])
        assert store.peek(ZERO, b"a") == record(b"1", 1)
        assert store.peek(ONE, b"a") is None
        await store.apply([(ZERO, entry(2, {b"a": record(b"3", 3)})), (ZERO, entry(3, {b"b": None}))])
        assert await store.get([(ZERO, b"a"), (ZERO, b"b")]) == [record(b"3", 3), None]
        await store.close()

    play(scene)


def test_what_has_been_read_is_read_anew_when_it_has_changed(play: Play) -> None:
    """However often it was read before, and whatever else the same entries change."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        known: dict[bytes, Record | None] = {b"a": record(b"1", 1), b"b": record(b"2", 2), b"c": record(b"3", 3)}
        await store.apply([(ZERO, entry(1, known)), (ONE, entry(1, known))])
        for sequence in range(2, 40):
            for partition in (ZERO, ONE):
                for key, there in known.items():
                    assert store.peek(partition, key) == store.peek(partition, key) == there
                present = {key: there for key, there in known.items() if there is not None}
                assert store.peek_many([partition] * len(present), [*present]) == [*present.values()]
                assert store.peek_many([partition] * 2, [*present, b"absent"][-2:]) is None
            changed = b"abc"[sequence % 3 : sequence % 3 + 1]
            known[changed] = None if sequence % 4 == 1 else record(b"%d" % sequence, sequence + 10)
            of_both = entry(sequence, {changed: known[changed], b"other%d" % sequence: record(b"x", sequence + 100)})
            await store.apply([(ZERO, of_both), (ONE, of_both)])
        assert [store.peek(ZERO, key) for key in known] == list(known.values())
        await store.close()
        for key in known:
            with pytest.raises(Broken):
                store.peek(ZERO, key)

    play(scene)


def test_the_applied_point_has_the_highest_version_ever_given(play: Play) -> None:
    """A deleted key's version still counts, so that it is never given again."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        await store.apply([(ZERO, entry(1, {b"a": record(b"1", 41)})), (ZERO, entry(2, {b"a": None}, epoch=4))])
        await store.close()
        again = await ground.open()
        assert again.recovered()[1][ZERO].applied == AppliedPoint(Sequence(2), Epoch(4), Version(41))
        await again.apply([(ZERO, entry(3, {b"b": record(b"2", 12)}, epoch=4))])
        await again.close()
        third = await ground.open()
        assert third.recovered()[1][ZERO].applied == AppliedPoint(Sequence(3), Epoch(4), Version(41))
        await third.close()

    play(scene)


def test_records_without_facts_are_refused(play: Play) -> None:
    """Records of a partition for which no facts were ever saved are a damaged disk: opening raises Broken."""

    async def scene(ground: Ground) -> None:
        store = await ground.open()
        await store.apply([(ZERO, entry(1))])
        await store.close()
        with pytest.raises(Broken) as caught:
            await ground.open()
        assert caught.value.code == "storage_corrupt"

    play(scene)


def test_any_bytes_come_back(play: Play) -> None:
    """Keys and values may hold any bytes and have any length, from one byte to the longest; and survive a restart."""

    async def scene(ground: Ground) -> None:
        keys = [bytes([number]) for number in range(256)]
        keys += [b"\0\0", b"a:b/c%2F d\n", b"\xff\xfe", b"\xff" * 8192, b"\0" * 8192]
        values = [b"", b"\0", bytes(range(256)) * 40, b"\xff" * 300_000]
        stored = {key: record(values[number % len(values)], number + 1) for number, key in enumerate(keys)}
        store = await ground.begin()
        await store.apply([(ONE, entry(1, stored))])
        await store.flush()
        await store.close()
        again = await ground.open()
        assert await again.get([(ONE, key) for key in stored]) == list(stored.values())
        assert await scan_all(again) == [Item(key, stored[key]) for key in sorted(stored)]
        await again.close()

    play(scene)


def test_a_scan_gives_pages_in_byte_order_over_all_partitions(play: Play) -> None:
    """Pages of any size, joined, are all records in range, in byte order, each once; the last has no resume key."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        keys = [b"%03d" % number for number in range(300)]
        for partition in PARTITIONS:
            changes: dict[bytes, Record | None] = {
                key: record(key * 20, int(key) + 1) for key in keys if int(key) % 2 == partition
            }
            await store.apply([(partition, entry(1, changes))])
        for start, end, items_max in [(b"", None, 7), (b"01", b"05", 300), (b"1", b"2", 99), (b"100", b"200", 100)]:
            found: list[bytes] = []
            resume: bytes | None = start
            while resume is not None:
                items, resume = await store.scan(PARTITIONS, resume, end, items_max, PLENTY, True)
                assert 0 < len(items) <= items_max
                found += [item.key for item in items]
            assert found == [key for key in keys if start <= key and (end is None or key < end)]
        assert await store.scan(PARTITIONS, b"2", b"1", 10, PLENTY, True) == ([], None)
        assert [item.key for item in (await store.scan([ONE], b"", None, 3, PLENTY, True))[0]] == keys[1:7:2]
        await store.close()

    play(scene)


def test_a_scan_ends_after_the_item_that_exceeds_the_bytes(play: Play) -> None:
    """A page holds at least one item, and no more after the one with which it became too large."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        large = {b"a": record(b"x" * 50_000, 1), b"b": record(b"y" * 10, 2), b"c": record(b"z" * 50_000, 3)}
        await store.apply([(ZERO, entry(1, large))])
        assert await store.scan(PARTITIONS, b"", None, 10, 0, True) == ([Item(b"a", large[b"a"])], b"b")
        items, resume = await store.scan(PARTITIONS, b"", None, 10, 50_001, True)
        assert ([item.key for item in items], resume) == ([b"a", b"b"], b"c")
        items, resume = await store.scan(PARTITIONS, b"", None, 10, 3, False)
        assert ([item.key for item in items], resume) == ([b"a", b"b", b"c"], None)
        assert [item.record for item in items] == [
            Record(b"", one.version, one.timestamp, one.expires) for one in large.values()
        ]
        await store.close()

    play(scene)


def test_expired_gives_what_is_due_earliest_first(play: Play) -> None:
    """Only records whose expiry is at or before the date are due, and come without their values; no stale ones are."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        await store.apply(
            [
                (ZERO, entry(1, {b"late": record(b"x" * 9000, 1, 300), b"first": record(b"y", 2, 100)})),
                (ONE, entry(1, {b"second": record(b"", 1, 200), b"gone": record(b"", 2, 50)})),
                (ZERO, entry(2, {b"prolonged": record(b"", 3, 60), b"kept": record(b"", 4, 60)})),
                (ONE, entry(2, {b"gone": None})),
                (ZERO, entry(3, {b"prolonged": record(b"", 5, 250), b"kept": record(b"", 6)})),
            ]
        )
        due = [(ZERO, b"first", 2), (ONE, b"second", 1), (ZERO, b"prolonged", 5), (ZERO, b"late", 1)]
        for before, count in [(99, 0), (100, 1), (200, 2), (299, 3), (300, 4)]:
            found = await store.expired(Timestamp(before), 10)
            assert [(partition, key, one.version) for partition, key, one in found] == due[:count]
            assert all(one.value == b"" for _, _, one in found)
        assert [key for _, key, _ in await store.expired(Timestamp(300), 2)] == [b"first", b"second"]
        await store.close()
        again = await ground.open()
        assert [key for _, key, _ in await again.expired(Timestamp(300), 10)] == [key for _, key, _ in due]
        await again.close()

    play(scene)


def test_a_closed_store_refuses_and_can_be_closed_again(play: Play) -> None:
    """Writes and reads after closing raise Broken; a second close does nothing."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        await store.close()
        await store.close()
        for call in (
            store.append([(ZERO, entry(1))]),
            store.apply([(ZERO, entry(1))]),
            store.save(NODE, {}),
            store.cut({ZERO: Sequence(1)}),
            store.get([(ZERO, b"k")]),
            store.scan(PARTITIONS, b"", None, 1, 1, True),
            store.expired(Timestamp(1), 1),
            store.read_log(ZERO, Sequence(0), Sequence(1), 1),
            store.begin_install(ZERO, REPLICA),
            store.install(ZERO, [], None),
            store.discard(ZERO),
            store.digest(ZERO),
            store.flush(),
            store.compact(),
        ):
            with pytest.raises(Broken):
                await call
        with pytest.raises(Broken):
            store.peek(ZERO, b"k")
        with pytest.raises(Broken):
            store.snapshot(ZERO)

    play(scene)


def test_closing_waits_for_what_was_begun(play: Play) -> None:
    """Appends that were begun before closing are answered, and durable."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        entries = [entry(number) for number in range(1, 21)]
        begun = [asyncio.create_task(store.append([(ZERO, one)])) for one in entries]
        await asyncio.sleep(0)
        await store.close()
        answers = await asyncio.gather(*begun, return_exceptions=True)
        again = await ground.open()
        durable = again.recovered()[1][ZERO].entries
        assert durable[: answers.count(None)] == tuple(entries[: answers.count(None)])
        assert all(answer is None or isinstance(answer, Broken) for answer in answers)
        await again.close()

    play(scene)
