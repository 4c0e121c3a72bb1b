"""A connection keeps order, keeps its bounds, and gives the same answers however its bytes arrive."""

import asyncio
from itertools import pairwise

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.http_lab import Lab, config_of, request, served, with_lab

CONVERSATION = (
    request("PUT", "/v1/kv/a%20b?ttl=100", b"1" * 5000)
    + b"\r\n"
    + request("GET", "/v1/kv/a%20b", None, {"If-None-Match": '"7"'})
    + b"PUT /v1/kv/c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
    + request("PUT", "/v1/kv/?bad", b"refused")
    + request("GET", "/v1/kv/c", None, {"Connection": "Upgrade", "Upgrade": "websocket"})
    + request("POST", "/v1/batch", b'{"operations":[{"op":"get","key":"c"}]}')
    + request("GET", "/v1/kv/nothing")
    + request("PUT", "/v1/kv/d", b"upgraded", {"Connection": "Upgrade", "Upgrade": "h2c"})
    + request("GET", "/v1/kv/d")
    + request("GET", "/v1/kv/d", b"unwanted")
    + request("DELETE", "/v1/kv/c")
    + request("GET", "/v1/kv/d")
    + request("GET", "/v1/kv?limit=1&keys_only=true")
    + b"nonsense\r\n\r\n"
)
STATUSES = [204, 200, 204, 400, 200, 200, 404, 204, 200, 200, 204, 200, 200, 400]


async def converse(lab: Lab, cuts: list[int]) -> list[tuple[int, bytes]]:
    """Sends the conversation in pieces and returns what came back, without times."""
    wire = await lab.connect()
    places = [0, *sorted(cuts), len(CONVERSATION)]
    for begin, end in pairwise(places):
        await wire.send(CONVERSATION[begin:end])
        await asyncio.sleep(0)
    answers = [await wire.answer() for _ in STATUSES]
    assert await wire.is_closed()
    return [(answer.status, b"" if b"timestamp" in answer.body else answer.body) for answer in answers]


def test_any_chunking_gives_the_same_answers() -> None:
    """Wherever the bytes of a pipelined conversation are cut, the answers are the same, in the same order."""

    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.integers(0, len(CONVERSATION)), max_size=30))
    def check(cuts: list[int]) -> None:
        async def scenario(lab: Lab) -> None:
            answers = await converse(lab, cuts)
            assert [status for status, _ in answers] == STATUSES
            assert answers[1][1] == b"1" * 5000
            assert answers[4][1] == b"abcde"
            assert [answers[place][1] for place in (8, 9, 11)] == [b"upgraded"] * 3
            assert set(lab.service.records) == {b"a b", b"d"}
            assert lab.service.records[b"d"].value == b"upgraded"

        uvloop.run(with_lab(config_of(), scenario))

    check()


@served()
async def test_byte_by_byte_gives_the_same_answers(lab: Lab) -> None:
    """One byte at a time is a chunking too."""
    assert [status for status, _ in await converse(lab, list(range(len(CONVERSATION))))] == STATUSES


@served()
async def test_thousands_of_pipelined_requests_are_answered_in_order(lab: Lab) -> None:
    """Pipelining works, and only a bounded number of requests is ever parsed ahead."""
    count = 20_000
    lab.service.gate = asyncio.Event()
    wire = await lab.connect()
    sending = asyncio.ensure_future(
        wire.send(b"".join(b"PUT /v1/kv/%d HTTP/1.1\r\nContent-Length: 1\r\n\r\nx" % n for n in range(count)))
    )
    await lab.until(lambda: lab.service.begun == 1)
    (connection,) = lab.server.state.open
    await lab.until(connection.has_more)
    assert connection.queued() <= 120
    lab.service.gate.set()
    lab.service.gate = None
    for number in range(count):
        answer = await wire.answer()
        assert (answer.status, answer.headers["etag"]) == (204, f'"{number + 1}"')
    await sending
    assert len(lab.service.records) == count


@served()
async def test_an_error_waits_for_the_answers_before_it(lab: Lab) -> None:
    """Nonsense behind a write that is under way does not take the write's answer away."""
    lab.service.gate = asyncio.Event()
    wire = await lab.connect()
    await wire.send(request("PUT", "/v1/kv/a", b"1") + request("PUT", "/v1/kv/b", b"2") + b"nonsense\r\n\r\n")
    await lab.until(lambda: lab.service.begun == 1)
    lab.service.gate.set()
    assert [(await wire.answer()).status for _ in range(3)] == [204, 204, 400]
    assert await wire.is_closed()
    assert set(lab.service.records) == {b"a", b"b"}


@served()
async def test_nothing_after_connection_close_is_executed(lab: Lab) -> None:
    """A request that ends the connection is the last one."""
    wire = await lab.connect()
    last = request("PUT", "/v1/kv/a", b"1", {"Connection": "close"})
    await wire.send(last + request("PUT", "/v1/kv/b", b"2"))
    answer = await wire.answer()
    assert (answer.status, answer.headers["connection"]) == (204, "close")
    assert await wire.is_closed()
    assert set(lab.service.records) == {b"a"}


@served()
async def test_http_1_0_is_spoken(lab: Lab) -> None:
    """An HTTP/1.0 client gets its answer and the end of the connection."""
    await lab.ask("PUT", "/v1/kv/a", b"1")
    wire = await lab.connect()
    await wire.send(b"GET /v1/kv/a HTTP/1.0\r\n\r\n")
    answer = await wire.answer()
    assert (answer.status, answer.body) == (200, b"1")
    assert await wire.is_closed()


@served()
async def test_other_protocols_are_not_switched_to(lab: Lab) -> None:
    """An upgrade is ignored, with a body too; CONNECT leads nowhere."""
    wire = await lab.connect()
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": ""}
    assert (await wire.ask("PUT", "/v1/kv/a", b"12345", upgrade)).status == 204
    assert (await wire.ask("GET", "/v1/kv/a", None, upgrade)).body == b"12345"
    chunked = b"PUT /v1/kv/b HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
    await wire.send(chunked + b"3\r\nabc\r\n0\r\n\r\n" + request("GET", "/v1/kv/b"))
    assert (await wire.answer()).status == 204
    assert (await wire.answer()).body == b"abc"
    assert (await wire.ask("CONNECT", "elsewhere:443")).status == 404
    assert await wire.is_closed()


@served()
async def test_an_unwanted_body_does_not_end_the_connection(lab: Lab) -> None:
    """A refused request's body is thrown away if it is small, however it comes; the next request is served."""
    wire = await lab.connect()
    for body in (b"", b"x", b"x" * 60_000):
        assert (await wire.ask("PUT", "/v1/kv/?ttl=1", body)).status == 400
        assert (await wire.ask("GET", "/v1/kv/a", body)).status == 404
    await wire.send(b"POST /nowhere HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await wire.answer()).status == 404
    await wire.send(b"3\r\nabc\r\n0\r\n\r\n")
    assert (await wire.ask("GET", "/healthz")).status == 200
    await wire.send(b"POST /nowhere HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await wire.answer()).status == 404
    await wire.send(b"%x\r\n%b\r\n" % (70_000, b"x" * 70_000))
    assert await wire.is_closed()


@served()
async def test_a_write_is_executed_though_its_client_has_left(lab: Lab) -> None:
    """A request that came whole is executed, and nobody else is disturbed by the missing reader."""
    lab.service.gate = asyncio.Event()
    wire = await lab.connect()
    await wire.send(request("PUT", "/v1/kv/a", b"1"))
    await lab.until(lambda: lab.service.begun == 1)
    wire.writer.transport.abort()
    lab.service.gate.set()
    await lab.until(lambda: b"a" in lab.service.records)
    await lab.until(lambda: not lab.server.state.open)
    assert (await lab.ask("GET", "/v1/kv/a")).headers["etag"] == '"1"'


@served()
async def test_a_connection_that_is_gone_leaves_no_task_behind(lab: Lab) -> None:
    """What answers a connection's requests is one task for all of them, and it ends with the connection."""
    before = len(asyncio.all_tasks())
    wire = await lab.connect()
    for number in range(3):
        assert (await wire.ask("PUT", "/v1/kv/a", b"%d" % number)).status == 204
    assert len(asyncio.all_tasks()) == before + 1
    wire.close()
    await lab.until(lambda: len(asyncio.all_tasks()) == before)


@served()
async def test_a_client_that_leaves_in_the_middle_of_a_write_leaves_no_task_behind(lab: Lab) -> None:
    """The write goes on without its client, and then the connection's task ends."""
    before = len(asyncio.all_tasks())
    lab.service.gate = asyncio.Event()
    wire = await lab.connect()
    await wire.send(request("PUT", "/v1/kv/a", b"1"))
    await lab.until(lambda: lab.service.begun == 1)
    wire.writer.transport.abort()
    lab.service.gate.set()
    await lab.until(lambda: len(asyncio.all_tasks()) == before)
    assert set(lab.service.records) == {b"a"}
