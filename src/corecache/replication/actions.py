"""What a replica can ask to be done: the whole vocabulary of `Replica.handle`'s output.

Rule 1: actions are *begun* in list order; nothing in the list waits for another.
Rule 2: what must happen after I/O happens when its completion arrives as an event (named below at each action).
Rule 3: completions of one kind arrive in the order in which their actions were begun.
Rule 4: the machine never asks for the time or for a die; it is told.
"""

from collections.abc import Sequence as Many
from collections.abc import Set
from typing import TypeAlias

import msgspec

from corecache.errors import CoreCacheError
from corecache.identity import Milliseconds, Sequence
from corecache.operations import Result
from corecache.placement.view import View
from corecache.replication.events import Request
from corecache.replication.log import Entry
from corecache.replication.recovered import ReplicaFacts


class ProposeView(msgspec.Struct):
    """Compare and set: replace the view of version `expected`. Completion: `ViewChanged` or `ViewRefused`."""

    view: View
    expected: int


class Save(msgspec.Struct):
    """Make these facts durable. Completion: `Saved`."""

    facts: ReplicaFacts


class Append(msgspec.Struct):
    """Make these entries durable at the end of the log. Completion: `Appended`, or `StorageFailed`."""

    entries: Many[Entry]


class Apply(msgspec.Struct):
    """Bring the store's records up to these committed entries. Completion: `Applied`, or `StorageFailed`."""

    entries: Many[Entry]


class Cut(msgspec.Struct):
    """Remove the log's entries up to and including a sequence. No completion: nobody waits for it."""

    upto: Sequence


class Fetch(msgspec.Struct):
    """Look these keys up in the store's records. Completion: `Fetched`.

    Only the records of `with_values` need their values: a condition looks at versions and dates, and the values of a
    thousand deletes may be more than the memory holds.
    """

    keys: Many[bytes]
    with_values: Set[bytes]


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


Action: TypeAlias = ProposeView | Save | Append | Apply | Cut | Fetch | Answer | Refuse | WakeAt | StepDown
