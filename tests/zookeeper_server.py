"""Real ZooKeeper servers for tests: one, or an ensemble, on free ports, in a directory that is thrown away.

A server is a process of its own that can be stopped, killed, paused and started again with the data it had. It is
`java` on the jars of Debian's package `zookeeper`, or of the distribution in `ZOOKEEPER_HOME`.

    def test_x(zookeeper: ZooKeeperServer, zookeeper_address: str) -> None: ...    # fixtures, see conftest.py

`zookeeper` is shared by all tests of a worker: use `zookeeper_address`, which has a chroot of the test's own, and do
not stop it. A test that wants to stop one starts its own: `with ZooKeeperServer(tmp_path) as server: …`.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

START_SECONDS = 60
ANSWER_SECONDS = 0.5
"""A server that starts takes connections for a while before it answers on them."""
DEBIAN_JAR = Path("/usr/share/java/zookeeper.jar")
MISSING = (
    "ZooKeeper is not installed: scripts/test.sh installs it; or set ZOOKEEPER_HOME to an unpacked distribution "
    "(and have java on the PATH)"
)


def class_path() -> str:
    """Returns where java finds ZooKeeper. Raises: RuntimeError that says what to install."""
    home = os.environ.get("ZOOKEEPER_HOME")
    if shutil.which("java"):
        if home and (Path(home) / "lib").is_dir():
            return f"{home}/lib/*:{home}/conf"
        if DEBIAN_JAR.exists():
            return f"{DEBIAN_JAR}:{DEBIAN_JAR.with_name('slf4j-simple.jar')}"
    raise RuntimeError(MISSING)


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody listens on at the moment."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in taken]
    for server in taken:
        server.close()
    return ports


class ZooKeeperServer:
    """One server. `address` is its "host:port"."""

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        tick_ms: int = 100,
        settings: str = "",
        properties: tuple[str, ...] = (),
        host: str = "127.0.0.1",
        command: Sequence[str] = (),
    ) -> None:
        """Takes a directory of its own. Sessions can be as short as two ticks; `settings` are more lines of zoo.cfg.

        `host` is where it listens, and `command` what to put before the program, in a network namespace.
        """
        self.directory = directory
        self.port = free_ports(1)[0] if port is None else port
        self.host = host
        self.address = f"{host}:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._properties = properties
        self._command = list(command)
        (directory / "data").mkdir(parents=True, exist_ok=True)
        (directory / "zoo.cfg").write_text(
            f"dataDir={directory}/data\nclientPort={self.port}\nclientPortAddress={host}\ntickTime={tick_ms}\n"
            "minSessionTimeout=200\nmaxSessionTimeout=120000\nmaxClientCnxns=0\nadmin.enableServer=false\n"
            f"4lw.commands.whitelist=*\ninitLimit=100\nsyncLimit=50\n{settings}"
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def start(self, wait: bool = True) -> None:
        """Starts it, with what it had; waits until it serves."""
        assert self.process is None, "it runs already"
        # The Java machine must be small and start quickly; forced syncs prove nothing about CoreCache.
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._command, "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
                + ["-Dzookeeper.forceSync=no", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
                + [f"-D{given}" for given in self._properties]
                + ["-cp", class_path(), "org.apache.zookeeper.server.quorum.QuorumPeerMain"]
                + [str(self.directory / "zoo.cfg")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Waits until it serves."""
        deadline = time.monotonic() + START_SECONDS
        while "Mode: " not in self.ask("srvr"):
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"ZooKeeper did not start: {(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def ask(self, word: str) -> str:
        """Returns the answer to a four letter word, "" if there is none."""
        try:
            with socket.create_connection((self.host, self.port), ANSWER_SECONDS) as connection:
                connection.sendall(word.encode())
                connection.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
        except OSError:
            return ""

    def leads(self) -> bool:
        """Says whether it is the one of its ensemble that orders the writes."""
        return "Mode: leader" in self.ask("srvr")

    def kill(self) -> None:
        """Kills it at once, also when it is paused, and waits for its end. Nothing, if it does not run."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it as an administrator does."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Has it stand still, with its connections open: a server that is there and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self._signal(number)
            self.process.wait(30)
            self.process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@contextmanager
def ensemble(directory: Path, count: int = 3) -> Iterator[list[ZooKeeperServer]]:
    """Runs several servers that agree with each other; their addresses, joined by commas, are the ensemble's."""
    ports = free_ports(3 * count)
    members = "".join(
        f"server.{number + 1}=127.0.0.1:{ports[3 * number]}:{ports[3 * number + 1]}\n" for number in range(count)
    )
    servers = []
    for number in range(count):
        server = ZooKeeperServer(directory / f"server{number + 1}", ports[3 * number + 2], settings=members)
        (server.directory / "data" / "myid").write_text(str(number + 1))
        servers.append(server)
    try:
        for server in servers:
            server.start(wait=False)
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.kill()
