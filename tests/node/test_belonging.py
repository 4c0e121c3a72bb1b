"""Whose a data directory is (`node/belonging.py`): starts that must be refused, with nothing written anywhere."""

import asyncio
from itertools import count

import msgspec
import pytest

from corecache.config import Config
from corecache.coordination.memory import MemoryCoordinator, MemoryHub
from corecache.errors import CallerFault
from corecache.identity import Incarnation, Milliseconds, NodeId
from corecache.node.startup import create_if_missing, restore
from corecache.operations import Put
from corecache.placement.partition_map import ClusterFacts, NodeEntry
from corecache.replication.recovered import NodeFacts
from corecache.storage.memory import MemoryDisk, MemoryStore
from node.running import GatedStore, HandClock, config_of, running

_names = count(1)


def member_config(node: str = "n1", partitions: int = 4) -> Config:
    """Returns the configuration of a node with ZooKeeper; no test here asks it anything."""
    config = config_of(partitions)
    return msgspec.structs.replace(
        config,
        node=msgspec.structs.replace(config.node, id=node),
        coordination=msgspec.structs.replace(config.coordination, zookeeper="zoo:2181/red"),
    )


async def started(disk: MemoryDisk, hub: MemoryHub, config: Config | None = None) -> NodeFacts:
    """Starts a node as far as the cluster is there and known; returns the facts that its disk then has."""
    config = config or member_config()
    store, coordinator = MemoryStore(disk), MemoryCoordinator(hub)

    def draw_id() -> str:
        return f"id{next(_names)}"

    try:
        facts, recovered, _ = await restore(config, store, coordinator, HandClock(), draw_id)
        await create_if_missing(config, facts, recovered, store, coordinator, draw_id)
    finally:
        await coordinator.close()
        disk.crash()
    return on_disk(disk)


def on_disk(disk: MemoryDisk) -> NodeFacts:
    """Returns the facts that a disk has."""
    known = MemoryStore(disk).recovered()[0]
    disk.crash()
    assert known is not None
    return known


async def refused(disk: MemoryDisk, hub: MemoryHub, config: Config | None = None) -> str:
    """Starts a node that must be refused, and leave disk and ledger as they were; returns why."""
    writes, ledger = list(disk.writes), hub.ledger.copy()
    with pytest.raises(CallerFault) as error:
        await started(disk, hub, config)
    assert (disk.writes, hub.ledger, hub.living) == (writes, ledger, {})
    return f"{error.value.code}: {error.value.message}"


async def alone(disk: MemoryDisk) -> None:
    """Lets a cluster of one write a key to a disk."""
    config = config_of()
    config = msgspec.structs.replace(config, node=msgspec.structs.replace(config.node, id="n1"))
    async with running(config, GatedStore(disk)) as at:
        await at.node.write((Put(b"k", b"v"),), at.deadline())
    disk.crash()


def test_a_directory_is_kept_to_its_cluster() -> None:
    """The creation is noted at the first start, and what has another of the same name is refused, again and again."""

    async def test() -> None:
        disk, own, other = MemoryDisk(), MemoryHub(), MemoryHub()
        first = await started(disk, own)
        assert first.creation == own.creation != other.creation
        await started(MemoryDisk(), other)
        for _ in range(2):
            reason = await refused(disk, other)
            assert reason.startswith("data_dir_of_another: ")
            assert own.creation in reason
            assert other.creation in reason
        assert (await started(disk, own)).incarnation == first.incarnation + 1

    asyncio.run(test())


def test_a_directory_of_a_cluster_makes_no_other() -> None:
    """Neither where there is none, as at a mistyped path, nor without ZooKeeper."""

    async def test() -> None:
        disk, hub = MemoryDisk(), MemoryHub()
        await started(disk, hub)
        empty = MemoryHub()
        assert "there is none of this name" in await refused(disk, empty)
        assert "set coordination.zookeeper" in await refused(disk, MemoryHub(), config_of())
        assert empty.ledger.facts() is None

    asyncio.run(test())


def test_a_members_directory_without_creation_is_given_it() -> None:
    """Once: from then on it is the cluster's. So also after a start that ended before it could note it."""

    async def test() -> None:
        disk, hub = MemoryDisk(), MemoryHub()
        await started(MemoryDisk(), hub, member_config("n2"))
        store = MemoryStore(disk)
        old = NodeFacts("corecache", 4, NodeId("n1"), Incarnation(3), Milliseconds(1000))
        await store.save(old, {})
        disk.crash()
        facts = await started(disk, hub)
        assert facts == msgspec.structs.replace(old, incarnation=Incarnation(4), creation=hub.creation)

    asyncio.run(test())


def test_the_data_of_a_cluster_of_one_are_not_dropped_by_another() -> None:
    """They may become a cluster's first, but no cluster that is there already takes the directory, and then drops them.

    Also if that one is created at the same moment.
    """

    async def test() -> None:
        disk, there, fresh = MemoryDisk(), MemoryHub(), MemoryHub()
        await alone(disk)
        await started(MemoryDisk(), there, member_config("n2"))
        assert "holds the data of a cluster of one" in await refused(disk, there)

        rival, config = MemoryHub(), member_config()
        await started(MemoryDisk(), rival, member_config("n2"))
        coordinator, store = _Late(rival), MemoryStore(disk)
        facts, recovered, _ = await restore(config, store, coordinator, HandClock(), lambda: "id")
        with pytest.raises(CallerFault, match="holds the data of a cluster of one"):
            await create_if_missing(config, facts, recovered, store, coordinator, lambda: "id")
        disk.crash()
        assert on_disk(disk).creation == ""

        assert (await started(disk, fresh)).creation == fresh.creation
        views = await MemoryCoordinator(fresh).views()
        assert {confirmed.view.primary.node for confirmed in views.values()} == {NodeId("n1")}

    asyncio.run(test())


def test_a_cluster_that_is_created_between_two_looks_is_noted() -> None:
    """Three nodes are started at once: who sees no cluster, and then one, is a member, and has granted leases."""

    async def test() -> None:
        disk, hub, config = MemoryDisk(), MemoryHub(), member_config()
        store, coordinator = MemoryStore(disk), MemoryCoordinator(hub)
        facts, recovered, _ = await restore(config, store, coordinator, HandClock(), lambda: "id")
        await started(MemoryDisk(), hub, member_config("n2"))
        await create_if_missing(config, facts, recovered, store, coordinator, lambda: "id")
        await coordinator.close()
        disk.crash()
        noted = on_disk(disk)
        assert (noted.creation, noted.largest_grant_ms) == (hub.creation, config.replication.lease_ms)

    asyncio.run(test())


def test_what_a_cluster_of_one_holds_is_refused_also_between_two_looks() -> None:
    """And so is another number of partitions."""

    async def test() -> None:
        disk = MemoryDisk()
        await alone(disk)
        for config, reason in ((member_config(), "cluster of one"), (member_config("n3", 5), "with 4 partitions")):
            hub = MemoryHub()
            store, coordinator = MemoryStore(disk), MemoryCoordinator(hub)
            facts, recovered, _ = await restore(config, store, coordinator, HandClock(), lambda: "id")
            await started(MemoryDisk(), hub, member_config("n2"))
            with pytest.raises(CallerFault, match=reason):
                await create_if_missing(config, facts, recovered, store, coordinator, lambda: "id")
            await coordinator.close()
            disk = MemoryDisk()

    asyncio.run(test())


def test_a_creation_that_was_not_noted_is_ones_own() -> None:
    """A crash between the two: the views name the replicas of this directory, so it is no stranger."""

    async def test() -> None:
        disk, hub = MemoryDisk(), MemoryHub()
        await alone(disk)
        before = on_disk(disk)
        await started(disk, hub)
        unnoted = msgspec.structs.replace(before, incarnation=on_disk(disk).incarnation)
        store = MemoryStore(disk)
        await store.save(unnoted, {})
        disk.crash()
        assert (await started(disk, hub)).creation == hub.creation

    asyncio.run(test())


def test_a_wrong_number_of_partitions_leaves_no_trace() -> None:
    """A new node is refused before it has noted it, and can be started once it is set right."""

    async def test() -> None:
        disk, hub = MemoryDisk(), MemoryHub()
        await started(MemoryDisk(), hub)
        assert "with 4 partitions" in await refused(disk, hub, member_config("n2", partitions=5))
        assert (await started(disk, hub, member_config("n2"))).partitions == 4

    asyncio.run(test())


def test_a_directory_of_another_cluster_does_not_shut_out_a_node_of_its_name() -> None:
    """Its starts are not counted there: the true node's would fall behind, and it be taken for an old copy."""

    async def test() -> None:
        own, stray, red = MemoryDisk(), MemoryDisk(), MemoryHub()
        await started(own, red)
        await started(stray, MemoryHub())
        blue = msgspec.structs.replace(on_disk(stray), cluster="blue", incarnation=Incarnation(9))
        store = MemoryStore(stray)
        await store.save(blue, {})
        stray.crash()
        assert "cluster.name = 'blue'" in await refused(stray, red)
        assert (await started(own, red)).incarnation == 2
        assert await MemoryCoordinator(red).register(NodeEntry(NodeId("n1"), Incarnation(2))) == 2

    asyncio.run(test())


class _Late(MemoryCoordinator):
    """A coordinator whose first answers are from before somebody created the cluster."""

    late = 2

    async def facts(self) -> ClusterFacts | None:
        """Returns that there is no cluster, twice."""
        self.late -= 1
        return None if self.late >= 0 else await super().facts()
