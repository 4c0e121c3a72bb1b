"""What the tests of coordinators share: views to write, a stage for each implementation, and ears that wait."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec
from kazoo.client import KazooClient

from corecache.config import Coordination
from corecache.coordination.local import LocalCoordinator
from corecache.coordination.memory import MemoryCoordinator, MemoryHub
from corecache.coordination.zookeeper import ZooKeeperCoordinator
from corecache.identity import Epoch, Incarnation, Lineage, Member, NodeId, PartitionId, ReplicaId
from corecache.placement.partition_map import ClusterFacts, NodeEntry
from corecache.placement.view import VersionedView, View
from corecache.ports import Coordinator, SessionState

PARTITIONS = 8
DEADLINE_SECONDS = 20
FACTS = ClusterFacts("red", PARTITIONS)

Heard = TypeVar("Heard")


def view(epoch: int) -> View:
    """Returns the view of a cluster of one in an epoch."""
    member = Member(NodeId("n1"), ReplicaId("r1"))
    return View(Lineage(0), Epoch(epoch), member, Incarnation(1), (member,), (member.node,))


def entry(node: str = "n1", incarnation: int = 1) -> NodeEntry:
    """Returns a node as it registers."""
    return NodeEntry(NodeId(node), Incarnation(incarnation), {"http": "http://127.0.0.1:8000"}, "a", "1.0")


async def facts_given(coordinator: Coordinator) -> ClusterFacts | None:
    """Returns the cluster's facts without its creation, which nobody gives: the coordinator draws it."""
    found = await coordinator.facts()
    return None if found is None else msgspec.structs.replace(found, creation="")


async def created(coordinator: Coordinator, partitions: int = PARTITIONS) -> None:
    """Creates the cluster that most scenes play in."""
    views = {PartitionId(number): view(0) for number in range(partitions)}
    await coordinator.create(ClusterFacts("red", partitions), views)


class Ear(Generic[Heard]):
    """Hears what a coordinator calls, and waits for it, not for ever."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self._new = asyncio.Event()

    def __call__(self, *heard: Heard) -> None:
        self.heard.extend(heard)
        self._new.set()

    async def until(self, enough: Callable[[list[Heard]], bool]) -> list[Heard]:
        """Returns all that was heard as soon as it is enough."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not enough(self.heard):
                self._new.clear()
                await self._new.wait()
        return self.heard


class ViewEar:
    """Hears of views: `versions` are those of each partition, in the order in which they were told."""

    def __init__(self) -> None:
        self.versions: dict[PartitionId, list[int]] = {}
        self.last: dict[PartitionId, VersionedView] = {}
        self._ear: Ear[int] = Ear()

    def __call__(self, partition: PartitionId, confirmed: VersionedView) -> None:
        self.versions.setdefault(partition, []).append(confirmed.version)
        self.last[partition] = confirmed
        self._ear(confirmed.version)

    async def until(self, partition: PartitionId, version: int) -> None:
        """Waits until this version of a partition's view was told, or a later one."""
        await self._ear.until(lambda _: self.versions.get(partition, [-1])[-1] >= version)

    def check_growing(self) -> None:
        """Asserts that no version was told twice or late."""
        for partition, versions in self.versions.items():
            assert versions == sorted(set(versions)), f"partition {partition} heard {versions}"


class Stage(Protocol):
    """One implementation, ready to be played on."""

    many: bool
    """Whether several nodes can be of one cluster."""

    async def coordinator(self) -> Coordinator:
        """Returns another node's coordinator."""

    async def expire(self, coordinator: Coordinator) -> None:
        """Ends a coordinator's session without its will."""

    async def close(self) -> None:
        """Closes all coordinators."""


class MemoryStage:
    """Plays on `memory.py`, which defines right."""

    many = True

    def __init__(self) -> None:
        self._hub = MemoryHub()

    async def coordinator(self) -> MemoryCoordinator:
        return MemoryCoordinator(self._hub)

    async def expire(self, coordinator: Coordinator) -> None:
        assert isinstance(coordinator, MemoryCoordinator)
        coordinator.interrupt(SessionState.LOST)
        coordinator.interrupt(SessionState.CONNECTED)

    async def close(self) -> None:
        for coordinator in list(self._hub.coordinators):
            await coordinator.close()


class LocalStage:
    """Plays on `local.py`: one node, a file."""

    many = False

    def __init__(self, directory: Path) -> None:
        self._path = directory / "coordinator.json"
        self._opened: list[LocalCoordinator] = []

    async def coordinator(self) -> LocalCoordinator:
        self._opened.append(await LocalCoordinator.open(self._path))
        return self._opened[-1]

    async def expire(self, coordinator: Coordinator) -> None:
        raise AssertionError("there is no session")

    async def close(self) -> None:
        for coordinator in self._opened:
            await coordinator.close()


class ZooKeeperStage:
    """Plays on real ZooKeeper, under a chroot of its own."""

    many = True

    def __init__(self, address: str, settings: Coordination | None = None) -> None:
        self.settings = settings or Coordination(zookeeper=address, session_timeout_ms=4000, start_timeout_ms=20_000)
        self.opened: list[ZooKeeperCoordinator] = []

    async def coordinator(self, cluster: str = "red") -> ZooKeeperCoordinator:
        self.opened.append(await ZooKeeperCoordinator.open(self.settings, cluster))
        return self.opened[-1]

    async def expire(self, coordinator: Coordinator) -> None:
        assert isinstance(coordinator, ZooKeeperCoordinator)
        await asyncio.to_thread(end_session, self.settings.zookeeper, coordinator)

    async def close(self) -> None:
        for coordinator in self.opened:
            await coordinator.close()


def end_session(address: str, coordinator: ZooKeeperCoordinator) -> None:
    """Ends a coordinator's session as another client that knows its id: ZooKeeper then counts it as expired."""
    client = coordinator._session._client
    lost = threading.Event()
    client.add_listener(lambda state: lost.set() if state == "LOST" else None)
    rival = KazooClient(address.partition("/")[0], client_id=client.client_id)
    rival.start(DEADLINE_SECONDS)
    rival.stop()
    rival.close()
    assert lost.wait(DEADLINE_SECONDS)


def played(stage: Stage, scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Plays a scene to its end, with a deadline, and closes what it opened."""

    async def play() -> None:
        try:
            async with asyncio.timeout(3 * DEADLINE_SECONDS):
                await scene(stage)
        finally:
            await stage.close()

    asyncio.run(play())
