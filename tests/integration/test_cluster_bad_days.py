"""Bad days around a cluster: views that make no sense, no ZooKeeper, the wrong one, wrong credentials, wrong clocks.

Whatever is wrong is said in one line that names it and says what to do; nothing is lost; and who is well goes on.
"""

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import PARTITIONS, Cluster, Member, partition_of
from integration.cluster_load import Load
from integration.cluster_stores import await_equal
from integration.node_harness import wait_until

CHROOT = "/bad-days"
WRITES = 10
REFUSED = 2
"""The exit code of a start that is refused."""
CLOCK_SECONDS = 600
LONG_TTL_SECONDS = 3600
BROKEN = 3
"""The partition whose view is broken."""

New = Callable[..., Cluster]


@pytest.fixture
def new_cluster(tmp_path: Path, zookeeper: ZooKeeperServer) -> Iterator[New]:
    """Makes clusters of one node each, or more, each at a path of its own in ZooKeeper, which its name is."""
    clusters: dict[str, Cluster] = {}

    def made(name: str, count: int = 1, **settings: Any) -> Cluster:
        place = f"{zookeeper.address}{CHROOT}/{tmp_path.name}/{name}"
        clusters[name] = Cluster(tmp_path / name, place, count, {"coordination.start_timeout_ms": 2000} | settings)
        return clusters[name]

    yield made
    for cluster in clusters.values():
        cluster.end()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, zookeeper: ZooKeeperServer) -> Iterator[Cluster]:
    """Three nodes. Each test leaves them running, whole and settled."""
    cluster = Cluster(tmp_path_factory.mktemp("views"), f"{zookeeper.address}{CHROOT}/views")
    with cluster.settled():
        yield cluster


@contextmanager
def client_of(cluster: Cluster) -> Iterator[KazooClient]:
    """Gives a client of ZooKeeper, at the cluster's path."""
    client = KazooClient(cluster.zookeeper)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


# Views.


class Znode:
    """The znode with the view of one partition, for somebody to spoil."""

    def __init__(self, client: KazooClient, partition: int) -> None:
        self._client = client
        creation = json.loads(client.get("/corecache/corecache/cluster")[0])["creation"]
        self.path = f"/corecache/corecache/partitions/{creation}/{partition}"

    @property
    def view(self) -> Any:
        """The view that is there."""
        return json.loads(self._client.get(self.path)[0])

    def write(self, content: bytes) -> None:
        """Writes something in its place."""
        self._client.set(self.path, content)

    def repair(self, view: Any) -> None:
        """Does what the documents say: the view as it was, with `epoch` one higher."""
        self.write(json.dumps(view | {"epoch": view["epoch"] + 1}).encode())


def spoiled(view: Any) -> Iterator[bytes]:
    """Yields what is no view, or one that nobody can have proposed."""
    yield from (b"", b"\xff\x00", b"{}", b"[1, 2]", json.dumps(view)[:-5].encode())
    for field, wrong in (
        ("primary", {"node": "n9", "replica": "r"}),
        ("epoch", "four"),
        ("min_in_sync", 0),
        ("in_sync", []),
        ("replicas", 7),
    ):
        yield json.dumps(view | {field: wrong}).encode()


def test_a_view_that_makes_no_sense_stops_nobody_else(three: Cluster) -> None:
    """Its primary goes on, the log names the znode, a node can start meanwhile; and it can be mended as is written."""
    cluster = three
    with client_of(cluster) as client, Load(cluster, readers=4).running() as load:
        znode = Znode(client, BROKEN)
        view = znode.view
        for content in spoiled(view):
            znode.write(content)
        load.await_successes(WRITES)
        holders = [cluster.node(member["node"]) for member in view["in_sync"]]
        for node in holders:
            wait_until(lambda node=node: f"{znode.path} makes no sense" in node.log(), "the znode, named")  # type: ignore[misc]
        assert load.outcomes.keys() == {"acknowledged"}, load.failures
        # Whoever starts can't know the view, and waits for it alone.
        started = next(node for node in holders if node.name != view["primary"]["node"])
        started.stop()
        started.start()
        others = [number for number in range(PARTITIONS) if number != BROKEN]
        cluster.await_true(
            lambda: all(started.name in names(cluster.views(started).get(number)) for number in others),
            f"{started.name} in sync with all other partitions",
        )
        znode.repair(view)
        load.await_successes(WRITES)
        cluster.await_settled()
    sys.stdout.write(f"{load.summary()}\n")
    await_equal(cluster)


def names(view: Any) -> set[str]:
    """Returns who is in sync."""
    return {each["node"] for each in view["in_sync"]} if view is not None else set()


def test_a_view_that_names_nobody_or_goes_back_loses_nothing(three: Cluster) -> None:
    """It is well formed, and can't be true. Its partition may stand still; nobody falls over, and nothing is lost."""
    cluster = three
    nobody = {"node": "n9", "replica": "r"}
    with client_of(cluster) as client, Load(cluster, deadline_ms=1000).running() as load:
        load.await_successes(WRITES)
        znode = Znode(client, BROKEN)
        view = znode.view
        for wrong in (
            {"epoch": 0},
            {"epoch": -1},
            {"lineage": 0},
            {"primary": nobody, "in_sync": [nobody], "replicas": ["n9"], "epoch": view["epoch"] + 1},
            {"primary": nobody, "in_sync": [nobody, *view["in_sync"]], "epoch": view["epoch"] + 2},
            {"incarnation": 99, "epoch": view["epoch"] + 3},
        ):
            znode.write(json.dumps(view | wrong).encode())
            gone = load.since(0)
            cluster.await_true(
                lambda gone=gone: all(  # type: ignore[misc]
                    now > gone[number] for number, now in load.since(0).items() if number != BROKEN
                ),
                f"the others go on after {wrong}",
            )
        znode.repair(view | {"epoch": max(view["epoch"] + 3, znode.view["epoch"])})
        load.await_successes(WRITES)
        cluster.await_settled()
    sys.stdout.write(f"{load.summary()}\n")
    await_equal(cluster)


# ZooKeeper.


def test_a_start_without_zookeeper_ends_and_says_where_it_was_looked_for(tmp_path: Path) -> None:
    """In time, with one line and an exit code; and it is waited for as long as the start may take."""
    server = ZooKeeperServer(tmp_path / "zookeeper")
    node = Member(tmp_path / "n1", "n1", server.address, {"coordination.start_timeout_ms": 1500})
    try:
        code, said = node.refused_start()
        assert code == REFUSED
        (line,) = [line for line in said.splitlines() if line.startswith("corecache: ")]
        assert f"no ZooKeeper at {server.address} (coordination.zookeeper) within 1500 ms" in line
        assert "Connection refused" in line
        node.settings["coordination.start_timeout_ms"] = 30_000
        node.spawn()
        wait_until(lambda: "Connection refused" in node.log()[len(said) :], "a first attempt in vain")
        with server:
            node.await_ready()
            assert node.put(b"k", b"v").status == 204
            node.stop()
    finally:
        node.end()


def test_wrong_credentials_are_refused_and_touch_nothing(new_cluster: New) -> None:
    """A wrong password, another name, or none at all: the znodes are the cluster's own, and it goes on."""
    right = {"coordination.username": "red", "coordination.password": "right"}
    cluster = new_cluster("secret", 1, **right).start()
    (owner,) = cluster.nodes
    for wrong in (
        {"coordination.password": "wrong"},
        {"coordination.username": "blue"},
        {"coordination.username": "", "coordination.password": ""},
    ):
        code, said = cluster.add(settings=wrong).refused_start()
        assert code == REFUSED
        assert "coordination.username" in said.splitlines()[-1], said
        assert "right" not in said, "a password in the log"
        assert owner.put(b"k", b"v").status == 204
    joined = cluster.add().start()
    wait_until(lambda: joined.value(b"k") == b"v", "the right ones are welcome")
    assert "right" not in owner.log()


def test_a_directory_keeps_to_the_cluster_that_it_was_made_in(new_cluster: New) -> None:
    """With another ZooKeeper, an empty one, or none: it is refused each time, and what it holds is there afterwards."""
    one, two, none = (new_cluster(name) for name in ("one", "two", "none"))
    one.start()
    two.start()
    (node,) = one.nodes
    assert node.put(b"k", b"of one").status == 204
    assert two.nodes[0].put(b"k", b"of two").status == 204
    node.stop()
    for zookeeper, why in (
        (two.zookeeper, "is another of the same name"),
        (none.zookeeper, "there is none of this name"),
        ("", "set coordination.zookeeper"),
    ):
        node.settings["coordination.zookeeper"] = zookeeper
        code, said = node.refused_start()
        assert code == REFUSED
        assert why in said.splitlines()[-1], said
        assert str(node.data_dir) in said.splitlines()[-1], said
        assert two.nodes[0].value(b"k") == b"of two"
    node.settings["coordination.zookeeper"] = one.zookeeper
    node.start()
    assert node.value(b"k") == b"of one"
    two.nodes[0].stop()
    two.nodes[0].start()
    assert two.nodes[0].value(b"k") == b"of two"


def test_the_data_of_a_node_that_was_alone_are_not_dropped(new_cluster: New) -> None:
    """Started as a member of a cluster that is there it is refused; it can become the first node of a new one."""
    there, fresh = new_cluster("there").start(), new_cluster("fresh")
    (node,) = fresh.nodes
    node.settings["coordination.zookeeper"] = ""
    node.start()
    assert node.put(b"k", b"alone").status == 204
    node.stop()
    node.settings["coordination.zookeeper"] = there.zookeeper
    code, said = node.refused_start()
    assert (code, "holds the data of a cluster of one" in said) == (REFUSED, True), said
    node.settings["coordination.zookeeper"] = fresh.zookeeper
    fresh.start()
    other = fresh.add().start()
    assert node.value(b"k") == other.value(b"k") == b"alone"


# Clocks.


def test_clocks_ten_minutes_apart_change_nothing_but_dates(new_cluster: New, clock_library: Path) -> None:
    """Whoever is wrong says so at its start. Leases, failovers and the order of writes know no wall clock."""
    cluster = new_cluster("clocks", 0)
    for seconds in (CLOCK_SECONDS, 0, -CLOCK_SECONDS):
        command = ["env", f"LD_PRELOAD={clock_library}", f"CLOCK_SHIM_SECONDS={seconds}"]
        cluster.add(command=command)
    cluster.start().await_settled()
    fast, _, slow = cluster.nodes
    for node, seconds in zip(cluster.nodes, (CLOCK_SECONDS, 0, -CLOCK_SECONDS), strict=True):
        said = f"ahead_seconds={seconds}"
        assert (said in node.log()) == bool(seconds), node.log()
        assert ("clock and ZooKeeper's differ" in node.log()) == bool(seconds)
    keys = [b"dated-%d" % number for number in range(4 * PARTITIONS)]
    with Load(cluster).running() as load:
        for key in keys:
            assert slow.put(key, b"v", query=f"?ttl={LONG_TTL_SECONDS}").status == 204
        load.await_successes(WRITES)
        assert load.outcomes.keys() == {"acknowledged"}, load.failures
        versions = {key: fast.get(key).version for key in keys}
        slow.kill()
        load.await_successes(WRITES)
        slow.start()
        cluster.await_settled()
    for key, node in itertools.product(keys, cluster.nodes):
        assert node.get(key).version == versions[key], (key, node.name)
    led = {partition_of(key): key for key in keys}
    dates = {cluster.primary_of(key).name: int(fast.get(key).headers["x-corecache-timestamp"]) for key in led.values()}
    sys.stdout.write(f"{load.summary()}; dates {dates}\n")
    await_equal(cluster)
