"""The disk of one of three nodes fills up: the others go on, and nobody who writes is told of it.

It steps out in two steps. With only its reserve left it hands over what it leads, and follows as long as it can. When
the disk takes nothing any more it says so, and is dropped; with more room, and started again, it is filled up again.
"""

import http.client
import random
import sys
import threading
from pathlib import Path

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import Cluster, Member
from integration.cluster_load import Load
from integration.cluster_stores import await_equal
from integration.node_harness import key_target, wait_until
from integration.small_disk import mounted

KIB = 1024
MIB = 1024 * KIB
DISK_BYTES = 64 * MIB
SETTINGS: dict[str, str | int] = {"storage.memory_bytes": 32 * MIB, "storage.disk_reserve_bytes": 24 * MIB}
FILLERS = 4
VALUE_BYTES = 64 * KIB
WRITES = 10


class Filling:
    """Clients that put large values, each its own keys, until they are stopped. All must be acknowledged."""

    def __init__(self, nodes: list[Member]) -> None:
        self.written: dict[bytes, bytes] = {}
        self.failed: list[str] = []
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._fill, args=(number, nodes[number % len(nodes)]), daemon=True)
            for number in range(FILLERS)
        ]

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends, after the last answers."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)
        assert not self.failed, self.failed[:5]

    def _fill(self, number: int, node: Member) -> None:
        dice, turn = random.Random(number), 0
        with node.connected() as connection:
            while not self._stopping.is_set():
                turn += 1
                key, value = b"fill-%d-%d" % (number, turn), dice.randbytes(VALUE_BYTES)
                try:
                    connection.request("PUT", key_target(key), value)
                    response = connection.getresponse()
                    said = response.read()
                except (OSError, http.client.HTTPException) as error:
                    self.failed.append(f"{key!r}: {error!r}")
                    return
                if response.status == 204:
                    self.written[key] = value
                else:
                    self.failed.append(f"{key!r}: {response.status} {said.decode()}")


def in_sync(cluster: Cluster) -> list[str]:
    """Returns who is in sync, over all partitions."""
    return [each["node"] for view in cluster.views().values() for each in view["in_sync"]]


def test_a_full_disk_of_one_node_is_nobody_elses_trouble(tmp_path: Path, zookeeper: ZooKeeperServer) -> None:
    """The node leads nothing while only its reserve is left, and holds nothing up when even that is gone."""
    with mounted(tmp_path / "n3" / "data", DISK_BYTES) as disk:
        cluster = Cluster(tmp_path, f"{zookeeper.address}/full-disk", 2, SETTINGS)
        small = cluster.add(command=disk.command)
        filling = Filling(cluster.nodes[:2])
        try:
            cluster.start().await_settled()
            assert cluster.led_by(small)
            with Load(cluster, readers=4).running() as load:
                load.await_successes(WRITES)
                filling.start()
                cluster.await_true(lambda: not cluster.led_by(small), "the full node leads nothing")
                assert "only the disk's reserve is left" in small.log()
                assert small.name in in_sync(cluster), "it follows as long as it can"
                wait_until(lambda: "storage failed" in small.log(), "the disk takes nothing any more")
                cluster.await_true(lambda: small.name not in in_sync(cluster), "the full node is dropped")
                filling.stop()
                load.await_successes(WRITES)
                assert load.outcomes.keys() == {"acknowledged"}, load.failures
                assert load.reads.keys() == {"answered"}
                assert "No space left on device" in small.log()
                assert small.put(b"through", b"the full node").status == 204
                disk.resize(8 * DISK_BYTES)
                small.stop()
                small.start()
                cluster.await_settled()
            sys.stdout.write(f"{len(filling.written)} large values; {load.summary()}\n")
            for key, value in filling.written.items():
                assert small.value(key) == value
            await_equal(cluster)
        finally:
            cluster.end()
