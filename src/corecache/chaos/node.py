"""A node of a campaign's cluster: a real process, seen from outside as an operator sees it, and what is done to it.

It has a directory, a log, ports, and, with a network, a namespace and an address of its own; without one it is at
127.0.0.1, on ports that are leased.

Rule 1: nothing of a node is imported; what is known of it comes by HTTP, in its own reports, or from the kernel.
Rule 2: who does not answer says nothing: it is not ready, has no report, and is no error.

Calls block, and may be made by several threads for different nodes.
"""

import contextlib
import http.client
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from corecache.chaos.disk import Shim
from corecache.chaos.network import Network
from corecache.chaos.processes import GroundError, PortLease, Process, python_environment
from corecache.reports import ClusterReport, DigestReport, OrdersReport, StorageReport

PROGRAM: Final = (sys.executable, "-c", "from corecache.cli import main; main()", "serve")
READY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05
_ANSWER_SECONDS: Final = 5.0
_ORDER_SECONDS: Final = 60.0
_PORTS: Final = (8000, 6379, 6479, 7400)
"""Of a node with an address of its own: HTTP, RESP, RESP for clients that follow the map, link."""


class ChaosNode:
    """One node. `host` and the ports say where clients find it, `disk` is the control of its disk, if it has one."""

    def __init__(
        self,
        name: str,
        directory: Path,
        zookeeper: str,
        settings: Mapping[str, str | int],
        program: Sequence[str] = PROGRAM,
        network: Network | None = None,
        shim: Path | None = None,
        disk: Path | None = None,
    ) -> None:
        """Takes a directory of its own, and settings as `{"section.name": value}`. Starts nothing.

        Its data is on `disk`, the place of a disk of its own, else in its directory.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.data_dir = (disk or directory) / "data"
        self.disk = Shim(shim, directory / "shim.control") if shim else None
        self._leases: list[PortLease] = []
        if network is None:
            self.host = "127.0.0.1"
            self._leases = [PortLease() for _ in _PORTS]
            self.http_port, self.resp_port, map_port, link_port = (lease.number for lease in self._leases)
        else:
            network.add(name)
            self.host = network.address(name)
            self.http_port, self.resp_port, map_port, link_port = _PORTS
        own = {
            "node.id": name,
            "node.data_dir": str(self.data_dir),
            "coordination.zookeeper": zookeeper,
            "http.host": self.host,
            "http.port": self.http_port,
            "resp.host": self.host,
            "resp.port": self.resp_port,
            "resp.cluster_port": map_port,
            "link.host": self.host,
            "link.port": link_port,
        }
        environment = python_environment()
        for setting, value in (own | dict(settings)).items():
            environment["CORECACHE_" + setting.upper().replace(".", "__")] = str(value)
        if self.disk is not None:
            environment |= self.disk.environment
        before = network.command(name) if network else []
        # The node runs in a directory of its own, where no configuration file of somebody else's lies.
        self.process = Process([*before, *program], directory / "log", environment, directory)

    @property
    def http_url(self) -> str:
        """Where it speaks HTTP."""
        return f"http://{self.host}:{self.http_port}"

    @property
    def resp(self) -> tuple[str, int]:
        """Where it speaks RESP, and forwards what others must do."""
        return self.host, self.resp_port

    # Life

    @property
    def running(self) -> bool:
        """Whether its process lives, if only standing still."""
        return self.process.running

    def spawn(self) -> None:
        """Starts its process, with the data it had, and returns at once."""
        self.process.start()

    def await_ready(self, seconds: float = READY_SECONDS) -> None:
        """Waits until it is ready. Raises: GroundError if it ends by itself, or is not ready in time."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            code = self.ended_by_itself()
            if code is not None:
                raise GroundError(f"{self.name} ended with {code} before it was ready:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise GroundError(f"{self.name} is not ready within {seconds} s:\n{self.log_tail()}")
            time.sleep(_LOOK_SECONDS)

    def kill(self) -> None:
        """Kills it (SIGKILL) and waits for its end."""
        self.process.kill()

    def terminate(self) -> None:
        """Tells it to end as an administrator does (SIGTERM), and returns at once; see `wait`."""
        self.process.terminate()

    def wait(self, seconds: float) -> int:
        """Waits for its end and returns the exit code. Raises: GroundError if it lives on."""
        return self.process.wait(seconds)

    def pause(self) -> None:
        """Has it stand still (SIGSTOP)."""
        self.process.pause()

    def resume(self) -> None:
        """Lets it go on (SIGCONT)."""
        self.process.resume()

    def wipe(self) -> None:
        """Removes its data directory, which is there. Requires: it does not run. Raises: OSError."""
        assert not self.running, "its data is in use"
        shutil.rmtree(self.data_dir)

    def ended_by_itself(self) -> int | None:
        """Returns its exit code (negative: the signal) if it ended and nobody had told it to, else None."""
        return self.process.ended_by_itself()

    def ends_by_itself(self) -> list[int]:
        """Returns the exit codes of all its lives that ended so, however often it was started again."""
        return self.process.ends_by_itself()

    def log_tail(self, lines: int = 30) -> str:
        """Returns the last lines of its log."""
        return self.process.log_tail(lines)

    def end(self) -> None:
        """Ends whatever is left of it."""
        if self.disk is not None:
            self.disk.disarm()
        self.kill()
        for lease in self._leases:
            lease.end()

    # What it says

    def ask(
        self, method: str, target: str, body: bytes | None = None, seconds: float = _ANSWER_SECONDS
    ) -> tuple[int, bytes]:
        """Sends a request on a connection of its own; returns status and body, status 0 if no answer came."""
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=seconds)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        return 0, b""

    def is_ready(self) -> bool:
        """Says whether requests may come, by its own word.

        It was able to serve all that it holds when it started, and is not stopping; a cut later does not change that.
        """
        return self.ask("GET", "/readyz")[0] == 200

    def report(self) -> ClusterReport | None:
        """Returns how it sees the cluster; None if it does not answer."""
        status, body = self.ask("GET", "/v1/cluster")
        return msgspec.json.decode(body, type=ClusterReport) if status == 200 else None

    def orders(self) -> OrdersReport | None:
        """Returns what operators have ordered, and how far it is; None if it does not answer."""
        status, body = self.ask("GET", "/v1/cluster/orders")
        return msgspec.json.decode(body, type=OrdersReport) if status == 200 else None

    def digest(self, partition: int) -> DigestReport | None:
        """Returns the checksum of its replica of a partition; None if it has none, or does not answer."""
        status, body = self.ask("GET", f"/v1/storage/digest?partition={partition}", seconds=_ORDER_SECONDS)
        return msgspec.json.decode(body, type=DigestReport) if status == 200 else None

    def tree(self) -> StorageReport | None:
        """Returns how what it stores stands; None if it does not answer."""
        status, body = self.ask("GET", "/v1/storage")
        return msgspec.json.decode(body, type=StorageReport) if status == 200 else None

    def storage(self, order: Literal["flush", "compact"]) -> bool:
        """Has it flush or compact all that it stores; says whether it did. It may take a minute."""
        return self.ask("POST", f"/v1/storage/{order}", seconds=_ORDER_SECONDS)[0] == 200
