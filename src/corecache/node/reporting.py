"""What a node tells of itself and of its cluster: reports from what its parts know anyway, nothing is asked for them.

Views may be out of date by a moment where this node has no replica; sequences and lags are told for partitions that it
holds, of other replicas by the primary alone.
"""

from corecache.errors import CallerFault
from corecache.identity import PartitionId
from corecache.node.driver import Driver
from corecache.node.local import Local
from corecache.node.neighbours import Neighbours
from corecache.placement.partition_map import NodeEntry
from corecache.placement.slots import slots_of
from corecache.placement.view import View
from corecache.ports import Store
from corecache.replication.replica import Replica
from corecache.reports import ClusterReport, DigestReport, MemberReport, NodeReport, PartitionReport


class Reporting:
    """Makes the reports. `entry` is this node's own; its addresses are filled in when they are known."""

    def __init__(
        self, cluster: str, partitions: int, entry: NodeEntry, driver: Driver, local: Local, store: Store
    ) -> None:
        """Takes the parts, started or not."""
        self.entry = entry
        self.neighbours: Neighbours | None = None
        self._cluster = cluster
        self._count = partitions
        self._driver = driver
        self._local = local
        self._store = store

    def is_named(self, partition: PartitionId) -> bool:
        """Says whether the newest view of a partition names this node its primary."""
        confirmed = self._driver.views.get(partition)
        return confirmed is not None and confirmed.view.primary.node == self.entry.node

    def primary(self, partition: PartitionId) -> NodeEntry | None:
        """Returns the node that the newest view of a partition names, None if there is no view or it is not alive."""
        confirmed = self._driver.views.get(partition)
        if confirmed is None:
            return None
        named = confirmed.view.primary.node
        if named == self.entry.node:
            return self.entry
        return self.neighbours.alive.get(named) if self.neighbours is not None else None

    async def digest(self, partition: PartitionId) -> DigestReport:
        """Returns the checksum of a replica held here. Raises: CallerFault if there is none; Broken."""
        if partition not in self._driver.machine.replicas:
            raise CallerFault("not_held", f"This node holds no replica of partition {partition}; ask one that does.")
        applied, digest = await self._store.digest(partition)
        return DigestReport(partition, applied, digest)

    def cluster(self) -> ClusterReport:
        """Returns who is there, and who holds what."""
        partitions = tuple(self._partition(PartitionId(number)) for number in range(self._count))
        views = [partition.view for partition in partitions if partition.view is not None]
        known = dict(self.neighbours.known) if self.neighbours is not None else {}
        alive = self.neighbours.alive if self.neighbours is not None else {}
        known[self.entry.node] = self.entry
        nodes = tuple(_node(known[node], node in alive or node == self.entry.node, views) for node in sorted(known))
        return ClusterReport(self._cluster, self.entry.node, nodes, partitions)

    def _partition(self, partition: PartitionId) -> PartitionReport:
        slots = slots_of(partition, self._count)
        replica = self._driver.machine.replicas.get(partition)
        confirmed = self._driver.views.get(partition)
        log = replica.log if replica is not None else None
        return PartitionReport(
            id=partition,
            first_slot=slots.start,
            last_slot=slots.stop - 1,
            view=confirmed.view if confirmed is not None else None,
            view_version=confirmed.version if confirmed is not None else -1,
            role=self._role(partition, replica),
            last_sequence=log.last if log is not None else 0,
            commit_point=log.commit if log is not None else 0,
            applied=log.applied if log is not None else 0,
            lag=log.last - log.applied if log is not None else 0,
            members=_members(replica),
        )

    def _role(self, partition: PartitionId, replica: Replica | None) -> str:
        if replica is None:
            return "none"
        if replica.failed:
            return "failed"
        if self._local.serves(partition):
            return "primary"
        if replica.state.names_this or replica.confirmed is None:
            return "starting"
        return "backup" if replica.member in replica.confirmed.view.in_sync else "joining"


def _node(entry: NodeEntry, alive: bool, views: list[View]) -> NodeReport:
    holds = sum(any(member.node == entry.node for member in view.in_sync) for view in views)
    leads = sum(view.primary.node == entry.node for view in views)
    return NodeReport(entry.node, entry.incarnation, alive, entry.addresses, entry.version, entry.zone, holds, leads)


def _members(replica: Replica | None) -> tuple[MemberReport, ...]:
    if replica is None or replica.primary is None or replica.confirmed is None:
        return ()
    in_sync = replica.confirmed.view.in_sync
    return tuple(
        MemberReport(
            node,
            progress.member in in_sync,
            progress.stage.value,
            max(0, replica.log.last - progress.acknowledged),
        )
        for node, progress in sorted(replica.primary.backups.progress.items())
    )
