"""What a kill costs the clients of a cluster of three: how long each partition stands still, and why.

Nodes are killed in turn with SIGKILL while 16 clients write, each to keys of one partition, and two read; each time the
dead one comes back and the cluster is whole and settled before the next. The clients, their ledger of what was
acknowledged and the reading of the nodes' logs are those of the integration tests (`tests/integration/failover.py`):
a run in which anything acknowledged is missing at the end, or in which the copies differ, is no measurement.
"""

from collections.abc import Callable
from pathlib import Path

import processes
import zookeeper
from benchmarks.report import Bound, Failover, Failovers, Settings
from benchmarks.servers import ServerError
from benchmarks.wrk import LoadError
from integration import failover
from integration.cluster_harness import PARTITIONS, Cluster
from integration.cluster_load import Load
from integration.cluster_stores import Filling, await_equal

KEYS = 20_000
WRITES = 20
"""Acknowledged in every partition before each kill."""
PAUSE_SECONDS_ASKED = 2.0


def measure(directory: Path, settings: Settings, say: Callable[[str], None]) -> Failovers:
    """Starts a cluster with its files below the directory, kills, and stops it. Raises: ServerError, LoadError."""
    directory.mkdir(parents=True)
    try:
        coordinator = zookeeper.start(directory / "zookeeper")
    except processes.Refusal as refusal:
        raise ServerError(str(refusal)) from None
    cluster = Cluster(directory, coordinator.address, settings=failover.SETTINGS)
    try:
        cluster.start().await_settled()
        return _measured(cluster, settings.kills, say)
    except AssertionError as error:
        raise LoadError(f"the cluster failed: {error}") from error
    finally:
        cluster.end(show=False)
        zookeeper.stop(directory / "zookeeper")


def bounds(failovers: Failovers) -> list[Bound]:
    """Returns what the project has promised of failovers."""
    longest = max(each.pause_ms for each in failovers.kills) / 1000
    asked = f"below {PAUSE_SECONDS_ASKED:.0f}"
    return [Bound("longest pause of any partition after a kill, s", longest, asked, longest < PAUSE_SECONDS_ASKED)]


def _measured(cluster: Cluster, kills: int, say: Callable[[str], None]) -> Failovers:
    filling = Filling(cluster, KEYS)
    filling.write()
    measured = []
    with Load(cluster).running() as load:
        for number in range(kills):
            load.await_successes(WRITES)
            victim = cluster.nodes[number % len(cluster.nodes)]
            killed = failover.kill(cluster, load, victim)
            victim.spawn()
            victim.await_ready()
            whole_seconds = cluster.await_whole()
            cluster.await_settled()
            measured.append(_failover(killed, whole_seconds))
            say(f"kill {number + 1} of {kills}: {victim.name}, {measured[-1].pause_ms:.0f} ms at the longest")
    filling.check()
    await_equal(cluster)
    return Failovers(KEYS, PARTITIONS, dict(load.outcomes), measured)


def _failover(killed: failover.Kill, whole_seconds: float) -> Failover:
    """Returns the figures of a kill: of its partitions, always the one that took longest."""
    slowest = max(killed.takeovers, key=lambda each: each.detection_ms + each.view_change_ms + each.activation_ms)
    return Failover(
        killed.node,
        len(killed.led),
        slowest.detection_ms,
        slowest.view_change_ms,
        slowest.activation_ms,
        killed.longest_of(led=True),
        killed.longest_of(led=False),
        whole_seconds,
    )
