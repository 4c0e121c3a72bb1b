"""A plain GET of a key in memory is answered where its headers end, and nobody can tell it from any other GET."""

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest

from corecache.errors import Broken
from corecache.identity import Timestamp, Version
from corecache.operations import NEVER, Record
from serving.http_lab import PATIENCE_SECONDS, Lab, Wire, request, served

LONG_WAY = {"X-CoreCache-Timeout": "1000"}
"""Changes nothing of what a GET finds, but has to be looked at."""


class Noting(dict[bytes, Record]):
    """Records that tell of each look at one of them before it is given."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self._look = look

    def get(self, key: bytes, default: object = None) -> Record | None:  # type: ignore[override]
        """Returns a record."""
        self._look()
        return super().get(key)


def record(value: bytes) -> Record:
    """Returns a record that does not expire."""
    return Record(value, Version(7), Timestamp(1_700_000_000_000), NEVER)


async def raw_answer(wire: Wire) -> list[bytes]:
    """Returns the next answer as it came, in lines, without the time of day; the body is the last."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        head = (await wire.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        (length,) = (int(line.partition(b": ")[2]) for line in head if line.startswith(b"content-length"))
        lines = [b"date" if line.startswith(b"date: ") else line for line in head]
        return [*lines, await wire.reader.readexactly(length)]


async def counted(lab: Lab) -> str:
    """Returns how many GETs of keys were answered with 200, as /metrics shows it."""
    shown = (await lab.ask("GET", "/metrics")).body.decode().splitlines()
    name = 'corecache_http_requests_total{method="GET",route="/v1/kv/{key}",status="200"} '
    (line,) = (line for line in shown if line.startswith(name))
    return line.removeprefix(name)


@served()
async def test_no_task_is_made_for_it_and_it_is_counted(lab: Lab) -> None:
    """A connection that asks for nothing else never has a task; metrics see its requests as all others."""
    lab.service.records[b"a"] = record(b"1")
    before = len(asyncio.all_tasks())
    wire = await lab.connect()
    for _ in range(3):
        assert (await wire.ask("GET", "/v1/kv/a")).body == b"1"
    assert len(asyncio.all_tasks()) == before
    assert lab.server.state.total_requests == 3
    assert (await wire.ask("GET", "/v1/kv/a", None, LONG_WAY)).body == b"1"
    assert len(asyncio.all_tasks()) == before + 1
    assert await counted(lab) == "4.0"


@pytest.mark.parametrize("size_bytes", [0, 1, 65_536, 65_537])
def test_the_answer_is_the_long_ways_byte_for_byte(size_bytes: int) -> None:
    """Of two requests that come in one piece, the second goes the long way: the first's answer is no other."""

    @served()
    async def scenario(lab: Lab) -> None:
        lab.service.records[b"a"] = record(b"x" * size_bytes)
        wire = await lab.connect()
        await wire.send(request("GET", "/v1/kv/a") * 2)
        answers = [await raw_answer(wire), await raw_answer(wire)]
        assert answers[0] == answers[1]
        assert answers[0][-1] == b"x" * size_bytes

    scenario()


@served()
async def test_what_asks_for_more_than_a_value_gets_it(lab: Lab) -> None:
    """Conditions, queries, percent signs, HEAD, bodies, `Expect`, closing and HTTP/1.0 mean what they always mean."""
    lab.service.records[b"a"] = record(b"1")
    for other in (b"a?", b"a?a=b", b"%61", b"%zz"):
        lab.service.records[other] = record(b"not what is asked for")
    wire = await lab.connect()
    assert (await wire.ask("GET", "/v1/kv/a", None, {"If-None-Match": '"7"'})).status == 304
    assert (await wire.ask("GET", "/v1/kv/a", None, {"If-Match": '"7"'})).status == 400
    assert "x-corecache-sequence" in (await wire.ask("GET", "/v1/kv/a?consistency=stale")).headers
    assert (await wire.ask("GET", "/v1/kv/a?")).body == b"1"
    assert (await wire.ask("GET", "/v1/kv/a?a=b")).status == 400
    assert (await wire.ask("GET", "/v1/kv/%61")).body == b"1"
    assert (await wire.ask("GET", "/v1/kv/%zz")).status == 400
    assert (await wire.ask("GET", "/v1/kv/")).status == 400
    assert (await wire.ask("GET", "/v1/kv/" + "a" * 8193)).status == 400
    assert (await wire.ask("GET", "/v1/kv/b")).status == 404
    assert (await wire.ask("HEAD", "/v1/kv/a")).headers["content-length"] == "1"
    chunked = b"GET /v1/kv/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    for octets in (request("GET", "/v1/kv/a", b""), request("GET", "/v1/kv/a", b"body"), chunked):
        with_body = await lab.connect()
        await with_body.send(octets + request("HEAD", "/v1/kv/a"))
        assert (await with_body.answer()).body == b"1"
        assert (await with_body.answer("HEAD")).status == 200
    assert (await wire.ask("GET", "/v1/kv/a", None, {"Expect": "100-continue"})).body == b"1"
    assert (await wire.ask("GET", "/v1/kv/a", None, {"Connection": "Upgrade", "Upgrade": "h2c"})).body == b"1"
    old = await lab.connect()
    await old.send(b"GET /v1/kv/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    for last in (old, wire):
        if last is wire:
            await wire.send(request("GET", "/v1/kv/a", None, {"Connection": "close"}) + request("GET", "/v1/kv/a"))
        answer = await last.answer()
        assert (answer.body, answer.headers["connection"]) == (b"1", "close")
        assert await last.is_closed()


@served()
async def test_it_waits_for_what_came_before_it(lab: Lab) -> None:
    """A read behind a write on the same connection sees it, though memory knows the key already."""
    lab.service.records[b"a"] = record(b"old")
    wire = await lab.connect()
    lab.service.gate = asyncio.Event()
    await wire.send(request("PUT", "/v1/kv/a", b"new"))
    await lab.until(lambda: lab.service.begun == 1)
    gate, lab.service.gate = lab.service.gate, None
    (connection,) = lab.server.state.open
    await wire.send(request("GET", "/v1/kv/a"))
    await lab.until(connection.has_more)
    gate.set()
    assert (await wire.answer()).status == 204
    assert (await wire.answer()).body == b"new"


@served()
async def test_many_at_once_are_answered_one_a_turn_of_the_loop(lab: Lab) -> None:
    """Who sends a thousand reads in one piece is not answered more often, while others wait, than one who asks once."""
    loop = asyncio.get_running_loop()
    turns = count()
    turn = next(turns)
    looks: Counter[int] = Counter()

    def go_on() -> None:
        nonlocal turn
        turn = next(turns)
        going.append(loop.call_soon(go_on))
        del going[:-1]

    going: list[asyncio.Handle] = []
    lab.service.records = Noting(lambda: looks.update((turn,)))
    lab.service.records[b"a"] = record(b"1")
    wire = await lab.connect()
    go_on()
    await wire.send(request("GET", "/v1/kv/a") * 1000)
    for _ in range(1000):
        assert (await wire.answer()).body == b"1"
    going[0].cancel()
    assert looks.total() == 1000
    # What has just come, and what the connection's task has just gone on with.
    assert max(looks.values()) <= 2


@served()
async def test_a_client_that_does_not_read_is_not_answered_further(lab: Lab) -> None:
    """Each request comes in a turn of its own; once the answers stay, the next one waits, and all arrive in the end."""
    value = b"x" * 60_000
    lab.service.records[b"a"] = record(value)
    wire = await lab.connect()
    await lab.until(lambda: len(lab.server.state.open) == 1)
    (connection,) = lab.server.state.open
    sent = 0
    while not connection.has_more():
        await wire.send(request("GET", "/v1/kv/a"))
        sent += 1
        assert connection.transport.get_write_buffer_size() < 4 * len(value)
        await asyncio.sleep(0)
    assert connection.flow.write_paused
    for _ in range(sent):
        assert (await wire.answer()).body == value


@served()
async def test_a_client_that_says_its_last_with_it_gets_its_answer(lab: Lab) -> None:
    """The end of the client's words in the same moment takes nothing away, and the connection closes."""
    lab.service.records[b"a"] = record(b"x" * 60_000)
    for size in (1, 2, 50):
        wire = await lab.connect()
        wire.writer.write(request("GET", "/v1/kv/a") * size)
        wire.writer.write_eof()
        for _ in range(size):
            assert (await wire.answer()).body == b"x" * 60_000
        assert await wire.is_closed()


@served()
async def test_nonsense_behind_it_is_answered_after_it(lab: Lab) -> None:
    """The error comes second, and is the last."""
    lab.service.records[b"a"] = record(b"1")
    wire = await lab.connect()
    await wire.send(request("GET", "/v1/kv/a") + b"nonsense\r\n\r\n")
    assert [(await wire.answer()).status for _ in range(2)] == [200, 400]
    assert await wire.is_closed()


@served()
async def test_a_node_that_stops_says_so(lab: Lab) -> None:
    """A read that was on its way when the node began to stop is answered, and is the connection's last."""
    lab.service.records[b"a"] = record(b"1")
    wire = await lab.connect()
    assert "connection" not in (await wire.ask("GET", "/v1/kv/a")).headers
    stopping = asyncio.ensure_future(lab.server.stop(20_000))
    await asyncio.sleep(0)
    await wire.send(request("GET", "/v1/kv/a"))
    assert (await wire.answer()).headers["connection"] == "close"
    assert await wire.is_closed()
    await stopping


@pytest.mark.parametrize("error", [Broken("storage_failed", "The disk is gone."), KeyError("a defect")])
def test_an_error_is_the_documented_one(error: Exception) -> None:
    """What goes wrong at the look into memory is answered as it is on the long way, and the connection goes on."""

    @served()
    async def scenario(lab: Lab) -> None:
        def fail() -> None:
            raise error

        lab.service.records = Noting(fail)
        lab.service.records[b"a"] = record(b"1")
        wire = await lab.connect()
        code = error.code if isinstance(error, Broken) else "internal"
        for headers in ({}, LONG_WAY, {}):
            answer = await wire.ask("GET", "/v1/kv/a", None, headers)
            assert (answer.status, answer.json()["code"]) == (500, code)
            assert "connection" not in answer.headers
            assert "outcome" not in answer.json()

    scenario()
