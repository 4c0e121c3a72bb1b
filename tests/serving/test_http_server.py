"""The server finds a port, says why it can't, and drains."""

import asyncio
import socket
import time

import pytest
from prometheus_client import CollectorRegistry

from corecache.config import Config
from corecache.errors import CallerFault
from corecache.serving.http.server import HttpServer
from serving.http_lab import Lab, config_of, request, served
from serving.memory_service import MemoryService, SystemClock


async def start(config: Config) -> tuple[HttpServer, int]:
    """Starts a server."""
    server = HttpServer()
    _, port = await server.start(MemoryService(), config, SystemClock(), CollectorRegistry())
    return server, port


@served()
async def test_the_first_free_port_of_the_range_is_taken(lab: Lab) -> None:
    """Ports in use are passed over; when none is left the error names the range."""
    server, other = await start(config_of({"port_range_first": lab.port, "port_range_last": lab.port + 30}))
    try:
        assert lab.port < other <= lab.port + 30
        for last, words in ((lab.port, f"Port {lab.port} is in use"), (lab.port + 1, "All ports from")):
            if last in (lab.port, other):
                with pytest.raises(CallerFault, match=words) as caught:
                    await start(config_of({"port_range_first": lab.port, "port_range_last": last}))
                assert caught.value.code == "port_in_use"
    finally:
        await server.stop(0)


@served()
async def test_a_port_that_is_asked_for_is_the_one(lab: Lab) -> None:
    """A given port is used or refused; no other is tried."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CallerFault, match=f"Port {port} is in use on 127.0.0.1"):
            await start(config_of({"port": port}))
    server, bound = await start(config_of({"port": port}))
    await server.stop(0)
    assert bound == port


@served()
async def test_a_host_that_is_none_is_refused(lab: Lab) -> None:
    """An address that is not this machine's, or no address at all, is a clear error."""
    for host in ("192.0.2.1", "no host"):
        with pytest.raises(CallerFault, match=host) as caught:
            await start(config_of({"host": host}))
        assert caught.value.code == "cannot_listen"


@served()
async def test_stopping_answers_what_is_under_way(lab: Lab) -> None:
    """Requests that have come are answered with `connection: close`, idle connections are closed, new ones refused."""
    lab.service.gate = asyncio.Event()
    busy, idle = await lab.connect(), await lab.connect()
    await busy.send(request("PUT", "/v1/kv/a", b"1") + request("PUT", "/v1/kv/b", b"2"))
    await lab.until(lambda: lab.service.begun == 1)
    stopping = asyncio.ensure_future(lab.server.stop(20_000))
    assert await idle.is_closed()
    with pytest.raises(OSError, match="refused"):
        await lab.connect()
    lab.service.gate.set()
    assert "connection" not in (await busy.answer()).headers
    assert (await busy.answer()).headers["connection"] == "close"
    await stopping
    assert set(lab.service.records) == {b"a", b"b"}


@served()
async def test_a_request_that_is_on_its_way_when_the_node_stops_is_answered(lab: Lab) -> None:
    """Its client could not have known: the answer tells it to come no more, and the connection closes."""
    busy = await lab.connect()
    await busy.send(request("PUT", "/v1/kv/a", b"1"))
    assert "connection" not in (await busy.answer()).headers
    stopping = asyncio.ensure_future(lab.server.stop(20_000))
    await asyncio.sleep(0)
    await busy.send(request("PUT", "/v1/kv/b", b"2"))
    assert (await busy.answer()).headers["connection"] == "close"
    assert await busy.is_closed()
    await stopping
    assert set(lab.service.records) == {b"a", b"b"}


@served()
async def test_stopping_cuts_off_what_does_not_end(lab: Lab) -> None:
    """When time is up, requests under way end without an answer, and `stop` returns."""
    lab.service.gate = asyncio.Event()
    busy = await lab.connect()
    await busy.send(request("PUT", "/v1/kv/a", b"1"))
    await lab.until(lambda: lab.service.begun == 1)
    began = time.monotonic()
    await lab.server.stop(50)
    # The loop's timers count whole milliseconds, hence may be nearly one early.
    assert time.monotonic() - began >= 0.049
    assert await busy.is_closed()
    assert not lab.service.records
    assert not lab.server.state.tasks
