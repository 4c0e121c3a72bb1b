"""Three ZooKeeper servers, and the processes that ask them through kazoo.

It is Debian's package zookeeper, or the distribution that `ZOOKEEPER_HOME` names, as it comes: each server syncs its
log before it acknowledges (`forceSync`, the default), in files of its own. Clients are requests under way: up to three
processes have one session each, with one server each, and share them, because kazoo needs threads for a session and
256 sessions of it would measure nothing but Python. So kazoo's own cost is part of the figure.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from kazoo.client import KazooClient

from benchmarks.closed_loop import run_of
from benchmarks.clusters import MEMBERS, Group, running
from benchmarks.servers import ROOT, Server, ServerError, free_ports
from benchmarks.systems.kazoo_load import Measured, Order, paths
from benchmarks.systems.wire import Cell
from benchmarks.wrk import LoadError, Run

_JAR = Path("/usr/share/java/zookeeper.jar")
_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_END_SECONDS = 10.0


@contextmanager
def ensemble(directory: Path) -> Iterator[Group]:
    """Runs the servers; the leader is the first. Raises: ServerError."""
    class_path = _class_path()
    ports = free_ports(3 * MEMBERS)
    members = "".join(
        f"server.{each + 1}=127.0.0.1:{ports[MEMBERS + each]}:{ports[2 * MEMBERS + each]}\n" for each in range(MEMBERS)
    )
    servers = []
    for number, port in enumerate(ports[:MEMBERS]):
        own = directory / f"server{number + 1}"
        (own / "data").mkdir(parents=True)
        (own / "data" / "myid").write_text(str(number + 1))
        (own / "zoo.cfg").write_text(
            f"dataDir={own}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=2000\ninitLimit=10\n"
            f"syncLimit=5\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\nmaxClientCnxns=0\n{members}"
        )
        command = ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", class_path, _CLASS]
        servers.append(Server("ZooKeeper", [*command, str(own / "zoo.cfg")], own / "log", port, _serves))
    with running(Group("zookeeper", servers)) as group:
        group.servers.sort(key=lambda server: "Mode: leader" not in _asked(server.port))
        yield group


def version() -> str:
    """Returns the version of the installed ZooKeeper, as its jar is named."""
    home = os.environ.get("ZOOKEEPER_HOME")
    jars = (Path(home) / "lib" if home else _JAR.parent).glob("zookeeper-[0-9]*.jar")
    return next((jar.stem.removeprefix("zookeeper-") for jar in jars), "unknown")


class KazooDriver:
    """Processes of `kazoo_load`, one for each server; fewer for fewer clients."""

    def __init__(self, ports: Sequence[int], processes: Sequence["subprocess.Popen[str]"]) -> None:
        self._ports = ports
        self._processes = processes

    def fill(self, cell: Cell) -> None:
        """Makes a node of each key."""
        client = KazooClient(hosts=f"127.0.0.1:{self._ports[0]}")
        client.start(timeout=30.0)
        try:
            client.ensure_path("/keys")
            nodes = zip(paths(cell), cell.values, strict=True)
            for made in [client.create_async(path, value) for path, value in nodes]:
                made.get(timeout=30.0)
        finally:
            client.stop()
            client.close()

    def drive(self, cell: Cell, seconds: float, warm_seconds: float) -> tuple[Run, float]:
        """Lets the processes ask at the same time."""
        asking = self._processes[: cell.clients]
        orders = [
            Order(
                cell=cell,
                under_way=cell.clients // len(asking) + (number < cell.clients % len(asking)),
                warm_seconds=warm_seconds,
                seconds=seconds,
            )
            for number in range(len(asking))
        ]
        with ThreadPoolExecutor(len(asking)) as threads:
            measured = list(threads.map(_obeyed, asking, orders))
        for each in measured:
            if each.failure:
                raise LoadError(f"kazoo says {each.failure}")
        latencies_ns = [latency for each in measured for latency in each.latencies_ns]
        if not latencies_ns:
            raise LoadError("nothing was answered")
        return run_of(latencies_ns, seconds), sum(each.cpu_seconds for each in measured) / seconds


@contextmanager
def asked_by_kazoo(group: Group) -> Iterator[KazooDriver]:
    """Runs the load's processes. Raises: LoadError."""
    with ExitStack() as stack:
        processes = [stack.enter_context(_process(port)) for port in group.ports]
        for process in processes:
            _line(process)
        yield KazooDriver(group.ports, processes)


@contextmanager
def _process(port: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "benchmarks.systems.kazoo_load", f"127.0.0.1:{port}"]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    # In a session of its own, Ctrl-C does not reach it: it ends with its standard input.
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _obeyed(process: "subprocess.Popen[str]", order: Order) -> Measured:
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(order).decode() + "\n")
    process.stdin.flush()
    return msgspec.json.decode(_line(process), type=Measured)


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise LoadError("a process of the load on ZooKeeper has ended: what it said stands above")
    return line


def _serves(port: int) -> bool:
    return "Mode: " in _asked(port)


def _asked(port: int) -> str:
    """Returns what a server says of itself, "" if it says nothing."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"srvr")
            return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
    except OSError:
        return ""


def _class_path() -> str:
    home = os.environ.get("ZOOKEEPER_HOME")
    if shutil.which("java") and home:
        return f"{home}/lib/*:{home}/conf"
    if shutil.which("java") and _JAR.exists():
        return f"{_JAR}:{_JAR.with_name('slf4j-simple.jar')}"
    raise ServerError("ZooKeeper is not installed: run scripts/bench.sh as root, or install Debian's package zookeeper")
