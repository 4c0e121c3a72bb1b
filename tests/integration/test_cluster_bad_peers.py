"""Who should not be at the port for other nodes: another cluster, another version, noise, and one that reads nothing.

Each is told, or shut out, in a line that an operator understands, and the cluster serves on as if nobody had come.
"""

import concurrent.futures
import json
import random
import socket
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from kazoo.client import KazooClient

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import PARTITIONS, Cluster, Member, partition_of
from integration.cluster_load import Load
from integration.cluster_stores import await_equal
from integration.node_harness import wait_until

CHROOT = "/peers"
WRITES = 10
CLOSE_SECONDS = 5.0
SILENT_CONNECTIONS = 100
"""More than a node keeps of those that have not greeted."""
STALL_SECONDS = 5.0
"""After which a node closes a connection from which nothing is read."""
BIG_BYTES = 1024 * 1024
BIG_WRITES = 44
"""More than the kernel takes for a connection: the rest waits in the process."""
HEAD = struct.Struct(">II")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, zookeeper: ZooKeeperServer) -> Iterator[Cluster]:
    """Three nodes. Each test leaves them running, whole and settled."""
    cluster = Cluster(tmp_path_factory.mktemp("peers"), f"{zookeeper.address}{CHROOT}")
    with cluster.settled():
        yield cluster


@contextmanager
def unnoticed(cluster: Cluster) -> Iterator[Load]:
    """Runs a load during which nothing may fail, and after which nothing may have moved."""
    epochs = cluster.epochs()
    with Load(cluster, readers=4).running() as load:
        load.await_successes(WRITES)
        yield load
        load.await_successes(WRITES)
    assert load.outcomes.keys() == {"acknowledged"}, load.failures
    assert load.reads.keys() == {"answered"}
    assert cluster.epochs() == epochs, "something was moved"


def framed(payload: bytes) -> bytes:
    """Returns a frame of the link."""
    return HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def packed(*elements: Any) -> bytes:
    """Returns a frame with a message."""
    return framed(msgspec.msgpack.encode(elements))


def greeting(wanted: str, version: int = 1, cluster: str = "corecache", incarnation: int = 1) -> bytes:
    """Returns what a node that nobody knows says first."""
    return packed("corecache", version, cluster, PARTITIONS, "stranger", incarnation, wanted, False)


def heard(node: Member, *said: bytes) -> bytes:
    """Says something at a node's port for others; returns all that it says until it closes."""
    with socket.create_connection((node.host, node.peer_port), CLOSE_SECONDS) as connection:
        answer = b""
        try:
            for each in said:
                connection.sendall(each)
            while more := connection.recv(65_536):
                answer += more
        except (ConnectionResetError, BrokenPipeError):
            return answer
    return answer


def test_a_node_of_another_cluster_is_refused_by_name(cluster: Cluster, zookeeper: ZooKeeperServer) -> None:
    """Its list of nodes leads it to an address that has come to be a node's of this cluster. Both say who is who."""
    node = cluster.nodes[0]
    stray = Member(
        cluster.directory / "blue", "b1", cluster.zookeeper, {"cluster.name": "blue", "cluster.replication_factor": 1}
    )
    client = KazooClient(zookeeper.address)
    try:
        stray.start()
        client.start()
        with unnoticed(cluster):
            entry = {"node": "b2", "incarnation": 1, "addresses": {"peer": f"{node.host}:{node.peer_port}"}}
            client.create(f"{CHROOT}/corecache/blue/alive/b2", json.dumps(entry).encode())
            for teller in (stray, node):
                wait_until(lambda teller=teller: 'is of cluster "blue"' in teller.log(), "the refusal, told")  # type: ignore[misc]
        assert stray.put(b"k", b"v").status == 204
        (line,) = [line for line in node.log().splitlines() if "refused a connection" in line and "blue" in line]
        assert "give it the right cluster.name" in line
    finally:
        client.stop()
        client.close()
        stray.end()


def test_another_version_is_told_what_to_do(cluster: Cluster) -> None:
    """Whatever the rest of its greeting is."""
    node = cluster.nodes[0]
    for later in (greeting(node.name, version=2), packed("corecache", 9, {"of": "tomorrow"})):
        answer = heard(node, later)
        name, code, sentence = msgspec.msgpack.decode(answer[HEAD.size :])
        assert (name, code) == ("refusal", "other_version"), answer
        assert "install the same release" in sentence
    assert "of the link's protocol, this one 1" in node.log()


def test_noise_is_shut_out(cluster: Cluster) -> None:
    """Before a greeting, instead of one, and after one that was welcome; and many who say nothing at all."""
    node = cluster.nodes[1]
    dice = random.Random(11)
    hello = greeting(node.name)
    strangers = [
        dice.randbytes(5000),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 64,
        framed(b""),
        framed(dice.randbytes(100)),
        packed("welcome", node.name, 1),
        packed("corecache", 1, 5, "x", [], -1, None, 7),
        HEAD.pack(10, 0) + bytes(10),
    ]
    nodes = [
        HEAD.pack(10, 0) + bytes(10),
        HEAD.pack(2**32 - 1, 0),
        framed(dice.randbytes(300)),
        hello,
        packed("post", [["nonsense", 1]]),
        packed("post", [["replicate", 0, 1, "a", "b", [1, 2], "no entries", 3]]),
        packed("post", [["beat", "one", 2]]),
        packed("post", 7),
    ]
    with unnoticed(cluster):
        silent = [
            socket.create_connection((node.host, node.peer_port), CLOSE_SECONDS) for _ in range(SILENT_CONNECTIONS)
        ]
        for said in strangers:
            assert heard(node, said) == b"", said
        for number, said in enumerate(nodes, 2):
            answer = heard(node, greeting(node.name, incarnation=number), said)
            welcome, end = answer[: HEAD.size + HEAD.unpack_from(answer)[0]], answer[HEAD.size :]
            assert msgspec.msgpack.decode(welcome[HEAD.size :])[0] == "welcome"
            assert b"farewell" in end, (said, answer)
        for connection in silent:
            assert connection.recv(1) == b"", "who says nothing is let go"
            connection.close()
    assert node.log().count("cut a node off") >= len(nodes)
    assert "closed a connection that is not from a node" in node.log()


def test_a_node_that_stops_reading_holds_nobody_up(cluster: Cluster) -> None:
    """What is sent to it piles up to a bound, and its connection is given up; when it reads again it is whole soon."""
    asleep, *awake = cluster.nodes[::-1]
    led = cluster.led_by(awake[0])
    keys = [key for key in (b"big-%d" % number for number in range(1000)) if partition_of(key) in led][:BIG_WRITES]
    with concurrent.futures.ThreadPoolExecutor(BIG_WRITES) as threads, Load(cluster, nodes=awake).running() as load:
        load.await_successes(WRITES)
        asleep.pause()
        big = list(threads.map(lambda key: awake[0].put(key, bytes(BIG_BYTES)).status, keys))
        given_up = f"it has read nothing for {1000 * STALL_SECONDS:,.0f} ms"
        cluster.await_true(
            lambda: given_up in awake[0].log(), "the connection on which it piles up is given up", 3 * STALL_SECONDS
        )
        load.await_successes(WRITES)
        asleep.resume()
        cluster.await_settled()
    assert big == [204] * BIG_WRITES
    # What was on its way to it may have been done, and what was not is tried elsewhere.
    assert load.outcomes.keys() <= {"acknowledged", "unknown"}, load.failures
    sys.stdout.write(f"{load.summary()}\n")
    await_equal(cluster)
