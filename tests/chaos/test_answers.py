"""What the campaign's clients send for an operation, and what they take each answer for: table by table."""

from typing import Any

import hiredis
import pytest

from corecache.chaos.asking import ASTONISHING
from corecache.chaos.history import ABSENT, PRESENT
from corecache.chaos.http_client import HttpReply, fate_over_http, request_of
from corecache.chaos.resp_client import command_of, fate_over_resp
from corecache.chaos.workload import Operation, octets_of

V1 = octets_of("v1", 40)

GET = Operation(family="register", kind="get", key="c/a b")
PUT = Operation(family="register", kind="put", key="c/a", value="v1", size_bytes=40)
PUT_ABSENT = Operation(family="register", kind="put", key="c/a", value="v1", size_bytes=40, condition=ABSENT)
PUT_PRESENT = Operation(family="register", kind="put", key="c/a", value="v1", size_bytes=40, condition=PRESENT)
PUT_VERSION = Operation(family="register", kind="put", key="c/a", value="v1", size_bytes=40, condition=7)
PUT_MORTAL = Operation(family="mortal", kind="put", key="c/m", value="v1", size_bytes=40, ttl_ms=2345)
GET_MORTAL = Operation(family="mortal", kind="get", key="c/m")
DELETE = Operation(family="register", kind="delete", key="c/a")
DELETE_VERSION = Operation(family="register", kind="delete", key="c/a", condition=7)
ADD = Operation(family="counter", kind="add", key="c/n", amount=3)
ADD_ONE = Operation(family="counter", kind="add", key="c/n", amount=1)
GET_COUNTER = Operation(family="counter", kind="get", key="c/n")

# What goes out.


def test_a_wish_over_http() -> None:
    """Every part of an operation is in the request, and so is the deadline."""
    begin = b"X-CoreCache-Timeout: 900\r\n"
    assert request_of(GET, 900) == b"GET /v1/kv/c/a%20b HTTP/1.1\r\nHost: corecache\r\n" + begin + b"\r\n"
    assert begin + b"Content-Length: 40\r\n\r\n" + V1 in request_of(PUT, 900)
    assert b"\r\nIf-None-Match: *\r\n" in request_of(PUT_ABSENT, 900)
    assert b'\r\nIf-Match: "7"\r\n' in request_of(DELETE_VERSION, 900)
    assert request_of(PUT_MORTAL, 900).startswith(b"PUT /v1/kv/c/m?ttl=2.345 HTTP/1.1\r\n")


def test_a_wish_over_redis_protocol() -> None:
    """Every part of an operation is in the command."""
    assert words_of(command_of(GET)) == [b"GET", b"c/a b"]
    assert words_of(command_of(PUT)) == [b"SET", b"c/a", V1]
    assert words_of(command_of(PUT_ABSENT)) == [b"SET", b"c/a", V1, b"NX"]
    assert words_of(command_of(PUT_PRESENT)) == [b"SET", b"c/a", V1, b"XX"]
    assert words_of(command_of(PUT_MORTAL)) == [b"SET", b"c/m", V1, b"PX", b"2345"]
    assert words_of(command_of(DELETE)) == [b"DEL", b"c/a"]
    assert words_of(command_of(ADD)) == [b"INCRBY", b"c/n", b"3"]
    assert words_of(command_of(ADD_ONE)) == [b"INCR", b"c/n"]


def words_of(command: bytes) -> Any:
    """Takes a command apart."""
    reader = hiredis.Reader()
    reader.feed(command)
    return reader.gets()


# What an answer means.


def problem(status: int, code: str, outcome: str | None = None, version: int | None = None) -> HttpReply:
    """Returns a node's error."""
    said = "" if outcome is None else f', "outcome": "{outcome}"'
    body = f'{{"type": "urn:x", "title": "x", "status": {status}, "detail": "x", "code": "{code}"{said}}}'
    headers = {b"content-type": b"application/problem+json"}
    if version is not None:
        headers[b"etag"] = b'"%d"' % version
    return HttpReply(status, headers, body.encode())


def value(octets: bytes, **headers: str) -> HttpReply:
    """Returns a node's answer to a read, of version 5."""
    named = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    return HttpReply(200, {b"etag": b'"5"', **named}, octets)


TAGGED = HttpReply(204, {b"etag": b'"5"'}, b"")
BARE = HttpReply(204, {}, b"")


@pytest.mark.parametrize(
    ("operation", "reply", "expected"),
    [
        (GET, value(V1), ("done", "v1", 5, "")),
        (GET_MORTAL, value(V1, x_corecache_expires="9"), ("done", "v1", 5, "")),
        (GET_COUNTER, value(b"17"), ("done", "17", 5, "")),
        (GET, problem(404, "key_not_found"), ("done", None, ABSENT, "")),
        (GET, problem(503, "no_lease"), ("not_done", None, None, "no_lease")),
        (GET, problem(503, "stopping", "not_done"), ("not_done", None, None, "stopping")),
        (GET, problem(500, "storage_unreadable"), ("not_done", None, None, "storage_unreadable")),
        (PUT, TAGGED, ("done", "v1", 5, "")),
        (PUT, problem(503, "no_primary", "not_done"), ("not_done", None, None, "no_primary")),
        (PUT, problem(504, "unanswered", "unknown"), ("unknown", None, None, "unanswered")),
        (PUT, problem(507, "disk_full", "not_done"), ("not_done", None, None, "disk_full")),
        (PUT, problem(500, "storage_failed", "unknown"), ("unknown", None, None, "storage_failed")),
        (PUT, problem(408, "request_too_slow", "not_done"), ("not_done", None, None, "request_too_slow")),
        (PUT_ABSENT, problem(412, "condition_failed", "not_done", 9), ("failed", None, 9, "condition_failed")),
        (PUT_VERSION, problem(412, "condition_failed", "not_done"), ("failed", None, ABSENT, "condition_failed")),
        (DELETE, BARE, ("done", None, None, "")),
        (DELETE, problem(404, "key_not_found", "not_done"), ("failed", None, ABSENT, "key_not_found")),
        (DELETE_VERSION, problem(412, "condition_failed", "not_done", 9), ("failed", None, 9, "condition_failed")),
    ],
)
def test_what_the_documentation_says_of_an_http_answer(
    operation: Operation, reply: HttpReply, expected: tuple[Any, ...]
) -> None:
    """Each answer that is documented has the outcome, value and version that it tells."""
    fate = fate_over_http(operation, reply)
    assert (fate.outcome, fate.value, fate.version, fate.detail) == expected


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        (GET, value(V1[:-1])),
        (GET, value(V1, x_corecache_expires="9")),
        (GET, HttpReply(200, {}, V1)),
        (GET, TAGGED),
        (GET, problem(504, "deadline_passed")),
        (GET, problem(404, "path_unknown", "not_done")),
        (GET, problem(412, "condition_failed", "not_done")),
        (GET, HttpReply(404, {}, b"not here")),
        (GET, HttpReply(404, {b"content-type": b"application/problem+json"}, b"{")),
        (GET_MORTAL, value(V1)),
        (GET_COUNTER, value(V1)),
        (GET_COUNTER, value(b"")),
        (PUT, BARE),
        (PUT, HttpReply(204, {b"etag": b'"0"'}, b"")),
        (PUT, problem(404, "key_not_found", "not_done")),
        (PUT, problem(412, "condition_failed", "not_done")),
        (PUT, problem(503, "no_primary", "unknown")),
        (PUT, problem(503, "no_primary")),
        (PUT, problem(504, "unanswered", "not_done")),
        (PUT, problem(500, "internal", "unknown")),
        (PUT, problem(400, "bad_ttl", "not_done")),
        (DELETE, problem(412, "condition_failed", "not_done")),
        (DELETE, problem(507, "disk_full", "not_done")),
        (DELETE, value(V1)),
    ],
)
def test_an_http_answer_that_must_not_be_is_told_as_such(operation: Operation, reply: HttpReply) -> None:
    """An answer that does not fit the call, or itself, is never made to fit."""
    fate = fate_over_http(operation, reply)
    assert fate.outcome == "unknown"
    assert fate.detail.startswith(ASTONISHING)


@pytest.mark.parametrize(
    ("operation", "reply", "expected"),
    [
        (GET, V1, ("done", "v1", None, "")),
        (GET, None, ("done", None, ABSENT, "")),
        (GET_COUNTER, b"17", ("done", "17", None, "")),
        (PUT, b"OK", ("done", "v1", None, "")),
        (PUT_ABSENT, None, ("failed", None, None, "")),
        (PUT_PRESENT, None, ("failed", None, ABSENT, "")),
        (DELETE, 1, ("done", None, None, "")),
        (DELETE, 0, ("failed", None, ABSENT, "")),
        (ADD, 12, ("done", "12", None, "")),
        (GET, hiredis.ReplyError("TRYAGAIN later"), ("not_done", None, None, "TRYAGAIN")),
        (PUT, hiredis.ReplyError("CLUSTERDOWN x"), ("not_done", None, None, "CLUSTERDOWN")),
        (ADD, hiredis.ReplyError("NOREPLICAS x"), ("not_done", None, None, "NOREPLICAS")),
        (PUT, hiredis.ReplyError("OOM x"), ("not_done", None, None, "OOM")),
        (PUT, hiredis.ReplyError("UNKNOWN x"), ("unknown", None, None, "UNKNOWN")),
    ],
)
def test_what_the_documentation_says_of_a_reply(operation: Operation, reply: Any, expected: tuple[Any, ...]) -> None:
    """Each reply that is documented has the outcome, value and version that it tells."""
    fate = fate_over_resp(operation, reply)
    assert (fate.outcome, fate.value, fate.version, fate.detail) == expected


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        (GET, V1 + b"x"),
        (GET, 7),
        (GET, b"OK"),
        (GET, hiredis.ReplyError("UNKNOWN x")),
        (GET, hiredis.ReplyError("OOM x")),
        (GET_COUNTER, b"-1"),
        (PUT, None),
        (PUT, b"QUEUED"),
        (PUT, 1),
        (PUT, hiredis.ReplyError("MOVED 7 127.0.0.1:7")),
        (PUT, hiredis.ReplyError("ERR internal error")),
        (DELETE, 2),
        (DELETE, None),
        (DELETE, hiredis.ReplyError("OOM x")),
        (ADD, b"12"),
        (ADD, 2),
        (ADD, [1]),
    ],
)
def test_a_reply_that_must_not_be_is_told_as_such(operation: Operation, reply: Any) -> None:
    """A reply that does not fit the call is never made to fit."""
    fate = fate_over_resp(operation, reply)
    assert fate.outcome == "unknown"
    assert fate.detail.startswith(ASTONISHING)
