"""The disk in memory as a tool of tests: what its crashes keep, and how it fails."""

import asyncio

import msgspec
import pytest

from corecache.errors import Broken
from corecache.identity import Epoch, Sequence, Version
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, Recovered
from corecache.storage.memory import MemoryDisk, MemoryStore
from storage.store_lab import NODE, REPLICA, ZERO, entry, record

POINT = AppliedPoint(Sequence(40), Epoch(4), Version(99))


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_crash_keeps_what_was_durable_and_a_prefix_of_the_rest(kept: int) -> None:
    """Writes that were not synced survive as far as the test says, in the order in which they were begun."""

    async def scene() -> None:
        disk = MemoryDisk()
        store = MemoryStore(disk)
        await store.save(NODE, {ZERO: REPLICA})
        await store.append([(ZERO, entry(step)) for step in (1, 2, 3)])
        for step in (1, 2, 3):
            await store.apply([(ZERO, entry(step, {b"k": record(b"v", step)}))])
        disk.crash(kept)
        with pytest.raises(Broken):
            await store.append([(ZERO, entry(4))])
        recovered = MemoryStore(disk).recovered()[1][ZERO]
        assert recovered.applied.sequence == kept
        assert [one.sequence for one in recovered.entries] == [1, 2, 3][kept:]

    asyncio.run(scene())


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_crash_in_an_install_keeps_a_prefix_of_it(kept: int) -> None:
    """The replica is marked, and without a point, as long as the last part is not there."""

    async def scene() -> None:
        disk = MemoryDisk()
        store = MemoryStore(disk)
        await store.save(NODE, {ZERO: REPLICA})
        await store.apply([(ZERO, entry(1, {b"old": record(b"v", 1)}))])
        fresh = msgspec.structs.replace(REPLICA, installing=True)
        await store.begin_install(ZERO, fresh)
        await store.install(ZERO, [(b"a", record(b"v", 8))], None)
        whole = asyncio.create_task(store.install(ZERO, [(b"b", record(b"v", 9))], (REPLICA, POINT)))
        await asyncio.sleep(0)
        disk.crash(kept)
        with pytest.raises(Broken):
            await whole
        again = MemoryStore(disk)
        half, complete = Recovered(fresh, NOTHING_APPLIED, ()), Recovered(REPLICA, POINT, (), POINT.sequence)
        assert again.recovered()[1][ZERO] == (complete if kept == 2 else half)
        assert [key for key, _ in again.snapshot(ZERO).records] == [b"a", b"b"][:kept]

    asyncio.run(scene())


def test_a_crash_answers_nothing_that_was_under_way() -> None:
    """An append that waits for its sync while the disk crashes raises Broken and is gone."""

    async def scene() -> None:
        disk = MemoryDisk()
        store = MemoryStore(disk)
        await store.save(NODE, {ZERO: REPLICA})
        begun = asyncio.create_task(store.append([(ZERO, entry(1))]))
        await asyncio.sleep(0)
        disk.crash()
        with pytest.raises(Broken):
            await begun
        assert MemoryStore(disk).recovered()[1][ZERO].entries == ()

    asyncio.run(scene())


def test_a_failed_disk_refuses_writes_and_answers_reads() -> None:
    """After a failure every write raises Broken with the reason, those under way included; reads go on."""

    async def scene() -> None:
        disk = MemoryDisk()
        store = MemoryStore(disk)
        await store.apply([(ZERO, entry(1, {b"k": record(b"v", 1)}))])
        begun = asyncio.create_task(store.append([(ZERO, entry(2))]))
        await asyncio.sleep(0)
        disk.fail("The disk is on fire.")
        for call in (
            begun,
            store.append([(ZERO, entry(3))]),
            store.save(NODE, {}),
            store.begin_install(ZERO, REPLICA),
            store.install(ZERO, [], None),
            store.discard(ZERO),
        ):
            with pytest.raises(Broken, match="on fire"):
                await call
        assert store.peek(ZERO, b"k") == record(b"v", 1)
        assert (await store.digest(ZERO))[0] == 1

    asyncio.run(scene())
