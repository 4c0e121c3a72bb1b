"""A plain GET of a key that another node leads is asked for without a task, and nobody can tell it from any other."""

import asyncio
import socket
import struct

import pytest

from corecache.errors import Broken, CoreCacheError, NotDone
from corecache.identity import Milliseconds, Timestamp, Version
from corecache.operations import NEVER, Record
from serving.http_lab import Lab, request, served

LONG_WAY = {"X-CoreCache-Timeout": "5000"}
"""Changes nothing of what a GET finds, but has to be looked at."""


def record(value: bytes, expires: int = NEVER) -> Record:
    """Returns a record."""
    return Record(value, Version(7), Timestamp(1_700_000_000_000), Timestamp(expires))


@served()
async def test_no_task_is_made_for_it_and_it_is_counted(lab: Lab) -> None:
    """Neither for a key that is there nor for one that is not."""
    lab.service.elsewhere |= {b"a", b"b"}
    lab.service.records[b"a"] = record(b"1")
    wire = await lab.connect()
    for _ in range(3):
        assert (await wire.ask("GET", "/v1/kv/a")).body == b"1"
    missing = await wire.ask("GET", "/v1/kv/b")
    assert (missing.status, missing.json()["code"]) == (404, "key_not_found")
    (connection,) = lab.server.state.open
    assert connection.task is None
    assert lab.server.state.total_requests == 4
    shown = (await lab.ask("GET", "/metrics")).body.decode()
    for status, times in (("200", 3), ("404", 1)):
        name = f'corecache_http_requests_total{{method="GET",route="/v1/kv/{{key}}",status="{status}"}} {times}.0'
        assert name in shown.splitlines()


@pytest.mark.parametrize(
    "present", [None, record(b""), record(b"x" * 65_536), record(b"x" * 65_537), record(b"x", 4_000_000_000_000)]
)
def test_the_answer_is_the_long_ways(present: Record | None) -> None:
    """Whatever is there: nothing, a little, much, or what expires."""

    @served()
    async def scenario(lab: Lab) -> None:
        lab.service.elsewhere.add(b"a")
        if present is not None:
            lab.service.records[b"a"] = present
        asked = lab.service.get
        times = 0

        async def counted(key: bytes, deadline: Milliseconds) -> Record | None:
            nonlocal times
            times += 1
            return await asked(key, deadline)

        lab.service.get = counted  # type: ignore[method-assign]
        wire = await lab.connect()
        answers = [await wire.ask("GET", "/v1/kv/a", None, headers) for headers in ({}, LONG_WAY)]
        assert times == 2, "the other node was asked more than once for one answer"
        for answer in answers:
            assert answer.headers.pop("date")
        assert answers[0] == answers[1]
        assert answers[0].status == (200 if present is not None else 404)

    scenario()


@served()
async def test_what_follows_it_is_answered_behind_it(lab: Lab) -> None:
    """A write and a read that memory could answer wait for their turn, in one piece with it or in another."""
    lab.service.elsewhere.add(b"a")
    lab.service.records |= {b"a": record(b"1"), b"b": record(b"2")}
    for together in (True, False):
        wire = await lab.connect()
        gate = lab.service.gate = asyncio.Event()
        begun = lab.service.begun
        following = request("PUT", "/v1/kv/c", b"3") + request("GET", "/v1/kv/b")
        await wire.send(request("GET", "/v1/kv/a") + (following if together else b""))
        await lab.until(lambda before=begun: lab.service.begun > before)  # type: ignore[misc]
        lab.service.gate = None
        if not together:
            await wire.send(following)
        gate.set()
        assert [(await wire.answer()).status for _ in range(3)] == [200, 204, 200]


@pytest.mark.parametrize(
    "error", [NotDone("unanswered", "The node did not answer."), Broken("storage_failed", "Gone.")]
)
def test_what_fails_is_told_as_on_the_long_way(error: CoreCacheError) -> None:
    """A read that stays without success says why, and the connection goes on."""

    @served()
    async def scenario(lab: Lab) -> None:
        lab.service.elsewhere.add(b"a")
        lab.service.records[b"a"] = record(b"1")
        wire = await lab.connect()
        lab.service.arranged = error
        told = [await wire.ask("GET", "/v1/kv/a", None, headers) for headers in ({}, LONG_WAY)]
        assert [(answer.status, answer.json()["code"]) for answer in told] == [
            (503 if isinstance(error, NotDone) else 500, error.code)
        ] * 2
        lab.service.arranged = None
        assert (await wire.ask("GET", "/v1/kv/a")).body == b"1"

    scenario()


@served()
async def test_a_second_try_has_the_time_that_is_left(lab: Lab) -> None:
    """A read takes no longer than its time-out, however often it is tried."""
    deadlines: list[Milliseconds] = []
    get = lab.service.get

    async def noted(key: bytes, deadline: Milliseconds) -> Record | None:
        deadlines.append(deadline)
        if len(deadlines) == 1:
            await asyncio.sleep(0.01)
            raise NotDone("unanswered", "The node did not answer.")
        return await get(key, deadline)

    lab.service.get = noted  # type: ignore[method-assign]
    lab.service.elsewhere.add(b"a")
    lab.service.records[b"a"] = record(b"1")
    assert (await lab.ask("GET", "/v1/kv/a")).body == b"1"
    assert len(deadlines) == 2
    assert deadlines[0] == deadlines[1]


@served()
async def test_a_client_that_goes_is_forgotten(lab: Lab) -> None:
    """What the other node says then is nobody's."""
    lab.service.elsewhere.add(b"a")
    gate = lab.service.gate = asyncio.Event()
    wire = await lab.connect()
    await wire.send(request("GET", "/v1/kv/a"))
    await lab.until(lambda: lab.service.begun == 1)
    # With a reset, not an end: behind that one an answer might still be wanted.
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()
    await lab.until(lambda: not lab.server.state.open)
    gate.set()
    lab.service.gate = None
    assert (await lab.ask("GET", "/v1/kv/a")).status == 404
    assert lab.server.state.total_requests == 1


@served()
async def test_a_node_that_stops_answers_first(lab: Lab) -> None:
    """A read that is under way when the node begins to stop is answered, and is the connection's last."""
    lab.service.elsewhere.add(b"a")
    lab.service.records[b"a"] = record(b"1")
    gate = lab.service.gate = asyncio.Event()
    wire = await lab.connect()
    await wire.send(request("GET", "/v1/kv/a"))
    await lab.until(lambda: lab.service.begun == 1)
    lab.service.gate = None
    stopping = asyncio.ensure_future(lab.server.stop(20_000))
    await asyncio.sleep(0)
    gate.set()
    answer = await wire.answer()
    assert (answer.body, answer.headers["connection"]) == (b"1", "close")
    assert await wire.is_closed()
    await stopping
