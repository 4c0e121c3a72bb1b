"""A fourth node joins, another is drained and stopped, all under load: clients wait a moment at most, and lose nothing.

What is moved is what the preview said. That an order is obeyed to the letter is the business of
`test_cluster_orders.py`; here it is what the clients are told meanwhile.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import PARTITIONS, Cluster
from integration.cluster_load import Load
from integration.cluster_orders import await_done, check_as_previewed, ordered, placements
from integration.cluster_stores import Filling, await_equal

HARMLESS = {"acknowledged", "not done", "unreachable"}
"""What a write may come to. Unreachable: a node that has stopped refused the connection, and another one is asked."""
WRITES = 10
KEYS = 2000


@pytest.fixture
def cluster(tmp_path: Path, zookeeper: ZooKeeperServer) -> Iterator[Cluster]:
    """Three nodes, whole and settled."""
    cluster = Cluster(tmp_path, f"{zookeeper.address}/moves", settings={"log.format": "json"})
    with cluster.settled():
        yield cluster


@contextmanager
def told(what: str, load: Load) -> Iterator[None]:
    """Prints the longest time that each partition took no write during the block."""
    began = time.monotonic()
    yield
    gaps = load.longest_gaps(began, time.monotonic())
    shown = " ".join(f"{1000 * gaps[number]:.0f}" for number in range(PARTITIONS))
    sys.stdout.write(f"{what}: longest pause of each partition {shown} ms; {load.summary()}\n")


def test_nodes_come_and_go_under_load(cluster: Cluster) -> None:
    """A write is done, or surely not (its node has stopped, or no primary came in time). All copies left are equal."""
    n1, n2, _ = cluster.nodes
    filling = Filling(cluster, KEYS)
    filling.write()
    ordered(n1, "rebalance", "--cancel")
    n4 = cluster.add()
    with Load(cluster, readers=4, nodes=cluster.nodes).running() as load:
        load.await_successes(WRITES)
        n4.start()
        before, joined = len(placements(cluster)), ordered(n2, "rebalance", "--dry-run")
        with told("n4 joins", load):
            ordered(n2, "rebalance", "--run")
            await_done(cluster, n2)
            cluster.await_spread()
            load.await_successes(WRITES)
        check_as_previewed(joined, placements(cluster)[before:])

        before, left = len(placements(cluster)), ordered(n2, "drain", "n1", "--dry-run")
        with told("n1 is drained", load):
            ordered(n2, "drain", "n1")
            await_done(cluster, n2)
        check_as_previewed(left, placements(cluster)[before:])
        with told("n1 is stopped", load):
            n1.stop()
            load.await_successes(WRITES)
    assert load.outcomes.keys() <= HARMLESS, load.failures
    assert load.reads.keys() <= {"answered", "503", "lost"}, load.reads
    filling.check()
    await_equal(cluster)
