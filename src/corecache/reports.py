"""What a node tells of itself: its tree, its cluster, its partitions. Their fields are the JSON of the API.

Counts have no unit, sizes end in `_bytes`, times in `_ms`. Who fills them in: `storage/` the `StorageReport`, `node/`
the `ClusterReport`.
"""

from collections.abc import Mapping

import msgspec

from corecache.identity import Epoch, Incarnation, Lineage, NodeId, PartitionId, Timestamp
from corecache.placement.view import View


class Level(msgspec.Struct, frozen=True):
    """One level of the tree: its SSTables and what they hold."""

    level: int
    sstables: int
    bytes: int
    entries: int
    tombstones: int


class StorageReport(msgspec.Struct, frozen=True):
    """The tree as it stands. Bytes and counts of the column family of records.

    Of the whole store are `sstable_bytes` (all files, those of logs, index and facts too), `log_bytes`, the cache's
    figures, the stalls and the budgets.
    """

    memtable_bytes: int
    memtable_entries: int
    memtable_tombstones: int
    memtables: int
    levels: tuple[Level, ...]
    sstable_bytes: int
    tombstones: int
    log_bytes: int
    pending_compaction_bytes: int
    running_flushes: int
    running_compactions: int
    writes_stopped: bool
    writes_slowed_bytes_per_second: int
    stall_ms: int
    cache_bytes: int
    cache_hits: int
    cache_misses: int
    filter_useful: int
    memory_budget_bytes: int
    disk_used_bytes: int
    disk_budget_bytes: int
    disk_free_bytes: int
    accepts_puts: bool


class NodeReport(msgspec.Struct, frozen=True):
    """A node of the cluster. `holds` and `leads` count partitions, by the views that the reporting node knows."""

    id: NodeId
    incarnation: Incarnation
    alive: bool
    addresses: Mapping[str, str]
    version: str
    zone: str = ""
    holds: int = 0
    leads: int = 0


class MemberReport(msgspec.Struct, frozen=True):
    """A replica as its primary sees it: what is being done with it, and how many entries it lags."""

    node: NodeId
    in_sync: bool
    stage: str
    lag: int


class PartitionReport(msgspec.Struct, frozen=True):
    """A partition: its view, and how far the replica on this node is.

    `role`: "primary", "starting", "backup", "joining", "failed", or "none" where this node holds nothing of it.
    `members` are the other replicas, where this node is primary.
    """

    id: PartitionId
    first_slot: int
    last_slot: int
    view: View | None
    view_version: int
    role: str
    last_sequence: int
    commit_point: int
    applied: int
    lag: int
    members: tuple[MemberReport, ...] = ()


class ClusterReport(msgspec.Struct, frozen=True):
    """The cluster: its name, its nodes, its partitions."""

    name: str
    node: NodeId
    nodes: tuple[NodeReport, ...]
    partitions: tuple[PartitionReport, ...]


class MoveReport(msgspec.Struct, frozen=True):
    """A step of a rebalance: who is wanted of a partition before and after it, the preferred primary first, and why."""

    partition: PartitionId
    before: tuple[NodeId, ...]
    after: tuple[NodeId, ...]
    reason: str


class DrainReport(msgspec.Struct, frozen=True):
    """A node that is to hold nothing. `holds` counts partitions; a `drained` one can be stopped."""

    node: NodeId
    holds: int
    drained: bool


class OrdersReport(msgspec.Struct, frozen=True):
    """What operators have ordered, and how far it is.

    `rebalancing`: whether copies and primaries are evened out. `min_in_sync`: 0 if it is left to the cluster;
    `min_in_sync_left` counts the partitions whose view has another number yet. `moving` are the partitions of which a
    copy is being made, `moves_left` the steps that have not begun. `controller`: who has all of this done.
    """

    controller: NodeId | None
    draining: tuple[DrainReport, ...]
    rebalancing: bool
    min_in_sync: int
    min_in_sync_left: int
    moving: tuple[PartitionId, ...]
    moves_left: int


class RecoveryReport(msgspec.Struct, frozen=True):
    """From which copy a partition goes on, and what that holds. `newest` is a date in ms, 0 if there is no record."""

    partition: PartitionId
    node: NodeId
    lineage: Lineage
    epoch: Epoch
    records: int
    bytes: int
    newest: Timestamp


class DigestReport(msgspec.Struct, frozen=True):
    """A checksum of one replica's records, and the sequence they are as of: equal for equal replicas."""

    partition: PartitionId
    applied: int
    digest: str
