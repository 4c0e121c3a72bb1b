"""SIGKILL under load: every partition takes writes again soon, nothing acknowledged is lost, and the copies are equal.

`scripts/bench.sh --only failover` kills twenty times and prints what the pauses are made of; here the pause only has to
be one that silence alone does not explain, so that a busy machine is no failure.
"""

import sys
from collections.abc import Iterator

import pytest

from corecache.chaos.zookeeper import ZooKeeperServer
from integration import failover
from integration.cluster_harness import Cluster
from integration.cluster_load import Load
from integration.cluster_stores import Filling, await_equal

PAUSE_SECONDS_MAX = 4.0
WRITES = 20
"""Acknowledged in every partition before each kill."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, zookeeper: ZooKeeperServer) -> Iterator[Cluster]:
    """Three nodes. Each test leaves them running, whole and settled."""
    directory = tmp_path_factory.mktemp("kills")
    cluster = Cluster(directory, f"{zookeeper.address}/{directory.name}", settings=failover.SETTINGS)
    with cluster.settled():
        yield cluster


def test_a_killed_node_is_replaced_soon_and_nothing_is_lost(cluster: Cluster) -> None:
    """Each node in turn dies while 16 clients write, comes back, and is whole again; the first one dies twice."""
    filling = Filling(cluster)
    filling.write()
    with Load(cluster).running() as load:
        for victim in (*cluster.nodes, cluster.nodes[0]):
            load.await_successes(WRITES)
            killed = failover.kill(cluster, load, victim)
            assert killed.takeovers, f"{victim.name} was primary for nothing"
            assert killed.longest_ms < 1000 * PAUSE_SECONDS_MAX, killed
            victim.start()
            cluster.await_settled()
            sys.stdout.write(f"{killed}\n")
    sys.stdout.write(f"{load.summary()}\n")
    filling.check()
    await_equal(cluster)
