"""A rolling restart, node by node, under load: nobody who uses the Python client sees a failed call."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import Cluster
from integration.cluster_stores import await_equal
from integration.cluster_users import Users

WRITES = 20
"""Of each user, before the first stop and after the last start."""
SLOW: dict[str, str | int] = {"replication.log_retention_bytes": 0, "replication.transfer_bytes_per_second": 1 << 20}
"""Who comes back is ready at once, and in sync only after a while: the next node must not be gone before."""
LARGE_BYTES = 256 << 10
LARGE_VALUES = 8


@pytest.fixture
def cluster(tmp_path: Path, zookeeper: ZooKeeperServer) -> Iterator[Cluster]:
    """Three nodes, whole and settled."""
    cluster = Cluster(tmp_path, f"{zookeeper.address}/restarts", settings=SLOW)
    with cluster.settled():
        yield cluster


def test_a_rolling_restart_fails_no_call(cluster: Cluster) -> None:
    """SIGTERM, start, ready, at once the next one: 16 users, with a deadline of 5 s, on all nodes."""
    for number in range(LARGE_VALUES):
        assert cluster.nodes[0].put(b"large-%d" % number, bytes(LARGE_BYTES)).status == 204
    with Users(cluster).running() as users:
        users.await_writes(WRITES)
        for node in cluster.nodes:
            node.stop()
            node.start()
        users.await_writes(WRITES)
    sys.stdout.write(f"{users.summary()}\n")
    assert not users.failures, "\n".join(str(failure) for failure in users.failures[:20])
    cluster.await_whole()
    await_equal(cluster)
