"""A connection of the load: requests go out, answers come back in order, nothing is awaited.

`Lane` is what both protocols share; `HttpLane` and `RespLane` read answers. There is no future, task or timer for an
operation: an answer is a call of `Load.answered`, which may begin the next operation at once. What it costs is what the
generator costs.

Rule: an operation that was sent is answered exactly once, or told as lost exactly once.
"""

import asyncio
from collections import deque
from typing import NamedTuple, Protocol, cast

import hiredis
import httptools
import msgspec

from corecache.loadgen.targets import Target

BAD_ANSWER = "bad_answer"
CONNECTION_LOST = "connection_lost"


class Step(NamedTuple):
    """An operation under way: its kind, from when it counts, its key, whether its first half has been answered."""

    kind: str
    counts_from_ns: int
    number: int
    halfway: bool = False


class Load(Protocol):
    """Whom a lane tells what happens."""

    def now_ns(self) -> int:
        """Returns the steady clock's time."""

    def answered(self, lane: "Lane", step: Step, now_ns: int, error: str | None, absent: bool) -> None:
        """An operation was answered: with success, or with an error's code."""

    def lost(self, lane: "Lane", steps: list[Step], code: str) -> None:
        """The connection is gone, and with it what was under way."""


class Lane(asyncio.Protocol):
    """A connection to a target."""

    def __init__(self, load: Load, target: Target) -> None:
        self.target = target
        self.usable = False
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._under_way: deque[Step] = deque()
        self._why = CONNECTION_LOST

    def ask(self, request: bytes, step: Step) -> None:
        """Sends a request."""
        self._under_way.append(step)
        assert self._transport is not None
        self._transport.write(request)

    @property
    def under_way(self) -> int:
        """How many operations have not been answered."""
        return len(self._under_way)

    def close(self) -> None:
        """Ends the connection without telling anybody."""
        self._under_way.clear()
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport: operations may be sent."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not asyncio's by class
        self._why = CONNECTION_LOST
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells what was under way."""
        self.usable = False
        self._transport = None
        steps = list(self._under_way)
        self._under_way.clear()
        self._load.lost(self, steps, self._why)

    def _unreadable(self) -> None:
        """Gives the connection up: after what is no answer, none can be told from another."""
        self._why = BAD_ANSWER
        self.usable = False
        if self._transport is not None:
            self._transport.abort()


class _Problem(msgspec.Struct):
    code: str = ""


class HttpLane(Lane):
    """HTTP/1.1, one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins to read answers."""
        super().connection_made(transport)
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Reads what has come."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._unreadable()

    def on_body(self, body: bytes) -> None:
        """Keeps a part of the body: an error's code is in it."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Tells the answer."""
        status = self._parser.get_status_code()
        body, self._body = self._body, []
        if not self._under_way:
            self._unreadable()
            return
        step = self._under_way.popleft()
        if not self._parser.should_keep_alive() and self._transport is not None:
            self.usable = False
            self._transport.close()
        absent = status == 404
        error = None if status < 300 or absent else _code_of(status, b"".join(body))
        self._load.answered(self, step, self._load.now_ns(), error, absent)


class RespLane(Lane):
    """Redis's protocol, several commands at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins to read answers."""
        super().connection_made(transport)
        self._reader = hiredis.Reader(notEnoughData=...)

    def data_received(self, data: bytes) -> None:
        """Reads what has come, and tells all answers in it."""
        now_ns = self._load.now_ns()
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not ...:
                if not self._under_way:
                    self._unreadable()
                    return
                error = str(reply).partition(" ")[0] if isinstance(reply, hiredis.ReplyError) else None
                self._load.answered(self, self._under_way.popleft(), now_ns, error, reply is None)
        except hiredis.ProtocolError:
            self._unreadable()


def _code_of(status: int, body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Problem).code or f"status_{status}"
    except msgspec.DecodeError:
        return f"status_{status}"
