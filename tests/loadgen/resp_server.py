"""A server of Redis's protocol on a real socket, which answers as a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import hiredis

from corecache.loadgen.targets import Target

PATIENCE_S = 30.0
OK = b"+OK\r\n"
SILENCE = b""

Answer = Callable[[list[bytes]], bytes | None]
"""Returns the answer to a command; None breaks the connection off, and no other is accepted."""


class RespServer:
    """What came, and how many connections there are."""

    def __init__(self, answer: Answer, at_once: int) -> None:
        self.commands: list[list[bytes]] = []
        self.at_once_max = 0
        self.connections: list[asyncio.StreamWriter] = []
        self.came = asyncio.Event()
        self.listening: asyncio.Server | None = None
        self._answer = answer
        self._at_once = at_once

    @property
    def keys(self) -> list[bytes]:
        """The keys that were asked for, in their order."""
        return [words[1] for words in self.commands]

    async def until(self, commands: int) -> None:
        """Returns when so many commands have come."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.commands) < commands:
                self.came.clear()
                await self.came.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers a connection's commands, so many together."""
        self.connections.append(writer)
        parser = hiredis.Reader(notEnoughData=...)
        waiting: list[list[bytes]] = []
        while octets := await reader.read(65_536):
            parser.feed(octets)
            while (words := parser.gets()) is not ...:
                waiting.append(words)
                self.commands.append(words)
            self.at_once_max = max(self.at_once_max, len(waiting))
            self.came.set()
            while len(waiting) >= self._at_once:
                for words in waiting[: self._at_once]:
                    answer = self._answer(words)
                    if answer is None:
                        assert self.listening is not None
                        self.listening.close()
                        writer.transport.abort()
                        return
                    writer.write(answer)
                del waiting[: self._at_once]
        writer.close()


@asynccontextmanager
async def resp_server(answer: Answer = lambda words: OK, at_once: int = 1) -> AsyncIterator[tuple[RespServer, Target]]:
    """Gives a server that answers each `at_once` commands of a connection together, and where it is."""
    served = RespServer(answer, at_once)
    served.listening = listening = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield served, Target("127.0.0.1", port)
    finally:
        listening.close()
        for writer in served.connections:
            writer.transport.abort()
        await listening.wait_closed()
