"""The power cut itself, on real file systems: what was synced is kept, what was not is gone.

The last tests are the proof of the method: a node that keeps its promise passes, and one that acknowledges before its
data is on the disk is convicted, whether its configuration says so or its syncs do nothing.
"""

import asyncio
import contextlib
import http.client
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from corecache.chaos import power
from integration import test_crash
from integration.node_harness import Node, key_target, wait_until

SIZE_BYTES = 256 << 20
CUTS = 10
CUTS_TO_CONVICT = 3
WRITERS = 8
ACKNOWLEDGED = 300
SETTINGS = test_crash.SETTINGS | {"storage.disk_reserve_bytes": 1 << 20}
NO_SETTINGS: Mapping[str, str | int] = {}

LIAR = """
int fsync(int file) { (void)file; return 0; }
int fdatasync(int file) { (void)file; return 0; }
int syncfs(int file) { (void)file; return 0; }
int sync_file_range(int file, long long offset, long long count, unsigned int flags)
{
    (void)file, (void)offset, (void)count, (void)flags;
    return 0;
}
"""

PROGRAM = """
import os, sys
os.chdir(sys.argv[1])
{0}
print("acknowledged", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    """Skips all of this where power can't be cut, and says why."""
    reason = power.why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[power.PowerGrid]:
    """Two disks."""
    with power.PowerGrid(tmp_path / "grid", ["n1", "n2"], SIZE_BYTES) as made:
        yield made


def after_the_cut(grid: power.PowerGrid, program: str) -> Path:
    """Runs a program on a disk until it has acknowledged, cuts the power, and returns what is left."""
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(program), str(grid.path("n1"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"acknowledged\n"
    grid.cut(["n1"])
    running.kill()
    running.communicate()
    grid.restore(["n1"])
    return grid.path("n1")


def test_what_was_synced_is_there_and_what_was_only_written_is_gone(grid: power.PowerGrid) -> None:
    """Of a file that was synced and then written on, the synced part is left."""
    program = """
file = open("log", "ab", buffering=0)
file.write(b"synced")
os.fsync(file.fileno())
file.write(b"written" * 10_000)
"""
    assert (after_the_cut(grid, program) / "log").read_bytes() == b"synced"


def test_the_kernel_may_have_written_a_newer_file_and_not_an_older_one(grid: power.PowerGrid) -> None:
    """Some files are written before the cut; the others lose what nobody had synced of them, wherever they stand."""
    for name in "abcdefgh":
        (grid.path("n1") / name).write_bytes(b"written" * 10_000)
    grid.write_some(["n1"], random.Random(1))
    grid.cut(["n1"])
    grid.restore(["n1"])
    sizes = [(grid.path("n1") / name).stat().st_size for name in "abcdefgh"]
    assert set(sizes) == {0, 70_000}
    assert sizes != sorted(sizes, reverse=True)


def test_a_file_that_nobody_synced_was_never_there(grid: power.PowerGrid) -> None:
    """A name that no sync had covered is lost with its file."""
    assert not (after_the_cut(grid, "open('new', 'wb', buffering=0).write(b'written')") / "new").exists()


def test_what_was_overwritten_without_a_sync_is_as_before(grid: power.PowerGrid) -> None:
    """Bytes in the middle of a synced file come back, though its length never changed."""
    program = """
file = open("page", "w+b", buffering=0)
file.write(b"old" * 10_000)
os.fsync(file.fileno())
file.seek(3_000)
file.write(b"new")
"""
    assert (after_the_cut(grid, program) / "page").read_bytes() == b"old" * 10_000


def test_a_rename_without_a_sync_of_the_directory_is_undone(grid: power.PowerGrid) -> None:
    """The file has its old name, and the one that it replaced is back."""
    program = """
for name in ("current", "next"):
    with open(name, "wb") as file:
        file.write(name.encode())
        file.flush()
        os.fsync(file.fileno())
os.rename("next", "current")
"""
    left = after_the_cut(grid, program)
    assert (left / "current").read_bytes() == b"current"
    assert (left / "next").read_bytes() == b"next"


def test_what_was_written_and_never_flushed_to_the_disk_is_gone(grid: power.PowerGrid) -> None:
    """Bytes that left the file system but that no flush followed were in the disk's own cache only."""
    program = """
import ctypes
file = open("page", "w+b", buffering=0)
file.write(b"old" * 10_000)
os.fsync(file.fileno())
file.seek(0)
file.write(b"new" * 10_000)
wait_before, write, wait_after = 1, 2, 4
order = (ctypes.c_int(file.fileno()), ctypes.c_int64(0), ctypes.c_int64(0))
assert ctypes.CDLL(None).sync_file_range(*order, ctypes.c_uint(wait_before | write | wait_after)) == 0
"""
    assert (after_the_cut(grid, program) / "page").read_bytes() == b"old" * 10_000


def test_a_cut_takes_the_disks_that_it_names_and_tells_what_they_lost(grid: power.PowerGrid) -> None:
    """The other disk goes on, and a later cut of all takes that too; cuts can follow one another."""
    for name in ("n1", "n2"):
        (grid.path(name) / "file").write_bytes(bytes(1000))
    grid.cut(["n1"])
    assert grid.restore(["n1"]) == 1000
    assert not (grid.path("n1") / "file").exists()
    with (grid.path("n2") / "file").open("r+b") as file:
        os.fsync(file.fileno())
        (grid.path("n1") / "again").write_bytes(bytes(10))
        (grid.path("n2") / "again").write_bytes(bytes(20))
        grid.cut()
        # Who still holds the dead file system changes nothing about what is mounted now.
        assert grid.restore() == 30
    assert os.listdir(grid.path("n1")) == []
    assert os.listdir(grid.path("n2")) == ["file"]


def test_a_cut_disk_takes_writes_and_fails_syncs(grid: power.PowerGrid) -> None:
    """Until it is killed a process can go on, but nothing that it writes is ever synced."""
    with (grid.path("n1") / "file").open("wb", buffering=0) as file:
        os.fsync(file.fileno())
        grid.cut()
        file.write(b"more")
        with pytest.raises(OSError, match="Input/output"):
            os.fsync(file.fileno())
    grid.restore()
    assert (grid.path("n1") / "file").read_bytes() == b""


def mounted(directory: Path) -> list[str]:
    """Returns the mounts and the loop devices that have to do with a directory."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(directory) in line]
    backing = []
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        # Somebody else's may go while this looks.
        with contextlib.suppress(OSError):
            backing.append(file.read_text())
    return mounts + [path for path in backing if str(directory) in path]


def test_nothing_stays_mounted_when_the_campaign_ends_or_is_killed(tmp_path: Path) -> None:
    """Also by SIGKILL, also with a disk whose power is out."""
    program = f"""
import sys
from pathlib import Path
from corecache.chaos.power import PowerGrid
with PowerGrid(Path({str(tmp_path)!r}), ["n1", "n2"], 16 << 20) as grid:
    grid.cut(["n2"])
    print("cut", flush=True)
    sys.stdin.readline()
"""
    for kill in (False, True):
        running = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert running.stdout is not None
        assert running.stdout.readline() == b"cut\n"
        assert len(mounted(tmp_path)) >= 6
        if kill:
            running.kill()
        running.communicate(b"end\n" if not kill else None)
        wait_until(lambda: not mounted(tmp_path), f"nothing mounted below {tmp_path}")
        for left in tmp_path.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def test_without_root_it_says_so() -> None:
    """The reason names what is missing."""
    os.seteuid(65_534)
    try:
        assert power.why_not() == "mounting file systems needs root"
    finally:
        os.seteuid(0)


class Powered(Node):
    """A node on a disk whose power is cut when the node is killed."""

    def __init__(self, directory: Path, grid: power.PowerGrid, settings: Mapping[str, str | int]) -> None:
        super().__init__(directory, SETTINGS | dict(settings))
        self.data_dir = grid.path("n1") / "data"
        self.lost_bytes = 0
        self._grid = grid
        self._dice = random.Random(1)

    def kill(self) -> None:
        """Stops the process, cuts, kills, and mounts what is left; nothing if it has ended already."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
            if self._dice.randrange(2):
                self._grid.write_some(["n1"], self._dice)
            self._grid.cut(["n1"])
            super().kill()
            self.lost_bytes += self._grid.restore(["n1"])


@pytest.fixture
def new_node(tmp_path: Path, grid: power.PowerGrid) -> Iterator[Callable[..., Powered]]:
    """Makes a node with further settings; it ends with the test, which shows its log."""
    with ExitStack() as ends:

        def made(settings: Mapping[str, str | int] = NO_SETTINGS) -> Powered:
            node = Powered(tmp_path / "node", grid, settings)
            ends.callback(lambda: sys.stdout.write(f"--- log\n{node.log()}\n"))
            ends.callback(node.end)
            return node

        yield made


@pytest.fixture
def liar(tmp_path: Path) -> Path:
    """A library whose syncs do nothing and say that all is well."""
    if shutil.which("gcc") is None:
        pytest.skip("making a liar of a node needs gcc")
    source, library = tmp_path / "liar.c", tmp_path / "liar.so"
    source.write_text(LIAR)
    subprocess.run(["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def acknowledged_until_the_cut(node: Node, prefix: str) -> list[str]:
    """Has several clients write new keys, cuts the power under them, and returns the keys that were acknowledged."""
    acknowledged: list[str] = []

    def write(client: int) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException), node.connected() as connection:
            for number in itertools.count():
                key = f"{prefix}/{client}/{number}"
                connection.request("PUT", key_target(key.encode()), key * 10)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 204, answer.status
                acknowledged.append(key)

    with ThreadPoolExecutor(WRITERS) as clients:
        writing = [clients.submit(write, client) for client in range(WRITERS)]
        wait_until(lambda: len(acknowledged) >= ACKNOWLEDGED or any(one.done() for one in writing), "writes")
        node.kill()
        for one in writing:
            one.result()
    return acknowledged


def lost_with_the_power(node: Node) -> list[str]:
    """Cuts the power of a node that runs until something acknowledged is lost, and returns that; [] if nothing ever."""
    for cut in range(CUTS_TO_CONVICT):
        acknowledged = acknowledged_until_the_cut(node, f"cut-{cut}")
        node.start()
        lost = [key for key in acknowledged if node.value(key.encode()) != (key * 10).encode()]
        sys.stdout.write(f"cut {cut}: {len(acknowledged)} acknowledged, {len(lost)} of them lost\n")
        if lost:
            return lost
    return []


def test_a_node_loses_nothing_acknowledged_with_the_power(new_node: Callable[..., Powered]) -> None:
    """The crash test's writers and its checks, with a cut of power for each kill."""
    node = new_node()
    asyncio.run(test_crash.crashes(node, random.Random(4), 4, CUTS))
    sys.stdout.write(f"{node.lost_bytes} bytes were lost with the power\n")
    assert node.lost_bytes > 0, "nothing was ever written ahead of a sync: the power cuts were none"


def test_a_node_that_syncs_is_acquitted(new_node: Callable[..., Powered]) -> None:
    """By the very judgment that convicts those that don't."""
    assert lost_with_the_power(new_node().start()) == []


def test_a_node_that_is_told_not_to_wait_for_the_disk_is_convicted(new_node: Callable[..., Powered]) -> None:
    """With `replication.durability` os, what the last moments acknowledged is lost."""
    assert lost_with_the_power(new_node({"replication.durability": "os"}).start())


def test_a_node_whose_syncs_do_nothing_is_convicted(new_node: Callable[..., Powered], liar: Path) -> None:
    """It acknowledges before fsync, without knowing."""
    node = new_node().start()
    node.stop()
    node.command = ["env", f"LD_PRELOAD={liar}"]
    node.start()
    assert lost_with_the_power(node)
