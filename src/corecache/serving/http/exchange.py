"""One request and its answer: what an ASGI application sees of a connection.

It does what uvicorn's `RequestResponseCycle` does, with four differences:

1. Status line, headers and a small body leave in one write.
2. The error that a connection meets while a body is awaited (cut short, too slow, malformed) is raised by `receive`, so
   that the application answers it as it answers any other error.
3. A connection that can't go on, because too much of a body would have to be thrown away, says `connection: close`.
4. Answers have a content-length, or no body. There is no chunked answer, because nothing here streams.

`connection.py` feeds it and is told when the answer is complete. It never looks into a body.
"""

from asyncio import Future
from typing import TYPE_CHECKING, Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from corecache.errors import CoreCacheError
from corecache.serving.http.bodies import FREE_BYTES, Message, Scope

if TYPE_CHECKING:
    from corecache.serving.http.connection import Connection

_DISCONNECTED: Message = {"type": "http.disconnect"}
_WITHOUT_BODY = frozenset((204, 304))

_log = structlog.get_logger()


class Exchange:
    """A request whose headers are complete, and the answer to it.

    `awaits_continue`: the client waits for a 100 before it sends the body. `body_left` is how much of a body with a
    Content-Length has not come yet, None if it is chunked.
    """

    __slots__ = (
        "_connection",
        "_content_left",
        "_head",
        "_parts",
        "_told",
        "_waiter",
        "answered",
        "awaits_continue",
        "body_complete",
        "body_left",
        "buffered_bytes",
        "discarded_bytes",
        "disconnected",
        "error",
        "keep_alive",
        "scope",
    )

    def __init__(
        self, connection: "Connection", scope: Scope, keep_alive: bool, awaits_continue: bool, body_left: int | None
    ) -> None:
        self._connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self.awaits_continue = awaits_continue
        self.body_left = body_left
        self.body_complete = False
        self.buffered_bytes = 0
        self.discarded_bytes = 0
        self.disconnected = False
        self.answered = False
        self.error: CoreCacheError | None = None
        self._parts: list[bytes] = []
        self._told = False
        self._waiter: Future[None] | None = None
        self._head: bytes | None = None
        self._content_left = 0

    async def run(self, app: Any) -> None:
        """Lets the application answer. An application that breaks its contract costs the client its connection."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            _log.exception("application failed", path=self.scope["path"])
        finally:
            if not self.answered and not self.disconnected:
                self._connection.transport.abort()

    def take(self, part: bytes) -> None:
        """Adds a part of the body."""
        self._parts.append(part)
        self.buffered_bytes += len(part)
        self.wake()

    def complete_body(self) -> None:
        """Notes that the body has come as a whole."""
        self.body_complete = True
        self.wake()

    def fail(self, error: CoreCacheError) -> None:
        """Ends the body with an error, which the application is to answer; then the connection closes."""
        self.error = error
        self.keep_alive = False
        self.wake()

    def disconnect(self) -> None:
        """Notes that the client is gone."""
        self.disconnected = True
        self.wake()

    def wake(self) -> None:
        """Lets `receive` look again."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def receive(self) -> Message:
        """Returns the next part of the body (ASGI). Raises: the error that the connection met."""
        while True:
            if self.disconnected or self.answered:
                return _DISCONNECTED
            if self.error is not None:
                raise self.error
            if self._parts or (self.body_complete and not self._told):
                break
            connection = self._connection
            if self.awaits_continue:
                self.awaits_continue = False
                connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.resume_reading()
            self._waiter = connection.loop.create_future()
            await self._waiter
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self.buffered_bytes = 0
        self._told = self.body_complete
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    async def send(self, message: Message) -> None:
        """Takes the next part of the answer (ASGI); waits while the client has not taken the last."""
        connection = self._connection
        if connection.flow.write_paused and not self.disconnected:
            await connection.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self._head = self._start(message)
            return
        assert not self.answered, "the answer is complete already"
        body: bytes = message["body"]
        more = message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            self._content_left = 0
            body = b""
        self._content_left -= len(body)
        assert self._content_left == 0 or (more and self._content_left > 0), "content-length and body differ"
        head = self._head
        if head is not None:
            self._head = None
            connection.transport.write(head + body if len(body) <= FREE_BYTES else head)
            if len(body) > FREE_BYTES:
                connection.transport.write(body)
        elif body:
            connection.transport.write(body)
        if not more:
            self.answered = True
            self.wake()
            connection.on_answered(self)

    def _start(self, message: Message) -> bytes:
        """Returns status line and headers, as they are sent."""
        status = message["status"]
        content = [STATUS_LINE[status], self._connection.state.date_line]
        length = None
        for name, value in message["headers"]:
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                self.keep_alive = self.keep_alive and value != b"close"
                continue
            content += (name, b": ", value, b"\r\n")
        assert length is not None or status in _WITHOUT_BODY, "an answer with a body needs a content-length"
        self._content_left = 0 if length is None or status in _WITHOUT_BODY else length
        if not self.body_complete and self._must_close():
            self.keep_alive = False
        if self._connection.state.draining and not self._connection.has_more():
            self.keep_alive = False
        content.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(content)

    def _must_close(self) -> bool:
        """Says whether the rest of a body that nobody wants is too long, or may never come."""
        if self.awaits_continue:
            self.awaits_continue = False
            return True
        return self.body_left is not None and self.body_left > FREE_BYTES
