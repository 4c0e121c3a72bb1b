"""A primary dies under the writes of every client that people have; all go on, and nothing acknowledged is lost."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import Member
from integration.resp_harness import RespCluster, program, spread_cluster
from integration.resp_users import AWARE, PLAIN, benchmark
from integration.resp_writers import NodeWriter, RedisCli, Writer

PAUSE_SECONDS_MAX = 15.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, zookeeper: ZooKeeperServer) -> Iterator[RespCluster]:
    """Three nodes. Each test leaves them running, whole and settled."""
    with spread_cluster(tmp_path_factory.mktemp("failover"), zookeeper.address) as cluster:
        yield cluster


def _writers(cluster: RespCluster, victim: Member) -> list[Writer]:
    """One of each client: plain ones at nodes that live on, cluster-aware ones that began anywhere."""
    alive = next(node for node in cluster.nodes if node is not victim)
    starts: dict[str, Callable[[], Any]] = {"redis-cli": partial(RedisCli, cluster.plain_port(alive))}
    for name, made in PLAIN.items():
        starts[f"plain {name}"] = partial(made, host="127.0.0.1", port=cluster.plain_port(alive))
    for name, made in AWARE.items():
        starts[f"aware {name}"] = partial(made, host="127.0.0.1", port=cluster.plain_port(victim))
    return [Writer(name, connect) for name, connect in starts.items()]


def _see(cluster: RespCluster, acknowledged: Mapping[str, int], tried: Mapping[str, int]) -> None:
    """Sees at every running node that each key has what was acknowledged last, or what was tried after it."""
    for node in cluster.running:
        with cluster.connect(node) as connection:
            for key, turn in acknowledged.items():
                assert turn <= int(connection.ask("GET", key).value) <= tried[key], key


def test_a_primary_dies_and_every_client_goes_on(cluster: RespCluster) -> None:
    """SIGKILL under writes of all clients: all resume, and every acknowledged write is there at every node."""
    victim = cluster.nodes[1]
    assert cluster.led_by(victim)
    writers = _writers(cluster, victim)
    steady = [
        NodeWriter("steadyClustered", *cluster.plain_ports),
        NodeWriter("steadyPlain", cluster.plain_port(cluster.nodes[0])),
    ]
    acknowledged: dict[str, int] = {}
    tried: dict[str, int] = {}
    try:
        for writer in writers:
            writer.start()
        cluster.await_true(lambda: all(writer.resumed(0.0) for writer in writers), "writes of all clients", 30.0)
        victim.kill()
        killed = time.monotonic()
        for writer in writers:
            passed = cluster.await_true(partial(writer.resumed, killed), f"{writer.name} to resume", 45.0)
            assert passed < PAUSE_SECONDS_MAX, (writer.name, passed, writer.failures[-3:])
        for writer in writers:
            writer.stop()
            sys.stdout.write(f"{writer.name}: {len(writer.failures)} failures, {writer.failures[-1:]}\n")
            acknowledged |= writer.acknowledged
            tried |= writer.tried
        for each in steady:
            told = each.stop()
            acknowledged |= told[0]
            tried |= told[1]
    finally:
        for each in steady:
            each.end()
    _see(cluster, acknowledged, tried)
    victim.start()
    cluster.await_settled()
    _see(cluster, acknowledged, tried)


@pytest.mark.parametrize("options", [[], ["--cluster"]])
def test_redis_benchmark_runs_again_when_a_primary_has_died(cluster: RespCluster, options: list[str]) -> None:
    """It gives up at the first error or lost connection, by its own rules; begun anew it runs through."""
    alive, victim, _ = cluster.nodes
    assert cluster.led_by(victim)
    port = cluster.plain_port(alive)
    words = ["-p", str(port), "-n", "100000000", "-r", "100000", "-c", "12", "-q", "-t", "set", *options]
    with cluster.connect(alive) as connection:
        before = connection.ask("DBSIZE").value
    running = subprocess.Popen(
        [program("redis-benchmark"), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        with cluster.connect(alive) as connection:
            cluster.await_true(lambda: connection.ask("DBSIZE").value > before + 500, "the benchmark's writes", 30.0)
        victim.kill()
        cluster.await_true(lambda: not cluster.led_by(victim), "all that it led to be led by others", 30.0)
        benchmark(port, "-r", 1000, "-c", 12, *options)
        assert running.poll() in (None, 1)
    finally:
        running.kill()
        said, _ = running.communicate()
    errors = re.findall(r"(?:from server.*?:|Error:?) *(.*)", said)
    sys.stdout.write(f"{errors[:3]}\n")
    assert all(re.match("UNKNOWN|NOREPLICAS|TRYAGAIN|CLUSTERDOWN|.*onnection", error) for error in errors), errors[:3]
    victim.start()
    cluster.await_settled()
