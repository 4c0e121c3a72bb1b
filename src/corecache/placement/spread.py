"""How a placement is spread over the nodes: who is wanted where, counted by node and by zone.

A `Spread` is the working copy on which a rebalance tries its steps: it holds the wanted replicas of each partition, and
keeps the counts that the choices are made by, up to date at each change. Only nodes that may receive copies are counted
as loaded; copies on others count for their zone alone.

It answers which single changes are possible, and leaves it to `rebalance.py` which of them to make.

Rule: every answer depends on the wanted replicas, never on the order in which they came to be.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping
from types import MappingProxyType

from corecache.identity import NodeId, PartitionId
from corecache.placement.eligibility import Eligibility

_NONE: Mapping[NodeId, int] = MappingProxyType({})


class Spread:
    """The wanted replicas of all partitions, and what each node has of them. `fixed` partitions are not to change."""

    __slots__ = (
        "_barred",
        "_fixed",
        "_holding",
        "_nodes",
        "_preferring",
        "_zoned",
        "_zones",
        "copies",
        "primaries",
        "replicas",
    )

    def __init__(
        self, replicas: Mapping[PartitionId, tuple[NodeId, ...]], fixed: frozenset[PartitionId], nodes: Eligibility
    ) -> None:
        """Counts the copies and preferred primaries of the nodes that may receive."""
        self._nodes = nodes
        self._fixed = fixed
        self.replicas: dict[PartitionId, tuple[NodeId, ...]] = {}
        self.copies = dict.fromkeys(nodes.receiving, 0)
        self.primaries = dict.fromkeys(nodes.receiving, 0)
        self._holding: dict[NodeId, list[PartitionId]] = {node: [] for node in nodes.receiving}
        self._preferring: dict[NodeId, list[PartitionId]] = {node: [] for node in nodes.receiving}
        self._zones = {node: nodes.zone(node) for node in nodes.receiving}
        self._zoned: dict[PartitionId, dict[str, int]] = {}
        # Of how many of its copies zones keep a node from moving them there: all of them, often, and then it is vain to
        # look for one that could move.
        self._barred: dict[NodeId, dict[str, int]] = {node: {} for node in nodes.receiving}
        for partition in sorted(replicas):
            self.change(partition, replicas[partition])

    def change(self, partition: PartitionId, replicas: tuple[NodeId, ...]) -> None:
        """Replaces the wanted replicas of a partition."""
        before = self.replicas.get(partition, ())
        self._bar(partition, -1)
        for node in before:
            if node in self.copies and node not in replicas:
                self.copies[node] -= 1
                _take(self._holding[node], partition)
        for node in replicas:
            if node in self.copies and node not in before:
                self.copies[node] += 1
                insort(self._holding[node], partition)
        if before[:1] != replicas[:1]:
            if before and before[0] in self.primaries:
                self.primaries[before[0]] -= 1
                _take(self._preferring[before[0]], partition)
            if replicas and replicas[0] in self.primaries:
                self.primaries[replicas[0]] += 1
                insort(self._preferring[replicas[0]], partition)
        self.replicas[partition] = replicas
        self._zoned[partition] = self.zoned(replicas)
        self._bar(partition, 1)

    def _bar(self, partition: PartitionId, change: int) -> None:
        """Counts the zones to which the copies of a partition must not go, or counts them no longer."""
        zoned = self._zoned.get(partition, {})
        for node in self.replicas.get(partition, ()):
            barred = self._barred.get(node)
            if barred is None:
                continue
            here = self._zones[node]
            for zone, count in zoned.items():
                if zone != here and count >= zoned[here]:
                    barred[zone] = barred.get(zone, 0) + change

    def zoned(self, replicas: tuple[NodeId, ...]) -> dict[str, int]:
        """Returns how many of some nodes are in each zone that has one of them."""
        counts: dict[str, int] = {}
        for node in replicas:
            zone = self._nodes.zone(node)
            counts[zone] = counts.get(zone, 0) + 1
        return counts

    def copy_to_move(self, source: NodeId, target: NodeId) -> PartitionId | None:
        """Names a partition whose copy can go from a node to another without its zones getting worse.

        One that does not prefer the node as its primary, if there is such a one. None: there is none at all.
        """
        here, there = self._zones[source], self._zones[target]
        if here != there and self._barred[source].get(there, 0) == self.copies[source]:
            return None
        with_primary = None
        for partition in self._holding[source]:
            replicas = self.replicas[partition]
            if target in replicas or partition in self._fixed:
                continue
            if here != there:
                zoned = self._zoned[partition]
                if zoned.get(there, 0) >= zoned[here]:
                    continue
            if replicas[0] != source:
                return partition
            if with_primary is None:
                with_primary = partition
        return with_primary

    def primary_to_move(self, source: NodeId, target: NodeId) -> PartitionId | None:
        """Names a partition that prefers a node as its primary and could prefer another one. None: there is none."""
        for partition in self._preferring[source]:
            if target in self.replicas[partition] and partition not in self._fixed:
                return partition
        return None

    def crowded(self, partition: PartitionId) -> tuple[NodeId, NodeId] | None:
        """Names the node whose copy should go to another one's zone, for the partition's sake. None: none should."""
        replicas, zoned = self.replicas[partition], self._zoned[partition]
        if partition in self._fixed or max(zoned.values()) < 2:
            return None
        target = self.emptiest(replicas)
        if target is None:
            return None
        sources = [node for node in replicas if node in self.copies]
        crowds = {node: zoned[self._zones[node]] for node in sources}
        sources.sort(key=lambda node: (-crowds[node], -self.copies[node], node == replicas[0], node))
        if not sources or crowds[sources[0]] - zoned.get(self._zones[target], 0) < 2:
            return None
        return sources[0], target

    def emptiest(self, replicas: tuple[NodeId, ...], closed: Mapping[NodeId, int] = _NONE) -> NodeId | None:
        """Returns the node to get the next copy: in a zone with the fewest of `replicas`, then with the fewest copies.

        Of several such the one with the largest number in `closed`.
        """
        zoned = self.zoned(replicas)

        def rank(node: NodeId) -> tuple[int, int, int, NodeId]:
            return zoned.get(self._zones[node], 0), self.copies[node], -closed.get(node, 0), node

        return min([node for node in self._nodes.receiving if node not in replicas], key=rank, default=None)


def _take(sorted_partitions: list[PartitionId], partition: PartitionId) -> None:
    del sorted_partitions[bisect_left(sorted_partitions, partition)]
