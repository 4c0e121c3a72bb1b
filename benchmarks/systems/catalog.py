"""The systems that are measured, each with what it promises in the setting in which it is measured.

A family is what is started together: CoreCache's cluster is asked in two protocols. Everything runs on 127.0.0.1, and
syncs to the disk as the promise says; all other settings are the defaults, or stand where the family is started.

A single client asks the leader, or primary, of etcd, Redis, ZooKeeper and PySyncObj: its requests take the shortest
way there is. Many clients are spread over all members, except for Redis, where only the primary takes writes.
"""

import http.client
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path

import msgspec

from benchmarks import clusters, servers
from benchmarks.closed_loop import ask
from benchmarks.clusters import MEMBERS, Group
from benchmarks.peers_report import PeerSystem
from benchmarks.servers import Server, ServerError, free_ports
from benchmarks.systems import zookeeper
from benchmarks.systems.dialects import CoreCacheHttp, EtcdHttp, Resp, RespThenWait
from benchmarks.systems.wire import AwareDriver, Driver, WireDriver
from benchmarks.wrk import LoadError
from corecache.wire.resp_command import command

PARTITIONS = 8
MEMORY_BYTES = 256 * 1024 * 1024

LINEARIZABLE = "linearizable"
ON_ONE_DISK = "synced to its disk"
ON_ALL_IN_SYNC = "synced to the disks of all members in sync (here 3), before anyone can read it"
ON_MOST = "synced to the disks of a majority, before anyone can read it"

_SYSTEMS = (
    PeerSystem("corecache1-http", "CoreCache, 1 node, HTTP", ON_ONE_DISK, LINEARIZABLE),
    PeerSystem("corecache1-resp", "CoreCache, 1 node, RESP", ON_ONE_DISK, LINEARIZABLE),
    PeerSystem(
        "corecache3-http", "CoreCache, 3 nodes, HTTP", ON_ALL_IN_SYNC, "linearizable, from the primary by lease"
    ),
    PeerSystem(
        "corecache3-resp",
        "CoreCache, 3 nodes, RESP, cluster-aware",
        ON_ALL_IN_SYNC,
        "linearizable, from the primary by lease",
    ),
    PeerSystem("etcd1", "etcd, 1 member, JSON gateway", ON_ONE_DISK, LINEARIZABLE),
    PeerSystem("etcd3", "etcd, 3 members, JSON gateway", ON_MOST, "linearizable, a majority is asked"),
    PeerSystem("redis1", "Redis, `appendfsync always`", ON_ONE_DISK, LINEARIZABLE),
    PeerSystem(
        "redis3",
        "Redis, 2 replicas, `WAIT 2`",
        "synced to the primary's disk, and acknowledged by both replicas; others see it before",
        "from the primary; what is read may be lost with it",
    ),
    PeerSystem(
        "zookeeper3",
        "ZooKeeper, 3 servers, kazoo",
        "synced to the disks of a majority",
        "from the server's own copy, which may be behind: not linearizable",
    ),
    PeerSystem(
        "pysyncobj3",
        "PySyncObj, 3 members, `ReplDict`",
        "in the journals of a majority, never synced: it outlives a process, not the power",
        "from the member's own copy, which may be behind: not linearizable",
    ),
)
SYSTEMS: Mapping[str, PeerSystem] = {each.name: each for each in _SYSTEMS}


class Family(msgspec.Struct, frozen=True):
    """What is started together: which systems it makes, and how. `running` gives who asks each of them."""

    systems: tuple[str, ...]
    running: Callable[[Path], AbstractContextManager[dict[str, Driver]]]


@contextmanager
def _corecache1(directory: Path) -> Iterator[dict[str, Driver]]:
    with servers.node(directory, MEMORY_BYTES) as node:
        yield {
            "corecache1-http": WireDriver(CoreCacheHttp(), [node.port]),
            "corecache1-resp": WireDriver(Resp(), node.resp_ports),
        }


@contextmanager
def _corecache3(directory: Path) -> Iterator[dict[str, Driver]]:
    with clusters.corecache(directory, PARTITIONS, MEMORY_BYTES) as group:
        yield {
            "corecache3-http": WireDriver(CoreCacheHttp(), group.ports),
            "corecache3-resp": AwareDriver([node.resp_ports[1] for node in group.servers]),
        }


@contextmanager
def _etcd1(directory: Path) -> Iterator[dict[str, Driver]]:
    with clusters.etcd(directory, 1) as group:
        yield {"etcd1": WireDriver(EtcdHttp(), group.ports)}


@contextmanager
def _etcd3(directory: Path) -> Iterator[dict[str, Driver]]:
    with clusters.etcd(directory) as group:
        yield {"etcd3": WireDriver(EtcdHttp(), sorted(group.ports, key=lambda port: not _leads_etcd(port)))}


@contextmanager
def _redis1(directory: Path) -> Iterator[dict[str, Driver]]:
    (port,) = free_ports(1)
    with servers.redis(directory, port):
        yield {"redis1": WireDriver(Resp(), [port])}


@contextmanager
def _redis3(directory: Path) -> Iterator[dict[str, Driver]]:
    with clusters.redis(directory) as group:
        primary = group.ports[0]
        ask(primary, [command(b"SET", b"first", b"")])
        if ask(primary, [command(b"WAIT", b"2", b"30000")]) != [b":2"]:
            raise ServerError("Redis has not got two replicas")
        yield {"redis3": WireDriver(RespThenWait(), [primary])}


@contextmanager
def _zookeeper3(directory: Path) -> Iterator[dict[str, Driver]]:
    with zookeeper.ensemble(directory) as group, zookeeper.asked_by_kazoo(group) as driver:
        yield {"zookeeper3": driver}


@contextmanager
def _pysyncobj3(directory: Path) -> Iterator[dict[str, Driver]]:
    directory.mkdir(parents=True)
    ports = free_ports(2 * MEMBERS)
    members = [f"127.0.0.1:{port}" for port in ports[MEMBERS:]]
    started = []
    for port, own in zip(ports, members, strict=False):
        others = ",".join(other for other in members if other != own)
        words = [sys.executable, "-m", "benchmarks.systems.pysyncobj_server", "--port", str(port), "--self", own]
        words += ["--others", others, "--journal", str(directory / f"journal{port}")]
        started.append(Server("PySyncObj", words, directory / f"log{port}", port, _has_caught_up))
    with clusters.running(Group("pysyncobj", started)) as group:
        yield {"pysyncobj3": WireDriver(Resp(), sorted(group.ports, key=lambda port: not _leads_pysyncobj(port)))}


FAMILIES = (
    Family(("corecache3-http", "corecache3-resp"), _corecache3),
    Family(("etcd3",), _etcd3),
    Family(("redis3",), _redis3),
    Family(("zookeeper3",), _zookeeper3),
    Family(("pysyncobj3",), _pysyncobj3),
    Family(("corecache1-http", "corecache1-resp"), _corecache1),
    Family(("etcd1",), _etcd1),
    Family(("redis1",), _redis1),
)


def versions() -> dict[str, str]:
    """Returns what the peers call their versions."""
    return {
        "etcd": clusters.etcd_version(),
        "Redis": servers.redis_version(),
        "ZooKeeper": zookeeper.version(),
        "kazoo": version("kazoo"),
        "PySyncObj": version("pysyncobj"),
    }


def _leads_etcd(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v3/maintenance/status", "{}")
        status = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return bool(status["leader"] == status["header"]["member_id"])


def _has_caught_up(port: int) -> bool:
    try:
        return ask(port, [command(b"PING")]) == [b"+PONG"]
    except (LoadError, OSError):
        return False


def _leads_pysyncobj(port: int) -> bool:
    return ask(port, [command(b"ROLE")]) == [b"+leader"]
