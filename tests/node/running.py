"""A node on memory twins, for tests of `node/`: started, with the means to hold its disk back or to break it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

import msgspec

from corecache.config import Config, Replication
from corecache.coordination.memory import MemoryCoordinator
from corecache.errors import Broken
from corecache.identity import Milliseconds, PartitionId, Timestamp
from corecache.node.driver import Driver
from corecache.node.node import Node
from corecache.node.startup import join, restore, until_ready
from corecache.replication.log import Entry
from corecache.storage.memory import MemoryDisk, MemoryStore


class HandClock:
    """Clocks that a test moves by hand."""

    def __init__(self) -> None:
        self.steady = 1_000
        self.date = 1_700_000_000_000

    def now(self) -> Milliseconds:
        """Returns the steady time."""
        return Milliseconds(self.steady)

    def today(self) -> Timestamp:
        """Returns the date."""
        return Timestamp(self.date)


class GatedStore(MemoryStore):
    """A memory store whose appends wait at a gate, and fail if it is told to."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        super().__init__(disk or MemoryDisk())
        self.gate = asyncio.Event()
        self.gate.set()
        self.rounds: list[int] = []
        self.failing = False

    async def append(self, entries: Sequence[tuple[PartitionId, Entry]]) -> None:
        """Appends when the gate is open. Raises: Broken if `failing`."""
        await self.gate.wait()
        if self.failing:
            raise Broken("storage_failed", "The disk is gone; replace it.")
        self.rounds.append(sum(len(entry.operations) for _, entry in entries))
        await super().append(entries)


class Running:
    """A started node and its parts."""

    def __init__(self, store: GatedStore, clock: HandClock, node: Node, driver: Driver, broken: list[str]) -> None:
        self.store = store
        self.clock = clock
        self.node = node
        self.driver = driver
        self.broken = broken

    def deadline(self, timeout_ms: int = 5000) -> Milliseconds:
        """Returns a deadline from now."""
        return Milliseconds(self.clock.steady + timeout_ms)


def config_of(partitions: int = 4, **replication: int) -> Config:
    """Returns a configuration with few partitions, and limits of replication that a test chooses."""
    cluster = msgspec.structs.replace(Config().cluster, partitions=partitions)
    return Config(cluster=cluster, replication=msgspec.structs.replace(Replication(), **replication))


@asynccontextmanager
async def running(
    config: Config | None = None,
    store: GatedStore | None = None,
    coordinator: MemoryCoordinator | None = None,
    first_id: int = 1,
) -> AsyncIterator[Running]:
    """Starts a node and stops it at the end."""
    config = config or config_of()
    store = store or GatedStore()
    coordinator = coordinator or MemoryCoordinator()
    clock = HandClock()
    ids = count(first_id)
    facts, replicas = await restore(config, store, coordinator, clock, lambda: f"id{next(ids)}")
    broken: list[str] = []
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    driver = Driver(
        replicas, store, coordinator, clock, config.replication, config.limits.batch_bytes_max, broken.append
    )
    node = Node(config, facts.node, replicas, driver, store, clock)
    driver.start()
    try:
        await join(facts, replicas, coordinator, {}, driver.deliver)
        await until_ready(node.unready, never, 5000)
        yield Running(store, clock, node, driver, broken)
    finally:
        await driver.stop()
