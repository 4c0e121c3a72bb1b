"""PUT, GET, HEAD and DELETE of a key do what docs/http.md promises."""

import asyncio
import time
from urllib.parse import quote_from_bytes

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corecache.errors import Broken, CallerFault, NotDone, OutcomeUnknown
from serving.http_lab import Lab, config_of, request, served, with_lab


@served()
async def test_a_value_comes_back_as_it_was(lab: Lab) -> None:
    """PUT answers 204 with an ETag; GET answers the bytes with version, timestamp and length; HEAD the same without."""
    before_ms = time.time_ns() // 1_000_000
    put = await lab.ask("PUT", "/v1/kv/colour", b"red\x00\xff")
    assert (put.status, put.headers["etag"], put.body) == (204, '"1"', b"")
    got = await lab.ask("GET", "/v1/kv/colour")
    assert (got.status, got.body) == (200, b"red\x00\xff")
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-length"] == "5"
    assert got.headers["etag"] == '"1"'
    assert before_ms <= int(got.headers["x-corecache-timestamp"]) <= time.time_ns() // 1_000_000
    assert "x-corecache-expires" not in got.headers
    head = await lab.ask("HEAD", "/v1/kv/colour")
    assert head.status == 200
    assert {**head.headers, "date": ""} == {**got.headers, "date": ""}


@served()
async def test_an_absent_key_is_404(lab: Lab) -> None:
    """GET says so as a problem, HEAD without a body."""
    got = await lab.ask("GET", "/v1/kv/nothing")
    assert (got.status, got.headers["content-type"]) == (404, "application/problem+json")
    assert got.json()["code"] == "key_not_found"
    assert "outcome" not in got.json()
    assert (await lab.ask("HEAD", "/v1/kv/nothing")).status == 404


@served()
async def test_delete_removes_and_says_whether_there_was_something(lab: Lab) -> None:
    """204 for a record, 404 when there is none."""
    await lab.ask("PUT", "/v1/kv/a", b"1")
    assert (await lab.ask("DELETE", "/v1/kv/a")).status == 204
    again = await lab.ask("DELETE", "/v1/kv/a")
    assert (again.status, again.json()["outcome"]) == (404, "not_done")
    assert (await lab.ask("GET", "/v1/kv/a")).status == 404


def test_any_key_and_value_come_back_exactly() -> None:
    """Any bytes, percent-encoded, are a key; any bytes are a value."""

    async def scenario(lab: Lab) -> None:
        wire = await lab.connect()
        loop = asyncio.get_running_loop()

        async def check(key: bytes, value: bytes, safe: str) -> None:
            path = "/v1/kv/" + quote_from_bytes(key, safe=safe)
            assert (await wire.ask("PUT", path, value)).status == 204
            assert lab.service.records[key].value == value
            assert (await wire.ask("GET", path)).body == value
            assert (await wire.ask("DELETE", path)).status == 204
            assert not lab.service.records

        @settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
        @given(st.binary(min_size=1, max_size=40), st.binary(max_size=100), st.sampled_from(["", "/:;,@&=+$!*'()"]))
        def examples(key: bytes, value: bytes, safe: str) -> None:
            asyncio.run_coroutine_threadsafe(check(key, value, safe), loop).result()

        await asyncio.to_thread(examples)

    asyncio.run(with_lab(config_of(), scenario))


@served()
async def test_paths_are_not_normalised(lab: Lab) -> None:
    """Dots, slashes, colons and fragments within a key are bytes as others are."""
    for raw in ["a/../b", "//", ".", "..", "a//b", "a/", "/", "a:b", "a;b", "a#b", "%2e%2e", "~", "[x]", "{t}k"]:
        assert (await lab.ask("PUT", f"/v1/kv/{raw}", raw.encode())).status == 204, raw
    for raw in ["a/../b", "//", ".", "..", "a//b", "a/", "/", "a:b", "a;b", "a#b", "~", "[x]", "{t}k"]:
        assert raw.encode() in lab.service.records
    assert lab.service.records[b".."].value == b"%2e%2e"
    assert (await lab.ask("GET", "http://elsewhere:80/v1/kv/a//b")).body == b"a//b"


@served()
async def test_a_ttl_ends_a_record(lab: Lab) -> None:
    """An expiring record shows when, and is gone then."""
    await lab.ask("PUT", "/v1/kv/a?ttl=3600.5", b"1")
    got = await lab.ask("GET", "/v1/kv/a")
    assert int(got.headers["x-corecache-expires"]) - int(got.headers["x-corecache-timestamp"]) == 3_600_500
    await lab.ask("PUT", "/v1/kv/b?ttl=0.0001", b"1")
    async with asyncio.timeout(10):
        while (await lab.ask("GET", "/v1/kv/b")).status == 200:
            pass


@served()
async def test_conditions_of_writes(lab: Lab) -> None:
    """412 names the present version, if there is one, and changes nothing."""
    absent = {"If-None-Match": "*"}
    assert (await lab.ask("PUT", "/v1/kv/a", b"1", absent)).status == 204
    refused = await lab.ask("PUT", "/v1/kv/a", b"2", absent)
    assert (refused.status, refused.headers["etag"], refused.json()["outcome"]) == (412, '"1"', "not_done")
    assert (await lab.ask("PUT", "/v1/kv/a", b"3", {"If-Match": '"9", "1"'})).headers["etag"] == '"2"'
    assert (await lab.ask("PUT", "/v1/kv/a", b"4", {"If-Match": '"1"'})).status == 412
    assert (await lab.ask("DELETE", "/v1/kv/a", None, {"If-Match": '"1"'})).status == 412
    assert lab.service.records[b"a"].value == b"3"
    assert (await lab.ask("DELETE", "/v1/kv/a", None, {"If-Match": "*"})).status == 204
    gone = await lab.ask("PUT", "/v1/kv/a", b"5", {"If-Match": "*"})
    assert (gone.status, "etag" in gone.headers) == (412, False)


@served()
async def test_conditions_of_reads(lab: Lab) -> None:
    """If-None-Match with the present version, in a list, weak, or `*`, is answered 304 with the ETag."""
    await lab.ask("PUT", "/v1/kv/a", b"1")
    for tags in ('"1"', 'W/"1"', '"0", "1"', '"x",W/"1"', "*"):
        for method in ("GET", "HEAD"):
            answer = await lab.ask(method, "/v1/kv/a", None, {"If-None-Match": tags})
            assert (answer.status, answer.headers["etag"], answer.body) == (304, '"1"', b""), tags
    for tags in ('"2"', 'W/"11"', '"*"'):
        assert (await lab.ask("GET", "/v1/kv/a", None, {"If-None-Match": tags})).status == 200
    for tags in ("1", '"1', "* ,", '"1" "2"'):
        assert (await lab.ask("GET", "/v1/kv/absent", None, {"If-None-Match": tags})).status == 400
    assert (await lab.ask("GET", "/v1/kv/a", None, {"If-Match": '"1"'})).status == 400


@served()
async def test_a_stale_read_says_how_far_it_reaches(lab: Lab) -> None:
    """`consistency=stale` adds the sequence."""
    await lab.ask("PUT", "/v1/kv/a", b"1")
    got = await lab.ask("GET", "/v1/kv/a?consistency=stale")
    assert (got.body, got.headers["x-corecache-sequence"]) == (b"1", "1")
    assert (await lab.ask("GET", "/v1/kv/none?consistency=stale")).headers["x-corecache-sequence"] == "1"
    assert (await lab.ask("GET", "/v1/kv/a?consistency=strong")).json()["code"] == "bad_parameter"


@served()
async def test_errors_of_the_node_keep_their_meaning(lab: Lab) -> None:
    """The class of an error decides its status; writes say their outcome; 503 says when to try again."""
    cases = [
        (CallerFault("cross_partition", "No."), 400, "not_done"),
        (CallerFault("disk_full", "No room."), 507, "not_done"),
        (NotDone("overloaded", "Later.", 1500), 503, "not_done"),
        (OutcomeUnknown("deadline_passed", "Perhaps."), 504, "unknown"),
        (Broken("store_broken", "Look."), 500, "unknown"),
    ]
    for error, status, outcome in cases:
        lab.service.arranged = error
        put = await lab.ask("PUT", "/v1/kv/a", b"1")
        assert (put.status, put.json()["status"], put.json()["outcome"]) == (status, status, outcome)
        assert put.json()["code"] == error.code
        assert put.headers.get("retry-after") == ("2" if status == 503 else None)
        got = await lab.ask("GET", "/v1/kv/a")
        assert (got.status, "outcome" in got.json()) == (status, False)
    assert not lab.service.records


@served()
async def test_an_unexpected_exception_is_a_documented_answer(lab: Lab) -> None:
    """A bug becomes `internal` with an unknown outcome for writes, and the connection goes on."""
    wire = await lab.connect()
    lab.service.arranged = ZeroDivisionError("a bug")
    put = await wire.ask("PUT", "/v1/kv/a", b"1")
    assert (put.status, put.json()["code"], put.json()["outcome"]) == (500, "internal", "unknown")
    assert (await wire.ask("GET", "/v1/storage")).json()["code"] == "internal"
    lab.service.arranged = None
    assert (await wire.ask("PUT", "/v1/kv/a", b"1")).status == 204


@served(limits={"value_bytes_max": 1 << 20})
async def test_values_of_all_sizes(lab: Lab) -> None:
    """Empty, small, around 64 KiB and the largest value come back, with a Content-Length or in chunks."""
    for size in (0, 1, 65_535, 65_536, 65_537, 300_000, 1 << 20):
        value = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert (await lab.ask("PUT", "/v1/kv/a", value)).status == 204
        assert (await lab.ask("GET", "/v1/kv/a")).body == value
        wire = await lab.connect()
        await wire.send(chunked("/v1/kv/b", value, 50_000))
        assert (await wire.answer()).status == 204
        got = await wire.ask("GET", "/v1/kv/b")
        assert got.body == value
        head = await wire.ask("HEAD", "/v1/kv/b")
        assert head.headers["content-length"] == str(size)


@served()
async def test_a_put_without_a_body_stores_an_empty_value(lab: Lab) -> None:
    """No Content-Length and no chunks: nothing comes."""
    assert (await lab.ask("PUT", "/v1/kv/a")).status == 204
    assert (await lab.ask("GET", "/v1/kv/a")).headers["content-length"] == "0"


@served()
async def test_the_client_may_wait_for_100_continue(lab: Lab) -> None:
    """A body that is wanted is asked for."""
    wire = await lab.connect()
    await wire.send(request("PUT", "/v1/kv/a", None, {"Expect": "100-continue", "Content-Length": "3"}))
    assert (await wire.answer()).status == 100
    await wire.send(b"abc")
    assert (await wire.answer()).status == 204
    assert (await wire.ask("GET", "/v1/kv/a")).body == b"abc"


def chunked(path: str, value: bytes, chunk_bytes: int, method: str = "PUT") -> bytes:
    """Returns a request whose body comes in chunks."""
    head = f"{method} {path} HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    parts = [value[at : at + chunk_bytes] for at in range(0, len(value), chunk_bytes)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
