"""A connection that another node has dialled: it is greeted, then it only receives.

Rule 1: before the greeting nothing is believed and little is read; whoever does not greet in time, or says something
else (a port scanner, a web browser), is closed with one quiet line.
Rule 2: what arrives is handed over frame by frame, in the turn in which it came.
Rule 3: a node that sends what no node may send is cut off, with a farewell that says why. It will be back, and what was
lost is sent again: that is the machine's business.
"""

import asyncio
import socket
from typing import Protocol, cast

import structlog

from corecache.identity import Incarnation, NodeId
from corecache.link.greeting import other_version
from corecache.link.notices import LinkCounts
from corecache.wire.frame import FrameDecoder, FrameError
from corecache.wire.link_codec import (
    GREETING_BYTES_MAX,
    VERSION,
    CodecError,
    Farewell,
    Hello,
    Post,
    Refusal,
    Welcome,
    decode,
    encode_greeting,
    version_of,
)

log = structlog.get_logger("corecache.link")


class Host(Protocol):
    """Who takes connections and what they bring."""

    counts: LinkCounts

    def opened(self, connection: "Accepted") -> None:
        """Notes a connection."""

    def greeted(self, connection: "Accepted", hello: Hello) -> Welcome | Refusal:
        """Judges a greeting; after a welcome the connection counts as the node's."""

    def refuses(self, connection: "Accepted", subject: str, refusal: Refusal) -> None:
        """Tells the operator of a refusal."""

    def brings(self, connection: "Accepted", post: Post) -> None:
        """Takes what a node has sent."""

    def ended(self, connection: "Accepted") -> None:
        """Notes that a connection is gone."""


class Accepted(asyncio.Protocol):
    """One connection. `hello` is None until it was welcomed."""

    def __init__(self, host: Host, timeout_ms: int, frame_bytes_max: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._timeout_ms = timeout_ms
        self._frame_bytes_max = frame_bytes_max
        self._decoder = FrameDecoder(GREETING_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = False
        self.hello: Hello | None = None
        self.address = ""

    @property
    def node(self) -> NodeId:
        """Returns who sends. Requires: it was welcomed."""
        assert self.hello is not None
        return self.hello.node

    @property
    def incarnation(self) -> Incarnation:
        """Returns under which incarnation. Requires: it was welcomed."""
        assert self.hello is not None
        return self.hello.incarnation

    @property
    def bulk(self) -> bool:
        """Says whether it is for bulk. Requires: it was welcomed."""
        assert self.hello is not None
        return self.hello.bulk

    def close(self, reason: str) -> None:
        """Says farewell and ends; what arrives from now on is not handed over."""
        if not self._ended and self._transport is not None:
            self._ended = True
            self._transport.write(encode_greeting(Farewell(reason)))
            self._transport.close()

    def abort(self) -> None:
        """Ends at once."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the greeting."""
        self._transport = cast("asyncio.Transport", transport)
        # Nothing is ever sent here after the welcome, so that only this tells of a machine that is gone without a word.
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer = self._transport.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if peer else "?"
        self._deadline = self._loop.call_later(self._timeout_ms / 1000, self._out_of_time)
        self._host.opened(self)

    def data_received(self, data: bytes) -> None:
        """Takes what has come, frame by frame."""
        self._host.counts.bytes_received += len(data)
        self._decoder.feed(data)
        try:
            while not self._ended and (payload := self._decoder.take()) is not None:
                if self.hello is None:
                    self._greet(payload)
                else:
                    self._take(payload)
        except (FrameError, CodecError) as error:
            self._cut_off(str(error))

    def _greet(self, payload: memoryview) -> None:
        version = version_of(payload)
        if version != VERSION:
            self._refuse(self.address.rpartition(":")[0], other_version(version))
            return
        hello = decode(payload)
        if not isinstance(hello, Hello):
            raise CodecError("the first message is no greeting")
        answer = self._host.greeted(self, hello)
        if isinstance(answer, Refusal):
            self._refuse(hello.node, answer)
            return
        assert self._transport is not None
        if self._deadline is not None:
            self._deadline.cancel()
        self.hello = hello
        self._decoder.bytes_max = self._frame_bytes_max
        self._transport.write(encode_greeting(answer))

    def _refuse(self, subject: str, refusal: Refusal) -> None:
        assert self._transport is not None
        self._host.refuses(self, subject, refusal)
        self._ended = True
        self._transport.write(encode_greeting(refusal))
        self._transport.close()

    def _take(self, payload: memoryview) -> None:
        self._host.counts.frames_received += 1
        message = decode(payload)
        if type(message) is Post:
            self._host.brings(self, message)
        elif not isinstance(message, Farewell):
            raise CodecError("a greeting came after the greeting")

    def _out_of_time(self) -> None:
        self._cut_off(f"it has not greeted within {self._timeout_ms:,} ms")

    def _cut_off(self, reason: str) -> None:
        if self.hello is None:
            log.info("closed a connection that is not from a node", address=self.address, reason=reason)
            self.abort()
        else:
            log.warning("cut a node off", node=self.hello.node, address=self.address, reason=reason)
            self.close(f"cut off: {reason}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Leaves."""
        self._ended = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._host.ended(self)
