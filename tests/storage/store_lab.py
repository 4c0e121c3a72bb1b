"""What the tests of stores share: short ways to entries, configurations and open stores."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from corecache.config import MIB, Config, Replication, Storage
from corecache.identity import (
    Epoch,
    Incarnation,
    Milliseconds,
    NodeId,
    PartitionId,
    ReplicaId,
    Sequence,
    Timestamp,
    Version,
)
from corecache.operations import NEVER, Record, Resolved
from corecache.ports import Store
from corecache.replication.log import Entry
from corecache.replication.recovered import NodeFacts, ReplicaFacts
from corecache.storage.directory import DataDirectory
from corecache.storage.rocksdb import RocksStore

ZERO = PartitionId(0)
ONE = PartitionId(1)
NODE = NodeFacts("red", 16, NodeId("n1"), Incarnation(3), Milliseconds(0))
REPLICA = ReplicaFacts(ReplicaId("r1"), Epoch(2))
DEADLINE_S = 30.0


def record(value: bytes, version: int, expires: int = NEVER) -> Record:
    """Returns a record whose timestamp can be told from its version."""
    return Record(value, Version(version), Timestamp(1_000_000 + version), Timestamp(expires))


def entry(sequence: int, changes: Mapping[bytes, Record | None] | None = None, epoch: int = 1) -> Entry:
    """Returns a log entry that changes these keys."""
    operations = tuple(Resolved(key, changed) for key, changed in (changes or {}).items())
    return Entry(Epoch(epoch), Sequence(sequence), operations)


def config(durability: str = "os", **storage: Any) -> Config:
    """Returns a configuration with these storage settings; small memory, and no sync unless a test is about it."""
    settings = msgspec.convert({"memory_bytes": 32 * MIB, "disk_reserve_bytes": 0, **storage}, Storage)
    return Config(storage=settings, replication=msgspec.convert({"durability": durability}, Replication))


@asynccontextmanager
async def opened(path: Path, settings: Config | None = None) -> AsyncIterator[RocksStore]:
    """Opens a store in a data directory and closes it."""
    store = await RocksStore.open(DataDirectory.open(path), settings or config())
    try:
        yield store
    finally:
        await store.close()


async def put_many(store: Store, first: int, changes: Mapping[bytes, Record | None], step: int = 500) -> int:
    """Applies changes to partition 0 in entries of `step` operations from sequence `first`; returns the next one."""
    items = list(changes.items())
    for at in range(0, len(items), step):
        await store.apply([(ZERO, entry(first, dict(items[at : at + step])))])
        first += 1
    return first
