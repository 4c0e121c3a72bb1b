"""What operators may order of a cluster, and what each order makes of those that stand.

An order is a change of `Orders`; the controller goes by them from its next round on (`controller.py`). Each function
here takes the situation as it was just read and returns the orders as they should be, or raises the reason why not.
Whoever asked writes them by compare-and-set, and asks again if others have ordered something meanwhile.

Rules:

1. An order that can't be carried out is refused at once, with what is missing: it would stand there and look like a
   promise.
2. An order that stands already is no mistake: it may have been given by somebody whose answer was lost.
3. Draining never costs copies. So it needs as many nodes that may take copies, without the drained one, as each
   partition is to have copies (and a success never needs more than those).
4. A higher `min_in_sync` is refused only if there are not that many nodes: raising it stops no writes, because each
   view rises when it has that many in sync, and not before (`minimum.py`).
"""

from collections.abc import Mapping

import msgspec

from corecache.errors import CallerFault
from corecache.identity import NodeId, PartitionId
from corecache.placement.partition_map import ClusterFacts, NodeEntry, Orders
from corecache.placement.view import VersionedView


class Situation(msgspec.Struct, frozen=True):
    """What is to be known before something is ordered. `alive` are the nodes that the coordinator lists."""

    facts: ClusterFacts
    views: Mapping[PartitionId, VersionedView]
    alive: Mapping[NodeId, NodeEntry]
    orders: Orders

    def knows(self, node: NodeId) -> bool:
        """Says whether there is such a node: it is alive, holds something, is to hold something, or is drained."""
        return node in self.alive or node in self.orders.draining or self.held_by(node) > 0

    def held_by(self, node: NodeId) -> int:
        """Returns how many partitions a node holds a copy of, or is to hold one of."""
        return sum(confirmed.view.names(node) for confirmed in self.views.values())

    def receiving(self) -> list[NodeId]:
        """Returns the nodes that may take copies, sorted."""
        return sorted(node for node in self.alive if node not in self.orders.draining)


def drained(situation: Situation, node: NodeId) -> Orders:
    """Returns the orders with one more node that is to hold nothing.

    Raises: CallerFault `node_unknown`, `too_few_nodes`.
    """
    _check_known(situation, node)
    orders = situation.orders
    if node in orders.draining:
        return orders
    left = [each for each in situation.receiving() if each != node]
    wanted = situation.facts.replication_factor
    if len(left) < wanted:
        raise CallerFault(
            "too_few_nodes",
            f"Without {node} {_named(left)} could take copies, and each partition is to have {wanted} "
            "(cluster.replication_factor): add a node first.",
        )
    return msgspec.structs.replace(orders, draining=(*orders.draining, node))


def undrained(situation: Situation, node: NodeId) -> Orders:
    """Returns the orders with a node that may hold something again. Raises: CallerFault `node_unknown`."""
    _check_known(situation, node)
    draining = tuple(each for each in situation.orders.draining if each != node)
    return msgspec.structs.replace(situation.orders, draining=draining)


def rebalanced(situation: Situation, run: bool) -> Orders:
    """Returns the orders with copies and primaries evened out from now on, or not any more."""
    return msgspec.structs.replace(situation.orders, rebalancing=run)


def required(situation: Situation, min_in_sync: int) -> Orders:
    """Returns the orders with another `min_in_sync`; 0 leaves it to the cluster again.

    Raises: CallerFault `bad_min_in_sync`, `too_few_nodes`.
    """
    if min_in_sync == situation.orders.min_in_sync:
        return situation.orders
    copies, receiving = situation.facts.replication_factor, situation.receiving()
    if not 0 <= min_in_sync <= copies:
        raise CallerFault(
            "bad_min_in_sync",
            f"min_in_sync can't be {min_in_sync}: a partition has {copies} copies at the most "
            "(cluster.replication_factor). 0 leaves it to the cluster.",
        )
    if min_in_sync > len(receiving):
        raise CallerFault(
            "too_few_nodes",
            f"min_in_sync {min_in_sync} needs as many nodes, and {_named(receiving)} can take copies: "
            "add a node, or bring one back, first.",
        )
    return msgspec.structs.replace(situation.orders, min_in_sync=min_in_sync)


def _check_known(situation: Situation, node: NodeId) -> None:
    if not situation.knows(node):
        alive = ", ".join(sorted(situation.alive))
        raise CallerFault("node_unknown", f"No node {node!r} is alive or holds anything; alive are {alive}.")


def _named(nodes: list[NodeId]) -> str:
    if not nodes:
        return "no other node"
    return f"only {', '.join(nodes)}"
