"""What a coordinator knows, and the three ways in which it changes.

The ledger is the whole memory of a coordinator that lives inside one process: the cluster's name and number of
partitions, the highest incarnation of each node, and every partition's view with its version. `memory.py` keeps one and
forgets it; `local.py` keeps one and writes it to a file before anybody is told.

Rule 1: a view changes by compare-and-set on its version, which then grows by one; a view equal to the last one counts
as a change too, because that is how a proposer settles a proposal whose answer was lost (R18 of `docs/protocol.md`).
Rule 2: nothing is ever deleted, and no incarnation or version ever goes back.

It decides and does nothing: no file, no loop, no clock. Addresses of nodes are not kept: only another node would ask.
"""

from collections.abc import Mapping

import msgspec

from corecache.errors import CallerFault
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.placement.view import VersionedView, View


class Ledger(msgspec.Struct, forbid_unknown_fields=True):
    """The memory of a coordinator. Before `create`, `cluster` is empty and there are no views."""

    cluster: str = ""
    partitions: int = 0
    incarnations: dict[NodeId, Incarnation] = {}
    views: dict[PartitionId, VersionedView] = {}

    def copy(self) -> "Ledger":
        """Returns a ledger that can be changed without changing this one; the views are values, and shared."""
        return Ledger(self.cluster, self.partitions, dict(self.incarnations), dict(self.views))

    def register(self, node: NodeId, incarnation: Incarnation) -> Incarnation:
        """Notes an incarnation of a node; returns the highest ever noted for it, this one included."""
        highest = max(incarnation, self.incarnations.get(node, incarnation))
        self.incarnations[node] = highest
        return highest

    def create(self, cluster: str, partitions: int, views: Mapping[PartitionId, View]) -> None:
        """Creates the cluster with its first views at version 0; changes nothing if it exists with the same facts.

        Requires: a name, and one view for each of the partitions.
        Raises: CallerFault if it exists under another name or with another number of partitions.
        """
        assert cluster, "a cluster needs a name"
        assert sorted(views) == list(range(partitions)), f"views for {sorted(views)}, partitions 0 to {partitions - 1}"
        if not self.cluster:
            self.cluster = cluster
            self.partitions = partitions
            self.views = {partition: VersionedView(views[partition], 0) for partition in sorted(views)}
        elif cluster != self.cluster:
            raise CallerFault(
                "other_cluster",
                f"this is cluster {self.cluster!r}, not {cluster!r}: set cluster.name to {self.cluster!r}, "
                "or use another data directory",
            )
        elif partitions != self.partitions:
            raise CallerFault(
                "other_partitions",
                f"cluster {cluster!r} has {self.partitions} partitions, not {partitions}, and their number is fixed: "
                f"set cluster.partitions to {self.partitions}, or use another data directory",
            )

    def propose(self, partition: PartitionId, view: View, expected: int) -> VersionedView | None:
        """Replaces a view if its version is `expected`. Returns the new one, None if it has another version.

        Requires: the partition was created.
        """
        assert partition in self.views, f"partition {partition} was never created"
        if self.views[partition].version != expected:
            return None
        confirmed = VersionedView(view, expected + 1)
        self.views[partition] = confirmed
        return confirmed
