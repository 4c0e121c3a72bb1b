"""A batch answers as its operations would one by one, and is understood before anything of it is begun."""

import asyncio
import json
from base64 import b64decode, b64encode
from typing import Any

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corecache.errors import NotDone, OutcomeUnknown
from corecache.identity import Timestamp, Version
from corecache.operations import Record
from serving.http_lab import Answer, Lab, config_of, served, with_lab


async def batch(lab: Lab, *operations: dict[str, Any], atomic: bool = False) -> Answer:
    """Sends a batch."""
    return await lab.ask("POST", "/v1/batch", json.dumps({"atomic": atomic, "operations": operations}).encode())


async def results(lab: Lab, *operations: dict[str, Any], atomic: bool = False) -> list[dict[str, Any]]:
    """Sends a batch and returns its results."""
    answer = await batch(lab, *operations, atomic=atomic)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


@served()
async def test_each_operation_has_its_result(lab: Lab) -> None:
    """Statuses are those of single calls; values are text or base64."""
    found = await results(
        lab,
        {"op": "put", "key": "a", "value": "1", "ttl": 100},
        {"op": "put", "key_base64": b64encode(b"\xff").decode(), "value_base64": "AP8="},
        {"op": "put", "key": "a", "value": "2", "if_absent": True},
        {"op": "put", "key": "a", "value": "3", "if_version": 1},
        {"op": "get", "key": "a"},
        {"op": "get", "key_base64": "/w=="},
        {"op": "get", "key": "absent"},
        {"op": "delete", "key": "a", "if_version": 1},
        {"op": "delete", "key": "a"},
        {"op": "delete", "key": "a"},
    )
    statuses = [result["status"] for result in found]
    assert statuses == [204, 204, 412, 204, 200, 200, 404, 412, 204, 404]
    assert found[2]["present"] == 1
    assert (found[4]["value"], found[4]["version"]) == ("3", 3)
    assert (found[5]["value_base64"], "value" in found[5]) == ("AP8=", False)
    assert set(lab.service.records) == {b"\xff"}


def test_operations_on_a_key_take_effect_in_their_order() -> None:
    """A batch gives the answers that its operations would give one after the other."""
    operation = st.one_of(
        st.fixed_dictionaries(
            {"op": st.just("put"), "key": st.sampled_from("abc"), "value": st.text(max_size=2)},
            optional={"if_absent": st.booleans()},
        ),
        st.fixed_dictionaries({"op": st.sampled_from(["get", "delete"]), "key": st.sampled_from("abc")}),
    )

    @settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(operation, max_size=12))
    def check(operations: list[dict[str, Any]]) -> None:
        async def scenario(lab: Lab) -> None:
            found = await results(lab, *operations)
            state: dict[str, str] = {}
            for asked, result in zip(operations, found, strict=True):
                key = asked["key"]
                if asked["op"] == "get":
                    value = (
                        b64decode(result["value_base64"]).decode() if "value_base64" in result else result.get("value")
                    )
                    assert value == state.get(key)
                elif asked["op"] == "delete":
                    assert result["status"] == (204 if state.pop(key, None) is not None else 404)
                elif asked.get("if_absent") and key in state:
                    assert result["status"] == 412
                else:
                    assert result["status"] == 204
                    state[key] = asked["value"]
            assert {key.decode(): record.value.decode() for key, record in lab.service.records.items()} == state

        uvloop.run(with_lab(config_of(), scenario))

    check()


@served()
async def test_an_atomic_batch_is_all_or_nothing(lab: Lab) -> None:
    """A condition that fails undoes all; the others' results say whose it was."""
    done = await results(
        lab,
        {"op": "put", "key": "{t}a", "value": "1"},
        {"op": "get", "key": "{t}a"},
        {"op": "put", "key": "{t}b", "value": "2"},
        atomic=True,
    )
    assert [result["status"] for result in done] == [204, 200, 204]
    undone = await results(
        lab,
        {"op": "put", "key": "{t}a", "value": "9"},
        {"op": "put", "key": "{t}b", "value": "9", "if_absent": True},
        {"op": "delete", "key": "{t}c"},
        atomic=True,
    )
    assert [result["status"] for result in undone] == [424, 412, 424]
    assert undone[0]["code"] == "not_executed"
    assert "operation 1" in undone[0]["detail"]
    assert undone[0]["outcome"] == "not_done"
    assert lab.service.records[b"{t}a"].value == b"1"
    across = await batch(
        lab, {"op": "put", "key": "a", "value": ""}, {"op": "put", "key": "b", "value": ""}, atomic=True
    )
    assert (across.status, across.json()["code"]) == (400, "cross_partition")
    assert await results(lab, atomic=True) == []


@served(limits={"batch_operations_max": 3, "value_bytes_max": 100})
async def test_a_bad_batch_is_refused_whole(lab: Lab) -> None:
    """What is not understood stores nothing, not even what came before it."""
    good = {"op": "put", "key": "a", "value": "1"}
    for bad in (
        {"op": "put", "key": "a"},
        {"op": "put", "value": "1"},
        {"op": "put", "key": "", "value": "1"},
        {"op": "put", "key": "é" * 4097, "value": "1"},
        {"op": "put", "key": "a", "value": 1},
        {"op": "put", "key": "a", "key_base64": "YQ==", "value": "1"},
        {"op": "put", "key_base64": "YQ", "value": "1"},
        {"op": "put", "key": "a", "value_base64": "?"},
        {"op": "put", "key": "a", "value": "1", "ttl": 0},
        {"op": "put", "key": "a", "value": "1", "ttl": "5"},
        {"op": "put", "key": "a", "value": "1", "tll": 5},
        {"op": "put", "key": "a", "value": "1", "if_absent": True, "if_version": 1},
        {"op": "put", "key": "a", "value": "1", "if_version": -1},
        {"op": "get", "key": "a", "value": "1"},
        {"op": "increment", "key": "a"},
        {"key": "a"},
    ):
        answer = await batch(lab, good, bad)
        assert (answer.status, answer.json()["code"], answer.json()["outcome"]) == (400, "bad_batch", "not_done"), bad
    for body in (b"", b"[]", b"{", b"{}", b'{"operations":[],"x":1}', b"[" * 100_000, b"\xff"):
        answer = await lab.ask("POST", "/v1/batch", body)
        assert (answer.status, answer.json()["code"]) == (400, "bad_batch"), body[:9]
    assert (await batch(lab, good, good, good, good)).json()["code"] == "bad_batch"
    large = await batch(lab, good, {"op": "put", "key": "a", "value": "x" * 101})
    assert (large.status, large.json()["code"]) == (413, "value_too_large")
    assert not lab.service.records


@served()
async def test_a_bad_batch_is_told_what_is_wrong(lab: Lab) -> None:
    """The sentence names the operation, or what in the JSON is no text, and never blames what is right."""
    good = '{"op":"get","key":"a"}'
    base64 = "Operation 1: key_base64 is not base64: "
    half = "half of a surrogate pair"
    for bad, words in (
        ('{"op":"get","key":""}', "Operation 1: the key has 0 bytes; a key has 1 to 8,192."),
        ('{"op":"get","key_base64":""}', "Operation 1: the key has 0 bytes; a key has 1 to 8,192."),
        (f'{{"op":"get","key":"{"x" * 8193}"}}', "Operation 1: the key has 8,193 bytes; a key has 1 to 8,192."),
        ('{"op":"get","key_base64":"YQ"}', base64),
        ('{"op":"get","key_base64":"YQ="}', base64),
        ('{"op":"get","key_base64":"Y==="}', base64),
        ('{"op":"get","key_base64":"YQ==YQ=="}', base64),
        ('{"op":"get","key_base64":"YQ--"}', base64),
        ('{"op":"get","key_base64":"éééé"}', base64),
        ('{"op":"put","key":"a","value_base64":"YQ"}', "padded with = to a multiple of four."),
        (r'{"op":"get","key":"\ud800"}', half),
        (r'{"op":"get","key":"\uD800 and more of it"}', half),
        (r'{"op":"get","key":"\\\udc00"}', half),
        (r'{"op":"get","key":"\ud83d\ud83d"}', half),
        (r'{"op":"get","key":"\\ud800', "truncated"),
        (r'{"op":"get","key":"\ud83d\ude00', "truncated"),
    ):
        body = f'{{"operations":[{good},{bad}' + ("" if words == "truncated" else "]}")
        answer = await lab.ask("POST", "/v1/batch", body.encode())
        assert (answer.status, answer.json()["code"]) == (400, "bad_batch"), bad
        assert words in answer.json()["detail"], answer.json()["detail"]
    pair = await lab.ask("POST", "/v1/batch", rb'{"operations":[{"op":"put","key":"\ud83d\ude00","value":"\\ud800"}]}')
    assert pair.json() == {"results": [{"status": 204, "version": 1}]}
    assert lab.service.records["😀".encode()].value == rb"\ud800"


@served(limits={"batch_bytes_max": 1024})
async def test_a_batch_and_what_it_reads_are_bounded(lab: Lab) -> None:
    """A longer body is 413; a get whose value no longer fits the answer says so by itself."""
    answer = await lab.ask("POST", "/v1/batch", b" " * 1025)
    assert (answer.status, answer.json()["code"]) == (413, "batch_too_large")
    await lab.ask("PUT", "/v1/kv/a", b"x" * 600)
    first, second = await results(lab, {"op": "get", "key": "a"}, {"op": "get", "key": "a"})
    assert first["status"] == 200
    assert (second["status"], second["code"]) == (413, "answer_too_large")


@served(limits={"batch_bytes_max": 4096})
async def test_an_atomic_batch_answers_no_more_than_a_batch_may(lab: Lab) -> None:
    """Each get counts, of one key too, as it is encoded; the writes beside a get that did not fit have happened."""
    await lab.ask("PUT", "/v1/kv/{t}text", b"x" * 1500)
    await lab.ask("PUT", "/v1/kv/{t}bytes", b"\xff" * 3100)
    for key, fitting in (("{t}text", 2), ("{t}bytes", 0), ("{t}absent", 20)):
        write = {"op": "put", "key": "{t}written", "value": key}
        for atomic in (True, False):
            answer = await batch(lab, write, *[{"op": "get", "key": key}] * 20, atomic=atomic)
            put, *gets = answer.json()["results"]
            assert (answer.status, put["status"]) == (200, 204)
            assert [get["status"] < 413 for get in gets] == [True] * fitting + [False] * (20 - fitting)
            assert {get.get("code") for get in gets[fitting:]} <= {"answer_too_large"}
            assert not any("outcome" in get for get in gets)
            assert lab.service.records[b"{t}written"].value == key.encode()


@served(limits={"batch_bytes_max": 4096})
async def test_what_is_encoded_in_vain_is_bounded(lab: Lab) -> None:
    """A value that proved too large when it was encoded counts against the next ones; a small one still fits."""
    for key, value in ((b"{t}a", b"\xff" * 3100), (b"{t}b", b"x" * 1500), (b"{t}c", b"x")):
        lab.service.records[key] = Record(value, Version(1), Timestamp(1))
    for atomic in (True, False):
        found = await results(lab, *[{"op": "get", "key": f"{{t}}{key}"} for key in "abc"], atomic=atomic)
        assert [result["status"] for result in found] == [413, 413, 200]


@served(http={"buffered_bytes_max": 3_000_000})
async def test_large_values_are_answered_and_then_forgotten(lab: Lab) -> None:
    """Values that a thread encodes come whole; one that the budget has no room for is 503 in its result."""
    value = "é" * 700_000
    await lab.ask("PUT", "/v1/kv/{t}a", value.encode())
    for atomic in (True, False, True, False):
        found = await results(lab, *[{"op": "get", "key": "{t}a"}] * 3, atomic=atomic)
        assert [result["status"] for result in found] == [200, 200, 503]
        assert [result.get("value") for result in found] == [value, value, None]
        assert found[2]["code"] == "too_much_buffered"


@served()
async def test_an_operation_that_meets_an_error_shows_it(lab: Lab) -> None:
    """Errors of single operations are results; one of an atomic batch is the answer."""
    operations = ({"op": "put", "key": "a", "value": "1"}, {"op": "get", "key": "a"})
    lab.service.arranged = NotDone("overloaded", "Later.")
    put, get = await results(lab, *operations)
    assert put == {"status": 503, "code": "overloaded", "detail": "Later.", "outcome": "not_done"}
    assert (get["status"], "outcome" in get) == (503, False)
    lab.service.arranged = OutcomeUnknown("deadline_passed", "Perhaps.")
    atomic = await batch(lab, *operations, atomic=True)
    assert (atomic.status, atomic.json()["outcome"]) == (504, "unknown")


@served()
async def test_a_batch_in_chunks_is_understood(lab: Lab) -> None:
    """The body may come without a Content-Length."""
    body = json.dumps({"operations": [{"op": "put", "key": "a", "value": "x" * 100_000}]}).encode()
    wire = await lab.connect()
    head = b"POST /v1/batch HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    for piece in (head, b"%x\r\n" % len(body), body[:70_000], body[70_000:], b"\r\n0\r\n\r\n"):
        await wire.send(piece)
        await asyncio.sleep(0)
    assert (await wire.answer()).json() == {"results": [{"status": 204, "version": 1}]}
