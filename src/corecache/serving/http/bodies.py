"""Bodies in and answers out, and the one budget that both draw on.

Rule 1: what is above `FREE_BYTES` is reserved from the budget before it is held: a body by its Content-Length before
the first byte is read, a chunked one as it grows, an answer until the client has taken it. Beyond the budget the
request is refused (503, not done): many large requests at once make each other wait, not the node grow.

Rule 2: a body is complete or it is nothing. Whoever reads one gets all of it, or `Disconnected`, or the error that the
connection met; never a part.

What is at most `FREE_BYTES` is not counted: `connections_max` bounds how many of those there are.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from starlette.responses import Response

from corecache.errors import CallerFault, NotDone
from corecache.serving.http.problems import Headers

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

FREE_BYTES = 64 * 1024


class Disconnected(Exception):
    """The client went away before its request was complete: no error, there is only nobody left to answer."""


class Budget:
    """How many bytes of large bodies and answers are held, of all connections together."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.bytes = 0

    def reserve(self, size_bytes: int) -> None:
        """Adds to what is held. Raises: NotDone `too_much_buffered` if it does not fit."""
        if self.bytes + size_bytes > self._bytes_max:
            raise NotDone(
                "too_much_buffered", "Too many large requests and answers are under way; try again in a second."
            )
        self.bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Gives back what was reserved."""
        self.bytes -= size_bytes


class BodyReader:
    """Reads one request's body, and holds its part of the budget until `release`."""

    def __init__(self, budget: Budget, bytes_max: int, too_large: Callable[[int], CallerFault]) -> None:
        self._budget = budget
        self._bytes_max = bytes_max
        self._too_large = too_large
        self._reserved_bytes = 0

    async def read(self, receive: Receive, content_length: int | None) -> bytes:
        """Returns the whole body. `content_length` is None for a chunked one.

        Raises: what `too_large` makes, NotDone `too_much_buffered`, Disconnected, what the connection met.
        """
        if content_length is not None:
            self._hold(content_length)
        return await read_on(await receive(), receive, self._hold)

    def release(self) -> None:
        """Gives back the body's part of the budget: it is held no more."""
        self._budget.release(self._reserved_bytes)
        self._reserved_bytes = 0

    def _hold(self, size_bytes: int) -> None:
        if size_bytes > self._bytes_max:
            raise self._too_large(self._bytes_max)
        if size_bytes > FREE_BYTES and size_bytes > self._reserved_bytes:
            self._budget.reserve(size_bytes - self._reserved_bytes)
            self._reserved_bytes = size_bytes


async def read_on(message: Message, receive: Receive, hold: Callable[[int], None] | None = None) -> bytes:
    """Returns the body that begins with `message`; `hold` is told its size as it grows. Raises: Disconnected."""
    parts: list[bytes] = []
    size_bytes = 0
    while True:
        if message["type"] != "http.request":
            raise Disconnected
        part: bytes = message["body"]
        size_bytes += len(part)
        if hold is not None:
            hold(size_bytes)
        parts.append(part)
        if not message["more_body"]:
            return part if len(parts) == 1 else b"".join(parts)
        message = await receive()


async def send_answer(send: Send, status: int, headers: Headers, body: bytes = b"") -> None:
    """Sends an answer whole. `headers` has the content-length unless the status allows no body."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_large_answer(send: Send, headers: Headers, body: bytes, budget: Budget, refusable: bool = True) -> None:
    """Sends a 200 with a body above `FREE_BYTES`, which counts against the budget until the client has taken it.

    Raises: NotDone `too_much_buffered`, before anything is sent, if it is `refusable` and does not fit.
    """
    if refusable:
        budget.reserve(len(body))
    else:
        budget.bytes += len(body)
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        # A server takes the next part when it has room for it, which is when this one has left the process.
        await send({"type": "http.response.body", "body": b""})
    finally:
        budget.release(len(body))


class JsonAnswer(Response):
    """A 200 with JSON, which counts against the budget until the client has taken it.

    With `refusable` it is refused if it does not fit. What has changed something must be told, hence is not refusable;
    whoever makes such an answer bounds it before.
    """

    def __init__(self, body: bytes, budget: Budget, refusable: bool) -> None:
        super().__init__(body, media_type="application/json")
        self._budget = budget
        self._refusable = refusable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer. Raises: NotDone `too_much_buffered`, before anything is sent."""
        body = bytes(self.body)
        if len(body) <= FREE_BYTES:
            await send_answer(send, 200, self.raw_headers, body)
        else:
            await send_large_answer(send, self.raw_headers, body, self._budget, self._refusable)
