"""What can happen to a replica: the whole vocabulary of `Replica.handle`'s input.

Each is a fact that the world reports; none asks a question. The completion of an action (see `actions.py`) is one of
these too. Batches are one event each, so the machine's cost is per batch. What happens to the node as a whole (frames,
connections, the session with the coordinator, passing time) comes in by `machine.py`'s doors.
"""

from collections.abc import Sequence as Many
from typing import TypeAlias

import msgspec

from corecache.errors import CoreCacheError
from corecache.identity import Epoch, Milliseconds, ReplicaId, Sequence, Timestamp
from corecache.operations import Operation, Record
from corecache.placement.view import VersionedView
from corecache.replication.log import Entry
from corecache.replication.recovered import AppliedPoint


class Request(msgspec.Struct):
    """A client's operations on keys of this partition, all or none. `deadline` is a point on the steady clock.

    `size_bytes` is that of its keys and values together.

    The node subclasses it to remember who is waiting; the machine hands the same object back in its answer.
    """

    operations: Many[Operation]
    deadline: Milliseconds
    size_bytes: int


class ViewChanged(msgspec.Struct):
    """The coordinator holds this view: read from it, or one's own proposal accepted."""

    confirmed: VersionedView


class ViewRefused(msgspec.Struct):
    """One's own proposal was not accepted, or its answer was lost, and this view was read since."""

    current: VersionedView


class Saved(msgspec.Struct):
    """The facts that `Save` asked for are durable; `epoch` is theirs."""

    epoch: Epoch


class ClientWrites(msgspec.Struct):
    """Requests arrived, in this order, at this date by the wall clock."""

    requests: Many[Request]
    accepted: Timestamp


class Fetched(msgspec.Struct):
    """The store's records of keys that `Fetch` asked for, None for a key without one; `epoch` is that of the `Fetch`.

    `unreadable` are those that the disk can't give, with the error that their requests are to be refused with.
    """

    epoch: Epoch
    records: dict[bytes, Record | None]
    unreadable: dict[bytes, CoreCacheError]


class Appended(msgspec.Struct):
    """The replica's disk holds the log up to a sequence, durably; `generation` is that of the `Append`."""

    upto: Sequence
    generation: int = 0


class Applied(msgspec.Struct):
    """The store's records are up to a sequence; `generation` is that of the `Apply`."""

    upto: Sequence
    generation: int = 0


class LogRead(msgspec.Struct):
    """The entries that `ReadLog` asked for, from `above` + 1 on; none if the disk does not have the first any more."""

    replica: ReplicaId
    above: Sequence
    entries: tuple[Entry, ...]


class SnapshotRead(msgspec.Struct):
    """Part `number` of the snapshot `transfer` was read: records as of `point`, in the order of their keys."""

    transfer: int
    number: int
    point: AppliedPoint
    records: tuple[tuple[bytes, Record], ...]
    last: bool


class InstallBegun(msgspec.Struct):
    """What the replica held is gone, durably, and it has a new, random id (R12)."""

    transfer: int
    replica: ReplicaId


class ChunkInstalled(msgspec.Struct):
    """Part `number` of the snapshot `transfer` is in the store; with the last one the replica is whole, durably."""

    transfer: int
    number: int


class StorageFailed(msgspec.Struct):
    """A write or a sync failed: this disk acknowledges nothing more (R3). `reason` is a sentence."""

    reason: str


class Woken(msgspec.Struct):
    """A time that `WakeAt` asked for has come."""


Event: TypeAlias = (
    ViewChanged
    | ViewRefused
    | Saved
    | ClientWrites
    | Fetched
    | Appended
    | Applied
    | LogRead
    | SnapshotRead
    | InstallBegun
    | ChunkInstalled
    | StorageFailed
    | Woken
)
