"""What a coordinator knows, and the ways in which it changes.

The ledger is the whole lasting memory of a coordinator that lives inside one process: the cluster's facts, the highest
incarnation of each node, every partition's view with its version, and what operators have ordered. `memory.py` keeps
one and forgets it; `local.py` keeps one and writes it to a file before anybody is told.

Rule 1: a view changes by compare-and-set on its version, which then grows by one; a view equal to the last one counts
as a change too, because that is how a proposer settles a proposal whose answer was lost (R18 of `docs/protocol.md`).
Orders change in the same way.
Rule 2: nothing is ever deleted, and no incarnation or version ever goes back.

It decides and does nothing: no file, no loop, no clock. Who is alive is not kept: that ends with the process.
"""

from collections.abc import Mapping

import msgspec

from corecache.errors import CallerFault
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.placement.partition_map import ClusterFacts, Orders
from corecache.placement.view import VersionedView, View


class Ledger(msgspec.Struct, forbid_unknown_fields=True):
    """The memory of a coordinator. Before `create`, `cluster` is empty and there are no views."""

    cluster: str = ""
    partitions: int = 0
    replication_factor: int = 3
    incarnations: dict[NodeId, Incarnation] = {}
    views: dict[PartitionId, VersionedView] = {}
    orders: Orders = Orders()
    orders_version: int = 0

    def copy(self) -> "Ledger":
        """Returns a ledger that can be changed without changing this one; the views are values, and shared."""
        return Ledger(
            self.cluster,
            self.partitions,
            self.replication_factor,
            dict(self.incarnations),
            dict(self.views),
            self.orders,
            self.orders_version,
        )

    def register(self, node: NodeId, incarnation: Incarnation) -> Incarnation:
        """Notes an incarnation of a node; returns the highest ever noted for it, this one included."""
        highest = max(incarnation, self.incarnations.get(node, incarnation))
        self.incarnations[node] = highest
        return highest

    def facts(self) -> ClusterFacts | None:
        """Returns the cluster's facts, None before `create`."""
        return ClusterFacts(self.cluster, self.partitions, self.replication_factor) if self.cluster else None

    def create(self, facts: ClusterFacts, views: Mapping[PartitionId, View]) -> bool:
        """Creates the cluster with its first views at version 0; says whether it did, or found it with these facts.

        Requires: a name, and one view for each of the partitions.
        Raises: CallerFault if it exists under another name or with another number of partitions.
        """
        check_creation(facts, views)
        found = self.facts()
        if found is not None:
            check_same_cluster(found, facts)
            return False
        self.cluster, self.partitions = facts.name, facts.partitions
        self.replication_factor = facts.replication_factor
        self.views = {partition: VersionedView(views[partition], 0) for partition in sorted(views)}
        return True

    def propose(self, partition: PartitionId, view: View, expected: int) -> VersionedView | None:
        """Replaces a view if its version is `expected`. Returns the new one, None if it has another version.

        Requires: the partition was created.
        """
        self.check_created(partition)
        if self.views[partition].version != expected:
            return None
        confirmed = VersionedView(view, expected + 1)
        self.views[partition] = confirmed
        return confirmed

    def order(self, orders: Orders, expected: int) -> bool:
        """Replaces the orders if their version is `expected`; says whether it did."""
        if self.orders_version != expected:
            return False
        self.orders, self.orders_version = orders, expected + 1
        return True

    def check_created(self, partition: PartitionId) -> None:
        """Asserts that the cluster has this partition."""
        assert partition in self.views, f"partition {partition} was never created"


def check_creation(facts: ClusterFacts, views: Mapping[PartitionId, View]) -> None:
    """Asserts that a cluster can be created so: it has a name, and one view for each of its partitions."""
    assert facts.name, "a cluster needs a name"
    wanted = range(facts.partitions)
    assert sorted(views) == list(wanted), f"views for {sorted(views)}, partitions 0 to {facts.partitions - 1}"


def check_same_cluster(found: ClusterFacts, facts: ClusterFacts) -> None:
    """Raises: CallerFault if a cluster that exists has not the name and number of partitions that are asked for."""
    if facts.name != found.name:
        raise CallerFault(
            "other_cluster",
            f"this is cluster {found.name!r}, not {facts.name!r}: set cluster.name to {found.name!r}, "
            "or use another data directory",
        )
    if facts.partitions != found.partitions:
        raise CallerFault(
            "other_partitions",
            f"cluster {found.name!r} has {found.partitions} partitions, not {facts.partitions}, and their number is "
            f"fixed: set cluster.partitions to {found.partitions}, or use another data directory",
        )
