"""A node's disk as it fails: full, slow, or with an fsync that says no, at a chosen moment.

A small library (`shim/faults.c`) is preloaded into the node and stands between it and the kernel. It is compiled at its
first use, by the machine's own C compiler; `why_not` says if there is none. What it does is in a file that both map: a
change takes effect with the next call, and outlives the node.

The rule: a fault is an answer that a real disk gives. A full one refuses writes (ENOSPC), a broken one fsync (EIO), and
what was written before stays.
"""

import errno
import mmap
import shutil
import struct
import subprocess
from importlib import resources
from pathlib import Path
from typing import Final

from corecache.chaos.processes import GroundError

_COMPILERS: Final = ("gcc", "cc", "clang")
_PARTS_BYTES_MAX: Final = 99


def why_not() -> str | None:
    """Returns why no disk can be made to fail here, and what to install; None if it can."""
    if _compiler() is None:
        return "making a disk fail needs a C compiler: apt-get install gcc libc6-dev"
    return None


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, _COMPILERS)), None)


def compile_shim(directory: Path) -> Path:
    """Compiles the library into a directory and returns its path. Raises: GroundError if that fails."""
    missing, compiler = why_not(), _compiler()
    if missing is not None or compiler is None:
        raise GroundError(missing or "")
    library = directory / "faults.so"
    with resources.as_file(resources.files("corecache.chaos") / "shim" / "faults.c") as source:
        order = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source)]
        done = subprocess.run([*order, "-ldl"], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise GroundError(f"{compiler} does not compile the library that makes a disk fail: {done.stderr}")
    return library


class Shim:
    """The control of the preloaded library: what becomes of a node's disk calls from now on."""

    SYNC = 1
    WRITE = 2
    _FORM = struct.Struct("=7i100s")

    def __init__(self, library: Path, control: Path) -> None:
        """Takes the compiled library, and a file to make for the control, in a directory of the node's own."""
        control.write_bytes(bytes(self._FORM.size))
        with control.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), self._FORM.size)
        self.environment = {"LD_PRELOAD": str(library), "FAULT_SHIM_CONTROL": str(control)}

    def fail(self, calls: int, error: int, part: str, skip: int = 0, times: int = -1) -> None:
        """Lets calls on files whose path contains `part` fail with `error`, all or some (see shim/faults.c)."""
        self._arm(calls, error, skip, times, 0, part)

    def slow(self, calls: int, delay_us: int, part: str) -> None:
        """Has each such call take so many microseconds longer, 1 or more."""
        self._arm(calls, 0, 0, -1, delay_us, part)

    def fill(self, part: str) -> None:
        """Has the disk be full."""
        self.fail(self.WRITE, errno.ENOSPC, part)

    def fail_syncs(self, part: str) -> None:
        """Has no sync succeed."""
        self.fail(self.SYNC, errno.EIO, part)

    def disarm(self) -> None:
        """Lets all calls pass, and those that wait go on."""
        self._shared[:4] = bytes(4)

    @property
    def hits(self) -> int:
        """How many calls were struck since the last order."""
        return int(self._FORM.unpack(self._shared[:])[5])

    def _arm(self, calls: int, error: int, skip: int, times: int, delay_us: int, part: str) -> None:
        self.disarm()
        assert len(part.encode()) <= _PARTS_BYTES_MAX, "the end of the part would be cut off"
        self._shared[:] = self._FORM.pack(0, calls, error, skip, times, 0, delay_us, part.encode())
        self._shared[:4] = struct.pack("=i", 1)
