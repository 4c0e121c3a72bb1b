"""A primary stands still (SIGSTOP) until another has taken over: going on, it must find that out before it answers.

It has no way to know how long it stood still but its clock, and everything that it knew has become old: its leases, its
epoch, the requests that came in before, and those that clients have sent to it meanwhile and that wait in its sockets.
"""

import concurrent.futures
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import Cluster, Member, partition_of
from integration.cluster_load import Load
from integration.cluster_stores import await_equal
from integration.node_harness import REQUEST_SECONDS, Answer, answer_of, key_target

LONG_SECONDS = 10.0
SHORT_PAUSES = 6
SHORT_SECONDS = (0.5, 3.5)
"""From less than a lease to more than a takeover by silence takes."""
DEADLINE_MS = 1500
WRITES = 10


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, zookeeper: ZooKeeperServer) -> Iterator[Cluster]:
    """Three nodes. Each test leaves them running, whole and settled."""
    directory = tmp_path_factory.mktemp("pauses")
    cluster = Cluster(directory, f"{zookeeper.address}/{directory.name}")
    with cluster.settled():
        yield cluster


class Asked:
    """Requests to one node, each on a connection of its own that was opened beforehand, and their answers."""

    def __init__(self, node: Member, threads: concurrent.futures.Executor, count: int) -> None:
        self._threads = threads
        self._connections = [node.connection() for _ in range(count)]
        for connection in self._connections:
            connection.connect()

    def ask(self, method: str, key: bytes, value: bytes | None = None) -> "concurrent.futures.Future[Answer]":
        """Sends a request, whose answer comes when the node goes on."""
        connection = self._connections.pop()
        connection.request(method, key_target(key), value)

        def answered() -> Answer:
            with contextlib.closing(connection):
                return answer_of(connection.getresponse())

        return self._threads.submit(answered)


def keys_of(partitions: list[int], name: str, count: int = 8) -> list[bytes]:
    """Returns so many keys of each partition."""
    names = [f"{name}-{number}".encode() for number in range(100 * count)]
    return [key for each in partitions for key in [key for key in names if partition_of(key) == each][:count]]


def test_a_primary_that_stood_still_serves_nothing_of_its_old_epoch(cluster: Cluster) -> None:
    """Reads sent to it while it stood still tell of what others acknowledged meanwhile; its writes come after that."""
    victim, other, _ = cluster.nodes
    epochs = cluster.epochs()
    led = cluster.led_by(victim)
    assert led
    keys, early, late = (keys_of(led, name) for name in ("read", "early", "late"))
    for key in keys:
        assert victim.put(key, b"old").status == 204
    with (
        concurrent.futures.ThreadPoolExecutor(3 * len(keys)) as threads,
        Load(cluster, deadline_ms=DEADLINE_MS).running() as load,
    ):
        load.await_successes(WRITES)
        asked = Asked(victim, threads, 3 * len(keys))
        stopped = time.monotonic()
        victim.pause()
        writes = {key: asked.ask("PUT", key, key) for key in early}
        pauses = load.await_resumed(stopped)
        news = {key: other.put(key, b"new") for key in keys}
        reads = {key: asked.ask("GET", key) for key in keys}
        writes |= {key: asked.ask("PUT", key, key) for key in late}
        cluster.let_pass(LONG_SECONDS, stopped)
        victim.resume()
        found = {key: read.result(REQUEST_SECONDS) for key, read in reads.items()}
        told = {key: write.result(REQUEST_SECONDS) for key, write in writes.items()}
        cluster.await_settled()
    statuses = Counter(each.status for each in found.values()), Counter(each.status for each in told.values())
    sys.stdout.write(f"longest pause {max(pauses.values()):.3f} s; {load.summary()}; it answered {statuses}\n")
    assert {answer.status for answer in news.values()} == {204}
    assert {(answer.status, answer.body) for answer in found.values() if answer.status != 503} == {(200, b"new")}
    newest = {number: max(news[key].version for key in keys if partition_of(key) == number) for number in led}
    for key, answer in told.items():
        held = {node.value(key) for node in cluster.nodes}
        allowed: dict[int, list[set[bytes | None]]] = {204: [{key}], 503: [{None}], 504: [{key}, {None}]}
        assert held in allowed[answer.status], (key, answer, held)
        assert answer.status != 204 or answer.version > newest[partition_of(key)], "a version of the old epoch"
    assert all(cluster.epochs()[number] > epochs[number] for number in led)
    await_equal(cluster)


@pytest.mark.parametrize("seed", [1])
def test_no_length_of_a_pause_makes_two_answers(cluster: Cluster, seed: int) -> None:
    """Nodes stand still under load for about as long as leases last and takeovers take, in turn."""
    dice = random.Random(seed)
    with Load(cluster, readers=6, deadline_ms=DEADLINE_MS).running() as load:
        for number in range(SHORT_PAUSES):
            load.await_successes(WRITES)
            victim = cluster.nodes[number % len(cluster.nodes)]
            victim.pause()
            cluster.let_pass(dice.uniform(*SHORT_SECONDS))
            victim.resume()
            load.await_resumed(time.monotonic())
        cluster.await_settled()
    sys.stdout.write(f"{load.summary()}\n")
    await_equal(cluster)
