"""What a replica can ask to be done: the whole vocabulary of `Replica.handle`'s output.

Rule 1: actions are *begun* in list order; nothing in the list waits for another.
Rule 2: what must happen after I/O happens when its completion arrives as an event (named below at each action).
Rule 3: completions of one kind arrive in the order in which their actions were begun.
Rule 4: the machine never asks for the time or for a die; it is told.
Rule 5: the store's writes of one replica (`Save`, `Truncate`, `Append`, `Apply`, `Cut`, `BeginInstall`, `Install`) are
ordered: a crash keeps a prefix of them.
"""

from collections.abc import Sequence as Many
from collections.abc import Set
from typing import TypeAlias

import msgspec

from corecache.errors import CoreCacheError
from corecache.identity import Epoch, Milliseconds, NodeId, ReplicaId, Sequence
from corecache.operations import Record, Result
from corecache.placement.view import VersionedView, View
from corecache.replication.events import Request
from corecache.replication.log import Entry
from corecache.replication.messages import Message
from corecache.replication.recovered import AppliedPoint, ReplicaFacts


class ProposeView(msgspec.Struct):
    """Compare and set: replace the view of version `expected`. Completion: `ViewChanged` or `ViewRefused`.

    `ViewRefused` with a view of version `expected` says that the answer was lost and the proposal may yet win (R18).
    """

    view: View
    expected: int


class ReadView(msgspec.Struct):
    """Read this partition's view from the coordinator. Completion: `ViewChanged`."""


class Save(msgspec.Struct):
    """Make these facts durable. Completion: `Saved`."""

    facts: ReplicaFacts


class Truncate(msgspec.Struct):
    """Remove the log's entries above a sequence, and forget the `Append`s of such that are not begun yet (R1).

    Takes effect with the next `Append`, in one batch with it. No completion.
    """

    above: Sequence


class Append(msgspec.Struct):
    """Make these entries durable at the end of the log. Completion: `Appended`, or `StorageFailed`.

    `generation` counts the truncations before it; an `Appended` with an older one speaks of entries that are no more.
    """

    entries: Many[Entry]
    generation: int = 0


class Apply(msgspec.Struct):
    """Bring the store's records up to these committed entries. Completion: `Applied`, or `StorageFailed`.

    `generation` counts the snapshots installed before it.
    """

    entries: Many[Entry]
    generation: int = 0


class Cut(msgspec.Struct):
    """Remove the log's entries up to and including a sequence. No completion: nobody waits for it."""

    upto: Sequence


class Fetch(msgspec.Struct):
    """Look these keys up in the store's records. Completion: `Fetched` with the same `epoch`.

    Only the records of `with_values` need their values: a condition looks at versions and dates, and the values of a
    thousand deletes may be more than the memory holds.
    """

    epoch: Epoch
    keys: Many[bytes]
    with_values: Set[bytes]


class ReadLog(msgspec.Struct):
    """Read entries from the disk, from `above` + 1 on, for a replica that lags. Completion: `LogRead`.

    At most `bytes_max` (but one entry at least), and none beyond `upto`.
    """

    replica: ReplicaId
    above: Sequence
    upto: Sequence
    bytes_max: int


class ReadSnapshot(msgspec.Struct):
    """Read the next part of a snapshot: records as of one applied sequence. Completion: `SnapshotRead`.

    The first call of a `transfer` (`number` 0) takes that view, the following go on in it.
    """

    transfer: int
    number: int
    bytes_max: int


class EndSnapshot(msgspec.Struct):
    """Let go of the view of a snapshot, read to its end or not. No completion."""

    transfer: int


class BeginInstall(msgspec.Struct):
    """Drop all that this replica holds and give it a new random id, durably. Completion: `InstallBegun`.

    `facts` are to be saved with it, but for the id. `transfer` 0: it is not to install anything, just empty.
    """

    transfer: int
    facts: ReplicaFacts


class Install(msgspec.Struct):
    """Add records to a replica that installs. With `last` it is whole as of `point`, durably, under `facts`.

    Completion: `ChunkInstalled`.
    """

    transfer: int
    number: int
    records: Many[tuple[bytes, Record]]
    point: AppliedPoint
    last: bool
    facts: ReplicaFacts


class Adopt(msgspec.Struct):
    """Make an empty replica of this partition, with a random id, durably. Completion: `Machine.adopt`."""

    confirmed: VersionedView


class Discard(msgspec.Struct):
    """Drop this replica for good: no view wants it. No completion; no event reaches the replica any more."""


class Send(msgspec.Struct):
    """Send a message to a node; it may be lost. `bulk`: over the connection for bulk transfers."""

    to: NodeId
    message: Message
    bulk: bool = False


class Answer(msgspec.Struct):
    """Tell clients their results; no completion. One result for each of a request's operations."""

    answers: Many[tuple[Request, Many[Result]]]


class Refuse(msgspec.Struct):
    """Tell clients that there is no result, and why; no completion."""

    requests: Many[Request]
    error: CoreCacheError


class WakeAt(msgspec.Struct):
    """Send `Woken` at this point on the steady clock, or a little later. A new one replaces the last."""

    time: Milliseconds


class StepDown(msgspec.Struct):
    """The replica is no longer primary; `reason` is a sentence for the operator. No completion."""

    reason: str


class Halt(msgspec.Struct):
    """The replica found what must not be, and does nothing more; `broken` tells the operator what. No completion."""

    broken: str


Action: TypeAlias = (
    ProposeView
    | ReadView
    | Save
    | Truncate
    | Append
    | Apply
    | Cut
    | Fetch
    | ReadLog
    | ReadSnapshot
    | EndSnapshot
    | BeginInstall
    | Install
    | Adopt
    | Discard
    | Send
    | Answer
    | Refuse
    | WakeAt
    | StepDown
    | Halt
)
