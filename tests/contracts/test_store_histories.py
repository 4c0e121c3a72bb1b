"""RocksDB and the memory agree on any history: the store that defines what is right is the other's dumb twin."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.store_ground import PARTITIONS, PLENTY, RocksGround
from corecache.identity import Epoch, Lineage, PartitionId, ReplicaId, Sequence, Timestamp, Version
from corecache.ports import UNCACHED, Store
from corecache.replication.log import Entry
from corecache.replication.recovered import AppliedPoint, ReplicaFacts
from corecache.storage.memory import MemoryDisk, MemoryStore
from storage.store_lab import NODE, REPLICA, entry, record

Changes = dict[bytes, tuple[bytes, int] | None]
Query = tuple[bytes, bytes | None, int, int, bool]

CHANGES = st.dictionaries(
    st.binary(min_size=1, max_size=3),
    st.none() | st.tuples(st.binary(max_size=5), st.sampled_from([0, 0, 5, 10, 15])),
    max_size=6,
)
STEP = st.tuples(
    st.sampled_from(["apply", "apply", "apply", "append", "install"]), st.sampled_from(PARTITIONS), CHANGES
)
AT = st.tuples(st.sampled_from(["truncate", "cut", "discard"]), st.sampled_from(PARTITIONS), st.integers(0, 3))
HISTORY = st.lists(st.one_of(STEP, STEP, AT, st.sampled_from(["flush", "compact", "kill"])), max_size=14)
QUERY = st.tuples(
    st.binary(max_size=2), st.none() | st.binary(max_size=2), st.integers(0, 8), st.integers(0, 30), st.booleans()
)


@given(HISTORY, st.lists(QUERY, min_size=1, max_size=4), st.integers(0, 20), st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_both_stores_agree_on_any_history(
    history: list[object], queries: list[Query], before: int, bytes_max: int
) -> None:
    """After any changes, installs, cuts, flushes, compactions and kills, RocksDB answers as the memory does."""
    with TemporaryDirectory() as path:
        asyncio.run(compare(RocksGround(Path(path)), history, queries, Timestamp(before), bytes_max))


class Logs:
    """How far the logs of a history go, which the replication's own log would know. Both stores are told the same."""

    def __init__(self) -> None:
        self.last = dict.fromkeys(PARTITIONS, 0)
        self.applied = dict.fromkeys(PARTITIONS, 0)
        self.version = 0

    async def happen(self, each: Store, kind: str, partition: PartitionId, change: Changes | int) -> None:
        """Does to one store what a step of a history says."""
        last, applied = self.last[partition], self.applied[partition]
        if not isinstance(change, int):
            changes = {key: one for key, one in change.items() if key[-1] % 2 == partition}
            made = self.entry(last + 1, changes)
            if kind == "install":
                records = sorted((one.key, one.record) for one in made.operations if one.record is not None)
                facts = ReplicaFacts(ReplicaId(f"r{self.version}"), Epoch(1), Lineage(2), True)
                point = AppliedPoint(Sequence(last + 10), Epoch(1), Version(self.version + 10))
                await each.begin_install(partition, facts)
                await each.install(partition, records[:2], None)
                await each.install(partition, records[2:], (REPLICA, point))
                return
            await each.append([(partition, made)])
            if kind == "apply":
                pending = await each.read_log(partition, Sequence(applied), Sequence(last + 1), PLENTY)
                await each.apply([(partition, one) for one in pending])
        elif kind == "truncate":
            await each.append([], {partition: Sequence(max(applied, last - change))})
        elif kind == "cut":
            await each.cut({partition: Sequence(max(0, applied - change))})
        else:
            await each.discard(partition)
            await each.save(NODE, {partition: REPLICA})

    def note(self, kind: str, partition: PartitionId, change: Changes | int) -> None:
        """Notes that a step has happened to every store."""
        last, applied = self.last[partition], self.applied[partition]
        self.version += 10
        if not isinstance(change, int):
            self.last[partition] = last + (10 if kind == "install" else 1)
            if kind != "append":
                self.applied[partition] = self.last[partition]
        elif kind == "truncate":
            self.last[partition] = max(applied, last - change)
        elif kind == "discard":
            self.last[partition] = self.applied[partition] = 0

    def entry(self, sequence: int, changes: Changes) -> Entry:
        """Returns the entry of a step."""
        return entry(
            sequence,
            {
                key: None if change is None else record(change[0], self.version + number, change[1])
                for number, (key, change) in enumerate(changes.items(), 1)
            },
        )


async def compare(
    ground: RocksGround, history: list[object], queries: list[Query], before: Timestamp, bytes_max: int
) -> None:
    """Plays one history on both stores and compares their answers. A key belongs to one partition, by its last byte."""
    disk, logs = MemoryDisk(), Logs()
    twin = MemoryStore(disk)
    store = await ground.begin()
    await twin.save(NODE, dict.fromkeys(PARTITIONS, REPLICA))
    keys = set()
    for happened in history:
        if happened == "kill":
            await ground.kill(store)
            store = await ground.open()
        elif happened == "flush":
            await store.flush()
        elif happened == "compact":
            await store.compact()
        elif isinstance(happened, tuple):
            kind, partition, change = happened
            for each in (store, twin):
                await logs.happen(each, kind, partition, change)
            logs.note(kind, partition, change)
            keys |= {(partition, key) for key in change} if isinstance(change, dict) else set()
    asked = sorted(keys)
    expected = await twin.get(asked)
    assert await store.get(asked) == expected
    for (partition, key), wanted in zip(asked, expected, strict=True):
        assert store.peek(partition, key) in (wanted, UNCACHED)
    for start, end, items_max, page_bytes, values in queries:
        wanted_page = await twin.scan(PARTITIONS, start, end, items_max, page_bytes, values)
        assert await store.scan(PARTITIONS, start, end, items_max, page_bytes, values) == wanted_page
    assert await store.expired(before, 4) == await twin.expired(before, 4)
    for partition in PARTITIONS:
        assert await store.digest(partition) == await twin.digest(partition)
        assert await pieces(store, partition, bytes_max) == await pieces(twin, partition, bytes_max)
        for above in range(logs.last[partition] + 1):
            wanted_log = await twin.read_log(partition, Sequence(above), Sequence(above + 3), bytes_max)
            assert await store.read_log(partition, Sequence(above), Sequence(above + 3), bytes_max) == wanted_log
    await store.close()
    await twin.close()
    store = await ground.open()
    assert store.recovered() == MemoryStore(disk).recovered()
    await store.close()


async def pieces(store: Store, partition: PartitionId, bytes_max: int) -> list[object]:
    """Returns the point and the pieces of a snapshot."""
    snapshot, last = store.snapshot(partition), False
    found: list[object] = [snapshot.point]
    while not last:
        records, last = await snapshot.read(bytes_max)
        found.append(records)
    snapshot.close()
    return found
