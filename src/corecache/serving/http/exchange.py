"""One request and its answer: what an ASGI application sees of a connection.

It does what uvicorn's `RequestResponseCycle` does, with four differences:

1. Status line, headers and a small body leave in one write.
2. The error that a connection meets while a body is awaited (cut short, too slow, malformed) is raised by `receive`, so
   that the application answers it as it answers any other error.
3. A connection that can't go on, because too much of a body would have to be thrown away, says `connection: close`.
4. Answers have a content-length, or no body. There is no chunked answer, because nothing here streams.

An application that finds the exchange itself in the scope (`extension_of`) may take a body that is there already, and
give an answer that nothing holds up, by a plain call; what is not that simple goes by `receive` and `send`.

`connection.py` feeds it and is told when the answer is complete. It never looks into a body.
"""

from asyncio import Future
from typing import TYPE_CHECKING, Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from corecache.errors import CoreCacheError
from corecache.identity import Milliseconds
from corecache.operations import Record
from corecache.ports import UNCACHED, Uncached
from corecache.serving.http.bodies import FREE_BYTES, Message, Scope
from corecache.serving.http.parameters import path_of
from corecache.serving.http.problems import Headers

if TYPE_CHECKING:
    from corecache.serving.http.connection import Connection

_DISCONNECTED: Message = {"type": "http.disconnect"}
_WITHOUT_BODY = frozenset((204, 304))
_EXTENSION = "corecache.exchange"
_NO_EXTENSIONS: dict[str, Any] = {}

_log = structlog.get_logger()


class Exchange:
    """A request whose headers are complete, and the answer to it.

    If a read was asked for before the application is called, `deadline` is when its answer must be known, and `found`
    is the record if that is known by now.
    `awaits_continue`: the client waits for a 100 before it sends the body. `body_left` is how much of a body with a
    Content-Length has not come yet, None if it is chunked.
    """

    # What most exchanges never change stands at the class: it costs a request nothing.
    body_complete = False
    buffered_bytes = 0
    discarded_bytes = 0
    disconnected = False
    answered = False
    deadline: Milliseconds | None = None
    found: Record | Uncached | None = UNCACHED
    error: CoreCacheError | None = None
    _told = False
    _waiter: Future[None] | None = None
    _head: bytes | None = None
    _content_left = 0

    def __init__(
        self, connection: "Connection", scope: Scope, keep_alive: bool, awaits_continue: bool, body_left: int | None
    ) -> None:
        self._connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self.awaits_continue = awaits_continue
        self.body_left = body_left
        self._parts: list[bytes] = []

    async def run(self, app: Any) -> None:
        """Lets the application answer. An application that breaks its contract costs the client its connection."""
        scope = self.scope
        scope["extensions"] = {_EXTENSION: self}
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            _log.exception("application failed", path=scope["path"])
        finally:
            if not self.answered and not self.disconnected:
                self._connection.transport.abort()
            # The two know each other: cut, so that both are freed at once and not by the garbage collector.
            del scope["extensions"]

    def take(self, part: bytes) -> None:
        """Adds a part of the body."""
        self._parts.append(part)
        self.buffered_bytes += len(part)
        if self._waiter is not None:
            self.wake()

    def complete_body(self) -> None:
        """Notes that the body has come as a whole."""
        self.body_complete = True
        if self._waiter is not None:
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

    def whole_body(self, bytes_max: int) -> bytes | None:
        """Returns the body if it is there as a whole, unread, and at most `bytes_max` long; else None."""
        if not self.body_complete or self._told or self.disconnected or self.error is not None:
            return None
        if self.buffered_bytes > bytes_max:
            return None
        parts = self._parts
        self._parts = []
        self.buffered_bytes = 0
        self._told = True
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def answer(self, head: bytes, body: bytes = b"") -> bool:
        """Gives a whole answer, if nothing is in its way; False says that it did nothing and `send` has to be used.

        `head` is the status line and the headers, each with its line end, as they are sent; it has the content-length
        unless the status allows no body. Not for HEAD.
        """
        connection = self._connection
        state = connection.state
        if connection.flow.write_paused or state.draining or self.disconnected:
            return False
        if not (self.body_complete and self.keep_alive) or self.answered or self._head is not None:
            return False
        connection.transport.write(b"%b%b\r\n%b" % (head, state.date_line, body))
        self.answered = True
        if self._waiter is not None:
            self.wake()
        connection.on_answered(self)
        return True

    def go_on(self, found: Record | Uncached | None) -> None:
        """Has the application answer what was kept from it, with what is known. Requires: `run` was not called."""
        self.found = found
        if not self.disconnected:
            self._connection.on_due(self)

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


def base_scope(scheme: str | None, server: tuple[str, int | None] | None, client: tuple[str, int] | None) -> Scope:
    """Returns what is the same in the scopes of all requests of a connection."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "scheme": scheme,
        "server": server,
        "client": client,
        "root_path": "",
    }


def scope_of(base: Scope, version: str, method: bytes, target: bytes, headers: Headers) -> Scope:
    """Returns the scope of a request of the connection whose scopes begin as `base`.

    The target is taken apart as bytes: all before the first `?` is the path, whatever it holds. `path` stays
    percent-encoded, as `raw_path` is: a path of this interface is matched as it is written. Raises: as `path_of`.
    """
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/"):
        path = path_of(path)
    scope = dict(base)
    scope["http_version"] = version
    scope["method"] = method.decode("ascii")
    scope["path"] = path.decode("latin-1")
    scope["raw_path"] = path
    scope["query_string"] = query
    scope["headers"] = headers
    return scope


def header_bytes_of(target: bytes, headers: Headers) -> int:
    """Returns how many bytes a request's target and headers are."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


def extension_of(scope: Scope) -> Exchange | None:
    """Returns the exchange that a request belongs to, None under another ASGI server than this one."""
    exchange: Exchange | None = scope.get("extensions", _NO_EXTENSIONS).get(_EXTENSION)
    return exchange
