"""The campaign's HTTP client: a call as bytes, and what `docs/http.md` and `docs/errors.md` let its answer mean.

It is a client of its own, on the parser alone, for two reasons: sixteen of them have to leave the machine to the nodes,
and it has to be stricter than a user's client, which makes the best of an answer. Here a status, a header or an outcome
that is not documented for the call is noted as what it is: `protocol: …`.

What it is strict about: a success has its version, a record expires if and only if it was written with a time to live,
an error is a problem detail whose status and outcome belong together, and a read is never answered 504.
"""

from collections.abc import Callable
from urllib.parse import quote

import httptools
import msgspec

from corecache.chaos.asking import Connection, Fate, Malformed, astonishing, found, shown
from corecache.chaos.history import ABSENT
from corecache.chaos.workload import Operation, octets_of
from corecache.client.answers import Problem

_METHODS = {"get": "GET", "put": "PUT", "delete": "DELETE"}
_BROKEN_CODES = frozenset(("storage_closed", "storage_failed", "storage_unreadable"))
"""What 500 may say while disks fail and nodes stop. Any other, `internal` above all, is a mistake of the node."""


class HttpReply(msgspec.Struct):
    """An answer, complete; header names are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class HttpConnection(Connection[HttpReply]):
    """A connection that speaks HTTP/1.1."""

    def __init__(self, astonished: Callable[[str], None]) -> None:
        super().__init__(astonished)
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._complete: list[HttpReply] = []

    def take(self, octets: bytes) -> list[HttpReply]:
        """Takes the next bytes and returns the answers that they complete. Raises: Malformed."""
        try:
            self._parser.feed_data(octets)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise Malformed(f"not HTTP ({error}): {shown(octets)}") from error
        complete, self._complete = self._complete, []
        return complete

    def on_message_begin(self) -> None:
        """Is called by the parser."""
        self._headers = {}
        self._body = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Is called by the parser."""
        self._headers[name.lower()] = value

    def on_body(self, part: bytes) -> None:
        """Is called by the parser."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """Is called by the parser."""
        self._complete.append(HttpReply(self._parser.get_status_code(), self._headers, b"".join(self._body)))
        if not self._parser.should_keep_alive():
            self.ended = True


def request_of(operation: Operation, timeout_ms: int) -> bytes:
    """Returns an operation as a request, with the deadline that the node is to keep."""
    query = "" if operation.ttl_ms is None else f"?ttl={operation.ttl_ms / 1000:.3f}"
    lines = [
        f"{_METHODS[operation.kind]} /v1/kv/{quote(operation.key, safe='/')}{query} HTTP/1.1",
        "Host: corecache",
        f"X-CoreCache-Timeout: {timeout_ms}",
    ]
    if operation.condition == ABSENT:
        lines.append("If-None-Match: *")
    elif operation.condition is not None:
        lines.append(f'If-Match: "{operation.condition}"')
    body = b""
    if operation.value is not None:
        body = octets_of(operation.value, operation.size_bytes)
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def fate_over_http(operation: Operation, reply: HttpReply) -> Fate:
    """Returns what an answer means for the call that it answers."""
    version = _version(reply)
    match operation.kind, reply.status:
        case "get", 200 if version is not None:
            if (b"x-corecache-expires" in reply.headers) != (operation.family == "mortal"):
                return astonishing(
                    f"a {operation.family} key that {'does' if operation.family != 'mortal' else 'does not'} expire"
                )
            return found(operation, reply.body, version)
        case "put", 204 if version is not None:
            return Fate("done", operation.value, version)
        case "delete", 204:
            return Fate("done")
    return _fate_of_problem(operation, reply, version)


def _fate_of_problem(operation: Operation, reply: HttpReply, version: int | None) -> Fate:
    said = _problem(reply)
    if said is None or said.status != reply.status:
        return astonishing(f"{reply.status} to {operation.kind}: {shown(reply.body)}")
    writes = operation.kind != "get"
    match reply.status, said.code, said.outcome:
        case 404, "key_not_found", None if not writes:
            return Fate("done", None, ABSENT)
        case 404, "key_not_found", "not_done" if operation.kind == "delete":
            return Fate("failed", None, ABSENT, said.code)
        case 412, "condition_failed", "not_done" if writes and operation.condition is not None:
            return Fate("failed", None, ABSENT if version is None else version, said.code)
        case 503, _, outcome if outcome == "not_done" or (outcome is None and not writes):
            return Fate("not_done", detail=said.code)
        case 408, "request_too_slow", _:
            return Fate("not_done", detail=said.code)
        case 507, "disk_full", "not_done" if operation.kind == "put":
            return Fate("not_done", detail=said.code)
        case 504, _, "unknown" if writes:
            return Fate("unknown", detail=said.code)
        case 500, code, outcome if code in _BROKEN_CODES and outcome == ("unknown" if writes else None):
            return Fate("unknown" if writes else "not_done", detail=said.code)
    return astonishing(f"{reply.status} {said.code} ({said.outcome}) to {operation.kind}: {said.detail}")


def _version(reply: HttpReply) -> int | None:
    tag = reply.headers.get(b"etag", b"").strip(b'"')
    return int(tag) if tag.isdigit() and int(tag) > 0 else None


def _problem(reply: HttpReply) -> Problem | None:
    if reply.headers.get(b"content-type") != b"application/problem+json":
        return None
    try:
        return msgspec.json.decode(reply.body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
