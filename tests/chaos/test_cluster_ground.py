"""The cluster that campaigns strike, for real: it starts, tells how it stands, is killed, wiped, expired and mended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corecache.chaos import disk
from corecache.chaos import network as networks
from corecache.chaos.cluster import ChaosCluster
from corecache.chaos.network import Network
from corecache.chaos.node import ChaosNode
from corecache.chaos.processes import GroundError, PortLease, Process
from corecache.chaos.sessions import close_session, password_of, session_of

SECONDS = 60.0
KEYS = 64
DUMP = """SessionTracker dump:
Session Sets (1)/(1):
2 expire at Fri Nov 27 15:48:00 UTC 2026:
	0x1000199aa090001
ephemeral nodes dump:
Sessions with Ephemerals (2):
0x1000199aa090001:
	/corecache/red/controller
	/corecache/red/alive/n3
0x2000199aa090002:
	/corecache/red/alive/n13
Connections dump:
"""


def await_true(true: Callable[[], bool], what: str) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def put_all(cluster: ChaosCluster, value: bytes) -> None:
    """Writes keys by all nodes in turn; each must be acknowledged."""
    for number in range(KEYS):
        node = cluster.members[number % len(cluster.members)]
        status, body = node.ask("PUT", f"/v1/kv/key-{number}", value)
        assert status == 204, (node.name, status, body)


def read_all(node: ChaosNode) -> set[bytes]:
    """Returns the values that a node answers for all keys."""
    return {node.ask("GET", f"/v1/kv/key-{number}")[1] for number in range(KEYS)}


def accepted(node: ChaosNode) -> int:
    """Returns how many keys can be written by a node."""
    with ThreadPoolExecutor(KEYS) as threads:
        asked = [threads.submit(node.ask, "PUT", f"/v1/kv/key-{number}", b"cut") for number in range(KEYS)]
        return [each.result()[0] for each in asked].count(204)


def assert_equal(cluster: ChaosCluster) -> None:
    """Sees that each partition has three replicas that hold the same."""
    digests = cluster.digests()
    assert len(digests) == cluster.settings["cluster.partitions"]
    assert {len(held) for held in digests.values()} == {3}
    assert {len(set(held.values())) for held in digests.values()} == {1}, digests


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosCluster]:
    """Three nodes at one ZooKeeper, at this machine's own address, with disks that can fail if there is a compiler."""
    place = tmp_path_factory.mktemp("ground")
    shim = disk.compile_shim(place) if disk.why_not() is None else None
    with ChaosCluster(place, 3, 1, shim=shim) as made:
        made.start()
        yield made


def test_a_cluster_is_whole_and_its_replicas_are_equal(cluster: ChaosCluster) -> None:
    """What is written by all is read from each; a node that is told to flush or compact does it."""
    put_all(cluster, b"first")
    assert cluster.is_whole()
    assert not cluster.is_whole(copies=2)
    for node in cluster.nodes:
        assert node.is_ready()
        assert node.storage("flush")
        assert node.storage("compact")
        assert read_all(node) == {b"first"}
    assert_equal(cluster)


def test_a_killed_node_is_missed_and_comes_back(cluster: ChaosCluster) -> None:
    """It died because it was told to; without its data it copies all of it anew."""
    node = cluster.nodes[1]
    before = node.process.pid
    node.kill()
    assert not node.running
    assert node.ended_by_itself() is None
    assert not cluster.is_whole(copies=3)
    assert node.ask("GET", "/readyz") == (0, b"")
    node.wipe()
    assert not node.data_dir.exists()
    node.spawn()
    node.await_ready()
    assert node.process.pid != before
    cluster.await_whole()
    put_all(cluster, b"second")
    assert_equal(cluster)


def test_a_node_that_is_paused_says_nothing_and_goes_on(cluster: ChaosCluster) -> None:
    """It runs, and is not ready; a terminated one ends in peace."""
    node = cluster.nodes[2]
    node.pause()
    assert node.running
    assert node.ask("GET", "/readyz", seconds=0.3)[0] == 0
    node.resume()
    cluster.await_whole()
    node.terminate()
    assert node.wait(SECONDS) == 0
    assert node.ended_by_itself() is None
    node.spawn()
    node.await_ready()
    cluster.await_whole()


def test_a_node_that_dies_by_itself_is_told(cluster: ChaosCluster) -> None:
    """By a signal that was not the campaign's: also to who kills it afterwards, or waits for the whole."""
    node = cluster.nodes[1]
    os.kill(node.process.pid, signal.SIGKILL)
    assert node.wait(SECONDS) == -signal.SIGKILL
    node.kill()
    assert node.ended_by_itself() == -signal.SIGKILL
    with pytest.raises(GroundError, match="n2 ended by itself with -9"):
        cluster.await_whole(copies=3)
    node.spawn()
    assert node.ended_by_itself() is None
    node.await_ready()
    cluster.await_whole()


def test_an_expired_session_is_replaced(cluster: ChaosCluster) -> None:
    """The node is told that it has expired, and lives under a new one soon; who is unknown has none to expire."""
    server = cluster.zookeepers.servers[0]
    before = session_of(server.ask("dump"), "n1")
    assert before is not None
    assert cluster.zookeepers.expire("n1")
    await_true(lambda: session_of(server.ask("dump"), "n1") not in (None, before), "a new session")
    assert "expired" in cluster.nodes[0].log_tail(200)
    assert not cluster.zookeepers.expire("n7")
    assert not close_session(server.host, server.port, before), "it is gone"
    cluster.await_whole()


def test_a_slow_disk_is_felt_by_the_node_and_survived(cluster: ChaosCluster) -> None:
    """A node's own control, by its data directory."""
    node = cluster.nodes[0]
    if node.disk is None:
        pytest.skip(str(disk.why_not()))
    node.disk.slow(node.disk.SYNC, 2_000, str(node.data_dir)[-60:])
    put_all(cluster, b"third")
    assert node.disk.hits > 0
    node.disk.disarm()
    assert_equal(cluster)


def test_one_joins_and_another_leaves(cluster: ChaosCluster) -> None:
    """A drained node is no member: the cluster is whole without it, and it can be stopped."""
    joining = cluster.add_node()
    joining.spawn()
    joining.await_ready()
    assert cluster.takes_drain("n1")
    await_true(lambda: cluster.is_drained("n1"), "n1 holds nothing")
    cluster.await_whole(3)
    assert [node.name for node in cluster.members] == ["n2", "n3", "n4"]
    leaving = cluster.node("n1")
    leaving.terminate()
    assert leaving.wait(SECONDS) == 0
    cluster.await_whole(3)
    put_all(cluster, b"fourth")
    assert_equal(cluster)
    assert read_all(joining) == {b"fourth"}


def test_a_cluster_on_a_network_is_cut_and_heals(tmp_path: Path) -> None:
    """With an ensemble of three: whom nobody hears takes no writes, the others all, and all are equal again."""
    missing = networks.why_not()
    if missing is not None:
        pytest.skip(missing)
    with Network() as network, ChaosCluster(tmp_path, 3, 3, network) as cluster:
        cluster.start()
        put_all(cluster, b"before")
        lonely = cluster.nodes[0]
        for other in ["n2", "n3", *cluster.zookeepers.names]:
            network.cut(lonely.name, other)
            network.cut(other, lonely.name)
        await_true(lambda: accepted(lonely) == 0, "the lonely one takes nothing")
        await_true(lambda: accepted(cluster.nodes[1]) == KEYS, "the others take all")
        network.heal()
        leader = cluster.zookeepers.leader()
        assert leader is not None
        leader.kill()
        await_true(lambda: cluster.zookeepers.leader() not in (None, leader), "another leader")
        leader.start()
        cluster.await_whole()
        put_all(cluster, b"after")
        assert_equal(cluster)
        assert cluster.zookeepers.expire("n2")
        cluster.await_whole()


def test_a_process_ends_with_the_campaign_that_is_killed() -> None:
    """And not with the thread that has it started."""
    program = (
        "import sys, threading\nfrom pathlib import Path\nfrom corecache.chaos.processes import Process\n"
        "one = Process(['sleep', '600'], Path('/dev/null'))\n"
        "thread = threading.Thread(target=one.start)\nthread.start()\nthread.join()\n"
        "assert one.running\nprint(one.pid, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as campaign:
        assert campaign.stdout is not None
        pid = int(campaign.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        campaign.kill()
    await_true(lambda: not _lives(pid), "the process is gone")


def _lives(pid: int) -> bool:
    """Says whether a process runs; one that has ended may wait for its new parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And one that runs for too long says what it said."""
    with pytest.raises(GroundError, match="does not start"):
        Process(["true"], tmp_path / "log", directory=tmp_path / "nowhere").start()
    stubborn = Process(["sh", "-c", "echo I stay; exec sleep 600"], tmp_path / "log")
    stubborn.start()
    await_true(lambda: stubborn.log_tail() == "I stay", "its word")
    with pytest.raises(GroundError, match="I stay"):
        stubborn.wait(0)
    stubborn.kill()
    assert not stubborn.running


def test_a_machine_without_zookeeper_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In one line, before anything is begun."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GroundError, match=r"apt-get install zookeeper;.*ZOOKEEPER_HOME"):
        ChaosCluster(tmp_path, 3, 1)


def test_leased_ports_are_different_and_can_be_listened_on() -> None:
    """As long as they are leased nobody else gets them."""
    leases = [PortLease() for _ in range(50)]
    assert len({lease.number for lease in leases}) == 50
    for lease in leases:
        lease.end()


def test_the_session_of_a_node_is_found_in_a_dump() -> None:
    """By its whole name."""
    assert session_of(DUMP, "n3") == 0x1000199AA090001
    assert session_of(DUMP, "n13") == 0x2000199AA090002
    assert session_of(DUMP, "n1") is None
    assert session_of("", "n3") is None


def test_a_password_is_thrown_as_java_throws_it() -> None:
    """What `new java.util.Random(seed).nextBytes(…)` gave for two seeds; the constant is what the seed is made with."""
    assert password_of(0xB3415C00).hex() == "60b420bb3851d9d47acb933dbe70399b"
    assert password_of(0xB3415C00 ^ 42).hex() == "359d41baf78afe0de1bbe7ae28c0450c"
