"""A small disk: a file system in memory, in a mount namespace of its own, that can be filled, and given more room."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A file system of a few megabytes in a mount namespace of its own, which ends with its holder."""

    def __init__(self, place: Path, size_bytes: int) -> None:
        place.mkdir(parents=True)
        self._place = place
        mount = f"mount -t tmpfs -o size={size_bytes} none {place} && echo mounted && exec sleep 600"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", mount], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        self.usable = self._holder.stdout.readline() == b"mounted\n"
        self.command = ["nsenter", f"--target={self._holder.pid}", "--mount", "--"]

    def resize(self, size_bytes: int) -> None:
        """Gives the file system another size."""
        order = ["mount", "-o", f"remount,size={size_bytes}", str(self._place)]
        subprocess.run([*self.command, *order], check=True)

    def end(self) -> None:
        """Lets it go."""
        self._holder.kill()
        self._holder.communicate()


@contextmanager
def mounted(place: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mounts a small disk at a place that is made for it. Skips the test where that can't be done, and says why."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("mounting a small disk needs root")
    disk = SmallDisk(place, size_bytes)
    try:
        if not disk.usable:
            pytest.skip("mounting is not permitted here")
        yield disk
    finally:
        disk.end()
