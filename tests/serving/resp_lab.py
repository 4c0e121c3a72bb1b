"""A server of Redis's protocol around a node in memory, and a client that sends bytes exactly as they are given.

`@served(...)` makes a test of a coroutine that takes a `Lab`. Answers are read with hiredis; an error is given back,
not raised.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import hiredis
import msgspec
import uvloop
from prometheus_client import CollectorRegistry

from corecache.config import Config, Coordination, Limits, Resp
from corecache.identity import Timestamp
from corecache.serving.resp.server import RespServer
from corecache.wire.resp_command import command
from serving.memory_service import MemoryService, SystemClock

PATIENCE_SECONDS = 20.0


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._parser = hiredis.Reader(replyError=cast(Any, str), protocolError=ValueError)

    async def send(self, *commands: str) -> None:
        """Sends commands, each as words with spaces between."""
        self.writer.write(b"".join(packed(*command.split(" ")) for command in commands))
        await self.writer.drain()

    async def send_bytes(self, octets: bytes) -> None:
        """Sends bytes as they are."""
        self.writer.write(octets)
        await self.writer.drain()

    async def answer(self) -> Any:
        """Returns the next answer; an error's text as a str."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (reply := self._parser.gets()) is False:
                octets = await self.reader.read(65_536)
                if not octets:
                    raise EOFError
                self._parser.feed(octets)
            return reply

    async def answers(self, count: int) -> list[Any]:
        """Returns the next answers."""
        return [await self.answer() for _ in range(count)]

    async def ask(self, *commands: str) -> Any:
        """Sends commands at once; returns the answer, or a list of them if there are several."""
        await self.send(*commands)
        got = await self.answers(len(commands))
        return got if len(got) > 1 else got[0]

    async def ended(self) -> bool:
        """Says whether the server has ended the connection, after all that it had to say was read."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.read(1) == b""


class Dates(SystemClock):
    """The machine's time, with the date put forward by as much as a test wants: what is swept goes by it."""

    ahead_ms = 0

    def today(self) -> Timestamp:
        """Returns the date."""
        return Timestamp(super().today() + self.ahead_ms)


class Lab:
    """A server, its service, and connections."""

    def __init__(
        self, service: MemoryService, server: RespServer, clock: Dates, host: str, port: int, cluster_port: int
    ) -> None:
        self.service = service
        self.clock = clock
        self.server = server
        self.port = port
        self.cluster_port = cluster_port
        self._host = host
        self.wires: list[Wire] = []

    async def connect(self, cluster: bool = False) -> Wire:
        """Returns a new connection."""
        port = self.cluster_port if cluster else self.port
        wire = Wire(*await asyncio.open_connection(self._host, port))
        self.wires.append(wire)
        return wire

    async def until(self, happened: Callable[[], bool]) -> None:
        """Returns when something is so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not happened():  # noqa: ASYNC110
                await asyncio.sleep(0.001)


def packed(*words: str | bytes) -> bytes:
    """Returns a command as clients send it."""
    octets = [word if isinstance(word, bytes) else word.encode() for word in words]
    return command(*octets)


def served(
    limits: Limits | None = None, clustered: bool = False, **resp: Any
) -> Callable[[Callable[[Lab], Awaitable[None]]], Callable[[], None]]:
    """Makes a test of a coroutine; `resp` are settings of the section."""

    def decorate(test: Callable[[Lab], Awaitable[None]]) -> Callable[[], None]:
        async def run() -> None:
            config = Config(
                resp=Resp(port_range_first=20_000, port_range_last=32_000, **resp), limits=limits or Limits()
            )
            if clustered:
                config = msgspec.structs.replace(config, coordination=Coordination(zookeeper="127.0.0.1:2181"))
            service, server = MemoryService(), RespServer()
            service.slots_are_partitions = False
            clock = Dates()
            host, port, cluster_port = await server.start(service, config, clock, CollectorRegistry())
            lab = Lab(service, server, clock, host, port, cluster_port)
            try:
                await test(lab)
            finally:
                for wire in lab.wires:
                    wire.writer.close()
                await server.stop(1000)

        def runner() -> None:
            uvloop.run(run())

        runner.__name__ = test.__name__
        runner.__doc__ = test.__doc__
        return runner

    return decorate
