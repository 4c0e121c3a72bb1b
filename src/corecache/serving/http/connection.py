"""A connection: uvicorn's HTTP protocol on httptools, and the limits that it lacks.

What is added: how many connections, how long headers, how long each step may take, order among pipelined requests when
one is malformed, a bound on what is parsed ahead, and a close that lets the client read the last answer.

Rule 1: time is looked at by one sweep over all connections (`sweep`), never by a timer per request. Stamps are the time
of the last sweep, so that a limit is kept late by up to two sweeps, and never early.

Rule 2: an answer is given to the request that it is for. What this module says itself (400, 408, 431, 503) waits until
all earlier requests are answered.

Rule 3: nothing grows. Bytes that can't be parsed ahead are held back and reading stops; headers, chunk extensions and
trailers that do not end are cut off; a body that nobody wants is thrown away up to `FREE_BYTES`.

Rule 4: whoever sends many requests at once lets the others have their turns: `task` answers one a turn. Only the first
of what came at once may be answered without it (`plain_reads.py`).
"""

from asyncio import AbstractEventLoop, BaseTransport, Future, Task, sleep
from collections import deque

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from corecache.errors import CallerFault, CoreCacheError
from corecache.identity import Milliseconds
from corecache.serving.http import problems
from corecache.serving.http.bodies import FREE_BYTES, Scope
from corecache.serving.http.exchange import Exchange, base_scope, header_bytes_of, scope_of
from corecache.serving.http.shared import SharedState

_IDLE, _HEADERS, _BODY = range(3)
"""What the parser is in the middle of."""

_SLICE_BYTES = 2048
"""How much is parsed before a look at whether requests queue up: some 100 of the smallest. Far below
`header_bytes_max`, so that headers which came in one slice need not be measured."""

_DRAIN_IDLE_MS = 250
"""How long an idle connection stays open when the node stops: a request may be on its way that knows nothing of it."""


class Connection(HttpToolsProtocol):
    """One client's connection.

    `_running` is the exchange that is being answered, `_waiting` are those behind it, `_latest` is the one that the
    parser saw last; `task` answers one after another, and waits for `_next` while there is none. `_held` is what came
    too early to be parsed. `_first`: nothing of what came last is answered yet. `_since` is when `_phase` last moved.
    """

    def __init__(self, config: uvicorn.Config, state: SharedState, loop: AbstractEventLoop) -> None:
        super().__init__(config, state, {}, loop)
        self.state = state
        self._limits = state.limits
        self._first = False
        self._phase = _IDLE
        self._since = state.now
        self._resuming = False
        self._stepped = False
        self._split = False
        self._endless_bytes = 0
        self._body_left: int | None = 0
        self._held = b""
        self._running: Exchange | None = None
        self.task: Task[None] | None = None
        self._next: Future[None] | None = None
        self._waiting: deque[Exchange] = deque()
        self._latest: Exchange | None = None
        self._last_words: CoreCacheError | None = None
        self._deaf = False
        self._ended = False
        self._closing = False
        self._unsent_bytes = 0
        self._unsent_since = state.now
        self._base_scope: Scope = {}

    # The transport's calls

    def connection_made(self, transport: BaseTransport) -> None:
        """Begins, or refuses one connection too many."""
        count, limit = len(self.state.open), self._limits.connections_max
        super().connection_made(transport)  # type: ignore[arg-type]
        self._base_scope = base_scope(self.scheme, self.server, self.client)
        if count >= limit:
            self._say(problems.too_many_connections(limit))
            if len(self.state.closing) > limit:
                self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parses what came, or holds it back."""
        if self._deaf or self._closing:
            return
        self._first = True
        if self._held or len(data) > _SLICE_BYTES:
            self._held += data
            self._feed_held()
        else:
            self._feed(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Lets the requests that came whole be answered after the client has said its last; True keeps the way back."""
        self._ended = True
        self._refuse_if_cut()
        return not self._closing and self._running is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells all who wait for the client that it is gone."""
        super().connection_lost(exc)
        if self._running is not None:
            self._running.disconnect()
            if self.task is not None:  # Until here the connection has kept it alive.
                self.tasks.add(self.task)
                self.task.add_done_callback(self.tasks.discard)
        self._waiting.clear()
        self._held = b""
        self._closing = True
        self._wake()
        self.state.forget(self)

    # The parser's calls

    def on_message_begin(self) -> None:
        """Begins a request at its first byte."""
        self._phase = _HEADERS
        self._since = self.state.now
        self._stepped = True
        self._split = False
        self._body_left = 0
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collects a header; a trailer, which nothing here needs, is dropped."""
        if self._phase != _HEADERS:
            return
        name = name.lower()
        if name == b"content-length":
            self._body_left = int(value)
        elif name == b"transfer-encoding":
            self._body_left = None
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Answers the request, hands it over, or queues it behind the one that is being answered."""
        if self._resuming:
            self._resuming = False
            self._phase = _BODY
            return
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise CallerFault("bad_request", f"HTTP/{version} is not spoken here; use HTTP/1.1.")
        if self._split and header_bytes_of(self.url, self.headers) > self._limits.header_bytes_max:
            raise problems.headers_too_large(self._limits.header_bytes_max)
        method = self.parser.get_method()
        keep_alive = version == "1.1" and method != b"CONNECT" and self.parser.should_keep_alive()
        self._since = self.state.now
        self._stepped = True
        at_once = method == b"GET" and keep_alive and self._body_left == 0 and self._may_answer_at_once()
        if at_once and self.app.plain_reads.at_once(self.url, self.headers, self._give):
            return
        scope = scope_of(self._base_scope, version, method, self.url, self.headers)
        exchange = Exchange(self, scope, keep_alive, self.expect_100_continue and version == "1.1", self._body_left)
        self._phase = _BODY
        self._latest = exchange
        if at_once and self.app.plain_reads.elsewhere(exchange, self.url, self.headers):
            self._first = False
            self._running = exchange
        elif self._running is None:
            self.on_due(exchange)
        else:
            self._waiting.append(exchange)
            self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        """Passes a part of the body on, or throws it away once the request is answered."""
        exchange = self._latest
        assert exchange is not None
        self._stepped = True
        self._since = self.state.now
        if exchange.body_left is not None:
            exchange.body_left -= len(body)
        if exchange.answered:
            exchange.discarded_bytes += len(body)
            if exchange.discarded_bytes > FREE_BYTES:
                self._close(linger=True)
            return
        exchange.take(body)
        if exchange.buffered_bytes > FREE_BYTES:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """Notes that the request has come whole."""
        if self._phase == _IDLE or (self._body_left != 0 and self.parser.should_upgrade()):
            return
        self._phase = _IDLE
        self._since = self.state.now
        self._stepped = True
        assert self._latest is not None
        self._latest.complete_body()

    # The exchanges' and the server's calls

    def has_more(self) -> bool:
        """Says whether more requests have come than the one that is being answered."""
        return bool(self._waiting or self._held)

    def queued(self) -> int:
        """Returns how many requests wait behind the one that is being answered."""
        return len(self._waiting)

    def resume_reading(self) -> None:
        """Reads on, unless requests queue up."""
        if not self.has_more():
            self.flow.resume_reading()

    def on_answered(self, exchange: Exchange) -> None:
        """Goes on to the next request, or ends."""
        self._running = None
        self.state.total_requests += 1
        if self._closing:
            return
        if not exchange.keep_alive:
            self._close(linger=self._phase != _IDLE)
            return
        if self._phase == _IDLE:
            self._since = self.state.now
        if self._waiting:
            self.on_due(self._waiting.popleft())
        if self._held:
            self._feed_held()
        if self._running is None and (self._last_words is not None or self._ended):
            self._rest()
        if self.flow.read_paused:
            self.resume_reading()

    def sweep(self, now: Milliseconds) -> None:
        """Ends what has taken too long by `now`."""
        unsent_bytes = self.transport.get_write_buffer_size()
        if unsent_bytes == 0 or unsent_bytes < self._unsent_bytes:
            self._unsent_since = now
        self._unsent_bytes = unsent_bytes
        limits = self._limits
        slack_ms = self.state.sweep_ms
        if now - self._unsent_since > limits.send_timeout_ms:
            self.transport.abort()
            return
        waited_ms = now - self._since - slack_ms
        if self._closing:
            if unsent_bytes == 0 and waited_ms > limits.body_timeout_ms:
                self.transport.abort()
        elif self.flow.read_paused or self._deaf:
            self._since = now
        elif self._phase == _HEADERS:
            if waited_ms > limits.header_timeout_ms:
                self._refuse(problems.request_too_slow("The headers were not complete", limits.header_timeout_ms))
        elif self._phase == _BODY:
            if waited_ms > limits.body_timeout_ms:
                self._refuse(problems.request_too_slow("Nothing came of the body", limits.body_timeout_ms))
        elif self._running is None and waited_ms > (_DRAIN_IDLE_MS if self.state.draining else limits.idle_timeout_ms):
            self._close(linger=False)

    # What they are made of

    def _feed(self, data: bytes) -> None:
        self._stepped = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No other protocol is spoken here: what follows is HTTP as before.
            if self._phase == _BODY:
                self._parse_body_after_upgrade()
            rest = data[upgrade.args[0] :]
            if rest and not self._closing:
                self._feed(rest)
            return
        except httptools.HttpParserError as error:
            self._refuse(problems.of_parser(error))
            return
        self._split = self._phase == _HEADERS
        if self._stepped:
            self._endless_bytes = 0
            return
        self._endless_bytes += len(data)
        if self._endless_bytes > self._limits.header_bytes_max:
            self._refuse(problems.headers_too_large(self._limits.header_bytes_max))

    def _parse_body_after_upgrade(self) -> None:
        """Goes on with a new parser, told that it is at the body: the old one takes that for another protocol's."""
        framing = b"transfer-encoding: chunked" if self._body_left is None else b"content-length: %d" % self._body_left
        self._resuming = True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"PUT / HTTP/1.1\r\n" + framing + b"\r\n\r\n")

    def _feed_held(self) -> None:
        """Parses what is held until requests queue up; a body goes in one piece, for nothing queues up within it."""
        held, self._held = self._held, b""
        position = 0
        while position < len(held) and not (self._waiting or self._closing or self._deaf):
            size_bytes = _SLICE_BYTES
            if self._phase == _BODY and self._latest is not None and self._latest.body_left is not None:
                size_bytes = max(size_bytes, self._latest.body_left)
            self._feed(held[position : position + size_bytes])
            position += size_bytes
        if not (self._closing or self._deaf):
            self._held = held[position:]
        if self._held:
            self.flow.pause_reading()
        elif self._ended:
            self._refuse_if_cut()

    def _may_answer_at_once(self) -> bool:
        """Says whether an answer would have to wait for nothing, and would not have to close (rule 4)."""
        return self._first and not (self._running or self._closing or self.flow.write_paused or self.state.draining)

    def _give(self, head: bytes, body: bytes) -> bool:
        """Gives its whole answer to the request whose headers have just ended (as `Exchange.answer`)."""
        self._first = False
        self._phase = _IDLE
        self.state.total_requests += 1
        self.transport.write(b"%b%b\r\n%b" % (head, self.state.date_line, body))
        return True

    def on_due(self, exchange: Exchange) -> None:
        """Has the task answer a request whose turn it is."""
        self._running = exchange
        if not self._wake() and (self.task is None or self.task.done()):
            self.task = self.loop.create_task(self._answer())

    async def _answer(self) -> None:
        """Answers what there is, and waits for more until the connection is gone: a task per request costs far more."""
        while not self._closing:
            exchange = self._running
            if exchange is None:
                self._next = self.loop.create_future()
                await self._next
                continue
            await exchange.run(self.app)
            if not exchange.answered:
                return
            if self._running is not None:
                await sleep(0)  # Rule 4

    def _wake(self) -> bool:
        """Lets the task look again; False if it is not waiting."""
        waiter, self._next = self._next, None
        if waiter is None or waiter.done():
            return False
        waiter.set_result(None)
        return True

    def _rest(self) -> None:
        """Decides what a connection does that has nothing to answer."""
        if self._last_words is not None:
            self._say(self._last_words)
        elif self._ended:
            self._close(linger=False)

    def _refuse(self, error: CoreCacheError) -> None:
        """Answers the request that the parser is in with an error, in its turn, and hears nothing more."""
        if self._deaf or self._closing:
            return
        self._deaf = True
        latest = self._latest
        if self._phase != _BODY or latest is None:
            self._last_words = error
            if self._running is None:
                self._rest()
        elif latest.answered:
            self._close(linger=True)
        else:
            latest.fail(error)

    def _refuse_if_cut(self) -> None:
        if self._phase != _IDLE and not self._held:
            self._refuse(problems.body_cut_short())

    def _say(self, error: CoreCacheError) -> None:
        """Answers with an error outside of any exchange, and closes."""
        status, headers, body = problems.answer_of(error, write=True)
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[status] + self.state.date_line + lines + b"connection: close\r\n\r\n" + body)
        self.state.refused[status] = self.state.refused.get(status, 0) + 1
        self._close(linger=True)

    def _close(self, linger: bool) -> None:
        """Closes; with `linger` only this side, since bytes that nobody reads would make the last answer vanish."""
        self._closing = True
        self._since = self.state.now
        self._held = b""
        self.state.retire(self)
        if linger and not self._ended:
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()
