"""Nodes come back: all at once after all have died, with their disks or without what no sync had covered; or empty.

Whatever was acknowledged is in what the survivors' disks hold, taken together. A disk that holds nothing is none:
its node is trusted with nothing until it has been filled again, whatever the views say of the node's name.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import Cluster, Member
from integration.cluster_load import Load
from integration.cluster_stores import Filling, await_equal
from integration.node_harness import Shim

DEADLINE_MS = 2000
WRITES = 20
"""Acknowledged in every partition before each event."""
DEATHS_MAX = 8
PATIENCE_SECONDS = 4.0
"""What a node waits that finds nobody at its start; less than by default, for one test watches it wait."""


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, zookeeper: ZooKeeperServer, shim_library: Path
) -> Iterator[Cluster]:
    """Three nodes, with shims that can cut their power, and 20,000 keys. Each test leaves them running and settled."""
    directory = tmp_path_factory.mktemp("returns")
    settings = {"replication.patience_cold_ms": int(1000 * PATIENCE_SECONDS)}
    cluster = Cluster(directory, f"{zookeeper.address}/returns", count=0, settings=settings)
    for number in range(3):
        place = directory / f"shim-{number}"
        place.mkdir()
        cluster.add(shim=Shim(shim_library, place / "control"))
    with cluster.settled():
        yield cluster


@pytest.fixture(scope="module")
def filling(cluster: Cluster) -> Filling:
    """What the cluster holds from the beginning on."""
    filling = Filling(cluster)
    filling.write()
    return filling


def replicas_of(cluster: Cluster, node: Member) -> set[int]:
    """Returns the ids of a node's replicas that the views count on."""
    return {
        member["replica"]
        for view in cluster.views().values()
        for member in view["in_sync"]
        if member["node"] == node.name
    }


@pytest.mark.parametrize("power", [True, False], ids=["power cut", "killed"])
def test_all_die_at_once_and_nothing_acknowledged_is_lost(cluster: Cluster, filling: Filling, power: bool) -> None:
    """Twice under load. With a power cut each disk loses what no sync had covered, on each node something else."""
    lost_bytes = deaths = 0
    with Load(cluster, deadline_ms=DEADLINE_MS).running() as load:
        # It may happen that all was synced at that moment: then the power is cut once more.
        while deaths < 2 or (power and not lost_bytes and deaths < DEATHS_MAX):
            deaths += 1
            load.await_successes(WRITES)
            cluster.kill()
            if power:
                lost_bytes += sum(node.shim.cut_power(node.data_dir) for node in cluster.nodes if node.shim)
            died = time.monotonic()
            cluster.restart()
            sys.stdout.write(f"settled {time.monotonic() - died:.2f} s after all had died\n")
            load.await_resumed(time.monotonic())
    sys.stdout.write(f"{lost_bytes} bytes were lost with the power; {load.summary()}\n")
    assert lost_bytes > 0 or not power, "nothing was ever written ahead of a sync: the power cuts were none"
    filling.check()
    await_equal(cluster)


def test_a_wiped_node_is_filled_before_it_counts(cluster: Cluster, filling: Filling) -> None:
    """It comes back empty under load, as a stranger, and when it counts it has everything: the others may die."""
    wiped, *others = cluster.nodes
    before = replicas_of(cluster, wiped)
    with Load(cluster, deadline_ms=DEADLINE_MS).running() as load:
        load.await_successes(WRITES)
        wiped.kill()
        wiped.wipe()
        wiped.start()
        cluster.await_settled()
        load.await_successes(WRITES)
    assert not before & replicas_of(cluster, wiped), "trusted under its old name"
    cluster.kill(others)
    cluster.await_true(lambda: len(cluster.led_by(wiped)) == len(cluster.views()), "the last node leads everything")
    filling.check([wiped])
    load.check([wiped])
    cluster.restart()
    await_equal(cluster)


def test_a_wiped_node_alone_says_nothing(cluster: Cluster, filling: Filling) -> None:
    """All die, one comes back empty and alone: it does not say that the keys are absent, nor take any, nor lead."""
    *others, wiped = cluster.nodes
    with Load(cluster, deadline_ms=DEADLINE_MS).running() as load:
        load.await_successes(WRITES)
        cluster.kill()
        wiped.wipe()
        wiped.spawn()
        began = time.monotonic()

        def patient() -> bool:
            report = wiped.report()
            roles = {each["role"] for each in report["partitions"]} if report else set()
            assert not roles & {"primary", "starting", "backup"}, roles
            return time.monotonic() > began + 1.5 * PATIENCE_SECONDS

        cluster.await_true(patient, "the end of all patience")
        assert not any(load.since(began).values())
        cluster.restart()
        load.await_resumed(time.monotonic())
    filling.check()
    cluster.kill(others)
    filling.check([wiped])
    load.check([wiped])
    cluster.restart()
    await_equal(cluster)
