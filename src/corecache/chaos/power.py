"""The power cut: disks that forget, at an instant, all that nobody had synced. For root, on Linux with loop devices.

Each disk is two ext4 file systems, one in a file of the other. The *inner* one, `path(name)`, is for the node. Its
device is a file in the *outer* one, whose page cache is therefore the disk's own volatile cache: what the inner file
system writes lies there until it flushes. `cut` shuts the outer one down (EXT4_IOC_SHUTDOWN without a flush of its
journal, with which the kernel's own developers test crashes): from then on not a byte comes through, of neither cache.
`restore` mounts what came through; both journals are replayed, as after a real loss of power.

Why so: it is a real file system, so files made, renamed or removed without a sync of the directory, half a write and
the order in which the kernel wrote are all in it. The shim's file-level way (`disk.py`) needs no root, but only cuts
files back to their synced length. Freezing and copying the device would keep what was written and never flushed.

Rule 1: nobody syncs for the node. Both file systems commit by themselves only after minutes, the inner one without
ext4's kindness to programs that rename without a sync. What is left: the kernel writes what is dirty for about 30 s,
and a sync of one file commits the names of all. `write_some` does at once what the kernel might at any time: some files
are written, and others not, so that a cut may leave a newer one and not an older one.
Rule 2: nothing stays behind. A guard, a process of its own, unmounts everything when this one ends, however it ends.
Rule 3: the device is copied before it is mounted again, since somebody may still hold the dead file systems.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Final, Self

from corecache.chaos.processes import GroundError

_SHUT_DOWN: Final = 0x8004587D
_WITHOUT_FLUSH: Final = struct.pack("=I", 2)
_MIB: Final = 1 << 20
_TRIAL_BYTES: Final = 16 * _MIB
_TOOLS: Final = ("mkfs.ext4", "mount", "umount", "cp", "sh")
_OUTER_OPTIONS: Final = "loop,barrier=0,commit=300,noinit_itable"
_INNER_OPTIONS: Final = "loop,commit=300,noinit_itable,noauto_da_alloc"
_GUARD: Final = 'cat >/dev/null; for place in "$1"/*/; do umount --lazy "$place" 2>/dev/null; done'
_QUIET_SECONDS: Final = 30.0


class PowerGrid:
    """Disks in files of a directory, whose power can be cut: of one, some, or all.

    A context manager: the disks are there inside of it, and are all gone after it. `size_bytes` is what each holds at
    most, at least 16 MiB; the files are sparse. Raises on entry: GroundError if this machine can't have them.
    """

    def __init__(self, directory: Path, names: Sequence[str], size_bytes: int) -> None:
        self._directory = directory.absolute()
        self._size_bytes = size_bytes
        self._disks = {name: self._disk(name) for name in names}

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._guard = subprocess.Popen(  # noqa: S603 -- only our own paths
            [_tool("sh"), "-c", _GUARD, "guard", str(self._directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with ExitStack() as undo:
            undo.callback(self._close)
            for disk in self._disks.values():
                disk.make()
            undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        self._guard.communicate()

    def add(self, name: str) -> None:
        """Makes one more disk; nothing, if it is there. Raises: GroundError."""
        if name not in self._disks:
            disk = self._disk(name)
            disk.make()
            self._disks[name] = disk

    def remove(self, name: str) -> None:
        """Unmounts a disk for good, and removes its file. Requires: no process is on it. Raises: GroundError."""
        self._disks.pop(name).remove()

    def path(self, name: str) -> Path:
        """Returns where a disk is mounted. It stays the same; put a directory into it that may be removed."""
        return self._disks[name].inner

    def write_some(self, names: Sequence[str] | None, dice: Random) -> None:
        """Has some files of some disks, or of all, written now: to each it happens in one of two cases."""
        for disk in self._chosen(names):
            disk.write_some(dice)

    def cut(self, names: Sequence[str] | None = None) -> None:
        """Cuts the power of some disks, or of all, a millisecond or so apart.

        Processes see a disk that takes writes and fails syncs. To end them in the same instant, stop them (SIGSTOP),
        cut, and kill them.
        """
        for disk in self._chosen(names):
            disk.cut()

    def restore(self, names: Sequence[str] | None = None) -> int:
        """Mounts what some disks, or all, had been told to keep; returns how many bytes of files are lost.

        Requires: they were cut, and the processes on them have ended. Raises: GroundError.
        """
        return sum(disk.restore() for disk in self._chosen(names))

    def _disk(self, name: str) -> "_Disk":
        return _Disk(self._directory, name, self._size_bytes)

    def _chosen(self, names: Sequence[str] | None) -> list["_Disk"]:
        return [self._disks[name] for name in (self._disks if names is None else names)]


class _Disk:
    """A file system in a file of a file system in a file."""

    def __init__(self, directory: Path, name: str, size_bytes: int) -> None:
        self.inner = directory / name
        self.outer = directory / f"{name}.outer"
        self._device = directory / f"{name}.disk"
        self._size_bytes = size_bytes

    def make(self) -> None:
        """Makes and mounts both."""
        self.inner.mkdir(parents=True)
        self.outer.mkdir()
        _make_ext4(self._device, self._size_bytes + self._size_bytes // 8 + 64 * _MIB)
        _run("mount", "-o", _OUTER_OPTIONS, self._device, self.outer)
        _make_ext4(self.outer / "disk", self._size_bytes)
        self._mount_inner()
        (self.inner / "lost+found").rmdir()
        for place in (self.inner, self.outer):
            _sync(place)

    def write_some(self, dice: Random) -> None:
        """Syncs files by lot."""
        for file in sorted(path for path in self.inner.rglob("*") if path.is_file()):
            if dice.randrange(2):
                _sync(file)

    def cut(self) -> None:
        """Shuts the outer one down."""
        outer = os.open(self.outer, os.O_RDONLY)
        try:
            fcntl.ioctl(outer, _SHUT_DOWN, _WITHOUT_FLUSH)
        except OSError as error:
            raise GroundError(f"this kernel's ext4 can't be shut down: {error}") from error
        finally:
            os.close(outer)

    def restore(self) -> int:
        """Mounts a copy of the device; returns how many bytes the files have lost."""
        before = _sizes(self.inner)
        self._await_quiet()
        _run("umount", "--lazy", self.inner)
        _run("umount", "--lazy", self.outer)
        copy = self._device.with_suffix(".copy")
        _run("cp", "--sparse=always", "--reflink=auto", self._device, copy)
        copy.replace(self._device)
        _run("mount", "-o", _OUTER_OPTIONS, self._device, self.outer)
        self._mount_inner()
        after = _sizes(self.inner)
        return sum(max(0, size - after.get(inode, 0)) for inode, size in before.items())

    def remove(self) -> None:
        """Unmounts both, and removes the file."""
        _run("umount", "--lazy", self.inner)
        _run("umount", "--lazy", self.outer)
        self._device.unlink()

    def _mount_inner(self) -> None:
        _run("mount", "-o", _INNER_OPTIONS, self.outer / "disk", self.inner)

    def _await_quiet(self) -> None:
        """Waits until what was under way to the device when it was cut has arrived."""
        number = self.outer.stat().st_dev
        under_way = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/inflight")
        deadline = time.monotonic() + _QUIET_SECONDS
        while under_way.read_text().split() != ["0", "0"]:
            if time.monotonic() > deadline:
                raise GroundError(f"the device of {self.outer} is not quiet within {_QUIET_SECONDS:g} s")
            time.sleep(0.001)


def why_not() -> str | None:
    """Says why this machine can't cut power, None if it can: a small disk was cut, and lost what it should."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "mounting file systems needs root"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"there is no {missing[0]} (util-linux, e2fsprogs)"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    with tempfile.TemporaryDirectory(prefix="corecache-power-") as directory:
        try:
            with PowerGrid(Path(directory), ["trial"], _TRIAL_BYTES) as grid:
                return _tried(grid)
        except GroundError as error:
            return str(error)


def _tried(grid: PowerGrid) -> str | None:
    place = grid.path("trial")
    for name in ("synced", "written"):
        with (place / name).open("wb") as file:
            file.write(b"x" * 10_000)
            file.flush()
            if name == "synced":
                os.fsync(file.fileno())
    grid.cut()
    grid.restore()
    if not (place / "synced").exists() or (place / "synced").stat().st_size != 10_000:
        return "a cut of power took what was synced"
    if (place / "written").exists() and (place / "written").stat().st_size:
        return "a cut of power left what was not synced"
    return None


def _sizes(root: Path) -> dict[int, int]:
    """Returns the size of each file by its number, as far as they can be read."""
    sizes: dict[int, int] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(OSError):
                found = os.stat(os.path.join(folder, name))
                sizes[found.st_ino] = found.st_size
    return sizes


def _sync(place: Path) -> None:
    opened = os.open(place, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _make_ext4(file: Path, size_bytes: int) -> None:
    with file.open("wb") as made:
        made.truncate(size_bytes)
    _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", file)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise GroundError(f"there is no {name}")
    return found


def _run(tool: str, *arguments: str | Path) -> None:
    order = [_tool(tool), *map(str, arguments)]
    done = subprocess.run(order, capture_output=True, text=True, check=False)  # noqa: S603 -- only our own paths
    if done.returncode != 0:
        raise GroundError(f"{tool} failed: {done.stderr.strip()}")
