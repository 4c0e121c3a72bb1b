"""Each deed does what its sentence says, and undoes it: on one real cluster with all that this machine can have.

Those that are aimed at a moment are in `test_aimed.py`. Nothing waits for a time: what a deed does is looked for while
it goes on, on datagrams, files, processes and answers, and it is ended when that was seen; only least times are judged.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from itertools import permutations
from pathlib import Path
from typing import Final

import pytest

from chaos.test_network import Ear, ear_of, say
from chaos.traffic import asked_all_the_time
from corecache.chaos import disk, staging
from corecache.chaos.cluster import ChaosCluster, ChaosNode
from corecache.chaos.faults import DEEDS
from corecache.chaos.ground import Ground, until
from corecache.chaos.network import Network
from corecache.chaos.plan import KINDS, Planned
from corecache.chaos.power import PowerGrid
from corecache.chaos.sessions import session_of

pytestmark = pytest.mark.campaign

AIMED: Final = {"kill-in-catch-up", "kill-in-hand-over", "kill-in-compaction"}
SECONDS: Final = 60.0
UNTIL_SEEN: Final = 600.0
"""The length of a fault that is ended as soon as it was seen."""

ZOOKEEPERS: Final = 3
NOTHING_WRITTEN: Final = 3
"""A roll with which a cut of power takes the first node, and no file is written just before."""

LOST_OF: Final = 400
CONNECTS: Final = """
import socket, sys, time
def connect():
    began = time.monotonic()
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 20).close()
    return time.monotonic() - began
print(min(connect() for _ in range(5)))
"""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Three nodes and an ensemble, with a network, disks that fail, and power that goes, as far as this machine can."""
    place, lacking = tmp_path_factory.mktemp("ground"), staging.missing(ZOOKEEPERS)
    with ExitStack() as stack:
        network = None if "network" in lacking else stack.enter_context(Network(seed=1))
        grid = None
        if "power" not in lacking:
            grid = stack.enter_context(PowerGrid(place / "disks", (), staging.DISK_BYTES))
        shim = None if "disk" in lacking else disk.compile_shim(place)
        cluster = stack.enter_context(ChaosCluster(place, 3, ZOOKEEPERS, network, shim, grid=grid))
        cluster.start()
        yield Ground(cluster, network, grid)


@asynccontextmanager
async def struck(ground: Ground, kind: str, seconds: float = 0.2, roll: int = 0) -> AsyncIterator[None]:
    """Has a fault strike: within it goes on, and afterwards it is over; one that is UNTIL_SEEN is ended then."""
    begun = asyncio.Event()
    planned = Planned(kind, seconds, roll, 0.0, together=False)
    deed = asyncio.ensure_future(DEEDS[kind](ground, planned, lambda target: begun.set()))
    waiting = asyncio.ensure_future(begun.wait())
    await asyncio.wait((deed, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield
    finally:
        if seconds == UNTIL_SEEN:
            assert not deed.done()
            deed.cancel()
        await asyncio.gather(deed, return_exceptions=seconds == UNTIL_SEEN)


async def comes(true: Callable[[], bool], what: str) -> None:
    """Waits for something to be seen."""

    async def seen() -> bool:
        return await asyncio.to_thread(true)

    assert await until(seen, SECONDS), what


def state_of(pid: int) -> str:
    """Returns what the kernel says a process does: S sleeps, T stands still; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def pids(nodes: list[ChaosNode]) -> list[int]:
    """Returns the process ids of nodes."""
    return [node.process.pid for node in nodes]


# Nodes.


async def killed(ground: Ground, kind: str) -> None:
    """A process dies, or all; another comes, with the same data."""
    nodes = ground.present if kind == "kill-all" else ground.present[:1]
    before = pids(nodes)
    async with struck(ground, kind):
        assert not any(state_of(pid) in ("S", "R", "D", "T") for pid in before)
    assert not set(before) & set(pids(nodes))
    assert all(node.running for node in nodes)


async def paused(ground: Ground, kind: str) -> None:
    """The process stands still, and goes on."""
    pid = ground.present[0].process.pid
    async with struck(ground, kind, UNTIL_SEEN):
        await comes(lambda: state_of(pid) == "T", "it stands still")
    await comes(lambda: state_of(pid) in ("S", "R"), "it goes on")
    assert ground.present[0].process.pid == pid


async def wiped(ground: Ground, kind: str) -> None:
    """What was in the directory is gone."""
    node = ground.present[0]
    mark = node.data_dir / "mark"
    mark.touch()
    pid = node.process.pid
    async with struck(ground, kind):
        pass
    assert not mark.exists()
    assert node.running
    assert node.process.pid != pid


async def joined_and_drained(ground: Ground, kind: str) -> None:
    """One more serves, and one of those before has stopped."""
    before = ground.names
    async with struck(ground, kind):
        pass
    (joined,) = set(ground.names) - set(before)
    (left,) = set(before) - set(ground.names)
    assert ground.cluster.node(joined).is_ready()
    assert not ground.cluster.node(left).running
    assert ground.cluster.node(left).ended_by_itself() is None


# ZooKeeper.


async def zookeeper_stopped(ground: Ground, kind: str) -> None:
    """No server runs; then all serve."""
    servers = ground.cluster.zookeepers.servers
    async with struck(ground, kind, 1.0):
        await comes(lambda: not any(server.running for server in servers), "all are dead")
    assert ground.cluster.zookeepers.serves()


async def zookeeper_hangs(ground: Ground, kind: str) -> None:
    """All servers run and none answers; then all do."""
    servers = ground.cluster.zookeepers.servers
    async with struck(ground, kind, UNTIL_SEEN):
        await comes(lambda: not any(server.ask("srvr") for server in servers), "none answers")
        assert all(server.running for server in servers)
    await comes(ground.cluster.zookeepers.serves, "all serve")


async def leader_stopped(ground: Ground, kind: str) -> None:
    """The one that led does not run; then it does."""
    leader = ground.cluster.zookeepers.leader()
    assert leader is not None
    async with struck(ground, kind, 1.0):
        await comes(lambda: not leader.running, "it is dead")
        assert [server.running for server in ground.cluster.zookeepers.servers].count(True) == ZOOKEEPERS - 1
    assert leader.running


async def session_expired(ground: Ground, kind: str) -> None:
    """The node lives by another session."""
    node, server = ground.present[0], ground.cluster.zookeepers.servers[0]
    before, pid = session_of(server.ask("dump"), node.name), node.process.pid
    async with struck(ground, kind):
        pass
    await comes(lambda: session_of(server.ask("dump"), node.name) not in (None, before), "a new session")
    assert node.process.pid == pid


# The network.


Ways = set[tuple[str, str]]


async def cut(ground: Ground, kind: str) -> None:
    """What is lost is just what the sentence says."""
    nodes, zookeepers = ground.names, ground.zookeepers
    one, others = nodes[0], nodes[1:]
    lost: dict[str, Ways] = {
        "cut-zookeeper": both_ways([one], zookeepers),
        "cut-minority": both_ways([one], [*others, *zookeepers]),
        "cut-majority": both_ways(others, [one, *zookeepers]),
        "cut-one-way": {(one, others[0])},
        "cut-ring": set(permutations(nodes, 2)) - set(zip(nodes, [*others, one], strict=True)),
    }
    assert await lost_ways(ground, kind) == lost[kind]


def both_ways(some: list[str], others: list[str]) -> Ways:
    """Returns the ways between some and others."""
    return {way for one in some for other in others for way in ((one, other), (other, one))}


async def lost_ways(ground: Ground, kind: str) -> Ways:
    """Returns on which ways, of all between members, a datagram is lost while a fault goes on."""
    network = ground.network
    assert network is not None
    ways = list(permutations([*ground.names, *ground.zookeepers], 2))
    with ExitStack() as stack:
        ears = {name: stack.enter_context(ear_of(network, name)) for name in dict(ways)}
        async with struck(ground, kind, UNTIL_SEEN):
            await asyncio.gather(*(asyncio.to_thread(say, network, *way, way[0]) for way in ways))
        # What arrives after the fault is over comes after all that was not lost in it.
        for way in ways:
            say(network, *way, f"end of {way[0]}")
        return {(sender, name) for name, ear in ears.items() for sender in unheard(ear, len(ears) - 1)}


def unheard(ear: Ear, senders: int) -> set[str]:
    """Returns who was not heard by an ear before that one's end came."""
    words: set[str] = set()
    ends: set[str] = set()
    while len(ends) < senders:
        word = ear.next()
        (ends if word.startswith("end of ") else words).add(word.removeprefix("end of "))
    return ends - words


async def delayed(ground: Ground, kind: str) -> None:
    """No connection between two nodes is made in less than two ways take."""
    network, (one, other, *_) = ground.network, ground.present
    assert network is not None
    order = [*network.command(one.name), sys.executable, "-c", CONNECTS, other.host, str(other.http_port)]
    async with struck(ground, kind, UNTIL_SEEN):
        least_s = float(await asyncio.to_thread(subprocess.check_output, order))
    assert least_s >= 2 * 0.025


async def lossy(ground: Ground, kind: str) -> None:
    """About one in twenty is lost; none, or every fifth, has a chance of less than one in a hundred million."""
    network, (one, other, *_) = ground.network, ground.names
    assert network is not None
    with ear_of(network, other) as ear:
        async with struck(ground, kind, UNTIL_SEEN):
            await asyncio.to_thread(say, network, one, other, *map(str, range(LOST_OF)))
        say(network, one, other, "end")
        assert LOST_OF * 4 // 5 < len(ear.until("end")) < LOST_OF


# Disks.


async def slowed(ground: Ground, kind: str) -> None:
    """No write is acknowledged faster than the node can sync it."""
    node = ground.present[0]

    def writes() -> float:
        began = time.monotonic()
        assert node.ask("PUT", "/v1/kv/slow", b"value")[0] == 204
        return time.monotonic() - began

    async with struck(ground, kind, UNTIL_SEEN):
        least_s = min([await asyncio.to_thread(writes) for _ in range(5)])
    assert least_s >= 0.02
    assert node.disk is not None
    assert node.disk.hits > 0


async def broken(ground: Ground, kind: str) -> None:
    """The node says what its disk said, and is started again when the disk is good."""
    node = ground.present[0]
    said = {"full-disk": "No space left on device", "failing-fsync": "Input/output error"}[kind]
    before, pid = len(node.process.log.read_text()), node.process.pid
    async with asked_all_the_time(ground):
        async with struck(ground, kind, 1.0):
            await comes(lambda: said in node.process.log.read_text()[before:], f"{node.name} says: {said}")
        assert node.running
        assert node.process.pid != pid


def marked(ground: Ground, nodes: list[ChaosNode]) -> tuple[list[Path], list[Path]]:
    """Writes a file that is synced, and one that is not, to each node's disk; returns them."""
    assert ground.grid is not None
    synced = [ground.grid.path(node.name) / "synced" for node in nodes]
    written = [path.with_name("written") for path in synced]
    for path in (*synced, *written):
        path.write_bytes(b"mark")
    for path in synced:
        for place in (path, path.parent):
            sync(place)
    for path in written:
        path.unlink()
        path.write_bytes(b"mark")
    return synced, written


def sync(place: Path) -> None:
    """Has the disk take what was written."""
    opened = os.open(place, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


async def without_power(ground: Ground, kind: str) -> None:
    """What was synced is there, and what was only written is gone; the processes are others."""
    nodes = ground.present if kind == "power-cut-all" else ground.present[:1]
    synced, written = marked(ground, nodes)
    before = pids(nodes)
    async with struck(ground, kind, roll=NOTHING_WRITTEN):
        pass
    assert all(path.exists() for path in synced)
    assert not any(path.exists() and path.read_bytes() for path in written)
    assert not set(before) & set(pids(nodes))


async def dead_disks(ground: Ground, kind: str) -> None:
    """No sync succeeds while the nodes go on, and what was written then is gone; the processes are others."""
    nodes = ground.present
    synced, _ = marked(ground, nodes)
    late = [path.with_name("late") for path in synced]
    before = pids(nodes)

    def fails(path: Path) -> bool:
        try:
            sync(path)
        except OSError:
            return True
        return False

    async with struck(ground, kind, 1.0):
        await comes(lambda: all(fails(path) for path in synced), "no disk syncs")
        for path in late:
            path.write_bytes(b"mark")
        assert before == pids(nodes)
    assert all(path.exists() for path in synced)
    assert not any(path.exists() for path in late)
    assert not set(before) & set(pids(nodes))


PROOFS: Final[Mapping[str, Callable[[Ground, str], Awaitable[None]]]] = {
    "kill": killed,
    "kill-all": killed,
    "pause-short": paused,
    "pause-lease": paused,
    "pause-long": paused,
    "wipe": wiped,
    "join-and-drain": joined_and_drained,
    "zookeeper-stop": zookeeper_stopped,
    "zookeeper-hang": zookeeper_hangs,
    "zookeeper-leader": leader_stopped,
    "session-expiry": session_expired,
    "cut-zookeeper": cut,
    "cut-minority": cut,
    "cut-majority": cut,
    "cut-one-way": cut,
    "cut-ring": cut,
    "delay": delayed,
    "loss": lossy,
    "slow-disk": slowed,
    "full-disk": broken,
    "failing-fsync": broken,
    "dying-disks": dead_disks,
    "power-cut": without_power,
    "power-cut-all": without_power,
}


@pytest.mark.parametrize("kind", PROOFS)
def test_a_fault_does_what_its_sentence_says_and_undoes_it(ground: Ground, kind: str) -> None:
    """Then the cluster is whole again, and nothing is in hand."""
    needs, lacking = KINDS[kind].needs, staging.missing(ZOOKEEPERS)
    if needs in lacking:
        pytest.skip(lacking[needs])

    async def proven() -> None:
        assert await until(ground.is_whole, SECONDS)
        await PROOFS[kind](ground, kind)
        assert ground.is_undisturbed()
        assert await until(ground.is_whole, SECONDS), ground.cluster.lines_of(ground.cluster.lacking())

    asyncio.run(proven())
    assert not any(node.ended_by_itself() for node in ground.present)


def test_each_kind_has_a_proof() -> None:
    """No deed is only tried by campaigns."""
    assert PROOFS.keys() | AIMED == KINDS.keys()
