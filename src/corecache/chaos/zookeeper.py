"""Real ZooKeeper servers: one, or an ensemble, each a process that is killed, paused and started again with its data.

A server is `java` on the jars of Debian's package `zookeeper`, or of the distribution that `ZOOKEEPER_HOME` names.
Nothing is installed here: where it is missing, `why_not` says what to install.

The rule: a server is asked by its four letter words alone (`srvr`, `dump`), so that no client of ZooKeeper's is needed
here. Sessions are ended by `sessions.py`.

What a server writes is not forced to disk: that proves nothing about CoreCache, and no server loses power.
"""

import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from corecache.chaos.network import Network
from corecache.chaos.processes import GroundError, PortLease, Process
from corecache.chaos.sessions import close_session, opens_session, session_of

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_AGREE_SECONDS = 10.0
_LOOK_SECONDS = 0.02
_ANSWER_SECONDS = 0.5
"""A server that starts takes connections for a while before it answers on them."""
_DEBIAN_JAR = Path("/usr/share/java/zookeeper.jar")
_PORTS = (2181, 2888, 3888)
"""Of a server that has an address of its own: for clients, for followers, for elections."""


def why_not() -> str | None:
    """Returns why no ZooKeeper can be started here and what to install, None if one can."""
    return (
        None
        if _class_path()
        else (
            "ZooKeeper is not installed: apt-get install zookeeper; or unpack a distribution, name it in "
            "ZOOKEEPER_HOME, and have java on the PATH"
        )
    )


def _require_zookeeper() -> None:
    missing = why_not()
    if missing is not None:
        raise GroundError(missing)


def _class_path() -> str:
    home = os.environ.get("ZOOKEEPER_HOME")
    if shutil.which("java"):
        if home and (Path(home) / "lib").is_dir():
            return f"{home}/lib/*:{home}/conf"
        if _DEBIAN_JAR.exists():
            return f"{_DEBIAN_JAR}:{_DEBIAN_JAR.with_name('slf4j-simple.jar')}"
    return ""


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

        `host` is where it listens, and `command` what to put before the program, in a network namespace. Raises:
        GroundError if ZooKeeper is not installed.
        """
        _require_zookeeper()
        self._lease = PortLease() if port is None else None
        self.port: int = self._lease.number if self._lease else port or 0
        self.host = host
        self.address = f"{host}:{self.port}"
        (directory / "data").mkdir(parents=True, exist_ok=True)
        (directory / "zoo.cfg").write_text(
            f"dataDir={directory}/data\nclientPort={self.port}\nclientPortAddress={host}\ntickTime={tick_ms}\n"
            "minSessionTimeout=200\nmaxSessionTimeout=120000\nmaxClientCnxns=0\nadmin.enableServer=false\n"
            f"4lw.commands.whitelist=*\ninitLimit=100\nsyncLimit=50\n{settings}"
        )
        # The Java machine must be small and start quickly.
        self._process = Process(
            [*command, "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
            + ["-Dzookeeper.forceSync=no", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
            + [f"-D{given}" for given in properties]
            + ["-cp", _class_path(), "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(directory / "zoo.cfg")],
            directory / "log",
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    @property
    def running(self) -> bool:
        """Whether its process lives, if only standing still."""
        return self._process.running

    def start(self, wait: bool = True) -> None:
        """Starts it, with what it had, and waits until it serves. Raises: GroundError if it does not."""
        self._process.start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Waits until it serves. Raises: GroundError if it does not within a minute."""
        deadline = time.monotonic() + _START_SECONDS
        while not self.serves():
            if not self.running or time.monotonic() > deadline:
                raise GroundError(f"ZooKeeper does not serve at {self.address}:\n{self._process.log_tail()}")
            time.sleep(_LOOK_SECONDS)

    def ask(self, word: str) -> str:
        """Returns the answer to a four letter word, "" if there is none."""
        try:
            with socket.create_connection((self.host, self.port), _ANSWER_SECONDS) as connection:
                connection.sendall(word.encode())
                connection.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
        except OSError:
            return ""

    def serves(self) -> bool:
        """Says whether it answers clients: alone, or as one of a majority."""
        return "Mode: " in self.ask("srvr")

    def leads(self) -> bool:
        """Says whether it is the one of its ensemble that orders the writes, or is alone."""
        answer = self.ask("srvr")
        return "Mode: leader" in answer or "Mode: standalone" in answer

    def kill(self) -> None:
        """Kills it at once, also when it is paused, and waits for its end. Nothing, if it does not run."""
        self._process.kill()

    def stop(self) -> None:
        """Ends it as an administrator does, and waits for its end."""
        self._process.terminate()
        self._process.wait(_STOP_SECONDS)

    def pause(self) -> None:
        """Has it stand still, with its connections open: a server that is there and answers nothing."""
        self._process.pause()

    def resume(self) -> None:
        """Lets it go on."""
        self._process.resume()

    def ended_by_itself(self) -> int | None:
        """Returns its exit code if it ended and nobody had told it to, else None."""
        return self._process.ended_by_itself()

    def log_tail(self) -> str:
        """Returns the last lines of its log."""
        return self._process.log_tail()

    def end(self) -> None:
        """Kills it and gives its port up."""
        self.kill()
        if self._lease is not None:
            self._lease.end()


class Ensemble:
    """Servers that agree with each other: 1, or an odd number. `address` is all of them, for `coordination.zookeeper`.

    With a network each has a namespace of its own, by its name (`zookeeper1`, …), which is added if it is not there.
    """

    def __init__(self, directory: Path, count: int, network: Network | None = None) -> None:
        """Makes the servers and starts none. Raises: GroundError if ZooKeeper is not installed."""
        _require_zookeeper()
        self.names = [f"zookeeper{number + 1}" for number in range(count)]
        self._leases: list[PortLease] = []
        hosts, ports = self._places(network)
        members = "".join(
            f"server.{number + 1}={host}:{ports[number][1]}:{ports[number][2]}\n" for number, host in enumerate(hosts)
        )
        self.servers: list[ZooKeeperServer] = []
        for number, name in enumerate(self.names):
            server = ZooKeeperServer(
                directory / name,
                ports[number][0],
                settings=members if count > 1 else "",
                host=hosts[number],
                command=network.command(name) if network else (),
            )
            (directory / name / "data" / "myid").write_text(str(number + 1))
            self.servers.append(server)
        self.address = ",".join(server.address for server in self.servers)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def start(self) -> None:
        """Starts all that don't run, and waits until all serve. Raises: GroundError if one does not."""
        for server in self.servers:
            if not server.running:
                server.start(wait=False)
        for server in self.servers:
            server.wait()

    def leader(self) -> ZooKeeperServer | None:
        """Returns the server that orders the writes, None if there is none, or it does not answer."""
        return next((server for server in self.servers if server.leads()), None)

    def serves(self) -> bool:
        """Says whether all servers serve."""
        return all(server.serves() for server in self.servers)

    def mend(self, patience_seconds: float = _AGREE_SECONDS) -> list[str]:
        """Starts servers anew, with what they have, that agree to nothing any more; returns their names.

        As an operator would: a server of release 3.8.0 that stood still may say that it serves, when the thread that
        writes its log has ended (ZOOKEEPER-4409). Raises: GroundError if one does not serve then.
        """
        deadline = time.monotonic() + patience_seconds
        stuck = dict(zip(self.names, self.servers, strict=True))
        while stuck and time.monotonic() < deadline:
            stuck = {name: each for name, each in stuck.items() if not opens_session(each.host, each.port)}
            time.sleep(_LOOK_SECONDS)
        for server in stuck.values():
            server.kill()
        if stuck:
            self.start()
        return list(stuck)

    def expire(self, node: str) -> bool:
        """Ends the session of a CoreCache node at once; says whether there was one and it is gone."""
        leader = self.leader()
        session = session_of(leader.ask("dump"), node) if leader else None
        return leader is not None and session is not None and close_session(leader.host, leader.port, session)

    def end(self) -> None:
        """Kills all, and gives their ports up."""
        for server in self.servers:
            server.end()
        for lease in self._leases:
            lease.end()

    def _places(self, network: Network | None) -> tuple[list[str], list[tuple[int, int, int]]]:
        if network is not None:
            for name in self.names:
                network.add(name)
            return [network.address(name) for name in self.names], [_PORTS] * len(self.names)
        self._leases = [PortLease() for _ in range(3 * len(self.names))]
        numbers = iter(lease.number for lease in self._leases)
        return ["127.0.0.1"] * len(self.names), [(next(numbers), next(numbers), next(numbers)) for _ in self.names]
