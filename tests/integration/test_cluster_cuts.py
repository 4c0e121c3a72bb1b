"""The network between nodes is cut, one way or both, under load: never two answers for one key, and who can goes on.

Each node is on a machine of its own as far as the network goes (`chaos/network.py`), ZooKeeper on another, and the
clients reach all of them all the time: so those who ask the wrong side are there, and must be told *not done*, or
*unknown*, and nothing that is old. What they are told is judged by `cluster_load.py`, key by key.

A cut is told to no program. Nobody is known to be gone, and only silence speaks.
"""

import concurrent.futures
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from corecache.chaos import network as networks
from corecache.chaos.network import Network
from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import PARTITIONS, Cluster, Member, partition_of
from integration.cluster_load import Load
from integration.cluster_stores import await_equal
from integration.node_harness import REQUEST_SECONDS, key_target

LONELY, *OTHERS = NODES = ("n1", "n2", "n3")
ZOOKEEPER = "zookeeper"
DEADLINE_MS = 1500
PROBE_MS = 500
LATE_SECONDS = 1.0
"""What an answer may come late on a busy machine."""
RESUME_SECONDS = 15.0
SESSION_SECONDS = 3.0
QUIET_SECONDS = 2.0
WRITES = 10


class Parted(NamedTuple):
    """A cluster and the network that it is on."""

    cluster: Cluster
    network: Network


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parted]:
    """Three nodes and ZooKeeper, each in a namespace. Each test leaves them whole and settled, and nothing cut."""
    missing = networks.why_not()
    if missing is not None:
        pytest.skip(missing)
    place = tmp_path_factory.mktemp("cuts")
    with Network((*NODES, ZOOKEEPER)) as network:
        server = ZooKeeperServer(
            place / "zookeeper", host=network.address(ZOOKEEPER), command=network.command(ZOOKEEPER)
        )
        with server:
            cluster = Cluster(place, server.address, 0)
            for name in NODES:
                cluster.add(host=network.address(name), command=network.command(name))
            with cluster.settled():
                yield Parted(cluster, network)


@pytest.fixture(autouse=True)
def _mended(parted: Parted) -> Iterator[None]:
    """Leaves nothing cut, also by a test that has failed: the others have the same cluster."""
    yield
    heal(parted.cluster, parted.network)


def part(network: Network, one: str, other: str) -> None:
    """Cuts both ways."""
    network.cut(one, other)
    network.cut(other, one)


def cut_off(network: Network) -> None:
    """Leaves the first node with nobody: the minority."""
    for other in (*OTHERS, ZOOKEEPER):
        part(network, LONELY, other)


def cut_from_nodes(network: Network) -> None:
    """Leaves the first node with ZooKeeper, where it might have the others put out."""
    for other in OTHERS:
        part(network, LONELY, other)


def cut_one_way_out(network: Network) -> None:
    """Lets the first node hear everybody, and nobody hear it."""
    for other in (*OTHERS, ZOOKEEPER):
        network.cut(LONELY, other)


def cut_one_way_in(network: Network) -> None:
    """Lets everybody hear the first node, but for ZooKeeper, and it hear nobody."""
    for other in OTHERS:
        network.cut(other, LONELY)


def refused(node: Member) -> None:
    """Writes and reads a key of each partition at a node: each is refused, and in its time."""
    with concurrent.futures.ThreadPoolExecutor(2 * PARTITIONS) as threads:
        asked = [
            threads.submit(ask_in_time, node, method, key)
            for key in keys_of_all().values()
            for method in ("PUT", "GET")
        ]
        answers = [each.result() for each in asked]
    taken = [answer for answer in answers if answer[-1] not in (503, 504)]
    assert not taken, taken


def ask_in_time(node: Member, method: str, key: bytes) -> tuple[str, bytes, int]:
    """Sends a request, which is answered by its deadline; returns it, with the status."""
    began = time.monotonic()
    with node.connected(REQUEST_SECONDS) as connection:
        body = b"7" if method == "PUT" else None
        connection.request(method, key_target(key), body, {"X-CoreCache-Timeout": str(PROBE_MS)})
        status = connection.getresponse().status
    seconds = time.monotonic() - began
    assert seconds < PROBE_MS / 1000 + LATE_SECONDS, f"{node.name}: {method} {key!r} took {seconds:.2f} s: {status}"
    return method, key, status


def keys_of_all() -> dict[int, bytes]:
    """Returns a key of each partition, which no load uses."""
    keys: dict[int, bytes] = {}
    number = 0
    while len(keys) < PARTITIONS:
        number += 1
        keys.setdefault(partition_of(b"probe-%d" % number), b"probe-%d" % number)
    return keys


@contextmanager
def loads(cluster: Cluster, larger: Sequence[Member]) -> Iterator[tuple[Load, Load]]:
    """Runs two loads: at all nodes, and at the larger side alone."""
    everywhere = Load(cluster, readers=6, deadline_ms=DEADLINE_MS)
    there = Load(cluster, writers=PARTITIONS, readers=2, deadline_ms=DEADLINE_MS, nodes=larger)
    with everywhere.running(), there.running():
        everywhere.await_successes(WRITES)
        there.await_successes(WRITES)
        yield everywhere, there


@pytest.mark.parametrize(
    "cut", [cut_off, cut_from_nodes, cut_one_way_out, cut_one_way_in], ids=lambda cut: str(cut.__name__)
)
def test_the_smaller_side_refuses_and_the_larger_goes_on(parted: Parted, cut: Callable[[Network], None]) -> None:
    """Each partition takes writes at the larger side soon; by then the smaller one serves nothing any more."""
    cluster, network = parted
    lonely, *others = cluster.nodes
    assert cluster.led_by(lonely)
    with loads(cluster, others) as (load, larger):
        cut(network)
        pauses = larger.await_resumed(time.monotonic(), RESUME_SECONDS)
        refused(lonely)
        told(cut.__name__, pauses, heal(cluster, network), load)
        load.await_successes(WRITES)
    await_equal(cluster)


def test_who_reaches_all_goes_on_when_two_do_not_reach_each_other(parted: Parted) -> None:
    """Of two that do not hear each other one is dropped, and neither put out again and again: the third serves all."""
    cluster, network = parted
    with loads(cluster, cluster.nodes[2:]) as (load, larger):
        part(network, LONELY, OTHERS[0])
        pauses = larger.await_resumed(time.monotonic(), RESUME_SECONDS)
        epochs = cluster.epochs()
        cluster.let_pass(QUIET_SECONDS)
        assert cluster.epochs() == epochs, "a primary was put out again"
        told("between two", pauses, heal(cluster, network), load)
    await_equal(cluster)


def test_a_node_that_does_not_reach_zookeeper_serves_as_before(parted: Parted) -> None:
    """For longer than its session lasts: nobody notices, and nothing is moved."""
    cluster, network = parted
    views = cluster.views()
    with Load(cluster).running() as load:
        load.await_successes(WRITES)
        part(network, LONELY, ZOOKEEPER)
        cluster.let_pass(SESSION_SECONDS + QUIET_SECONDS)
        network.heal()
        load.await_successes(WRITES)
    assert load.outcomes.keys() == {"acknowledged"}, load.failures
    assert load.reads.keys() == {"answered"}
    assert cluster.views() == views
    cluster.await_true(
        lambda: all(node["alive"] for node in (cluster.nodes[1].report() or {"nodes": [{"alive": False}]})["nodes"]),
        "the node is listed again",
    )


def heal(cluster: Cluster, network: Network) -> float:
    """Mends everything; returns the seconds until the cluster is whole and settled."""
    began = time.monotonic()
    network.heal()
    cluster.await_settled()
    return time.monotonic() - began


def told(what: str, pauses: dict[int, float], whole_seconds: float, load: Load) -> None:
    """Prints what a cut has cost."""
    shown = " ".join(f"{pauses[number]:.2f}" for number in range(PARTITIONS))
    sys.stdout.write(f"{what}: pauses {shown} s; whole {whole_seconds:.1f} s after; {load.summary()}\n")
