"""How a node comes to life: who it is, what its disk holds, which views name it.

In order, and the order is the point:

1. The disk must know of as many starts as the coordinator: one that knows of fewer is an old copy of itself, and is
   refused with nothing written. Its facts must be this configuration's: cluster, number of partitions, node id.
2. The incarnation grows and is durable before anything is said under it (R14). Partitions that the disk has never held
   get a replica with a new id: a stranger to every view there is.
3. The coordinator is told.
4. The cluster is created if there is none: every view names its first primary alone.
5. Each replica is brought its view. What follows, up to serving, is the replica's own affair.
"""

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from corecache.config import Config
from corecache.errors import Broken, CallerFault, NotDone
from corecache.identity import Epoch, Incarnation, Lineage, Member, Milliseconds, NodeId, PartitionId, ReplicaId
from corecache.placement.view import VersionedView, View
from corecache.ports import Clock, Coordinator, Store
from corecache.replication.events import ViewChanged
from corecache.replication.recovered import NOTHING_APPLIED, NodeFacts, Recovered, ReplicaFacts
from corecache.replication.replica import Replica

NO_EPOCH = Epoch(0)


async def restore(
    config: Config, store: Store, coordinator: Coordinator, clock: Clock, draw_id: Callable[[], str]
) -> tuple[NodeFacts, dict[PartitionId, Replica]]:
    """Returns the node's facts, under a new incarnation that is durable, and its replicas as the disk has them.

    `draw_id` gives a random name. Raises: CallerFault if the disk belongs to another configuration; Broken if it is an
    old copy; NotDone.
    """
    known, recovered = store.recovered()
    if known is not None:
        # Before anything is saved: a start that counted itself would bring an old copy level with what it has missed.
        _refuse_old_copy(known, await coordinator.register(known.node, known.incarnation, {}))
    facts = _next_facts(config, known, draw_id)
    replicas = dict(recovered)
    strangers: dict[PartitionId, ReplicaFacts] = {}
    for number in range(facts.partitions):
        partition = PartitionId(number)
        if partition not in replicas:
            strangers[partition] = ReplicaFacts(ReplicaId(draw_id()), NO_EPOCH)
            replicas[partition] = Recovered(strangers[partition], NOTHING_APPLIED, ())
    await store.save(facts, strangers)
    # A lease may have been granted by the process before this one, up to the moment of this start (R10, step 3).
    grants_end = Milliseconds(clock.now() + facts.largest_grant_ms) if facts.largest_grant_ms else Milliseconds(0)
    return facts, {
        partition: Replica(
            partition,
            facts.node,
            facts.incarnation,
            replicas[partition],
            grants_end,
            config.replication.log_retention_bytes // facts.partitions,
        )
        for partition in sorted(replicas)
    }


def _next_facts(config: Config, known: NodeFacts | None, draw_id: Callable[[], str]) -> NodeFacts:
    cluster, node = config.cluster, config.node
    if known is None:
        name = NodeId(node.id or f"node-{draw_id()[:8]}")
        return NodeFacts(cluster.name, cluster.partitions, name, Incarnation(1), Milliseconds(0))
    for setting, wanted, found in (
        ("cluster.name", cluster.name, known.cluster),
        ("cluster.partitions", cluster.partitions, known.partitions),
        ("node.id", node.id or known.node, known.node),
    ):
        if wanted != found:
            raise CallerFault(
                "data_dir_of_another",
                f"{node.data_dir} was made with {setting} = {found!r}, and the configuration says {wanted!r}: "
                "set it back, or choose another node.data_dir.",
            )
    return msgspec.structs.replace(known, incarnation=Incarnation(known.incarnation + 1))


async def join(
    facts: NodeFacts,
    replicas: Mapping[PartitionId, Replica],
    coordinator: Coordinator,
    addresses: Mapping[str, str],
    deliver: Callable[[PartitionId, ViewChanged], None],
) -> None:
    """Announces the node, creates the cluster if there is none, and brings each replica its view.

    Raises: Broken if the directory is an old copy or its parts do not belong together; CallerFault; NotDone.
    """
    _refuse_old_copy(facts, await coordinator.register(facts.node, facts.incarnation, addresses))
    await coordinator.create(facts.cluster, facts.partitions, _first_views(facts, replicas))
    views = await coordinator.views()
    for partition, replica in replicas.items():
        _check_known(replica, views[partition])
    coordinator.watch(lambda partition, confirmed: deliver(partition, ViewChanged(confirmed)))
    for partition, confirmed in views.items():
        deliver(partition, ViewChanged(confirmed))


def _refuse_old_copy(facts: NodeFacts, highest: Incarnation) -> None:
    if highest > facts.incarnation:
        raise Broken(
            "data_dir_outdated",
            f"Node {facts.node} has been started {highest} times and this database knows of {facts.incarnation}: "
            "it is an old copy. Use the newest one; an old copy can't be trusted beside it.",
        )


def _first_views(facts: NodeFacts, replicas: Mapping[PartitionId, Replica]) -> dict[PartitionId, View]:
    views = {}
    for partition, replica in replicas.items():
        member = Member(facts.node, replica.facts.replica)
        # Above any epoch that the disk has accepted, for the case that only the coordinator's memory was lost.
        epoch = Epoch(replica.facts.epoch + 1)
        views[partition] = View(Lineage(1), epoch, member, facts.incarnation, (member,), (facts.node,), 1)
    return views


def _check_known(replica: Replica, confirmed: VersionedView) -> None:
    view = confirmed.view
    if replica.member not in view.in_sync:
        raise Broken(
            "data_dir_incomplete",
            f"Partition {replica.partition} belongs to {view.primary.node} (replica {view.primary.replica}), and this "
            f"directory holds replica {replica.member.replica} of {replica.member.node}: the database and the "
            "coordinator's file are not of one origin. Restore both from the same copy.",
        )


async def until_ready(unready: Callable[[], str | None], broken: "asyncio.Future[str]", timeout_ms: int) -> None:
    """Waits until a node serves all its partitions.

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
