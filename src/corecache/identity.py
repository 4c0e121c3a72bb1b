"""Who is who: the names and counters by which the parts of a cluster tell each other apart.

Each is a type of its own, so that an epoch can't be handed over where a sequence is meant. They cost nothing at run
time. This module knows nothing of how a name is chosen (a node draws its ids) nor of how a counter is kept (the
store does).

The words are those of the protocol (`docs/protocol.md`):

* a *node* is one process with one data directory; its *incarnation* grows at every start;
* a *partition* is a contiguous range of slots and the unit of replication;
* a *member* is one node's replica of a partition, under the `replica_id` that it was created with. A node that lost
  its disk comes back under another `replica_id`: a stranger, trusted with nothing.
"""

from typing import NewType

import msgspec

NodeId = NewType("NodeId", str)
"""Names a node for as long as its data directory lives."""

ReplicaId = NewType("ReplicaId", str)
"""Random; made anew whenever a replica is created empty, starts to install a snapshot, or is found damaged."""

Incarnation = NewType("Incarnation", int)
"""Counts the starts of a node, from 1."""

PartitionId = NewType("PartitionId", int)
"""0 to the number of partitions less one; below 16,384."""

Slot = NewType("Slot", int)
"""0 to 16,383, as Redis Cluster counts them."""

Epoch = NewType("Epoch", int)
"""Grows by one whenever a partition's primary changes, a restart of the same node included; 0 before the first."""

Sequence = NewType("Sequence", int)
"""Counts the entries of a partition's log, 1, 2, 3, … without holes, over all epochs; 0 before the first."""

Version = NewType("Version", int)
"""Counts the values that a partition has accepted, from 1: unique and growing. It is what an ETag shows."""

Lineage = NewType("Lineage", int)
"""Grows when an operator forces a promotion that may lose data; replicas of an older lineage are strangers."""

Milliseconds = NewType("Milliseconds", int)
"""A duration, or a point on the node's steady clock (which runs while the machine sleeps). Never a date."""

Timestamp = NewType("Timestamp", int)
"""A date: milliseconds since 1970-01-01 UTC, by the primary's wall clock."""


class Member(msgspec.Struct, frozen=True, order=True):
    """One node's replica of a partition, as views, acknowledgements and grants name it."""

    node: NodeId
    replica: ReplicaId
