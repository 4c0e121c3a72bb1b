"""A server around a node in memory, and a client that sends bytes exactly as they are given.

`@served(...)` makes a test of a coroutine that takes a `Lab`. A `Wire` is one connection; `Answer` is what came back.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvloop
from prometheus_client import CollectorRegistry

from corecache.config import Config, Http, Limits
from corecache.serving.http.server import HttpServer
from serving.memory_service import MemoryService, SystemClock

PATIENCE_SECONDS = 20.0


class Answer(msgspec.Struct):
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Returns the body's JSON."""
        return json.loads(self.body)


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, octets: bytes) -> None:
        """Sends bytes as they are."""
        self.writer.write(octets)
        await self.writer.drain()

    async def answer(self, method: str = "GET") -> Answer:
        """Returns the next response; `method` is that of its request."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split(" ", 2)[1])
            assert head[0].startswith("HTTP/1.1 "), head
            pairs = [line.split(": ", 1) for line in head[1:] if line]
            headers = dict(pairs)
            assert len(headers) == len(pairs), f"a header is repeated: {pairs}"
            bodiless = method == "HEAD" or status in (100, 204, 304)
            body = b"" if bodiless else await self.reader.readexactly(int(headers["content-length"]))
            return Answer(status, headers, body)

    async def ask(
        self, method: str, target: str | bytes, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Sends a request and returns its answer."""
        await self.send(request(method, target, body, headers))
        return await self.answer(method)

    async def is_closed(self) -> bool:
        """Waits for the server to close the connection; True if it did so without another byte."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    def close(self) -> None:
        """Goes away."""
        self.writer.close()


class Lab:
    """A running server."""

    def __init__(self, server: HttpServer, service: MemoryService, port: int, config: Config) -> None:
        self.server = server
        self.service = service
        self.port = port
        self.config = config
        self._wires: list[Wire] = []

    async def connect(self) -> Wire:
        """Opens a connection."""
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24))
        self._wires.append(wire)
        return wire

    async def ask(
        self, method: str, target: str | bytes, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Sends a request on a connection of its own."""
        wire = await self.connect()
        answer = await wire.ask(method, target, body, headers)
        wire.close()
        return answer

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until a condition holds."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    def close(self) -> None:
        """Closes all connections that are still open."""
        for wire in self._wires:
            wire.close()


Scenario = Callable[[Lab], Awaitable[None]]


def request(
    method: str, target: str | bytes, body: bytes | None = None, headers: dict[str, str] | None = None
) -> bytes:
    """Returns a request's bytes."""
    named = {"Host": "node", **(headers or {})}
    if body is not None:
        named["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    place = target.encode("latin-1") if isinstance(target, str) else target
    return method.encode() + b" " + place + b" HTTP/1.1\r\n" + lines.encode("latin-1") + b"\r\n" + (body or b"")


def config_of(http: dict[str, Any] | None = None, limits: dict[str, Any] | None = None) -> Config:
    """Returns a configuration with some settings changed, below the ranges that users may set too."""
    # Each worker has a range of its own: a port that is given up is not to be another's in the same moment.
    first = 21_000 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = {"port_range_first": first, "port_range_last": first + 99}
    return Config(http=Http(**{**ports, **(http or {})}), limits=Limits(**(limits or {})))


async def with_lab(config: Config, scenario: Scenario) -> None:
    """Runs a scenario against a server of its own, and expects that the server can stop afterwards."""
    service = MemoryService()
    server = HttpServer()
    _, port = await server.start(service, config, SystemClock(), CollectorRegistry())
    lab = Lab(server, service, port, config)
    try:
        await scenario(lab)
    finally:
        lab.close()
        await server.stop(200)


def served(
    http: dict[str, Any] | None = None, limits: dict[str, Any] | None = None
) -> Callable[[Scenario], Callable[[], None]]:
    """Makes a test of a scenario."""

    def made(scenario: Scenario) -> Callable[[], None]:
        def test() -> None:
            uvloop.run(with_lab(config_of(http, limits), scenario))

        test.__doc__ = scenario.__doc__
        test.__name__ = getattr(scenario, "__name__", "test")
        return test

    return made
