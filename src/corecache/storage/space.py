"""The disk's budget: how much of it is used, and whether a put may still come in.

Rule: puts are refused when what is used and the reserve together exceed the budget, or when the file system has less
than the reserve left. Deletes, the log of what is under way and the compaction that
gives room back live on the reserve.
"""

import os
from pathlib import Path

import msgspec

from corecache.config import Storage


class Space(msgspec.Struct, frozen=True):
    """How much room there is, as of one look. Without a budget in the settings it is what the disk could hold."""

    used_bytes: int
    budget_bytes: int
    free_bytes: int
    accepts_puts: bool


def look(directory: Path, storage: Storage) -> Space:
    """Returns the room in a data directory. Blocks; takes longer the more files there are. Raises: OSError."""
    used = _used_bytes(directory)
    system = os.statvfs(directory)
    free = system.f_bavail * system.f_frsize
    budget = storage.disk_bytes or used + free
    reserve = storage.disk_reserve_bytes
    return Space(used, budget, free, used + reserve <= budget and free >= reserve)


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
