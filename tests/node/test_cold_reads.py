"""Reads gathered for the disk: none is forgotten, and none is told another's record."""

import asyncio
from collections.abc import Sequence

from corecache.errors import Broken
from corecache.identity import PartitionId, Timestamp, Version
from corecache.node.cold_reads import ColdReads
from corecache.operations import Record
from corecache.storage.memory import MemoryDisk, MemoryStore

PARTITION = PartitionId(0)


class SlowStore(MemoryStore):
    """A store whose reads wait at a gate, then begin another in the very next turn of the loop."""

    def __init__(self) -> None:
        super().__init__(MemoryDisk())
        self.gate = asyncio.Event()
        self.calls: list[int] = []
        self.afterwards: list[asyncio.Task[Record | None]] = []
        self.reads: ColdReads | None = None
        self.failing = False

    async def get(self, keys: Sequence[tuple[PartitionId, bytes]]) -> list[Record | None]:
        """Returns a record that holds its key. Raises: Broken if `failing`."""
        self.calls.append(len(keys))
        await self.gate.wait()
        if self.failing:
            raise Broken("storage_unreadable", "A read failed; check the disk.")
        if self.reads is not None:
            reads, self.reads = self.reads, None
            self.afterwards.append(asyncio.create_task(reads.get(PARTITION, b"late")))
        return [Record(key, Version(1), Timestamp(1)) for _, key in keys]


def test_a_read_that_comes_in_the_turn_in_which_all_calls_end_is_served() -> None:
    """A call that has taken its last look at the queue does not count as one that will look again."""

    async def test() -> None:
        store = SlowStore()
        reads = ColdReads(store)
        first = asyncio.create_task(reads.get(PARTITION, b"a"))
        await asyncio.sleep(0)
        second = asyncio.create_task(reads.get(PARTITION, b"b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        store.reads = reads
        store.gate.set()
        await asyncio.gather(first, second)
        async with asyncio.timeout(5):
            record = await store.afterwards[0]

        assert record is not None
        assert record.value == b"late"

    asyncio.run(test())


def test_reads_that_come_while_calls_run_share_the_next_one() -> None:
    """Two calls run at once; everything that arrives meanwhile goes together, each gets its own record."""

    async def test() -> None:
        store = SlowStore()
        reads = ColdReads(store)
        tasks = []
        for number in range(40):
            tasks.append(asyncio.create_task(reads.get(PARTITION, b"%d" % number)))
            await asyncio.sleep(0)
        store.gate.set()
        records = await asyncio.gather(*tasks)

        assert [record.value for record in records if record is not None] == [b"%d" % n for n in range(40)]
        assert sum(store.calls) == 40
        assert len(store.calls) < 10

    asyncio.run(test())


def test_a_failed_call_fails_its_own_reads_and_the_next_are_tried_again() -> None:
    """A disk that can't be read is said to whoever asked, each time."""

    async def test() -> None:
        store = SlowStore()
        store.gate.set()
        reads = ColdReads(store)
        store.failing = True
        outcome = (await asyncio.gather(reads.get(PARTITION, b"a"), return_exceptions=True))[0]
        store.failing = False
        record = await reads.get(PARTITION, b"a")

        assert isinstance(outcome, Broken)
        assert record is not None

    asyncio.run(test())
