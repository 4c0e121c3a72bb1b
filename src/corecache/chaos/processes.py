"""Programs that a campaign runs and does things to: started with a log, and signalled by their process id alone.

The rule: nothing stays behind. Whatever way the campaign ends, SIGKILL included, the kernel kills what it has started
(`setpriv --pdeathsig`, where util-linux is there). That signal comes when the *thread* that started a process ends, so
one thread of this module starts them all, and ends with the program.

The second rule: an end is somebody's. A process that died before it was told to is reported by `ended_by_itself`, even
if it was told to afterwards.

What runs, and where it listens, is for others to say: `cluster.py`, `zookeeper.py`, `network.py`.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

KILLED_SECONDS = 30.0
"""How long a killed process may take to be gone; a disk that it waits for may delay that."""

_STANDING_SECONDS = 1.0
_TAIL_BYTES = 100_000
_BOUND = ("setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", 'test "$PPID" = "$0" && exec "$@"')
"""What to put before a program and after it this process's id: it may have ended before it was bound to."""

_starter = ThreadPoolExecutor(1, "starter of processes")


class GroundError(Exception):
    """What the campaign stands on does not hold: a program did not start or answer. Says nothing about the store."""


def started(
    command: Sequence[str],
    log: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    pipes: bool = False,
) -> subprocess.Popen[bytes]:
    """Starts a program that ends with this one, and returns it.

    What it says goes to `log`; with `pipes` its input and output are pipes, and only its errors go there. Raises:
    GroundError if there is no such program.
    """
    bound = [*_BOUND, str(os.getpid())] if shutil.which("setpriv") else []

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603
            [*bound, *command],
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else log,
            stderr=log,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )

    try:
        return _starter.submit(start).result()
    except OSError as error:
        raise GroundError(f"{command[0]} does not start: {error}") from error


def python_environment() -> dict[str, str]:
    """Returns this process's environment for a Python program that runs elsewhere: no settings, no relative paths."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CORECACHE_")}
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
    return environment


class Process:
    """A program that can be started again and again; what all its lives said is in one log."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.command = list(command)
        self.log = log
        self.environment = environment
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_end = False
        self._ends: list[int] = []

    def start(self) -> None:
        """Starts it, and returns at once. Requires: it does not run. Raises: GroundError if it can't be started."""
        assert not self.running, "it runs already"
        self._ends = self.ends_by_itself()
        with self.log.open("ab") as log:
            self._process = started(self.command, log, self.environment, self._directory)
        self._told_to_end = False

    @property
    def running(self) -> bool:
        """Whether it lives; a process that stands still does."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id, of its last life if it does not run. Requires: it was started."""
        assert self._process is not None
        return self._process.pid

    def ended_by_itself(self) -> int | None:
        """Returns how it ended if nobody had told it to: its exit code, negative for a signal; else None."""
        return None if self._process is None or self._told_to_end else self._process.poll()

    def ends_by_itself(self) -> list[int]:
        """Returns the exit codes of all its lives that ended so, the last one's included."""
        code = self.ended_by_itself()
        return [*self._ends, *([] if code is None else [code])]

    def kill(self) -> None:
        """Sends SIGKILL and waits for its end. Nothing, if it does not run. Raises: GroundError if it lives on."""
        self._end(signal.SIGKILL)
        if self._process is not None:
            self.wait(KILLED_SECONDS)

    def terminate(self) -> None:
        """Sends SIGTERM, and returns at once. Nothing, if it does not run."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Has it stand still (SIGSTOP), with its connections open. Nothing, if it does not run.

        The signal reaches thread after thread; this returns when it has reached all, a few milliseconds later.
        """
        self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + _STANDING_SECONDS
        while self.running and not self._stands_still() and time.monotonic() < deadline:
            time.sleep(0.001)

    def resume(self) -> None:
        """Lets it go on (SIGCONT). Nothing, if it does not run."""
        self._signal(signal.SIGCONT)

    def wait(self, seconds: float) -> int:
        """Waits for its end and returns its exit code. Raises: GroundError if it still runs after so many seconds."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise GroundError(f"{self.command[0]} still runs after {seconds} s:\n{self.log_tail()}") from None

    def log_tail(self, lines: int = 30) -> str:
        """Returns the last lines of what it said, in all its lives."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def _stands_still(self) -> bool:
        threads = Path(f"/proc/{self.pid}/task")
        try:
            states = [(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads.iterdir()]
        except OSError:
            # Where there is no such directory nobody can tell; and a thread may end just now.
            return not threads.exists()
        return all(state in "Tt" for state in states)

    def _end(self, number: signal.Signals) -> None:
        if self.running:
            self._told_to_end = True
            self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._process is not None:
            self._process.send_signal(number)


class PortLease:
    """A port of 127.0.0.1 that nobody listens on, below those that the system hands to outgoing connections.

    It is ours as long as the lease is held: a socket with a name of the system's own, which is gone with its process
    and leaves no file, tells other campaigns and tests on this machine.
    """

    _PORTS = range(20_000, 32_000)

    def __init__(self) -> None:
        for port in random.SystemRandom().sample(self._PORTS, 100):
            with contextlib.suppress(OSError), contextlib.ExitStack() as kept:
                mark = kept.enter_context(socket.socket(socket.AF_UNIX))
                mark.bind(f"\0corecache-test-port-{port}")
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
                self.number = port
                self._kept = kept.pop_all()
                return
        raise GroundError("no port is free from 20,000 to 31,999")

    def end(self) -> None:
        """Gives the port up."""
        self._kept.close()
