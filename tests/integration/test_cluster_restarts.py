"""A rolling restart, node by node, under load: nobody who uses the Python client sees a failed call."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.cluster_harness import Cluster
from integration.cluster_stores import await_equal
from integration.cluster_users import Users
from zookeeper_server import ZooKeeperServer

WRITES = 20
"""Of each user, before each stop."""


@pytest.fixture
def cluster(tmp_path: Path, zookeeper: ZooKeeperServer) -> Iterator[Cluster]:
    """Three nodes, whole and settled."""
    cluster = Cluster(tmp_path, f"{zookeeper.address}/restarts")
    try:
        cluster.start().await_settled()
        yield cluster
    finally:
        cluster.end()


def test_a_rolling_restart_fails_no_call(cluster: Cluster) -> None:
    """SIGTERM, start, ready, the next one: 16 users, with a deadline of 5 s, on all nodes."""
    with Users(cluster).running() as users:
        for node in cluster.nodes:
            users.await_writes(WRITES)
            node.stop()
            node.start()
        users.await_writes(WRITES)
    sys.stdout.write(f"{users.summary()}\n")
    assert not users.failures, "\n".join(str(failure) for failure in users.failures[:20])
    cluster.await_whole()
    await_equal(cluster)
