"""What the contract tests of stores share: the places where a store of each kind is opened, closed and killed."""

import asyncio
import itertools
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from corecache.ports import Item, Store
from corecache.storage.directory import DataDirectory
from corecache.storage.memory import MemoryDisk, MemoryStore
from corecache.storage.rocksdb import RocksStore
from storage.store_lab import NODE, ONE, REPLICA, ZERO, config

PLENTY = 1 << 30
PARTITIONS = (ZERO, ONE)


class Ground:
    """A place where a store can be opened, closed and killed, again and again."""

    async def open(self) -> Store:
        """Opens a store on what is there."""
        raise NotImplementedError

    async def begin(self) -> Store:
        """Opens a store for the first time, with the facts of two replicas."""
        store = await self.open()
        await store.save(NODE, {ZERO: REPLICA, ONE: REPLICA})
        return store

    async def kill(self, store: Store) -> None:
        """Ends a store as a killed process would: nothing is finished, flushed or synced."""
        raise NotImplementedError


class MemoryGround(Ground):
    """A disk in memory, whose crash loses all that was not durable."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()

    async def open(self) -> Store:
        return MemoryStore(self.disk)

    async def kill(self, store: Store) -> None:
        self.disk.crash()


class RocksGround(Ground):
    """A directory. Killing goes on with a copy of the files, as they were while the store was open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lives = itertools.count()
        self.directory = path / "0"

    async def open(self) -> Store:
        return await RocksStore.open(DataDirectory.open(self.directory), config("fsync"))

    async def kill(self, store: Store) -> None:
        copy = self.path / f"copy-{next(self.lives)}"
        shutil.copytree(self.directory, copy)
        await store.close()
        self.directory = copy


Scene = Callable[[Ground], Awaitable[None]]
Play = Callable[[Scene], None]
KINDS = ("memory", "rocksdb")


def on(kind: str, path: Path) -> Play:
    """Returns what plays a scene on a fresh ground of one kind."""
    ground = MemoryGround() if kind == "memory" else RocksGround(path)

    async def staged(scene: Scene) -> None:
        await scene(ground)

    return lambda scene: asyncio.run(staged(scene))


async def scan_all(store: Store, start: bytes = b"", end: bytes | None = None) -> list[Item]:
    """Returns every record of both partitions."""
    items, resume = await store.scan(PARTITIONS, start, end, PLENTY, PLENTY, True)
    assert resume is None
    return items
