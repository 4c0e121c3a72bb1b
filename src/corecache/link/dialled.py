"""A connection that this node has dialled: it greets, then it only sends.

What comes back is the other's welcome or refusal and, at the end, perhaps a farewell; anything else ends the
connection.

A peer that reads nothing is given up when, for `stall_ms`, not one byte of what waits has gone. That is noticed here
for bytes that wait in this process, and by the kernel (`TCP_USER_TIMEOUT`) for those that it has taken: without that, a
cable that is pulled and put back would leave a connection that sleeps for minutes between two attempts to send.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, cast

from corecache.config import Link
from corecache.declaration import shown
from corecache.identity import Incarnation, NodeId
from corecache.link.greeting import Local, hello, readable
from corecache.link.notices import LinkCounts
from corecache.wire.frame import FrameDecoder, FrameError
from corecache.wire.link_codec import (
    GREETING_BYTES_MAX,
    CodecError,
    Farewell,
    Refusal,
    Welcome,
    decode,
    encode_greeting,
)

_PORT_MAX = 65_535


class DialFailure(Exception):
    """There is no connection. `code` is a word, `reason` a sentence; `refused`: nobody listens at the address."""

    def __init__(self, code: str, reason: str, refused: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.refused = refused


class Dialled(asyncio.Protocol):
    """One connection. `greeted` gets the welcome, or why there is none."""

    def __init__(self, local: Local, wanted: NodeId, bulk: bool, stall_ms: int, counts: LinkCounts) -> None:
        self._loop = asyncio.get_running_loop()
        self._hello = hello(local, wanted, bulk)
        self._stall_ms = stall_ms
        self._counts = counts
        self._decoder = FrameDecoder(GREETING_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._written_bytes = 0
        self._stall: asyncio.TimerHandle | None = None
        self.incarnation = Incarnation(0)
        self.open = False
        """Whether it was welcomed, and nothing has ended it."""
        self.greeted: asyncio.Future[Welcome | DialFailure] = self._loop.create_future()
        self.closed = asyncio.Event()
        self.reason = ""
        """Of the end, once there is one."""

    @property
    def waiting_bytes(self) -> int:
        """Returns how many bytes the kernel has not taken yet."""
        assert self._transport is not None
        return self._transport.get_write_buffer_size()

    def write(self, frame: bytes | bytearray) -> None:
        """Sends a frame. The bytes are kept until they are gone: nobody may change them."""
        assert self._transport is not None
        if self._transport.is_closing():
            return
        self._written_bytes += len(frame)
        self._counts.frames_sent += 1
        self._counts.bytes_sent += len(frame)
        self._transport.write(frame)

    def close(self, reason: str) -> None:
        """Says farewell, sends what waits, and ends."""
        self.open = False
        if self._transport is not None and not self._transport.is_closing():
            self.reason = self.reason or reason
            self.write(encode_greeting(Farewell(reason)))
            self._transport.close()

    def abort(self, reason: str) -> None:
        """Ends at once."""
        self.open = False
        self.reason = self.reason or reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets."""
        self._transport = cast("asyncio.Transport", transport)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            wire = transport.get_extra_info("socket")
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._stall_ms)
        self.write(encode_greeting(self._hello))

    def data_received(self, data: bytes) -> None:
        """Takes what the other says."""
        self._decoder.feed(data)
        try:
            while (payload := self._decoder.take()) is not None:
                self._heard(payload)
        except (FrameError, CodecError) as error:
            self._give_up("no_link", f"What answers there is no node of CoreCache, or a broken one: {error}.")

    def _heard(self, payload: memoryview) -> None:
        message = decode(payload)
        if isinstance(message, Farewell):
            self._give_up("farewell", readable(message.reason))
        elif self.greeted.done():
            raise CodecError("nothing but a farewell may come after the welcome")
        elif isinstance(message, Refusal):
            self._give_up(readable(message.code), readable(message.reason))
        elif message == self._hello:
            # An echo: nobody of ours listens there.
            self._give_up("refused", "Nobody listens there.", refused=True)
        elif not isinstance(message, Welcome):
            raise CodecError("a greeting was answered with another")
        elif message.node != self._hello.wanted:
            self._give_up("other_node", f"At this address is node {readable(message.node)}.")
        else:
            self.incarnation = message.incarnation
            self.open = True
            self.greeted.set_result(message)

    def _give_up(self, code: str, reason: str, refused: bool = False) -> None:
        if not self.greeted.done():
            self.greeted.set_result(DialFailure(code, reason, refused))
        self.abort(reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells those who wait."""
        self.open = False
        if self._stall is not None:
            self._stall.cancel()
        self.reason = self.reason or (str(exc) if exc is not None else "the other side closed it")
        if not self.greeted.done():
            self.greeted.set_result(DialFailure("closed", f"It was closed before a welcome: {self.reason}."))
        self.closed.set()

    def pause_writing(self) -> None:
        """Begins to watch whether what waits moves."""
        self._watch()

    def resume_writing(self) -> None:
        """Is content."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _watch(self) -> None:
        sent_bytes = self._written_bytes - self.waiting_bytes
        self._stall = self._loop.call_later(self._stall_ms / 1000, self._judge, sent_bytes)

    def _judge(self, sent_bytes: int) -> None:
        if self._written_bytes - self.waiting_bytes > sent_bytes:
            self._watch()
        else:
            self.abort(f"it has read nothing for {self._stall_ms:,} ms")


async def dial(
    address: str, local: Local, wanted: NodeId, bulk: bool, settings: Link, stall_ms: int, counts: LinkCounts
) -> Dialled:
    """Returns a connection that was welcomed. Raises: DialFailure."""
    try:
        async with asyncio.timeout(settings.connect_timeout_ms / 1000):
            connection = await _connected(address, lambda: Dialled(local, wanted, bulk, stall_ms, counts))
            try:
                answer = await connection.greeted
            except BaseException:
                connection.abort("it was not awaited any longer")
                raise
    except TimeoutError:
        raise DialFailure(
            "silent", f"Nobody answered within {settings.connect_timeout_ms:,} ms (link.connect_timeout_ms)."
        ) from None
    except OSError as error:
        refused = error.errno == errno.ECONNREFUSED
        raise DialFailure("refused" if refused else "unreachable", f"{error.strerror or error}.", refused) from None
    except ValueError as error:
        raise DialFailure("unreachable", f"{shown(address)} is no address: {error}.") from None
    if isinstance(answer, DialFailure):
        raise answer
    counts.connections_dialled += 1
    return connection


async def _connected(address: str, make: Callable[[], Dialled]) -> Dialled:
    """Returns a connection that stands. Raises: OSError, `ECONNREFUSED` only if every address refused."""
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    if not 0 < int(port) <= _PORT_MAX:
        raise ValueError(f"there is no port {port}")
    failure = OSError(errno.EADDRNOTAVAIL, "The name has no address")
    for family, _, _, _, place in await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM):
        try:
            return await _connected_to(family, place, make)
        except OSError as error:
            if failure.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ECONNREFUSED):
                # A family that this machine does not have says nothing of the other's process;
                # all else outweighs a refusal.
                absent = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                failure = failure if absent and failure.errno == errno.ECONNREFUSED else error
    raise failure


async def _connected_to(family: int, place: Any, make: Callable[[], Dialled]) -> Dialled:
    """Returns a connection with one place. Raises: OSError.

    The loop makes the socket itself. One that uvloop is given is closed twice if the connection ends before it has been
    taken over (its issues 645 and 738), and the second time its number may be that of another connection: what is said
    there then goes astray.
    """
    host, port, *rest = place
    if family == socket.AF_INET6 and rest[1]:
        host = f"{host}%{rest[1]}"
    transport, connection = await asyncio.get_running_loop().create_connection(make, host, port, family=family)
    ours = None if transport.is_closing() else transport.get_extra_info("sockname")
    if ours is not None and ours == transport.get_extra_info("peername"):
        # The kernel chose the very port that was dialled: we speak to ourselves, because nobody listens there.
        connection.abort("nobody listens there")
        raise OSError(errno.ECONNREFUSED, "Connection refused")
    return connection
