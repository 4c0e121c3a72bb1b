"""Fetching what conditions and reads in batches need: no more than that, and no more than fits."""

import asyncio

from corecache.errors import CallerFault
from corecache.identity import Epoch, PartitionId, ReplicaId, Sequence, Timestamp, Version
from corecache.node.fetching import fetch
from corecache.operations import Record, Resolved
from corecache.replication.actions import Fetch
from corecache.replication.log import Entry
from corecache.replication.recovered import ReplicaFacts
from corecache.storage.memory import MemoryDisk, MemoryStore

PARTITION = PartitionId(0)


def test_values_are_fetched_where_they_are_wanted_up_to_a_limit() -> None:
    """A condition gets no value; a read does; beyond the limit the key is refused and the others are not."""

    async def test() -> None:
        store = MemoryStore(MemoryDisk())
        records = {b"%02d" % n: Record(bytes(100), Version(n + 1), Timestamp(1)) for n in range(20)}
        entry = Entry(Epoch(1), Sequence(1), tuple(Resolved(key, record) for key, record in records.items()))
        await store.save(None, {PARTITION: ReplicaFacts(ReplicaId("r"), Epoch(1))})
        await store.append([(PARTITION, entry)])
        await store.apply([(PARTITION, entry)])
        read = {b"%02d" % n for n in range(10, 20)}
        fetched = await fetch(store, PARTITION, Fetch(Epoch(1), [*records, b"absent"], read), values_bytes_max=250)

        assert {key for key, record in fetched.records.items() if record and record.value} == {b"10", b"11"}
        assert {key for key, error in fetched.unreadable.items() if isinstance(error, CallerFault)} == read - {
            b"10",
            b"11",
        }
        assert fetched.records[b"absent"] is None
        assert fetched.records[b"00"] == Record(b"", Version(1), Timestamp(1))

    asyncio.run(test())
