"""Plain GETs of /v1/kv/{key}, which are no ASGI calls: no coroutine, future or task is made for them.

What memory knows here is answered where the request's headers end (`at_once`). What another node leads is asked for
there, and answered when that node has (`elsewhere`). All else is the ASGI call's (`keyvalue.py`), as is whatever turns
out not to be plain on the way: nobody can tell the answers of the three apart.
"""

from collections.abc import Callable
from time import perf_counter_ns

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from corecache.config import Config
from corecache.errors import CoreCacheError
from corecache.identity import Milliseconds
from corecache.operations import KEY_BYTES_MAX, NEVER, Record
from corecache.ports import UNCACHED, Clock, Service
from corecache.serving.http import problems
from corecache.serving.http.bodies import FREE_BYTES
from corecache.serving.http.exchange import Exchange
from corecache.serving.http.metrics import RouteCounts
from corecache.serving.http.problems import Headers

PREFIX = b"/v1/kv/"

MEANINGFUL = frozenset(
    (
        b"content-length",
        b"transfer-encoding",
        b"if-match",
        b"if-none-match",
        b"x-corecache-timeout",
        b"content-range",
    )
)
_UNUSUAL = MEANINGFUL - {b"content-length"}
_FOUND = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n"
    b'etag: "%d"\r\nx-corecache-timestamp: %d\r\n'
)


class PlainReads:
    """Answers plain GETs, or leaves them alone."""

    def __init__(self, service: Service, config: Config, clock: Clock, counts: RouteCounts) -> None:
        """Takes where to count what is answered."""
        self._peek = service.peek
        self._begin_get = service.begin_get
        self._clock = clock
        self._counts = counts
        self._timeout_ms = config.http.request_timeout_ms

    def at_once(self, target: bytes, headers: Headers, give: Callable[[bytes, bytes], bool]) -> bool:
        """Answers a plain GET of a key that memory knows; False says that it did nothing and the ASGI call is needed.

        The answer goes to `give`, as `Exchange.answer` takes it. Requires: a GET without a body. Raises: nothing.
        """
        started_ns = perf_counter_ns()
        key = _plain_key(target, headers)
        if not key:
            return False
        try:
            record = self._peek(key)
        except Exception:  # the ASGI call meets it again, and answers it
            return False
        if type(record) is not Record or not answer_plainly(give, record):
            return False
        self._counts.observe("GET", 200, started_ns)
        return True

    def elsewhere(self, exchange: Exchange, target: bytes, headers: Headers) -> bool:
        """Has another node asked for the record of a plain GET; False says that it did nothing, as above.

        It answers when the other node has. What is not that simple then is taken up by the ASGI call. Raises: nothing.
        """
        key = _plain_key(target, headers)
        if not key:
            return False
        exchange.deadline = Milliseconds(self._clock.now() + self._timeout_ms)
        try:
            return self._begin_get(key, exchange.deadline, _ReadElsewhere(exchange, self._counts))
        except Exception:  # the ASGI call meets it again, and answers it
            return False


class _ReadElsewhere:
    """Answers a GET with the record that another node tells, or has the ASGI call made after all."""

    __slots__ = ("_counts", "_exchange", "_started_ns")

    def __init__(self, exchange: Exchange, counts: RouteCounts) -> None:
        self._exchange = exchange
        self._counts = counts
        self._started_ns = perf_counter_ns()

    def done(self) -> bool:
        """Says whether the client is gone."""
        return self._exchange.disconnected

    def set_result(self, record: Record | None) -> None:
        """Answers, if it is a plain answer that nothing holds up."""
        if record is None:
            status, answered = 404, self._exchange.answer(*_MISSING)
        else:
            status, answered = 200, answer_plainly(self._exchange.answer, record)
        if answered:
            self._counts.observe("GET", status, self._started_ns)
        else:
            self._exchange.go_on(record)

    def set_exception(self, _: CoreCacheError) -> None:
        """Leaves it to the ASGI call to try again, and to tell."""
        self._exchange.go_on(UNCACHED)


def _plain_key(target: bytes, headers: Headers) -> bytes:
    """Returns the key that a plain request is about, nothing if it is not plain."""
    if not target.startswith(PREFIX) or b"?" in target or b"%" in target or is_unusual(headers):
        return b""
    key = target[len(PREFIX) :]
    return key if len(key) <= KEY_BYTES_MAX else b""


def answer_plainly(give: Callable[[bytes, bytes], bool], record: Record) -> bool:
    """Answers a read with a small record that does not expire; False if it is another, or `give` says that it can't."""
    value = record.value
    if record.expires != NEVER or len(value) > FREE_BYTES:
        return False
    return give(_FOUND % (len(value), record.version, record.timestamp), value)


def is_unusual(headers: Headers) -> bool:
    """Says whether a header asks for something; a Content-Length does not, and the parser lets no two of them pass."""
    for name, _ in headers:  # noqa: SIM110 (a generator would cost more than the loop)
        if name in _UNUSUAL:
            return True
    return False


def _plain_problem(error: CoreCacheError) -> tuple[bytes, bytes]:
    """Returns the answer that an error is, as `Exchange.answer` takes it."""
    status, headers, body = problems.answer_of(error, write=False)
    return STATUS_LINE[status] + b"".join(b"%b: %b\r\n" % header for header in headers), body


_MISSING = _plain_problem(problems.key_not_found())
