"""What the elected controller proposes: who should hold which partition, and how many must be in sync.

`plan` looks at the newest views and returns what is to be proposed now, by compare-and-set on each view's version. It
is asked again and again and remembers nothing: what was begun is in the views, so that any node can go on where another
stopped, and two controllers at once waste work and break nothing.

Rules:

1. Only `replicas` (with its order: the preferred primary first) and `min_in_sync` are ever changed. Who is primary and
   who is in sync is the primaries' affair: they gain, lose and hand over by R11 to R13, and keep the old copies until
   the new ones are in sync. So a move needs no views in between.
2. At most `moves_max` partitions wait for a copy at a time; the steps are taken in the order of `rebalance.steps`, so
   that what is done is what `preview` showed.
3. How many must be in sync is `minimum.py`'s; it changes in the same proposal.
"""

from collections.abc import Mapping

import msgspec

from corecache.identity import NodeId, PartitionId
from corecache.placement.eligibility import Eligibility
from corecache.placement.minimum import minima
from corecache.placement.partition_map import ClusterFacts, Orders
from corecache.placement.rebalance import Cause, Holding, Step, steps
from corecache.placement.view import VersionedView, View


class Proposal(msgspec.Struct, frozen=True):
    """A view to be proposed on a version, and why, for the operator."""

    partition: PartitionId
    view: View
    expected: int
    reason: str


class Plan(msgspec.Struct, frozen=True):
    """What is to be proposed now. `moving`: partitions that wait for a copy; `left`: steps that wait for their turn."""

    proposals: tuple[Proposal, ...]
    moving: int
    left: int


def plan(
    facts: ClusterFacts,
    views: Mapping[PartitionId, VersionedView],
    nodes: Eligibility,
    orders: Orders,
    moves_max: int,
) -> Plan:
    """Returns what is to be proposed now."""
    moving = set(waiting(views, nodes))
    wanted: dict[PartitionId, tuple[tuple[NodeId, ...], Cause]] = {}
    left = 0
    for step in preview(facts, views, nodes, orders):
        waits = _waits(views[step.partition].view, step.after, nodes)
        if left or (waits and step.partition not in moving and len(moving) >= moves_max):
            left += 1
            continue
        if waits:
            moving.add(step.partition)
        wanted[step.partition] = (step.after, step.cause)
    least = minima(facts, views, orders)
    proposals = []
    for partition, confirmed in sorted(views.items()):
        replicas, reason = confirmed.view.replicas, "more copies are needed for a success"
        if partition in wanted:
            replicas, cause = wanted[partition]
            reason = cause.value
        changed = msgspec.structs.replace(
            confirmed.view, replicas=replicas, min_in_sync=least.get(partition, confirmed.view.min_in_sync)
        )
        if changed != confirmed.view:
            proposals.append(Proposal(partition, changed, confirmed.version, reason))
    return Plan(tuple(proposals), len(moving), left)


def preview(
    facts: ClusterFacts, views: Mapping[PartitionId, VersionedView], nodes: Eligibility, orders: Orders
) -> tuple[Step, ...]:
    """Returns all steps that will be taken if nothing else changes, in their order."""
    holdings = {
        partition: Holding(
            confirmed.view.replicas,
            tuple(member.node for member in confirmed.view.in_sync),
            confirmed.view.primary.node,
        )
        for partition, confirmed in views.items()
    }
    return tuple(steps(holdings, nodes, facts.replication_factor, orders.rebalancing))


def waiting(views: Mapping[PartitionId, VersionedView], nodes: Eligibility) -> tuple[PartitionId, ...]:
    """Returns the partitions of which a copy is being made, sorted."""
    return tuple(sorted(part for part, held in views.items() if _waits(held.view, held.view.replicas, nodes)))


def is_drained(node: NodeId, views: Mapping[PartitionId, VersionedView]) -> bool:
    """Says whether a node holds nothing any more, and can be stopped."""
    return not any(confirmed.view.names(node) for confirmed in views.values())


def _waits(view: View, replicas: tuple[NodeId, ...], nodes: Eligibility) -> bool:
    """Says whether a copy is being made, or would be. One on a node that is away takes nobody's time."""
    in_sync = {member.node for member in view.in_sync}
    return any(node not in in_sync and node in nodes.alive for node in replicas)
