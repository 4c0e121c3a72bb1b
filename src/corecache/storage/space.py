"""The disk's budget: how much of it is used, and whether a put may still come in.

Rule 1: puts are refused when what is used and the reserve together exceed the budget, or when the file system has less
than the reserve left. Deletes, the log of what is under way and the compaction that makes room live on the reserve.
Rule 2: puts come in again by themselves. While they are refused, tombstones are brought together with what they delete,
which would else happen only when the tree grows; and that rests for a multiple of the time it takes, so that a full
disk does not mean endless compaction.
Rule 3: between two looks, what is written counts at once: a fast client does not get past the reserve.
Rule 4: no failure ends the looking. Room that can't be measured is not given away, and the log says why.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from corecache.config import Storage
from corecache.errors import CallerFault
from corecache.storage.threads import Threads

log = structlog.get_logger(__name__)

_LOOK_INTERVAL_S: Final = 0.5
_RECLAIM_REST: Final = 10


class Space(msgspec.Struct, frozen=True):
    """How much room there is, as of one look. Without a budget in the settings it is what the disk could hold."""

    used_bytes: int
    budget_bytes: int
    free_bytes: int
    spare_bytes: int
    """What puts may still take before only the reserve is left; negative when that has begun."""

    @property
    def accepts_puts(self) -> bool:
        """Says whether there was room for puts."""
        return self.spare_bytes > 0


def look(directory: Path, storage: Storage) -> Space:
    """Returns the room in a data directory. Blocks; takes longer the more files there are. Raises: OSError."""
    used = _used_bytes(directory)
    system = os.statvfs(directory)
    free = system.f_bavail * system.f_frsize
    budget = storage.disk_bytes or used + free
    return Space(used, budget, free, min(budget - used, free) - storage.disk_reserve_bytes)


def refuse_small_budget(storage: Storage) -> None:
    """Raises CallerFault if the disk's budget is so small that no put would ever be accepted."""
    if 0 < storage.disk_bytes <= storage.disk_reserve_bytes:
        raise CallerFault(
            "disk_budget_too_small",
            f"storage.disk_bytes ({storage.disk_bytes}) must be larger than storage.disk_reserve_bytes "
            f"({storage.disk_reserve_bytes}), which is kept free: raise the first or lower the second.",
        )


def warn_if_full(space: Space, storage: Storage) -> None:
    """Says in the log that puts are refused from the start: nobody would look for that behind a node that is ready."""
    if not space.accepts_puts:
        log.warning(
            "puts are refused: there is no room on the disk beyond storage.disk_reserve_bytes",
            free_bytes=space.free_bytes,
            used_bytes=space.used_bytes,
            disk_reserve_bytes=storage.disk_reserve_bytes,
        )


class Watch:
    """Looks at the room again and again, and makes some when there is none."""

    def __init__(
        self,
        directory: Path,
        storage: Storage,
        first: Space,
        written_bytes: Callable[[], int],
        tombstones: Callable[[], int],
        reclaim: Callable[[], Awaitable[None]],
    ) -> None:
        """Starts with a first look.

        `written_bytes` counts all that was ever written; `tombstones` counts those that stand, and may block;
        `reclaim` makes room, and never raises.
        """
        self.space = first
        self._written_bytes = written_bytes
        self._written_before = written_bytes()
        self._look = partial(look, directory, storage)
        self._tombstones = tombstones
        self._reclaim = reclaim
        self._thread = Threads("corecache-space", 1)
        self._merged = -1
        self._rested = 0.0
        self._task = asyncio.get_running_loop().create_task(self._run())

    def accepts_puts(self) -> bool:
        """Says whether there is room for puts, as of the last look and what was written since."""
        return self.space.spare_bytes > self._written_bytes() - self._written_before

    def cancel(self) -> None:
        """Begins no more looks."""
        self._task.cancel()

    def stop(self) -> None:
        """Ends the thread. Blocks."""
        self._thread.stop()

    async def _run(self) -> None:
        failure = ""
        while True:
            await asyncio.sleep(_LOOK_INTERVAL_S)
            try:
                await self._look_and_reclaim()
                failure = ""
            except Exception as error:
                self.space = msgspec.structs.replace(self.space, spare_bytes=-1)
                if failure != (failure := f"{type(error).__name__}: {error}"):
                    log.error("can't look after the disk's room; puts are refused until it works again", reason=failure)

    async def _look_and_reclaim(self) -> None:
        # Before the look: what is written during it may count twice, until the next one, and never not at all.
        written_before = self._written_bytes()
        self.space = await self._thread.run(self._look)
        self._written_before = written_before
        if self.space.accepts_puts:
            self._merged = -1
            return
        time = asyncio.get_running_loop().time
        if time() >= self._rested and await self._thread.run(self._tombstones) > self._merged:
            began = time()
            await self._reclaim()
            self._rested = time() + _RECLAIM_REST * (time() - began)
            self._merged = await self._thread.run(self._tombstones)


def _used_bytes(directory: Path) -> int:
    used = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                used += _used_bytes(Path(entry.path))
                continue
            try:
                used += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue  # RocksDB has just removed it.
    return used
