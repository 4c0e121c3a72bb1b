"""Writes every key once, by the plainest means that both servers understand: one PUT after another a connection.

wrk can't do this (it runs for a time, not for a number of requests), and a random choice of keys for a time would leave
some out, whose reads would then be refusals. How long filling takes is not measured.
"""

import asyncio
import base64
import os
from collections.abc import Iterator
from functools import partial
from typing import cast

import uvloop

from benchmarks.wrk import Load, LoadError

ANSWERED = b"HTTP/1.1 204"
END_OF_HEADERS = b"\r\n\r\n"
FILL_SECONDS_MAX = 300.0


def fill(port: int, load: Load) -> None:
    """Writes keys 0 to records - 1 (twelve digits) through the load's connections. Raises: LoadError."""
    uvloop.run(_fill(port, load))


async def _fill(port: int, load: Load) -> None:
    loop = asyncio.get_running_loop()
    keys = iter(range(load.records))
    value = base64.b64encode(os.urandom(load.value_bytes))[: load.value_bytes]
    writers = [_Writer(keys, value) for _ in range(min(load.connections, load.records))]
    try:
        async with asyncio.timeout(FILL_SECONDS_MAX):
            await asyncio.gather(
                *(loop.create_connection(partial(_itself, writer), "127.0.0.1", port) for writer in writers)
            )
            await asyncio.gather(*(writer.over for writer in writers))
    except TimeoutError:
        raise LoadError(f"writing {load.records:,} keys took longer than {FILL_SECONDS_MAX:.0f} s") from None


def _itself(writer: "_Writer") -> "_Writer":
    return writer


class _Writer(asyncio.Protocol):
    """One connection: takes the next key of all connections' keys whenever an answer has come."""

    def __init__(self, keys: Iterator[int], value: bytes) -> None:
        self._keys = keys
        self._after = b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(value), value)
        self._received = b""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first key."""
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Waits for the end of the answer, which has no body, and sends the next key."""
        self._received += data
        if len(self._received) >= len(ANSWERED) and not self._received.startswith(ANSWERED):
            self._end(LoadError(f"a PUT was answered {self._received[:500]!r}"))
            self._transport.close()
        elif self._received.endswith(END_OF_HEADERS):
            self._received = b""
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends, if it was not over."""
        self._end(LoadError(f"a connection was lost while keys were written: {exc!r}"))

    def _next(self) -> None:
        key = next(self._keys, None)
        if key is None:
            self._end(None)
            self._transport.close()
        else:
            self._transport.write(b"PUT /v1/kv/%012d%s" % (key, self._after))

    def _end(self, error: LoadError | None) -> None:
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)
