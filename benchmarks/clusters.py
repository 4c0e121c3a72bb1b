"""Clusters of three that are measured: CoreCache's nodes with their ZooKeeper, etcd's members, Redis with two replicas.

All sync to the disk before they acknowledge, and hold three copies of everything; all else is each one's default.
`ports` are where their members take requests. ZooKeeper is started as `scripts/cluster.sh` does it (one server; no data
passes through it), etcd and Redis are Debian's packages etcd-server and redis-server.
"""

import contextlib
import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import processes
import zookeeper
from benchmarks import servers
from benchmarks.servers import Server, ServerError, answers, free_ports, serve

MEMBERS = 3
ETCD_BYTES_MAX = 8_000_000_000
"""etcd keeps what was overwritten, and refuses writes once it has 2 GB by default."""
WHOLE_SECONDS_MAX = 120.0


class Group:
    """The members of a cluster: servers that run."""

    def __init__(self, name: str, members: list[Server]) -> None:
        self.name = name
        self.servers = members

    @property
    def ports(self) -> list[int]:
        """Where the members take requests."""
        return [server.port for server in self.servers]

    @property
    def pids(self) -> list[int]:
        """The members' processes."""
        return [server.pid for server in self.servers]


@contextmanager
def corecache(directory: Path, partitions: int, memory_bytes: int, name: str = "corecache") -> Iterator[Group]:
    """Runs ZooKeeper and three nodes, from the moment on that each is primary of its share. Raises: ServerError."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        coordinator = zookeeper.start(directory / "zookeeper")
    except processes.Refusal as refusal:
        raise ServerError(str(refusal)) from None
    try:
        nodes = [node(directory, number, coordinator.address, partitions, memory_bytes) for number in range(MEMBERS)]
        with running(Group(name, nodes)) as group:
            await_whole(group, partitions)
            yield group
    finally:
        zookeeper.stop(directory / "zookeeper")


def node(directory: Path, number: int, address: str, partitions: int, memory_bytes: int) -> Server:
    """Returns a node of a cluster with durability "fsync"; all else that is not given is the default."""
    config = directory / f"node{number}.toml"
    port, peer_port, *resp_ports = free_ports(4)
    config.write_text(
        f'[node]\nid = "n{number}"\n\n[coordination]\nzookeeper = "{address}"\n\n[link]\nport = {peer_port}\n\n'
        f"[resp]\nport = {resp_ports[0]}\ncluster_port = {resp_ports[1]}\n\n"
        f'[cluster]\npartitions = {partitions}\n\n[replication]\ndurability = "fsync"\n\n'
        f"[storage]\nmemory_bytes = {memory_bytes}\n"
    )
    command = serve(config, directory / f"node{number}", port)
    log = directory / f"node{number}.log"
    return Server(f"node n{number}", command, log, port, answers("/readyz", 200), tuple(resp_ports))


@contextmanager
def etcd(directory: Path, count: int = MEMBERS) -> Iterator[Group]:
    """Runs members of etcd. Raises: ServerError."""
    if shutil.which("etcd") is None:
        raise ServerError(
            "etcd is not installed: run scripts/bench.sh as root, or install Debian's package etcd-server"
        )
    directory.mkdir(parents=True, exist_ok=True)
    ports = free_ports(2 * count)
    names = [f"m{number}" for number in range(count)]
    peers = [f"http://127.0.0.1:{port}" for port in ports[:count]]
    cluster = ",".join(f"{name}={peer}" for name, peer in zip(names, peers, strict=True))
    members = []
    for name, peer, port in zip(names, peers, ports[count:], strict=True):
        client = f"http://127.0.0.1:{port}"
        command = ["etcd", "--name", name, "--data-dir", str(directory / name), "--log-level", "error"]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--initial-cluster", cluster, "--initial-cluster-state", "new"]
        command += [f"--quota-backend-bytes={ETCD_BYTES_MAX}"]
        members.append(Server("etcd", command, directory / f"{name}.log", port, answers("/health", 200)))
    with running(Group("etcd", members)) as group:
        yield group


@contextmanager
def redis(directory: Path) -> Iterator[Group]:
    """Runs a Redis and its two replicas; the first is the primary. They may not have met yet. Raises: ServerError."""
    ports = free_ports(MEMBERS)
    primary, *replicas = ports
    members = [servers.redis(directory / "primary", primary)]
    members += [servers.redis(directory / f"replica{port}", port, primary) for port in replicas]
    with running(Group("redis", members)) as group:
        yield group


def etcd_version() -> str:
    """Returns the version of the installed etcd."""
    printed = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=False).stdout
    return printed.partition("etcd Version:")[2].split("\n")[0].strip() or "unknown"


def await_whole(group: Group, partitions: int) -> float:
    """Waits until every partition has three copies in sync and every member is primary of some, if they suffice.

    Returns the seconds that it took. Raises: ServerError.
    """
    begun = time.perf_counter()
    while not _is_whole(_views(group.ports[0]), partitions):
        if time.perf_counter() - begun > WHOLE_SECONDS_MAX:
            raise ServerError(f"the cluster is not whole after {WHOLE_SECONDS_MAX:.0f} s")
        time.sleep(0.05)
    return time.perf_counter() - begun


def _is_whole(views: list[dict[str, object]], partitions: int) -> bool:
    whole = [view for view in views if len(view["in_sync"]) == len(view["replicas"]) == MEMBERS]  # type: ignore[arg-type]
    leading = {str(view["primary"]["node"]) for view in whole}  # type: ignore[index]
    return len(whole) == partitions and len(leading) == min(MEMBERS, partitions)


def _views(port: int) -> list[dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/v1/cluster/partitions")
        return [each["view"] for each in json.loads(connection.getresponse().read()) if each["view"] is not None]
    except (OSError, http.client.HTTPException, ValueError):
        return []
    finally:
        connection.close()


@contextmanager
def running(group: Group) -> Iterator[Group]:
    """Starts all members at once; stops them in the end, or kills them if something went wrong."""
    try:
        for server in group.servers:
            server.launch()
        for server in group.servers:
            server.wait()
        yield group
    except BaseException:
        for server in group.servers:
            server.kill()
        raise
    with contextlib.ExitStack() as stack:
        for server in group.servers:
            stack.callback(server.stop)
