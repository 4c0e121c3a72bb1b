"""What the nodes of a cluster say to each other about their partitions and their leases: the vocabulary of the link.

Two families:

1. `PartitionMessage`s go from one replica to another. Each names the partition, the sender's epoch, and both replicas'
   ids; the nodes and their incarnations stand on the `Envelope`, once for all of its messages. Whatever is addressed
   to, or comes from, another replica or incarnation is dropped unread: it was meant for somebody who is no more.
2. `NodeMessage`s go from node to node: beats and their grants (R8), and the invitation of a node that holds nothing of
   a partition yet.

Rule 1: a message may be lost, doubled, late and out of order. None is a promise unless its docstring says so.
Rule 2: a message of a lower epoch than the receiver has accepted is answered `Fenced` and changes nothing (R2).

How they become bytes is `wire/link_codec.py`'s business.
"""

from typing import TypeAlias

import msgspec

from corecache.identity import (
    Epoch,
    Incarnation,
    Lineage,
    Milliseconds,
    NodeId,
    PartitionId,
    ReplicaId,
    Sequence,
)
from corecache.operations import Record
from corecache.replication.log import Entry, Position
from corecache.replication.recovered import AppliedPoint


class PartitionMessage(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """From `sender` to `receiver`, two replicas of `partition`. `epoch` is the highest that the sender has accepted."""

    partition: PartitionId
    epoch: Epoch
    sender: ReplicaId
    receiver: ReplicaId


# From a primary.


class Replicate(PartitionMessage, frozen=True, tag="replicate"):
    """These entries follow `previous` (R1); `commit` is the commit point. Without entries it tells the commit point."""

    previous: Position
    entries: tuple[Entry, ...]
    commit: Sequence


class Offer(PartitionMessage, frozen=True, tag="offer"):
    """The log does not reach back to where you are: I can give you a snapshot as of about `point` (R12)."""

    transfer: int
    point: AppliedPoint


class Chunk(PartitionMessage, frozen=True, tag="chunk"):
    """Part `number` (0, 1, …) of the snapshot `transfer`: records as of `point`, in the order of their keys."""

    transfer: int
    number: int
    point: AppliedPoint
    records: tuple[tuple[bytes, Record], ...]
    last: bool


class Released(PartitionMessage, frozen=True, tag="released"):
    """I serve no read and accept no write any more since I saw the view of this version, which names you primary.

    A promise (R13): the receiver need not wait for its grants. Not fenced by R2.
    """

    version: int


# From a backup.


class Standing(PartitionMessage, frozen=True, tag="standing"):
    """Here I am, and this is how far: where to begin with me, or why what you sent could not be matched.

    `commit` is the position of the sender's commit point, `last` of its last entry. `version` is that of the view it
    acts on, `lineage` that of its content.
    """

    commit: Position
    last: Position
    version: int
    lineage: Lineage


class Replicated(PartitionMessage, frozen=True, tag="replicated"):
    """My disk holds the log up to `upto`, as matched with you in this epoch. A promise (R3).

    `commit` is the sender's commit point.
    """

    upto: Sequence
    commit: Sequence


class Accepted(PartitionMessage, frozen=True, tag="accepted"):
    """I took the offer, have dropped what I held, and have a new replica id, that of the sender."""

    transfer: int


class Installed(PartitionMessage, frozen=True, tag="installed"):
    """The chunk `number` of `transfer` is on my disk."""

    transfer: int
    number: int


class Failing(PartitionMessage, frozen=True, tag="failing"):
    """My disk has failed: drop me (R3, R11)."""


# From either.


class Fenced(PartitionMessage, frozen=True, tag="fenced"):
    """You spoke in an epoch below `epoch`, which I have accepted (R2)."""


Partitional: TypeAlias = (
    Replicate | Offer | Chunk | Released | Standing | Replicated | Accepted | Installed | Failing | Fenced
)


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """A partition that the sender of a beat leads, as it concerns the receiver's replica `replica`.

    `stuck`: it needs a view change and can't have one: it lacks the coordinator, or does not hear enough others (R9).
    """

    partition: PartitionId
    epoch: Epoch
    version: int
    replica: ReplicaId
    stuck: bool = False


class Beat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """Sent to each peer each `beat_ms` (R8). `table` numbers the claims; they are left out once the peer has answered.

    `leaving`: the node is stopping, nothing should be handed over to it. `full`: nor to this one, for its disk has no
    room for puts.
    """

    number: int
    table: int
    claims: tuple[Claim, ...] | None
    leaving: bool = False
    full: bool = False


class Grant(msgspec.Struct, frozen=True, array_like=True, tag="grant"):
    """Answers the beat `number`: a lease of `lease_ms` for every claim of `table` but the `withheld` (R8). A promise.

    `known` is False if the receiver of the beat does not have the table: then nothing is granted; send it.
    """

    number: int
    table: int
    known: bool
    lease_ms: Milliseconds
    withheld: tuple[PartitionId, ...]


class Invite(msgspec.Struct, frozen=True, array_like=True, tag="invite"):
    """The view of `partition` wants the receiver among its replicas: read it, and say where you stand (R12)."""

    partition: PartitionId


NodeMessage: TypeAlias = Beat | Grant | Invite
Message: TypeAlias = Partitional | NodeMessage


class Envelope(msgspec.Struct, frozen=True):
    """Messages of one node to another, each end under one incarnation. Dropped by anybody else (R8)."""

    sender: NodeId
    sender_incarnation: Incarnation
    receiver: NodeId
    receiver_incarnation: Incarnation
    messages: tuple[Message, ...]
