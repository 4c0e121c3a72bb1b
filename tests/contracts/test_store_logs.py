"""What every `ports.Store` promises of its logs: adding to their ends, cutting them at both, reading them back."""

from pathlib import Path

import pytest

from contracts.store_ground import KINDS, PARTITIONS, PLENTY, Ground, Play, on
from corecache.errors import Broken
from corecache.identity import Sequence
from corecache.replication.log import Entry
from corecache.storage import keyspace
from storage.store_lab import ONE, ZERO, entry, record


@pytest.fixture(params=KINDS)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a scene on a fresh ground of one kind."""
    return on(request.param, tmp_path)


def test_cut_removes_applied_entries_alone(play: Play) -> None:
    """Entries above the applied point stay, even if a cut reaches further; other partitions are not touched."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        entries = [entry(number) for number in range(1, 6)]
        await store.append([(partition, one) for partition in PARTITIONS for one in entries])
        await store.apply([(ZERO, one) for one in entries[:3]])
        await store.cut({ZERO: Sequence(2)})
        await store.cut({ZERO: Sequence(5)})
        await store.close()

        again = await ground.open()
        replicas = again.recovered()[1]
        assert replicas[ZERO].entries == tuple(entries[3:])
        assert replicas[ONE].entries == tuple(entries)
        await again.close()

    play(scene)


def test_a_hole_in_the_log_is_refused(play: Play) -> None:
    """A log that lacks an entry above the applied point is no log: opening raises Broken."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        await store.append([(ZERO, entry(1)), (ZERO, entry(3))])
        await store.close()
        with pytest.raises(Broken) as caught:
            await ground.open()
        assert caught.value.code == "storage_corrupt"

    play(scene)


def test_what_is_cut_is_recovered(play: Play) -> None:
    """The last sequence cut off a log is known after opening again; 0 where nothing was cut. It never goes back."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        entries = [entry(number) for number in range(1, 6)]
        await store.append([(ZERO, one) for one in entries])
        await store.apply([(ZERO, one) for one in entries[:3]])
        assert [one.cut for one in store.recovered()[1].values()] == []
        await store.cut({ZERO: Sequence(2)})
        await store.cut({ZERO: Sequence(1)})
        await store.close()

        again = await ground.open()
        assert {partition: one.cut for partition, one in again.recovered()[1].items()} == {ZERO: 2, ONE: 0}
        await again.cut({ZERO: Sequence(5)})
        await again.close()
        third = await ground.open()
        assert third.recovered()[1][ZERO].cut == 3
        await third.close()

    play(scene)


def test_a_truncation_and_what_is_appended_after_it_are_one(play: Play) -> None:
    """The end of a log is replaced in one write, also by entries of the same sequences; other logs are not touched."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        old = [entry(number, epoch=1) for number in range(1, 6)]
        new = [entry(number, {b"k": record(b"v", number)}, epoch=2) for number in (4, 5)]
        await store.append([(partition, one) for partition in PARTITIONS for one in old])
        await store.append([(ZERO, one) for one in new], {ZERO: Sequence(3)})
        expected = (*old[:3], *new)
        assert await store.read_log(ZERO, Sequence(0), Sequence(9), PLENTY) == expected
        await ground.kill(store)

        again = await ground.open()
        replicas = again.recovered()[1]
        assert replicas[ZERO].entries == expected
        assert replicas[ONE].entries == tuple(old)
        await again.append([], {ZERO: Sequence(1), ONE: Sequence(5)})
        await ground.kill(again)
        third = await ground.open()
        assert third.recovered()[1][ZERO].entries == (old[0],)
        assert third.recovered()[1][ONE].entries == tuple(old)
        await third.close()

    play(scene)


def test_a_truncation_of_everything_leaves_an_empty_log(play: Play) -> None:
    """A log can be emptied down to its applied point, and goes on from there."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        await store.append([(ZERO, entry(number)) for number in (1, 2, 3)])
        await store.apply([(ZERO, entry(1))])
        await store.cut({ZERO: Sequence(1)})
        await store.append([], {ZERO: Sequence(1)})
        assert await store.read_log(ZERO, Sequence(1), Sequence(9), PLENTY) == ()
        await store.append([(ZERO, entry(2, epoch=7))])
        await store.close()
        again = await ground.open()
        assert again.recovered()[1][ZERO].entries == (entry(2, epoch=7),)
        assert again.recovered()[1][ZERO].cut == 1
        await again.close()

    play(scene)


def test_a_log_is_read_from_one_sequence_to_another(play: Play) -> None:
    """Entries come in order, none outside the range, none of another partition, applied ones too until they are cut."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        entries = [entry(number, {b"k": record(b"v" * number, number)}) for number in range(1, 10)]
        await store.append([(ZERO, one) for one in entries])
        await store.append([(ONE, entry(1))])
        await store.apply([(ZERO, one) for one in entries[:4]])

        async def read(above: int, upto: int) -> tuple[Entry, ...]:
            return await store.read_log(ZERO, Sequence(above), Sequence(upto), PLENTY)

        for above, upto in [(0, 9), (0, 1), (3, 7), (8, 9), (0, 99)]:
            assert await read(above, upto) == tuple(entries[above:upto])
        for above, upto in [(9, 20), (5, 5), (5, 3)]:
            assert await read(above, upto) == ()
        assert await store.read_log(ONE, Sequence(0), Sequence(9), PLENTY) == (entry(1),)
        await store.cut({ZERO: Sequence(2)})
        assert await read(0, 9) == ()
        assert await read(1, 9) == ()
        assert await read(2, 9) == tuple(entries[2:])
        await store.flush()
        assert await read(2, 9) == tuple(entries[2:])
        await store.close()

    play(scene)


def test_what_is_read_of_a_log_is_bounded_in_bytes(play: Play) -> None:
    """As many entries as the bytes hold, encoded, and one at least."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        entries = [entry(number, {b"k": record(bytes(1000), number)}) for number in range(1, 10)]
        await store.append([(ZERO, one) for one in entries])
        size = len(keyspace.entry_bytes(entries[0]))
        for bytes_max, count in [(0, 1), (size, 1), (3 * size - 1, 2), (3 * size, 3), (PLENTY, 5)]:
            found = await store.read_log(ZERO, Sequence(2), Sequence(7), bytes_max)
            assert found == tuple(entries[2 : 2 + count])
        await store.close()

    play(scene)


def test_a_hole_in_what_is_read_is_damage(play: Play) -> None:
    """A log that lacks an entry between two others raises Broken rather than give those before it as all."""

    async def scene(ground: Ground) -> None:
        store = await ground.begin()
        await store.append([(ZERO, entry(number)) for number in (1, 2, 4)])
        with pytest.raises(Broken) as caught:
            await store.read_log(ZERO, Sequence(0), Sequence(9), PLENTY)
        assert caught.value.code == "storage_corrupt"
        assert await store.read_log(ZERO, Sequence(0), Sequence(2), PLENTY) == (entry(1), entry(2))
        await store.close()

    play(scene)
