"""How an error looks in HTTP: the status of each code, and the problem details (RFC 9457) that say what to do.

The rule: the class of an error (`errors.py`) decides its status, unless its code has one of its own in `_STATUS`. A
body always has `type`, `title`, `status`, `detail` and `code`; for a write it also has `outcome`, the one word that
tells a program whether it may repeat the request. So has that of a request that leads nowhere, whatever it meant to be.

Answers that are no exceptions in Python but errors in HTTP (a key that is not there, a condition that failed) are made
here too, so that all error bodies have one maker. Codes are listed in `docs/errors.md`; a test compares.
"""

from typing import Annotated

import httptools
import msgspec
import structlog
from msgspec import Meta

from corecache.errors import Broken, CallerFault, CoreCacheError, NotDone, OutcomeUnknown

Headers = list[tuple[bytes, bytes]]

_STATUS = {
    "key_not_found": 404,
    "path_unknown": 404,
    "method_not_allowed": 405,
    "request_too_slow": 408,
    "condition_failed": 412,
    "value_too_large": 413,
    "batch_too_large": 413,
    "answer_too_large": 413,
    "other_node": 421,
    "not_executed": 424,
    "headers_too_large": 431,
    "disk_full": 507,
}

TYPE_PREFIX = "urn:corecache:error:"
"""What `type` is, before the code: a name, since no address would lead somewhere from every node."""

_UNROUTED = frozenset(("method_not_allowed", "path_unknown"))
_log = structlog.get_logger()
_encoder = msgspec.json.Encoder()


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error, as `application/problem+json`."""

    type: Annotated[str, Meta(pattern="^" + TYPE_PREFIX + "[a-z_0-9]+$")]
    title: str
    status: int
    detail: str
    code: str
    outcome: str | None = None


def status_of(error: CoreCacheError) -> int:
    """Returns the HTTP status of an error."""
    status = _STATUS.get(error.code)
    if status is not None:
        return status
    if isinstance(error, CallerFault):
        return 400
    if isinstance(error, NotDone):
        return 503
    return 504 if isinstance(error, OutcomeUnknown) else 500


def problem_of(error: CoreCacheError, write: bool) -> Problem:
    """Returns the body of an error; `write` says that the request was one that changes something."""
    return Problem(
        type=TYPE_PREFIX + error.code,
        title=error.code.replace("_", " ").capitalize(),
        status=status_of(error),
        detail=error.message,
        code=error.code,
        outcome=error.outcome if write or error.code in _UNROUTED else None,
    )


def answer_of(error: CoreCacheError, write: bool) -> tuple[int, Headers, bytes]:
    """Returns status, headers and body of the answer to a request that met an error."""
    problem = problem_of(error, write)
    body = _encoder.encode(problem)
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body))]
    if isinstance(error, NotDone):
        headers.append((b"retry-after", b"%d" % max(1, -(-error.retry_after_ms // 1000))))
    return problem.status, headers, body


def key_not_found() -> CallerFault:
    """Returns the error of a key without a record."""
    return CallerFault("key_not_found", "No record has this key: it was never written, was deleted, or has expired.")


def condition_failed(present: int | None) -> CallerFault:
    """Returns the error of a condition that did not hold; `present` is the key's version, None if it has no record."""
    state = "has no record" if present is None else f"has version {present}"
    return CallerFault(
        "condition_failed",
        f"The condition does not hold: the key {state}. Nothing was written; read the key and decide again.",
    )


def method_not_allowed(method: str, allowed: str) -> CallerFault:
    """Returns the error of a method that a path does not have; `allowed` is what the Allow header says."""
    return CallerFault("method_not_allowed", f"{method} is not possible here; use one of {allowed}.")


def path_unknown() -> CallerFault:
    """Returns the error of a path that leads nowhere."""
    return CallerFault(
        "path_unknown", "Nothing is at this path. Keys are at /v1/kv/KEY; /openapi.json lists all paths."
    )


def too_many_connections(limit: int) -> NotDone:
    """Returns the error of a connection beyond the limit."""
    return NotDone("too_many_connections", f"The node has all the connections it takes ({limit:,}); try later.")


def headers_too_large(limit_bytes: int) -> CallerFault:
    """Returns the error of headers, trailers or chunk extensions beyond the limit."""
    return CallerFault(
        "headers_too_large", f"Request line and headers exceed {limit_bytes:,} bytes (http.header_bytes_max)."
    )


def request_too_slow(what: str, limit_ms: int) -> CallerFault:
    """Returns the error of a request of which something did not come in time; `what` says which."""
    return CallerFault("request_too_slow", f"{what} within {limit_ms:,} ms; nothing was stored. Send it again, faster.")


def body_cut_short() -> CallerFault:
    """Returns the error of a request whose client has said its last in the middle of it."""
    return CallerFault("body_cut_short", "The request ended before all of it had come; nothing was stored.")


def internal() -> Broken:
    """Returns the error that stands for an exception nobody expected; the log has its traceback."""
    return Broken(
        "internal",
        "The node failed at this request in a way that it does not know. A write may have happened. "
        "Its log has the traceback; please report it.",
    )


def of_parser(error: httptools.HttpParserError) -> CoreCacheError:
    """Returns what a parser's error means: ours, passed through it, or bytes that are no HTTP."""
    if isinstance(error, httptools.HttpParserCallbackError):
        if isinstance(error.__context__, CoreCacheError):
            return error.__context__
        _log.error("request parsing failed", exc_info=error)
        return internal()
    return CallerFault("bad_request", f"This is not HTTP/1.1 as its standard has it: {error}.")
