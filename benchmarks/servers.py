"""Starts, watches and stops servers that are measured, among them the node by itself and the ceiling.

Each is a process of its own on a free port of 127.0.0.1, with its files below a directory that the caller gives. What
it says goes to a log beside them, whose end is shown when it does not start. The node is the one of this checkout, and
Redis is Debian's package redis-server. Clusters are made of the same `Server`s (`clusters.py`).
"""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from corecache.chaos.processes import PortLease

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0
POLL_SECONDS = 0.005

_leases: list[PortLease] = []


class ServerError(Exception):
    """A server did not start, or did not stop."""


class Server:
    """A server process, from `start` to `stop`. As a context manager it is running inside."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        port: int,
        ready: Callable[[int], bool],
        resp_ports: tuple[int, ...] = (),
    ) -> None:
        """Takes what is asked, with the port, until it is true: then the server is ready.

        `resp_ports` are those of a node for Redis's protocol: for plain clients, and in a cluster for those that know
        the map.
        """
        self.name = name
        self.port = port
        self.resp_ports = resp_ports
        self._command = command
        self._log = log
        self._ready = ready
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The number of the running process."""
        assert self._running is not None, f"the {self.name} is not running"
        return self._running.pid

    def start(self) -> float:
        """Starts it and returns the seconds until it was ready. Raises: ServerError."""
        self.launch()
        return self.wait()

    def launch(self) -> None:
        """Starts it, and leaves the waiting to `wait`."""
        paths = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
        with self._log.open("ab") as log:
            self._begun = time.perf_counter()
            self._running = subprocess.Popen(
                self._command, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, stdout=log, stderr=log
            )

    def wait(self) -> float:
        """Waits until it is ready, and returns the seconds since its start. Raises: ServerError."""
        assert self._running is not None, f"the {self.name} is not running"
        while not self._ready(self.port):
            if self._running.poll() is not None:
                raise ServerError(f"the {self.name} ended with {self._running.returncode}: {self._last_words()}")
            if time.perf_counter() - self._begun > START_SECONDS_MAX:
                self.kill()
                raise ServerError(f"the {self.name} is not ready after {START_SECONDS_MAX} s: {self._last_words()}")
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - self._begun

    def stop(self) -> None:
        """Asks it to end, and waits until it has. Raises: ServerError if it does not end in time."""
        if self._running is None:
            return
        self._running.send_signal(signal.SIGTERM)
        try:
            self._running.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"the {self.name} did not stop within {STOP_SECONDS_MAX} s of SIGTERM") from None
        self._running = None

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
        else:
            self.kill()

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace").strip()[-2000:] or "it said nothing"


def answers(path: str, status: int) -> Callable[[int], bool]:
    """Returns the question whether a server answers a GET of a path with a status."""

    def asked(port: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return asked


def pongs(port: int) -> bool:
    """Says whether a server of Redis's protocol takes commands."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def serve(config: Path, data_dir: Path, port: int) -> list[str]:
    """Returns what the `corecache serve` command does, from this checkout and as one process: no launcher between."""
    command = [sys.executable, "-c", "import sys; from corecache.cli import main; sys.exit(main())", "serve"]
    return [*command, "--config", str(config), "--data-dir", str(data_dir), "--port", str(port)]


def node(directory: Path, memory_bytes: int) -> Server:
    """Returns a node with durability "fsync" and this memory budget; all else is the default."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "corecache.toml"
    port, resp_port = free_ports(2)
    config.write_text(
        f'[resp]\nport = {resp_port}\n\n[replication]\ndurability = "fsync"\n\n'
        f"[storage]\nmemory_bytes = {memory_bytes}\n"
    )
    command = serve(config, directory / "node", port)
    return Server("node", command, directory / "node.log", port, answers("/readyz", 200), (resp_port,))


def ceiling(directory: Path) -> Server:
    """Returns the stack's ceiling (`ceiling.py`)."""
    directory.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.ceiling", "--port", str(port)]
    command += ["--directory", str(directory / "ceiling")]
    return Server("ceiling", command, directory / "ceiling.log", port, answers("/v1/kv/absent", 404))


def redis(directory: Path, port: int, primary: int | None = None) -> Server:
    """Returns a Redis that syncs its AOF before it answers, alone or a replica of another. Raises: ServerError."""
    if shutil.which("redis-server") is None:
        raise ServerError(
            "Redis is not installed: run scripts/bench.sh as root, or install Debian's package redis-server"
        )
    directory.mkdir(parents=True, exist_ok=True)
    command = ["redis-server", "--port", str(port), "--dir", str(directory), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always"]
    if primary is not None:
        command += ["--replicaof", "127.0.0.1", str(primary)]
    return Server("Redis", command, directory / "redis.log", port, pongs, (port,))


def redis_version() -> str:
    """Returns the version of the installed Redis."""
    printed = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False).stdout
    return printed.partition("v=")[2].partition(" ")[0] or "unknown"


def cpu_seconds(pid: int) -> float:
    """Returns the processor time, user and system, that a process has used in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_ports(count: int) -> list[int]:
    """Returns ports on which nobody listens, and which no outgoing connection is given, until this process ends."""
    leases = [PortLease() for _ in range(count)]
    _leases.extend(leases)
    return [lease.number for lease in leases]
