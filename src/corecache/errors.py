"""The outcomes that are not success, as exceptions. Whose fault it is decides the class; the sentence says the cure.

Rule 1: a client is told exactly one of five things about its request, and acts on the class alone:

* success (no exception),
* `CallerFault`: it did not happen and never will, however often it is repeated;
* `NotDone`: it did not happen; the same request may succeed later;
* `OutcomeUnknown`: it may have happened; only what is idempotent may be repeated;
* `Broken`: this node refuses to guess. An operator has to look.

Rule 2: *not done* is a promise, not a hope. Whoever raises it knows that the operation was given no sequence.

Rule 3: each error has a `code`, a short stable word that programs match on. `docs/errors.md` lists them all. How an
error looks in HTTP is not decided here (see `serving/http/problems.py`).
"""

from typing import ClassVar


class CoreCacheError(Exception):
    """An outcome other than success. Only its subclasses are raised.

    `message` is one sentence that says what happened and what to do; `code` is the word for programs.
    """

    outcome: ClassVar[str]

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class CallerFault(CoreCacheError):
    """The request is wrong, or forbidden by the present state: it did not happen, and will not by repeating it."""

    outcome = "not_done"


class NotDone(CoreCacheError):
    """It did not happen; try again after `retry_after_ms` milliseconds."""

    outcome = "not_done"

    def __init__(self, code: str, message: str, retry_after_ms: int = 1000) -> None:
        super().__init__(code, message)
        self.retry_after_ms = retry_after_ms


class OutcomeUnknown(CoreCacheError):
    """It may have happened: repeat only what is idempotent."""

    outcome = "unknown"


class Broken(CoreCacheError):
    """The node found something that must not be, and stops rather than guess."""

    outcome = "unknown"


CURABLE = frozenset(
    (
        "no_lease",
        "no_primary",
        "no_room",
        "not_ready",
        "stepped_down",
        "stopping",
        "storage_failed",
        "too_few_copies",
        "unanswered",
        "unreachable",
    )
)
"""Codes of what was not done and may be otherwise in a moment, or on another node."""
