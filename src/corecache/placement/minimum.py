"""How many members must hold a write (`min_in_sync`), and when that number changes.

A new cluster has one node, so its views begin at 1. When a cluster is meant to have three copies or more, and every
partition has had two members in sync, 2 is what its operators expect: from then on each view with two in sync goes to
2, and stays there. It falls by an order alone, never because a node died: the promise made to writes is not taken back
in silence.

Rule: a view is raised only while it has that many in sync. It is one compare-and-set with who is in sync, so that the
rise never closes a partition to writes by itself.
"""

from collections.abc import Mapping

from corecache.identity import PartitionId
from corecache.placement.partition_map import ClusterFacts, Orders
from corecache.placement.view import VersionedView

_COPIES_FOR_TWO = 3


def minima(facts: ClusterFacts, views: Mapping[PartitionId, VersionedView], orders: Orders) -> dict[PartitionId, int]:
    """Returns the `min_in_sync` of each partition whose view is to get another one now."""
    if orders.min_in_sync:
        ordered = min(orders.min_in_sync, facts.replication_factor)
    elif facts.replication_factor >= _COPIES_FOR_TWO and all(map(_has_had_two, views.values())):
        ordered = 2
    else:
        return {}
    changed = {}
    for partition in sorted(views):
        view = views[partition].view
        falls = view.min_in_sync > ordered and orders.min_in_sync > 0
        if falls or view.min_in_sync < ordered <= len(view.in_sync):
            changed[partition] = ordered
    return changed


def _has_had_two(held: VersionedView) -> bool:
    return held.view.min_in_sync >= 2 or len(held.view.in_sync) >= 2
