"""The library between a process and its disk: in a real process that writes and syncs, each kind of fault by itself."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corecache.chaos import disk
from corecache.chaos.processes import GroundError, python_environment, started
from integration.node_harness import Shim

DELAY_US = 60_000
WRITER = """
import errno, os, sys, time
here, there = (os.open(sys.argv[1] + "/" + name, os.O_RDWR | os.O_CREAT) for name in ("here", "there"))
calls = {"write": lambda file: os.write(file, b"word"), "sync": os.fsync, "datasync": os.fdatasync}
print("ready", flush=True)
for line in sys.stdin:
    call, name = line.split()
    began = time.monotonic()
    try:
        calls[call](here if name == "here" else there)
        said = "done"
    except OSError as error:
        said = errno.errorcode[error.errno]
    sys.stdout.write(f"{said} {int((time.monotonic() - began) * 1e6)}\\n")
    sys.stdout.flush()
"""


class Writer:
    """A process that writes to two files, `here` and `there`, as it is told."""

    def __init__(self, directory: Path, shim: Shim) -> None:
        order = [sys.executable, "-c", WRITER, str(directory)]
        self.process = started(order, subprocess.DEVNULL, python_environment() | shim.environment, pipes=True)
        assert self._line() == "ready"

    def does(self, call: str, name: str = "here") -> tuple[str, int]:
        """Returns what became of a call, and how many microseconds it took."""
        self.order(call, name)
        return self.answer()

    def order(self, call: str, name: str = "here") -> None:
        """Has it begin a call."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{call} {name}\n".encode())
        self.process.stdin.flush()

    def answer(self) -> tuple[str, int]:
        """Returns what became of the call that was begun."""
        said, took_us = self._line().split()
        return said, int(took_us)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled."""
    missing = disk.why_not()
    if missing is not None:
        pytest.skip(missing)
    return disk.compile_shim(tmp_path_factory.mktemp("library"))


@pytest.fixture
def shim(library: Path, tmp_path: Path) -> Shim:
    """Its control, disarmed."""
    return Shim(library, tmp_path / "control")


@pytest.fixture
def writer(tmp_path: Path, shim: Shim) -> Iterator[Writer]:
    """A process with the library in it."""
    made = Writer(tmp_path, shim)
    yield made
    shim.disarm()
    made.process.communicate()


def test_a_full_disk_takes_no_writes_and_still_syncs(shim: Shim, writer: Writer, tmp_path: Path) -> None:
    """What was written stays, other files are not concerned, and with room again all goes on."""
    assert writer.does("write")[0] == "done"
    shim.fill("/here")
    assert [writer.does(call)[0] for call in ("write", "sync", "datasync")] == ["ENOSPC", "done", "done"]
    assert writer.does("write", "there")[0] == "done"
    assert shim.hits == 1
    shim.disarm()
    assert writer.does("write")[0] == "done"
    assert (tmp_path / "here").read_bytes() == b"wordword"


def test_a_failing_fsync_says_so_each_time(shim: Shim, writer: Writer) -> None:
    """Of both kinds; writes still succeed."""
    shim.fail_syncs("/here")
    assert [writer.does(call)[0] for call in ("sync", "datasync", "write")] == ["EIO", "EIO", "done"]
    assert shim.hits == 2


def test_a_slow_disk_does_all_and_takes_longer(shim: Shim, writer: Writer, tmp_path: Path) -> None:
    """Only of the kinds and files that are named; the steady clock has seen at least the delay."""
    shim.slow(Shim.SYNC, DELAY_US, "/here")
    assert writer.does("write")[0] == "done"
    assert shim.hits == 0
    for call in ("sync", "datasync"):
        said, took_us = writer.does(call)
        assert said == "done"
        assert took_us >= DELAY_US
    writer.does("sync", "there")
    assert shim.hits == 2
    shim.slow(Shim.WRITE | Shim.SYNC, DELAY_US, "/here")
    assert writer.does("write")[1] >= DELAY_US
    assert (tmp_path / "here").read_bytes() == b"wordword"


def test_a_slow_disk_leaves_no_error_and_no_wait_behind(shim: Shim, writer: Writer) -> None:
    """Orders replace each other: after a delay, a failure fails, and a hold holds until it is disarmed."""
    shim.slow(Shim.WRITE, DELAY_US, "/here")
    assert writer.does("write")[0] == "done"
    shim.fail(Shim.WRITE, errno.EIO, "/here", skip=1, times=1)
    assert [writer.does("write")[0] for _ in range(3)] == ["done", "EIO", "done"]
    shim.hold(Shim.WRITE, "/here")
    writer.order("write")
    while not shim.hits:
        pass
    shim.disarm()
    assert writer.answer()[0] == "done"


def test_a_control_outlives_the_process(shim: Shim, writer: Writer, tmp_path: Path) -> None:
    """A process that is started again finds the disk as it was."""
    shim.fill("/here")
    assert writer.does("write")[0] == "ENOSPC"
    again = Writer(tmp_path, shim)
    assert again.does("write")[0] == "ENOSPC"
    again.process.communicate()


def test_a_part_that_would_be_cut_off_is_refused(shim: Shim) -> None:
    """A shorter one would concern other files too."""
    with pytest.raises(AssertionError, match="cut off"):
        shim.fill("x" * 100)


def test_a_machine_without_a_compiler_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In one line, and before anything is begun."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install gcc" in str(disk.why_not())
    with pytest.raises(GroundError, match="apt-get install gcc"):
        disk.compile_shim(tmp_path)
