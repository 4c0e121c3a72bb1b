"""What one node asks another on behalf of a client, and what it answers (R20): calls and their replies.

A call names itself by a number, unique within the sender's incarnation; the link tells who the sender is. The receiver
executes it at most once, or refuses it; it never forwards it. Time does not travel between clocks: a call carries how
many milliseconds it has left.

Rule: a caller whose call left and whose reply is lost says *unknown* for a write. A reply with `NotDone` is a promise
that nothing happened.
"""

from typing import TypeAlias

import msgspec

from corecache.errors import Broken, CallerFault, CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import PartitionId, Sequence
from corecache.operations import Operation, Record, Result
from corecache.placement.recovery import Copy
from corecache.placement.view import VersionedView


class ReadCall(msgspec.Struct, frozen=True, array_like=True, tag="read"):
    """A linearizable read of one key."""

    number: int
    partition: PartitionId
    key: bytes
    left_ms: int


class WriteCall(msgspec.Struct, frozen=True, array_like=True, tag="write"):
    """Operations on keys of one partition, all or none."""

    number: int
    partition: PartitionId
    operations: tuple[Operation, ...]
    left_ms: int


class ScanCall(msgspec.Struct, frozen=True, array_like=True, tag="scan"):
    """A page of the records of partitions that the receiver leads, in the order of their keys."""

    number: int
    partitions: tuple[PartitionId, ...]
    start: bytes
    end: bytes | None
    items_max: int
    values: bool
    left_ms: int


class StaleCall(msgspec.Struct, frozen=True, array_like=True, tag="stale"):
    """A read of one key from the applied state of the receiver's replica, whoever is primary."""

    number: int
    partition: PartitionId
    key: bytes
    left_ms: int


class CopyCall(msgspec.Struct, frozen=True, array_like=True, tag="copy"):
    """What does the receiver have of a partition? For an operator who looks for what is left of it (R9)."""

    number: int
    partition: PartitionId
    left_ms: int


class Failure(msgspec.Struct, frozen=True, array_like=True, tag="failure"):
    """An outcome that is no success: the fields of a `CoreCacheError`. `view`: go there instead (*moved*)."""

    kind: str
    code: str
    message: str
    retry_after_ms: int = 0
    view: VersionedView | None = None

    @classmethod
    def of(cls, error: CoreCacheError, view: VersionedView | None = None) -> "Failure":
        """Returns what carries an error to another node."""
        retry_after_ms = error.retry_after_ms if isinstance(error, NotDone) else 0
        return cls(type(error).__name__, error.code, error.message, retry_after_ms, view)

    def error(self) -> CoreCacheError:
        """Returns the error that was carried. One that this version does not know means *unknown*."""
        if self.kind == "NotDone":
            return NotDone(self.code, self.message, self.retry_after_ms)
        known: dict[str, type[CoreCacheError]] = {"CallerFault": CallerFault, "Broken": Broken}
        return known.get(self.kind, OutcomeUnknown)(self.code, self.message)


class ReadReply(msgspec.Struct, frozen=True, array_like=True, tag="record"):
    """The record, None if there is none."""

    number: int
    record: Record | None


class WriteReply(msgspec.Struct, frozen=True, array_like=True, tag="results"):
    """A result for each operation."""

    number: int
    results: tuple[Result, ...]


class ScanReply(msgspec.Struct, frozen=True, array_like=True, tag="page"):
    """Items as `(key, record)`, and the key to go on from."""

    number: int
    items: tuple[tuple[bytes, Record], ...]
    resume: bytes | None


class StaleReply(msgspec.Struct, frozen=True, array_like=True, tag="stale_record"):
    """The record, None if there is none, and the sequence up to which the replica has applied."""

    number: int
    record: Record | None
    applied: Sequence


class CopyReply(msgspec.Struct, frozen=True, array_like=True, tag="copied"):
    """What is there, None if nothing is."""

    number: int
    copy: Copy | None


class FailureReply(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """There is no result, and why."""

    number: int
    failure: Failure


Call: TypeAlias = ReadCall | WriteCall | ScanCall | StaleCall | CopyCall
Reply: TypeAlias = ReadReply | WriteReply | ScanReply | StaleReply | CopyReply | FailureReply
