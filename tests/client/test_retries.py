"""What both clients repeat, and what they never repeat, when nodes refuse, vanish or fall silent."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from client.scripted_server import CUT, SILENT, ScriptedServer, answer, problem
from corecache.client import ConditionFailed
from corecache.errors import Broken, CallerFault, NotDone, OutcomeUnknown
from corecache.operations import Put, Read

Scripted = Callable[[Sequence[bytes]], ScriptedServer]

WRITTEN = answer(204, ETag='"7"')
FOUND = answer(200, b"v", ETag='"7"', X_CoreCache_Timestamp="1")
BUSY = problem(503, "overloaded", "not_done", Retry_After="0")
WRITES: list[Callable[[Any], Any]] = [
    lambda client: client.put("k", b"v"),
    lambda client: client.delete("k"),
    lambda client: client.batch([Put(b"k", b"v"), Read(b"k")]),
    lambda client: client.compact(timeout_s=0.5),
]


def unused_url() -> str:
    """Returns the address of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_answer_is_lost_is_never_sent_again(connect: Any, scripted: Scripted, write: Any) -> None:
    """When the connection breaks after a write was sent, the outcome is unknown, even with another node at hand."""
    first, second = scripted([CUT]), scripted([WRITTEN])
    with pytest.raises(OutcomeUnknown):
        write(connect([first.url, second.url]))
    assert len(first.heads) == 1
    assert second.heads == []


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_gets_no_answer_in_time_is_unknown(connect: Any, scripted: Scripted, write: Any) -> None:
    """When a node takes a write and says nothing until the deadline, the outcome is unknown."""
    server = scripted([SILENT])
    with pytest.raises(OutcomeUnknown):
        write(connect(server.url, timeout_s=0.5))
    assert len(server.heads) == 1


def test_a_write_that_was_not_done_is_sent_again(connect: Any, scripted: Scripted) -> None:
    """After 503 and the node's word that it did not happen, a write is repeated, whole."""
    server = scripted([BUSY, BUSY, WRITTEN])
    assert connect(server.url).put("k", b"v") == 7
    assert server.bodies == [b"v"] * 3
    assert server.targets == ["/v1/kv/k"] * 3


def test_a_503_without_the_nodes_word_leaves_a_write_unknown(connect: Any, scripted: Scripted) -> None:
    """A proxy's 503 says nothing about what the node behind it did: the write is not repeated."""
    server = scripted([answer(503, b"<html>")])
    with pytest.raises(OutcomeUnknown):
        connect(server.url).put("k", b"v")
    assert len(server.heads) == 1


@pytest.mark.parametrize("failure", [CUT, BUSY, problem(503, "no_primary", Retry_After="0"), answer(503, b"<html>")])
def test_a_read_is_repeated(connect: Any, scripted: Scripted, failure: bytes) -> None:
    """A read is repeated after a lost connection and after any 503."""
    server = scripted([failure, failure, FOUND])
    assert connect(server.url).get("k").value == b"v"
    assert len(server.heads) == 3


def test_an_answer_cut_short_is_a_lost_answer(connect: Any, scripted: Scripted) -> None:
    """A value that stops in the middle is not returned but read again; it is never taken for the whole."""
    short = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: "7"\r\nX-CoreCache-Timestamp: 1\r\n\r\nhalf'
    server = scripted([short, FOUND])
    # The server keeps the connection open: the first attempt ends with its share of the time.
    assert connect([server.url, server.url], timeout_s=2).get("k").value == b"v"


def test_the_next_endpoint_is_tried(connect: Any, scripted: Scripted) -> None:
    """Where nobody listens nothing has happened: writes and reads go to the next endpoint."""
    server = scripted([WRITTEN, FOUND])
    assert connect([unused_url(), server.url]).put("k", b"v") == 7
    assert connect([unused_url(), server.url]).get("k").value == b"v"


def test_the_endpoint_that_answered_is_asked_next(connect: Any, scripted: Scripted) -> None:
    """A node that said *not done* is left for the next one, which the following calls then go to at once."""
    busy, idle = scripted([BUSY]), scripted([WRITTEN])
    client = connect([busy.url, idle.url])
    client.put("k", b"v")
    client.put("k", b"v")
    assert (len(busy.heads), len(idle.heads)) == (1, 2)


def test_a_silent_node_does_not_use_up_a_reads_time(connect: Any, scripted: Scripted) -> None:
    """With two endpoints, a read leaves a silent one in time to ask the other."""
    silent, speaking = scripted([SILENT]), scripted([FOUND])
    assert connect([silent.url, speaking.url], timeout_s=2).get("k").value == b"v"


@pytest.mark.parametrize("call", [lambda client: client.get("k"), lambda client: client.put("k", b"v")])
def test_an_unreachable_node_is_not_done_in_time(connect: Any, call: Any) -> None:
    """When no node can be reached until the deadline, it surely did not happen."""
    started = time.monotonic()
    with pytest.raises(NotDone, match="check that it runs"):
        call(connect(unused_url(), timeout_s=0.4))
    assert time.monotonic() - started < 10


def test_rounds_end_before_the_time_does(connect: Any) -> None:
    """With `rounds_max` an unreachable node is given up long before the timeout."""
    started = time.monotonic()
    with pytest.raises(NotDone):
        connect(unused_url(), timeout_s=60, rounds_max=2).get("k")
    assert time.monotonic() - started < 30


def test_a_busy_node_is_asked_until_the_deadline(connect: Any, scripted: Scripted) -> None:
    """A node that stays busy is *not done* in the end, with its own words and its advice when to come back."""
    server = scripted([BUSY])
    with pytest.raises(NotDone, match=r"It is overloaded\.") as error:
        connect(server.url, timeout_s=0.5).put("k", b"v")
    assert error.value.code == "overloaded"
    assert len(server.heads) >= 2


def test_a_retry_after_beyond_the_deadline_ends_the_attempts(connect: Any, scripted: Scripted) -> None:
    """A node that asks to wait longer than the caller does is asked once, and its advice handed on."""
    server = scripted([problem(503, "overloaded", "not_done", Retry_After="3600")])
    with pytest.raises(NotDone) as error:
        connect(server.url).put("k", b"v")
    assert error.value.retry_after_ms == 3_600_000
    assert len(server.heads) == 1


def test_a_retry_after_is_waited_for(connect: Any, scripted: Scripted) -> None:
    """The next attempt comes no earlier than the node asks."""
    server = scripted([problem(503, "overloaded", "not_done", Retry_After="1"), WRITTEN])
    started = time.monotonic()
    assert connect(server.url).put("k", b"v") == 7
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem(400, "bad_ttl", "not_done"), CallerFault),
        (problem(412, "condition_failed", "not_done", ETag='"9"'), ConditionFailed),
        (problem(413, "value_too_large", "not_done"), CallerFault),
        (problem(404, "path_unknown", "not_done"), CallerFault),
        (problem(507, "disk_full", "not_done", Retry_After="1"), NotDone),
        (problem(408, "request_too_slow", "not_done"), NotDone),
        (problem(504, "deadline_passed", "unknown"), OutcomeUnknown),
        (problem(500, "internal", "unknown"), Broken),
        (answer(404, b"<html>not here"), CallerFault),
        (answer(301, Location="http://elsewhere/"), CallerFault),
        (answer(502, b"<html>"), OutcomeUnknown),
        (answer(500, b"{}", Content_Type="application/problem+json"), OutcomeUnknown),
        (answer(200, b"welcome"), CallerFault),
        (answer(204), Broken),
        (answer(204, ETag='"x"'), Broken),
    ],
)
def test_each_answer_to_a_write_is_one_error(
    connect: Any, scripted: Scripted, reply: bytes, kind: type[Exception]
) -> None:
    """Each refusal is raised as the class that says what to do, after one sending."""
    server = scripted([reply])
    with pytest.raises(kind) as error:
        connect(server.url).put("k", b"v")
    assert type(error.value) is kind
    assert len(server.heads) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem(404, "path_unknown"), CallerFault),
        (answer(404, b"<html>not here"), CallerFault),
        (problem(504, "deadline_passed"), NotDone),
        (answer(502, b"<html>"), NotDone),
        (problem(500, "internal"), Broken),
        (answer(200, b"v"), Broken),
    ],
)
def test_each_answer_to_a_read_is_one_error(
    connect: Any, scripted: Scripted, reply: bytes, kind: type[Exception]
) -> None:
    """A read never has an unknown outcome, and another server's 404 is not an absent key."""
    with pytest.raises(kind) as error:
        connect(scripted([reply]).url).get("k")
    assert type(error.value) is kind


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"items": [{}], "cursor": null}', b'{"items": 5}', b"\xff"])
def test_a_page_that_is_none_is_broken(connect: Any, scripted: Scripted, body: bytes) -> None:
    """A listing in a form that this client does not know is an error, never an empty list."""
    with pytest.raises(Broken):
        list(connect(scripted([answer(200, body)]).url).scan())


@pytest.mark.parametrize("key", [b".", b"..", b"a/../b", b"//", b"%2e", b"\xff\n", b"~-_", b"a b+c"])
def test_what_goes_over_the_wire_is_the_key_encoded(connect: Any, scripted: Scripted, key: bytes) -> None:
    """The target is the path and the bytes of the key, percent-encoded but for letters, digits, -, _ and ~."""
    server = scripted([WRITTEN])
    connect(server.url).put(key, b"")
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~"
    encoded = "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in key)
    assert server.targets == [f"/v1/kv/{encoded}"]


def test_the_node_is_told_a_deadline_within_ours(connect: Any, scripted: Scripted) -> None:
    """X-CoreCache-Timeout is sent and shorter than the time that the client waits."""
    server = scripted([WRITTEN])
    connect(server.url, timeout_s=3).put("k", b"v")
    (line,) = (each for each in server.heads[0].split(b"\r\n") if each.lower().startswith(b"x-corecache-timeout:"))
    assert 0 < int(line.split(b":")[1]) < 3000


def test_proxies_of_the_environment_are_not_used(
    connect: Any, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request goes to the node itself, whatever http_proxy says."""
    monkeypatch.setenv("http_proxy", unused_url())
    monkeypatch.setenv("ALL_PROXY", unused_url())
    assert connect(scripted([FOUND]).url).get("k").value == b"v"
