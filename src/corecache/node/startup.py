"""How a node comes to life: who it is, what its disk holds, which views name it.

In order, and the order is the point:

1. The disk must be this cluster's and this configuration's (`belonging.py`), and know of as many starts as the
   coordinator: one that knows of fewer is an old copy of itself. Else it is refused with nothing written. An empty disk
   is a new node's, or an old one's that has lost everything: it goes on counting where the coordinator is.
2. The incarnation grows and is durable before anything is said under it (R14), and so is the longest lease that will be
   granted (R8). A replica whose snapshot was interrupted is emptied, under a new id (R12).
3. The coordinator is told. Only then may anything be granted or acknowledged: the machine is made after it.
4. The cluster is created if there is none: every view names its first primary, this node, alone. Only now does a
   directory that was a cluster of one become a member's.
5. Each replica is brought its view. What follows, up to serving, is the replicas' own affair.
"""

import asyncio
from collections.abc import Callable

import msgspec

from corecache.config import Config
from corecache.errors import Broken, NotDone
from corecache.identity import Epoch, Incarnation, Lineage, Member, Milliseconds, NodeId, PartitionId, ReplicaId
from corecache.node.belonging import check_cluster, check_content, check_directory, is_member
from corecache.placement.partition_map import ClusterFacts, NodeEntry
from corecache.placement.view import VersionedView, View
from corecache.ports import Clock, Coordinator, Store
from corecache.replication.machine import Machine
from corecache.replication.recovered import NOTHING_APPLIED, NodeFacts, Recovered, ReplicaFacts
from corecache.replication.replica import Replica

NO_EPOCH = Epoch(0)
FIRST_LINEAGE = Lineage(1)


async def restore(
    config: Config, store: Store, coordinator: Coordinator, clock: Clock, draw_id: Callable[[], str]
) -> tuple[NodeFacts, dict[PartitionId, Recovered], Milliseconds]:
    """Returns the node's facts, under a new incarnation that is durable, its replicas, and when all its grants end.

    `draw_id` gives a random name. Raises: CallerFault if the disk belongs to another configuration; Broken if it is an
    old copy; NotDone.
    """
    known, recovered = store.recovered()
    found = await coordinator.facts()
    check_cluster(config, found)
    if known is not None:
        check_directory(config, known, found)
        if found is not None and config.coordination.zookeeper and not is_member(known):
            check_content(config, known, recovered, await coordinator.views())
    name = NodeId(config.node.id or f"node-{draw_id()[:8]}") if known is None else known.node
    started = known.incarnation if known is not None else Incarnation(0)
    highest = await coordinator.register(NodeEntry(name, started))
    if known is not None and highest > started:
        # Before anything is saved: a start that counted itself would bring an old copy level with what it has missed.
        raise _old_copy(known, highest)
    cluster = config.cluster
    fresh = NodeFacts(cluster.name, cluster.partitions, name, Incarnation(0), Milliseconds(0))
    facts = msgspec.structs.replace(known or fresh, incarnation=Incarnation(highest + 1))
    if found is not None:
        facts = _member(config, facts, found)
    replicas = dict(recovered)
    await store.save(facts, {})
    for partition, each in recovered.items():
        if each.facts.installing:
            emptied = ReplicaFacts(ReplicaId(draw_id()), each.facts.epoch, each.facts.lineage)
            await store.begin_install(partition, emptied)
            replicas[partition] = Recovered(emptied, NOTHING_APPLIED, ())
    # A lease may have been granted by the process before this one, up to the moment of this start (R10, step 3).
    granted_ms = known.largest_grant_ms if known is not None else 0
    grants_end = Milliseconds(clock.now() + granted_ms if granted_ms else 0)
    return facts, replicas, grants_end


def _member(config: Config, facts: NodeFacts, cluster: ClusterFacts) -> NodeFacts:
    """Returns the facts of a node that is a member of this cluster and may grant leases; of one alone, as they were."""
    if not config.coordination.zookeeper:
        return facts
    largest = Milliseconds(max(config.replication.lease_ms, facts.largest_grant_ms))
    return msgspec.structs.replace(facts, largest_grant_ms=largest, creation=cluster.creation)


async def create_if_missing(
    config: Config,
    facts: NodeFacts,
    replicas: dict[PartitionId, Recovered],
    store: Store,
    coordinator: Coordinator,
    draw_id: Callable[[], str],
) -> None:
    """Creates the cluster if there is none, with all partitions here; adds the empty replicas that it takes.

    The directory is a member's then: it may be that another node has created the cluster since `restore` looked.

    Raises: CallerFault if another has just created one that has no use for what is held here; NotDone; Broken.
    """
    member = bool(config.coordination.zookeeper)
    held = dict(replicas)
    found, won = await coordinator.facts(), False
    if found is not None and (facts.creation or not member):
        return
    if found is None:
        won = await _create(config, facts, replicas, store, coordinator, draw_id)
        found = await coordinator.facts()
        assert found is not None, "facts are never deleted"
    if member and not won:
        check_cluster(config, found)
        check_content(config, facts, held, await coordinator.views())
    await store.save(_member(config, facts, found), {})


async def _create(
    config: Config,
    facts: NodeFacts,
    replicas: dict[PartitionId, Recovered],
    store: Store,
    coordinator: Coordinator,
    draw_id: Callable[[], str],
) -> bool:
    """Adds the replicas that are missing here, and creates the cluster with all of them; False if another was first."""
    fresh: dict[PartitionId, ReplicaFacts] = {}
    for number in range(facts.partitions):
        partition = PartitionId(number)
        if partition not in replicas:
            fresh[partition] = ReplicaFacts(ReplicaId(draw_id()), NO_EPOCH, FIRST_LINEAGE)
            replicas[partition] = Recovered(fresh[partition], NOTHING_APPLIED, ())
    await store.save(None, fresh)
    wanted = ClusterFacts(facts.cluster, facts.partitions, config.cluster.replication_factor)
    return await coordinator.create(wanted, _first_views(facts, replicas))


def _first_views(facts: NodeFacts, replicas: dict[PartitionId, Recovered]) -> dict[PartitionId, View]:
    views = {}
    for partition in sorted(replicas):
        replica = replicas[partition].facts
        member = Member(facts.node, replica.replica)
        # Above any epoch that the disk has accepted, for the case that only the coordinator's memory was lost.
        epoch = Epoch(replica.epoch + 1)
        views[partition] = View(replica.lineage, epoch, member, facts.incarnation, (member,), (facts.node,), 1)
    return views


async def announce(facts: NodeFacts, coordinator: Coordinator, entry: NodeEntry) -> None:
    """Lists the node as alive. Raises: Broken if a later start of it is known; NotDone."""
    highest = await coordinator.register(entry)
    if highest > facts.incarnation:
        raise _old_copy(facts, highest)


async def bring_views(
    machine: Machine, coordinator: Coordinator, changed: Callable[[PartitionId, VersionedView], None], alone: bool
) -> None:
    """Brings the node all views, and from now on those that change of the partitions that it holds.

    Raises: Broken if the parts of the directory of a node that is alone do not belong together; NotDone.
    """
    views = await coordinator.views()
    if alone:
        for partition, confirmed in views.items():
            _check_known(partition, machine.replicas.get(partition), confirmed)
    coordinator.watch(changed)
    coordinator.follow(sorted(machine.replicas))
    for partition, confirmed in views.items():
        changed(partition, confirmed)


def _check_known(partition: PartitionId, replica: Replica | None, confirmed: VersionedView) -> None:
    view = confirmed.view
    if replica is None or replica.member not in view.in_sync:
        held = "no replica of it" if replica is None else f"replica {replica.member.replica} of {replica.member.node}"
        raise Broken(
            "data_dir_incomplete",
            f"Partition {partition} belongs to {view.primary.node} (replica {view.primary.replica}), and this "
            f"directory holds {held}: the database and the coordinator's file are not of one origin. Restore both "
            "from the same copy.",
        )


def _old_copy(facts: NodeFacts, highest: Incarnation) -> Broken:
    return Broken(
        "data_dir_outdated",
        f"Node {facts.node} has been started {highest} times and this database knows of {facts.incarnation}: "
        "it is an old copy. Use the newest one; an old copy can't be trusted beside it.",
    )


async def until_ready(unready: Callable[[], str | None], broken: "asyncio.Future[str]", timeout_ms: int) -> None:
    """Waits until a node is ready to serve.

    Raises: Broken if `broken` is set meanwhile; NotDone with the reason why not, after `timeout_ms`.
    """
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            # Once in a process: not worth a signal from each replica.
            while unready() is not None:
                if broken.done():
                    raise Broken("broken_invariant", broken.result())
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise NotDone("not_ready", f"The node did not get ready in {timeout_ms} ms: {unready()}") from None
