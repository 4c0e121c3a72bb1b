"""What a node answered, as a value or as one of the errors. Pure: the bytes are here already.

Rule 1: the class of an error is what a caller acts on, so it is never guessed in the caller's favour. *Not done* is
raised for a write only when the node said so itself; an answer that no node gives (a proxy's error page, say) leaves a
write's outcome unknown.

Rule 2: "the key has no record" is a value, not an error, but only in a node's own words: a 404 page of some other
server is not an absent key.

The shapes are those of the API's JSON (`docs/http.md`).
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec

from corecache import operations
from corecache.client.requests import Request
from corecache.errors import Broken, CallerFault, CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import Timestamp, Version
from corecache.operations import (
    NEVER,
    Absent,
    Deleted,
    Found,
    Operation,
    Put,
    Read,
    Record,
    Result,
    Written,
)
from corecache.reports import ClusterReport, MoveReport, OrdersReport, RecoveryReport, StorageReport

BatchResult: TypeAlias = Result | CoreCacheError

NOT_DONE_STATUSES = frozenset({408, 429, 503, 507})
KEY_ABSENT = "key_not_found"


class ConditionFailed(CallerFault):
    """The condition of a put or delete did not hold: nothing was written.

    `present` is the key's version, None if it has no record.
    """

    def __init__(self, code: str, message: str, present: Version | None) -> None:
        super().__init__(code, message)
        self.present = present


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer, complete. `headers` have lower-case names; `node` is the endpoint that gave it."""

    request: Request
    node: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class Problem(msgspec.Struct, frozen=True):
    """A node's error (RFC 9457)."""

    status: int
    detail: str
    code: str
    outcome: str | None = None


class Page(msgspec.Struct, frozen=True):
    """A page of a listing: keys and records in byte order, and the cursor of the next page, None on the last."""

    items: tuple[tuple[bytes, Record], ...]
    cursor: str | None


def problem(answer: Answer) -> Problem | None:
    """Returns the node's own words about what went wrong, None if there are none."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    try:
        return msgspec.json.decode(answer.body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def retry_after_ms(answer: Answer) -> int:
    """Returns how long the node asks to wait, 0 if it does not say."""
    seconds = answer.headers.get("retry-after", "")
    return int(seconds) * 1000 if seconds.isascii() and seconds.isdigit() and len(seconds) < 7 else 0


def record(answer: Answer) -> Record | None:
    """Reads the answer to a get: the record, None if the key has none."""
    if answer.status == 200:
        expires = answer.headers.get("x-corecache-expires")
        return Record(
            value=answer.body,
            version=_version(answer),
            timestamp=Timestamp(_whole(answer, "x-corecache-timestamp")),
            expires=NEVER if expires is None else Timestamp(_whole(answer, "x-corecache-expires")),
        )
    if _says_absent(answer):
        return None
    raise fault(answer)


def written(answer: Answer) -> Version:
    """Reads the answer to a put: the new version."""
    if answer.status == 204:
        return _version(answer)
    raise fault(answer)


def deleted(answer: Answer) -> bool:
    """Reads the answer to a delete: whether there was a record."""
    if answer.status == 204:
        return True
    if _says_absent(answer):
        return False
    raise fault(answer)


def page(answer: Answer) -> Page:
    """Reads a page of a listing."""
    listing = _json(answer, dict[str, Any])
    try:
        items = tuple((_bytes(item, "key"), _record(item)) for item in listing["items"])
        cursor = listing["cursor"]
        if cursor is not None and not isinstance(cursor, str):
            raise TypeError("a cursor is text")
        return Page(items, cursor)
    except (KeyError, TypeError, ValueError) as error:
        raise _misunderstood(answer) from error


def results(answer: Answer, asked: Sequence[Operation]) -> list[BatchResult]:
    """Reads the answer to a batch: for each operation, in their order, its result or the error that it met."""
    outcomes = _json(answer, dict[str, Any]).get("results")
    if not isinstance(outcomes, list) or len(outcomes) != len(asked):
        raise _misunderstood(answer)
    try:
        return [_result(answer, each, outcome) for each, outcome in zip(asked, outcomes, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        raise _misunderstood(answer) from error


def cluster_report(answer: Answer) -> ClusterReport:
    """Reads the cluster's report."""
    return _json(answer, ClusterReport)


def orders_report(answer: Answer) -> OrdersReport:
    """Reads what is ordered, which an order answers too."""
    return _json(answer, OrdersReport)


def recovery_report(answer: Answer) -> RecoveryReport:
    """Reads from which copy a partition goes on."""
    return _json(answer, RecoveryReport)


def moves(answer: Answer) -> list[MoveReport]:
    """Reads what would be moved."""
    return _json(answer, dict[str, list[MoveReport]]).get("moves", [])


def storage_report(answer: Answer) -> StorageReport:
    """Reads the tree's report, which a flush and a compaction answer too."""
    return _json(answer, StorageReport)


def fault(answer: Answer) -> CoreCacheError:
    """Returns the error that an answer other than success stands for."""
    said = problem(answer)
    if said is None:
        return _foreign(answer)
    if answer.status == 412:
        return ConditionFailed(said.code, said.detail, _present(answer))
    return _error(answer, answer.status, said)


def _error(answer: Answer, status: int, said: Problem) -> CoreCacheError:
    """Chooses the class of an error by its status and outcome; in a batch the status is the operation's."""
    if status in NOT_DONE_STATUSES and (said.outcome == "not_done" or answer.request.repeatable):
        return NotDone(said.code, said.detail, retry_after_ms(answer) or 1000)
    if status == 504 and answer.request.repeatable:
        return NotDone(said.code, said.detail)
    if status in NOT_DONE_STATUSES or status == 504:
        return OutcomeUnknown(said.code, said.detail)
    return Broken(said.code, said.detail) if status >= 500 else CallerFault(said.code, said.detail)


def _foreign(answer: Answer) -> CoreCacheError:
    """Judges an answer that no node gives: something else listens there, or stands between."""
    what = f"{answer.node} answered {answer.status}, not as a CoreCache node does: check the endpoint"
    if answer.status < 500:
        return CallerFault("not_corecache", what)
    return NotDone("not_corecache", what) if answer.request.repeatable else OutcomeUnknown("not_corecache", what)


def _misunderstood(answer: Answer) -> CoreCacheError:
    return Broken(
        "not_understood",
        f"{answer.node} answered {answer.status} to {answer.request.method}, but not in a form that this client knows: "
        "check that the endpoint is a CoreCache node and that client and node have the same version",
    )


def _says_absent(answer: Answer) -> bool:
    if answer.status != 404:
        return False
    said = problem(answer)
    return said is not None and said.code == KEY_ABSENT


def _version(answer: Answer) -> Version:
    tag = answer.headers.get("etag", "").strip('"')
    if not (tag.isascii() and tag.isdigit()):
        raise _misunderstood(answer)
    return Version(int(tag))


def _present(answer: Answer) -> Version | None:
    return _version(answer) if "etag" in answer.headers else None


def _whole(answer: Answer, header: str) -> int:
    number = answer.headers.get(header, "")
    if not (number.isascii() and number.isdigit()):
        raise _misunderstood(answer)
    return int(number)


Shape = TypeVar("Shape")


def _json(answer: Answer, shape: type[Shape]) -> Shape:
    if answer.status != 200:
        raise fault(answer)
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _misunderstood(answer) from error


def _bytes(item: Mapping[str, Any], name: str) -> bytes:
    """Reads bytes as the API's JSON holds them. Raises: KeyError, ValueError."""
    if name in item:
        return str(item[name]).encode()
    try:
        return base64.b64decode(item[f"{name}_base64"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name}_base64 is no base64") from error


def _record(item: Mapping[str, Any]) -> Record:
    has_value = "value" in item or "value_base64" in item
    return Record(
        value=_bytes(item, "value") if has_value else b"",
        version=Version(int(item["version"])),
        timestamp=Timestamp(int(item["timestamp"])),
        expires=Timestamp(int(item.get("expires") or NEVER)),
    )


def _result(answer: Answer, operation: Operation, outcome: Mapping[str, Any]) -> BatchResult:
    """Reads what became of one operation of a batch. Raises: KeyError, TypeError, ValueError."""
    match outcome["status"]:
        case 404:
            return Absent()
        case 412:
            present = outcome.get("present")
            return operations.ConditionFailed(None if present is None else Version(int(present)))
        case int() as status if status < 300:
            if isinstance(operation, Put):
                return Written(Version(int(outcome["version"])))
            return Found(_record(outcome)) if isinstance(operation, Read) else Deleted()
        case int() as status:
            return _error(answer, status, msgspec.convert(outcome, Problem))
        case status:
            raise ValueError(f"{status!r} is no status")
