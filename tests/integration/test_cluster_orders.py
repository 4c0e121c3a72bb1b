"""What an operator orders of a real cluster, by the command line and at any node, is what then happens."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.cluster_harness import Cluster, Member
from integration.cluster_orders import at, await_done, check_as_previewed, log_lines, ordered, placements
from integration.cluster_stores import await_equal

KEYS = {b"key-%d" % number: b"value-%d" % number for number in range(200)}


@pytest.fixture
def cluster(tmp_path: Path, zookeeper_address: str) -> Iterator[Cluster]:
    """Three nodes, whole."""
    cluster = Cluster(tmp_path, zookeeper_address, settings={"log.format": "json"})
    try:
        yield cluster.start()
    finally:
        cluster.end()


def write(node: Member) -> None:
    """Writes all keys."""
    for key, value in KEYS.items():
        assert node.put(key, value).status == 204


def check(node: Member) -> None:
    """Reads all keys."""
    assert {key: node.value(key) for key in KEYS} == KEYS


def shown(node: Member) -> Any:
    """Returns what the status says, which is asked at one node and comes from all."""
    ended = at(node)("status", "--json")
    assert ended.code == 0, ended
    status = json.loads(ended.out)
    for partition in status["partitions"]:
        assert partition["role"] == "primary"
        others = {each["node"] for each in partition["view"]["in_sync"]} - {partition["view"]["primary"]["node"]}
        assert {member["node"] for member in partition["members"]} == others
    return status


def test_a_node_joins_and_another_is_drained_just_as_previewed(cluster: Cluster) -> None:
    """Moves wait for the order, are those of the preview, step by step, and a drained node can be stopped."""
    n1, n2, n3 = cluster.nodes
    write(n1)
    assert not ordered(n2, "rebalance", "--cancel")["rebalancing"]
    n4 = cluster.add()
    n4.start()
    status = shown(n4)
    assert next(node for node in status["nodes"] if node["id"] == "n4")["holds"] == 0
    before = len(placements(cluster))
    joined = ordered(n4, "rebalance", "--dry-run")
    assert any("n4" in move["after"] and "n4" not in move["before"] for move in joined)
    assert all(move["reason"] for move in joined)

    ordered(n3, "rebalance", "--run")
    await_done(cluster, n3)
    check_as_previewed(joined, placements(cluster)[before:])
    assert ordered(n3, "rebalance", "--dry-run") == []

    before = len(placements(cluster))
    left = ordered(n2, "drain", "n1", "--dry-run")
    ended = at(n3)("cluster", "drain", "n1")
    assert (ended.code, ended.out.decode().splitlines()[-1]) == (0, "n1 holds nothing and can be stopped.")
    assert all("n1" not in view["replicas"] for view in cluster.views(n2).values())
    n1.stop()
    await_done(cluster, n2)
    check_as_previewed(left, placements(cluster)[before:])
    check(n4)
    assert b"alive, drained" in at(n4)("status").out or b"gone, drained" in at(n4)("status").out
    assert ordered(n4, "drain", "n1", "--cancel")["draining"] == []


def test_a_rebalance_is_stopped_in_the_middle(tmp_path: Path, zookeeper_address: str) -> None:
    """No further move begins, the copy under way is taken back, and every partition has its copies all the time."""
    slow: dict[str, str | int] = {
        "cluster.moves_max": 1,
        "replication.transfer_bytes_per_second": 1 << 20,
        "replication.log_retention_bytes": 0,
        "log.format": "json",
    }
    cluster = Cluster(tmp_path, zookeeper_address, settings=slow)
    try:
        n1, _, n3 = cluster.start().nodes
        assert not ordered(n1, "rebalance", "--cancel")["rebalancing"]
        for number in range(128):
            assert n1.put(b"large-%d" % number, bytes(256 << 10)).status == 204
        n4 = cluster.add()
        n4.start()
        joined = ordered(n4, "rebalance", "--dry-run")
        ordered(n4, "rebalance", "--run")
        cluster.await_true(lambda: n3.ask("GET", "/v1/cluster/orders").json["moving"], "a copy under way", 30)
        cancelled = n3.ask("POST", "/v1/cluster/rebalance", b'{"run": false}')
        assert (cancelled.status, cancelled.json["rebalancing"]) == (200, False)
        cluster.await_true(lambda: not n3.ask("GET", "/v1/cluster/orders").json["moving"], "no copy under way")
        views = cluster.views()
        assert all(len(view["replicas"]) == 3 for view in views.values())
        assert all({each["node"] for each in view["in_sync"]} >= set(view["replicas"]) for view in views.values())
        assert len(ordered(n1, "rebalance", "--dry-run")) == len(joined)
        reasons = [json.loads(line)["reason"] for line in log_lines(cluster, "placing a partition")]
        assert reasons[-1].startswith("rebalancing is stopped")
        n4.stop()
        await_equal(cluster)
    finally:
        cluster.end()


def test_orders_that_can_not_be_carried_out_are_refused(cluster: Cluster) -> None:
    """Too few nodes, unknown nodes, more copies than there are: exit code 2, what is missing, and nothing changes."""
    n1, n2, _ = cluster.nodes
    before = n1.ask("GET", "/v1/cluster/orders").json
    for arguments, word in (
        (("drain", "n1"), "replication_factor"),
        (("drain", "n9"), "n9"),
        (("drain", "n9", "--cancel"), "n9"),
        (("drain", "n1", "--dry-run"), "replication_factor"),
        (("set", "min-in-sync", "4"), "3 copies"),
        (("recover", "0", "--from", "n1", "--accept-data-loss"), "lost nothing"),
        (("recover", "8", "--from", "n1", "--accept-data-loss"), "partition 8"),
        (("recover", "0", "--from", "n9", "--accept-data-loss"), "n9"),
    ):
        ended = at(n2)("cluster", *arguments)
        assert (ended.code, ended.out) == (2, b""), (arguments, ended)
        assert word in ended.err, (arguments, ended)
    assert n1.ask("GET", "/v1/cluster/orders").json == before


def test_min_in_sync_is_set_and_given_back(cluster: Cluster) -> None:
    """It rises where so many copies are in sync, falls by an order alone, and 0 leaves it as it is."""
    n1, n2, n3 = cluster.nodes

    def least() -> set[int]:
        return {view["min_in_sync"] for view in cluster.views(n1).values()}

    for number, then in ((3, 3), (1, 1), (2, 2), (0, 2)):
        ordered(n2, "set", "min-in-sync", str(number))
        cluster.await_true(lambda: not n3.ask("GET", "/v1/cluster/orders").json["min_in_sync_left"], "the order")
        cluster.await_true(lambda then=then: least() == {then}, f"min_in_sync {then}")  # type: ignore[misc]


@pytest.mark.parametrize("wiped", [True, False])
def test_a_partition_goes_on_from_the_one_copy_that_is_left(cluster: Cluster, wiped: bool) -> None:
    """What that copy has is there, what only the others had is lost, and they come back as strangers and join anew.

    n1 has lost its disk and is back already, n2 is away, with its disk or without it.
    """
    n1, n2, n3 = cluster.nodes
    write(n1)
    n3.kill()
    cluster.await_true(
        lambda: all({each["node"] for each in view["in_sync"]} == {"n1", "n2"} for view in cluster.views(n1).values()),
        "n3 out of sync",
    )
    late = {b"late-%d" % number: b"lost" for number in range(50)}
    for key, value in late.items():
        assert n1.put(key, value).status == 204
    n1.kill()
    n2.kill()
    n1.wipe()
    if wiped:
        n2.wipe()
    n3.start()
    n1.spawn()
    cluster.await_true(lambda: n1.report() is not None and len(cluster.views(n1)) == 8, "n1, which knows all views")

    def refused(*arguments: str) -> str | None:
        """Returns why a forced promotion is refused for good, None if it may yet be done."""
        ended = at(n1)("cluster", "recover", "0", *arguments)
        assert ended.code in (2, 3), ended
        return ended.err if ended.code == 2 else None

    # Until the sessions of those who were killed have ended, they may live.
    cluster.await_true(lambda: refused("--from", "n3") is not None, "n2 listed as alive no more")
    warned = refused("--from", "n3")
    assert warned is not None
    assert "records" in warned
    assert "--accept-data-loss" in warned
    empty = refused("--from", "n1", "--accept-data-loss")
    assert empty is not None
    assert "n3 has one" in empty or "no whole copy" in empty

    told = ordered(n1, "recover", "0", "--from", "n3", "--accept-data-loss")
    assert (told["partition"], told["node"], told["lineage"]) == (0, "n3", 2)
    for partition in range(1, 8):
        body = json.dumps({"partition": partition, "node": "n3", "accept_data_loss": True}).encode()
        assert n1.ask("POST", "/v1/cluster/recover", body).status == 421
        assert n3.ask("POST", "/v1/cluster/recover", body).json["lineage"] == 2
    check(n3)
    n2.spawn()
    cluster.await_whole(3)
    assert {view["lineage"] for view in cluster.views().values()} == {2}
    for node in cluster.nodes:
        check(node)
        for key in late:
            assert node.value(key) is None
            assert node.get(key, "?consistency=stale").status == 404
    write(n2)
    await_equal(cluster)
    again = refused("--from", "n3", "--accept-data-loss")
    assert again is not None
    assert "lost nothing" in again
