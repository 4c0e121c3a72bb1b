"""A primary dies under the writes of every client that people have; all go on, and nothing acknowledged is lost."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import Member
from integration.resp_harness import RespCluster, program, run, spread_cluster
from integration.resp_users import AWARE, PLAIN
from integration.resp_writers import NodeWriter, RedisCli, Writer

PAUSE_SECONDS_MAX = 15.0
RUN = 2000
"""Requests of a run of redis-benchmark that ends."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, zookeeper: ZooKeeperServer) -> Iterator[RespCluster]:
    """Three nodes. Each test leaves them running, whole and settled."""
    with spread_cluster(tmp_path_factory.mktemp("failover"), zookeeper.address) as cluster:
        yield cluster


def _writers(cluster: RespCluster, victim: Member) -> list[Writer]:
    """One of each client: plain ones at nodes that live on, cluster-aware ones that began anywhere."""
    alive = next(node for node in cluster.nodes if node is not victim)
    starts: dict[str, Callable[[], Any]] = {
        "plain redis-cli": partial(RedisCli, cluster.plain_port(alive)),
        "aware redis-cli": partial(RedisCli, cluster.mapped_port(alive), "-c"),
    }
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
        for each in steady:
            each.await_begun()
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


def _is_replaced(cluster: RespCluster, victim: Member) -> bool:
    """Says whether every running node knows another primary for all that a node led: redis-benchmark asks one once."""
    views = [view for node in cluster.running for view in cluster.views(node).values()]
    return all(view["primary"]["node"] != victim.name for view in views)


def _counted(cluster: RespCluster, node: Member, key: str) -> int:
    """Returns the sum of all of a benchmark's counters, as a node tells it."""
    with cluster.connect(node) as connection:
        keys = connection.ask("KEYS", f"{key.partition(':')[0]}:*").plain
        return sum(int(reply.value) for reply in connection.ask_all([("GET", key) for key in keys]))


@pytest.mark.parametrize(
    ("key", "options"),
    [("plain-{}:__rand_int__", ()), ("aware-{}:{{tag}}:__rand_int__", ("--cluster",))],
    ids=["plain", "aware"],
)
def test_redis_benchmark_counts_on_when_a_primary_has_died(
    cluster: RespCluster, key: str, options: Sequence[str]
) -> None:
    """Runs of INCR before and after the SIGKILL end well, and every count that was acknowledged, or seen, is there.

    The run that meets the SIGKILL does not say what was acknowledged, and may end with an error: redis-benchmark gives
    up at the first one that it is answered, and at the first connection that is lost.
    """
    alive, victim, _ = cluster.nodes
    assert cluster.led_by(victim)
    words = ["-p", str(cluster.plain_port(alive)), "-r", "100", "-c", "12", *options]
    ended, met = key.format("ended"), key.format("met")
    run("redis-benchmark", *words, "-n", RUN, "INCR", ended)
    running = subprocess.Popen(
        [program("redis-benchmark"), *words, "-n", "100000000", "-q", "INCR", met],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        cluster.await_true(lambda: _counted(cluster, alive, met) > 500, "the benchmark's writes", 30.0)
        seen = _counted(cluster, alive, met)
        victim.kill()
        cluster.await_true(lambda: _is_replaced(cluster, victim), "every map without the dead", 30.0)
        run("redis-benchmark", *words, "-n", RUN, "INCR", ended)
        assert running.poll() in (None, 1)
    finally:
        running.kill()
        said, _ = running.communicate()
    errors = re.findall(r"(?:from server.*?:|Error:?) *(.*)", said)
    sys.stdout.write(f"{errors[:3]}\n")
    assert all(re.match("UNKNOWN|NOREPLICAS|TRYAGAIN|CLUSTERDOWN|.*onnection", error) for error in errors), errors[:3]
    victim.start()
    cluster.await_settled()
    for node in cluster.nodes:
        assert _counted(cluster, node, ended) == 2 * RUN
        assert _counted(cluster, node, met) >= seen
