"""A node on memory twins, for tests of `node/`: started, with the means to hold its disk back or to break it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from types import MappingProxyType

import msgspec

from corecache.config import Config, Replication
from corecache.coordination.memory import MemoryCoordinator
from corecache.errors import Broken
from corecache.identity import Milliseconds, PartitionId, Timestamp
from corecache.identity import Sequence as LogSequence
from corecache.node.driver import Driver
from corecache.node.node import Node
from corecache.node.parts import Parts
from corecache.node.startup import announce, bring_views, create_if_missing, restore, until_ready
from corecache.placement.partition_map import NodeEntry
from corecache.replication.log import Entry
from corecache.replication.machine import Machine
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

    async def append(
        self,
        entries: Sequence[tuple[PartitionId, Entry]],
        truncated: Mapping[PartitionId, LogSequence] = MappingProxyType({}),
    ) -> None:
        """Appends when the gate is open. Raises: Broken if `failing`."""
        await self.gate.wait()
        if self.failing:
            raise Broken("storage_failed", "The disk is gone; replace it.")
        self.rounds.append(sum(len(entry.operations) for _, entry in entries))
        await super().append(entries, truncated)


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

    def draw_id() -> str:
        return f"id{next(ids)}"

    facts, recovered, grants_end = await restore(config, store, coordinator, clock, draw_id)
    await announce(facts, coordinator, NodeEntry(facts.node, facts.incarnation))
    await create_if_missing(config, facts, recovered, store, coordinator, draw_id)
    broken: list[str] = []
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    machine = Machine(
        facts.node, facts.incarnation, config.replication, recovered, clock.now(), grants_end, facts.partitions
    )
    parts = Parts(config, facts, machine, store, coordinator, clock, draw_id, broken.append)
    parts.driver.start()
    try:
        await bring_views(machine, coordinator, parts.driver.view_changed, alone=True)
        await until_ready(parts.node.unready, never, 5000)
        yield Running(store, clock, parts.node, parts.driver, broken)
    finally:
        await parts.driver.stop()
