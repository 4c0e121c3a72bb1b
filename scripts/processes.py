"""Processes in the background, as the scripts start, remember and end them.

Rule 1: one start or stop at a time in a checkout (a lock that the system takes back from the dead).
Rule 2: a record speaks of a process and the moment of its birth. A number that another process has got since is not the
one that was started, and nothing is ever sent to a process that was not started here.
Rule 3: what is spawned has a session of its own: Ctrl-C in a terminal reaches the script alone, which then ends what it
began. So whoever spawns ends it again if the start fails.

What a process is for, and when it is ready, others know (`servers.py`, `zookeeper.py`). Only the standard library is
imported, so that everything can be stopped after .venv has gone.
"""

import argparse
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

CHECKOUT = Path(__file__).resolve().parent.parent
RUN = CHECKOUT / "run"

STOP_MARGIN_SECONDS = 30.0
POLL_SECONDS = 0.05

_EXIT_CODES: dict[int, int] = {}


class Refusal(Exception):
    """What was asked can't be done: one line for the user, and the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Parser(argparse.ArgumentParser):
    """Reads options exactly as they are called; what is wrong with them is one line, like every other refusal."""

    def __init__(self, **about: Any) -> None:
        super().__init__(allow_abbrev=False, **about)

    def error(self, message: str) -> NoReturn:
        """Raises: Refusal."""
        raise Refusal(f"{message}; try --help", 2)


@dataclass
class Process:
    """A process that was started here, and its log."""

    pid: int
    birth: str
    log: str

    def is_alive(self) -> bool:
        """Says whether the very process that was started still runs."""
        return _birth(self.pid) == self.birth

    def tell(self, number: signal.Signals) -> None:
        """Sends a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.is_alive():
                os.kill(self.pid, number)

    def end(self, number: signal.Signals, seconds: float) -> bool:
        """Sends a signal and waits; returns whether the process has ended within the time."""
        self.tell(number)
        return until(lambda: not self.is_alive(), seconds)

    def exit_code(self) -> int:
        """Returns the exit code of a child that has ended, 1 if it had none that speaks of a failure."""
        _collect(self.pid)
        return max(_EXIT_CODES.get(self.pid, 1), 1)


def spawn(command: Sequence[str], log: Path, environ: Mapping[str, str]) -> Process:
    """Starts a process away from this terminal. The log before this one is kept."""
    if log.exists():
        log.replace(log.with_suffix(".log.previous"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(environ), start_new_session=True
        )
    return Process(process.pid, _birth(process.pid) or "ended", str(log))


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Lets one start or stop through at a time."""
    RUN.mkdir(exist_ok=True)
    with (RUN / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Waits until a condition holds; returns whether it came to that within the time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def run(program: str, verbs: Mapping[str, Callable[[list[str]], int | None]], arguments: Sequence[str]) -> int:
    """Runs the verb that comes first in the arguments with the others; returns the exit code.

    A refusal, and an end from outside, is one line on standard error.
    """
    verb, *others = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        return verbs[verb](others) or 0
    except Refusal as refusal:
        print(f"{program.format(verb)}: {refusal}", file=sys.stderr)
        return refusal.code


def _interrupted(number: int, _: FrameType | None) -> NoReturn:
    raise Refusal(f"interrupted by {signal.Signals(number).name}", 128 + number)


def _collect(pid: int) -> None:
    """Takes the exit code of a child that has ended, so that nothing is left of it."""
    with contextlib.suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _EXIT_CODES[pid] = os.waitstatus_to_exitcode(status)


def _birth(pid: int) -> str | None:
    """Returns what tells a living process from every other that had or will have its number, None if it has ended."""
    _collect(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
        return asked.stdout.strip() or None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{boot} {started}"
