"""What a disk holds of a node and of its replicas when it is opened: what survived the last process.

Facts are what the protocol promises never to forget; they are saved before anything that leans on them is said.
"""

import msgspec

from corecache.identity import Epoch, Incarnation, Lineage, Milliseconds, NodeId, ReplicaId, Sequence, Version
from corecache.replication.log import Entry


class NodeFacts(msgspec.Struct, frozen=True, array_like=True):
    """The node's own facts. `largest_grant_ms` is the longest lease that it ever granted, 0 if none (R10).

    `creation` is that of the cluster whose member the node is (`ClusterFacts`), "" as long as it is of none.
    """

    cluster: str
    partitions: int
    node: NodeId
    incarnation: Incarnation
    largest_grant_ms: Milliseconds
    creation: str = ""


class ReplicaFacts(msgspec.Struct, frozen=True, array_like=True):
    """A replica's own facts. `epoch` is the highest that it has accepted (R2), `lineage` that of its content (R9).

    `installing`: its content is a part of a snapshot, and means nothing (R12).
    """

    replica: ReplicaId
    epoch: Epoch
    lineage: Lineage = Lineage(1)
    installing: bool = False


class AppliedPoint(msgspec.Struct, frozen=True, array_like=True):
    """How far the records go: the last applied entry, and the highest version given up to it. Changes with them."""

    sequence: Sequence
    epoch: Epoch
    version: Version


NOTHING_APPLIED = AppliedPoint(Sequence(0), Epoch(0), Version(0))


class Recovered(msgspec.Struct, frozen=True):
    """A replica as the disk has it. `entries` follow `applied` without a hole, to the end of the log.

    `cut` is the last sequence that the log has lost: what follows it, up to `applied`, can still be read.
    """

    facts: ReplicaFacts
    applied: AppliedPoint
    entries: tuple[Entry, ...]
    cut: Sequence = Sequence(0)
