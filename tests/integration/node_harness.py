"""Starts, asks, kills and stops real nodes: one process each, on a port and in a directory of its own.

Nothing of a node is imported here, so that these tests see what a user sees. Every wait is for a condition and has a
deadline; when that passes, the node's log is in the message.
"""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from corecache.chaos import disk
from corecache.chaos.processes import PortLease

START_SECONDS = 30.0
STOP_SECONDS = 30.0
REQUEST_SECONDS = 60.0


class Answer(NamedTuple):
    """An HTTP answer: status, headers by their names in lower case, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def version(self) -> int:
        """The version in the ETag."""
        return int(self.headers["etag"].strip('"'))


def key_target(key: bytes, query: str = "") -> str:
    """Returns the request target of a key: everything that is not plain is percent-encoded, the slash too."""
    return "/v1/kv/" + quote(key, safe="") + query


def wait_until(true: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Returns as soon as a condition holds; fails the test with `what` if it does not within the time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


class Shim(disk.Shim):
    """The control of a node's disk, with what tests need beside: calls that wait, and a power cut."""

    def __init__(self, library: Path, control: Path) -> None:
        """Takes the compiled library, and a file to make for the control, in a directory of the node's own."""
        super().__init__(library, control)
        self._synced = control.with_name("shim.synced")
        self.environment["FAULT_SHIM_SYNCED"] = str(self._synced)

    def hold(self, calls: int, part: str, skip: int = 0) -> None:
        """Lets such calls wait until `disarm`."""
        self.fail(calls, 0, part, skip)

    def await_hit(self, hits: int = 1) -> None:
        """Waits until so many calls have failed or are waiting."""
        wait_until(lambda: self.hits >= hits, "a disk call that the shim is waiting for")

    def cut_power(self, data_dir: Path, dice: random.Random | None = None) -> int:
        """Takes away what no sync had covered when the node was killed; returns how many bytes that were.

        Without dice all of it goes; with them some files keep some or all, of an older file less than of a newer one
        perhaps, as a kernel may have written it in any order. Only what was added to files is taken, not that they were
        made, renamed or removed. RocksDB's diary and the lock are left alone.
        """
        lengths: dict[int, int] = {}
        for line in self._synced.read_text().splitlines():
            inode, length = map(int, line.split())
            lengths[inode] = length
        lost_bytes = 0
        for path in sorted(data_dir.rglob("*")):
            if path.is_file() and path.name != "lock" and not path.name.startswith("LOG"):
                present = path.stat()
                kept = min(present.st_size, lengths.get(present.st_ino, 0))
                if dice is not None:
                    unsynced = present.st_size - kept
                    kept += dice.choice((0, 0, dice.randint(0, unsynced), unsynced))
                lost_bytes += present.st_size - kept
                os.truncate(path, kept)
        return lost_bytes


class Node:
    """A node: its directory, its port, its log, and its process if one is running."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str | int] | None = None,
        shim: Shim | None = None,
        command: Sequence[str] = (),
    ) -> None:
        """Takes settings as `{"section.name": value}`, and a command to put before the program (`unshare`, …)."""
        self.directory = directory
        self.data_dir = directory / "data"
        self._lease = PortLease()
        self.port = self._lease.number
        self.settings = dict(settings or {})
        self.shim = shim
        self.command = list(command)
        self.log_path = directory / "node.out"
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    # Life

    def spawn(self, *options: str) -> None:
        """Starts the process and returns at once. Options come after those for port and data directory."""
        assert self.process is None or self.process.poll() is not None, "the node is running"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CORECACHE_")}
        for name, value in self.settings.items():
            environment["CORECACHE_" + name.upper().replace(".", "__")] = str(value)
        # The node runs in a directory of its own, where a relative path means something else.
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
        if self.shim is not None:
            environment |= self.shim.environment
        program = [sys.executable, "-c", "from corecache.cli import main; main()", "serve"]
        places = ["--port", str(self.port), "--data-dir", str(self.data_dir)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, *program, *places, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=environment,
            )

    def start(self, *options: str) -> "Node":
        """Starts the process and waits until it is ready."""
        self.spawn(*options)
        self.await_ready()
        return self

    def await_ready(self) -> None:
        """Waits until /readyz answers 200."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.process is not None
            assert self.process.poll() is None, f"the node ended ({self.process.returncode}):\n{self.log()}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/readyz").status == 200:
                    return
            assert time.monotonic() < deadline, f"not ready within {START_SECONDS} s:\n{self.log()}"
            time.sleep(0.01)

    def refused_start(self, *options: str) -> tuple[int, str]:
        """Starts a process that is expected to end by itself; returns its exit code and what it said."""
        before = len(self.log())
        self.spawn(*options)
        code = self.await_end()
        return code, self.log()[before:]

    def kill(self) -> None:
        """Ends the process with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def await_end(self) -> int:
        """Waits until the process has ended by itself; returns its exit code."""
        assert self.process is not None
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {STOP_SECONDS} s:\n{self.log()}") from None

    def stop(self) -> None:
        """Stops the node gracefully, which must succeed."""
        self.terminate()
        code = self.await_end()
        assert code == 0, f"ended with {code}:\n{self.log()}"

    def end(self) -> None:
        """Ends whatever is left, at the end of a test."""
        if self.shim is not None:
            self.shim.disarm()
        if self.running:
            self.kill()
        self._lease.end()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def log(self) -> str:
        """Returns all that the node's processes have said."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # Requests, each on a connection of its own

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Sends a request and returns the answer, whatever it is."""
        with self.connected() as connection:
            connection.request(method, target, body, dict(headers or {}))
            return answer_of(connection.getresponse())

    @contextlib.contextmanager
    def connected(self) -> Iterator[http.client.HTTPConnection]:
        """Gives a connection to the node."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)
        try:
            yield connection
        finally:
            connection.close()

    def put(self, key: bytes, value: bytes, query: str = "", **headers: str) -> Answer:
        """Asks for a put and returns the answer."""
        return self.ask("PUT", key_target(key, query), value, _headers(headers))

    def get(self, key: bytes, query: str = "", **headers: str) -> Answer:
        """Asks for a value and returns the answer."""
        return self.ask("GET", key_target(key, query), headers=_headers(headers))

    def delete(self, key: bytes, **headers: str) -> Answer:
        """Asks for a delete and returns the answer."""
        return self.ask("DELETE", key_target(key), headers=_headers(headers))

    def value(self, key: bytes) -> bytes | None:
        """Returns a key's value, None if it is absent; anything but these two fails the test."""
        answer = self.get(key)
        assert answer.status in (200, 404), (answer, self.log())
        return answer.body if answer.status == 200 else None

    def storage(self, order: str = "") -> Any:
        """Returns the storage report, after `flush` or `compact` if one of them is ordered."""
        answer = self.ask("POST" if order else "GET", "/v1/storage" + (f"/{order}" if order else ""))
        assert answer.status == 200, (answer, self.log())
        return answer.json


def answer_of(response: http.client.HTTPResponse) -> Answer:
    """Returns the answer that a response is, read to its end."""
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def _headers(named: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in named.items()}
