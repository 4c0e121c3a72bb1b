"""The hot path: PUT, GET, HEAD and DELETE of /v1/kv/{key}, as a bare ASGI callable.

The rule: a request pays for what it uses. Headers are looked at once and only the few that mean something are kept; no
object, timer or task is made that most requests do not need; a small body is taken as it came and a small answer goes
out in one piece. Everything unusual (percent signs, queries, conditions, large values, errors) is one test away from
the straight line. A usual GET does not even get here, if all goes well (`plain_reads.py`).

The order of judgement is fixed: key, parameters, conditions, size, and only then is the body read, so that a request
that can't succeed is refused before it costs anything. What `Service` answers is turned into a status, nothing else is
decided here. `docs/http.md` has the promises, `problems.py` the errors.
"""

from collections.abc import Mapping
from time import perf_counter_ns

import structlog

from corecache.config import Config
from corecache.errors import CallerFault, CoreCacheError
from corecache.identity import Milliseconds
from corecache.operations import (
    KEY_BYTES_MAX,
    NEVER,
    ConditionFailed,
    Delete,
    Deleted,
    IfMatch,
    Put,
    Record,
    Result,
    Written,
)
from corecache.ports import Clock, Service, Uncached
from corecache.serving.http import parameters, problems
from corecache.serving.http.bodies import (
    FREE_BYTES,
    BodyReader,
    Budget,
    Disconnected,
    Receive,
    Scope,
    Send,
    read_on,
    send_answer,
    send_large_answer,
)
from corecache.serving.http.exchange import Exchange, extension_of
from corecache.serving.http.metrics import RequestMetrics
from corecache.serving.http.plain_reads import MEANINGFUL, PREFIX, answer_plainly, is_unusual
from corecache.serving.http.problems import Headers

ROUTE = "/v1/kv/{key}"
ALLOWED = "GET, HEAD, PUT, DELETE"

_WRITES = frozenset(("PUT", "DELETE"))
_OCTETS = (b"content-type", b"application/octet-stream")
_PUT_PARAMETERS = frozenset(("ttl",))
_GET_PARAMETERS = frozenset(("consistency",))
_NO_PARAMETERS: frozenset[str] = frozenset()
_START = "http.response.start"
_BODY = "http.response.body"
_NO_BODY = {"type": _BODY, "body": b""}
_WRITTEN = b'HTTP/1.1 204 No Content\r\netag: "%d"\r\n'
_SMALL_DIGITS = len(b"%d" % FREE_BYTES)
"""A Content-Length with fewer digits is surely below `FREE_BYTES`."""

_log = structlog.get_logger()


class KeyValue:
    """Answers the requests whose raw path begins with `PREFIX`."""

    def __init__(self, service: Service, config: Config, clock: Clock, budget: Budget, metrics: RequestMetrics) -> None:
        self._service = service
        self._clock = clock
        self._budget = budget
        self._counts = metrics.route(ROUTE)
        self._timeout_ms = config.http.request_timeout_ms
        self._timeout_max_ms = config.http.request_timeout_max_ms
        self._value_bytes_max = config.limits.value_bytes_max
        self._plain_bytes_max = min(FREE_BYTES, config.limits.value_bytes_max)
        self._methods = {"GET": self._get, "HEAD": self._get, "PUT": self._put, "DELETE": self._delete}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. Every exception but a cancellation becomes an answer."""
        started_ns = perf_counter_ns()
        method: str = scope["method"]
        extra: Headers = []
        try:
            answer = self._methods.get(method)
            if answer is None:
                extra.append((b"allow", ALLOWED.encode()))
                raise problems.method_not_allowed(method, ALLOWED)
            raw: bytes = scope["raw_path"]
            key = raw[len(PREFIX) :]
            if b"%" in key or not 0 < len(key) <= KEY_BYTES_MAX:
                key = parameters.key_of(key)
            exchange = None if scope["query_string"] or is_unusual(scope["headers"]) else extension_of(scope)
            # What is plain is done here, not by a coroutine of its own: each costs again whenever the write wakes it.
            if exchange is None or method == "HEAD":
                status = await answer(key, scope, receive, send, extra)
            elif method == "GET":
                record = exchange.found
                if isinstance(record, Uncached):
                    deadline = exchange.deadline or Milliseconds(self._clock.now() + self._timeout_ms)
                    record = await self._service.get(key, deadline)
                status = 200
                if record is None or not answer_plainly(exchange.answer, record):
                    status = await self._answer_record(record, None, scope, send, extra)
            elif (operation := self._plain_write(method, key, exchange)) is None:
                status = await answer(key, scope, receive, send, extra)
            else:
                deadline = Milliseconds(self._clock.now() + self._timeout_ms)
                result = (await self._service.write((operation,), deadline))[0]
                status = 204
                if not (isinstance(result, Written) and exchange.answer(_WRITTEN % result.version)):
                    status = await _answer_write(result, send, extra)
        except Disconnected:
            return
        except Exception as error:  # every failure is a documented answer
            if not isinstance(error, CoreCacheError):
                _log.exception("request failed", method=method, route=ROUTE)
                error = problems.internal()
            status, headers, body = problems.answer_of(error, method in _WRITES)
            await send_answer(send, status, headers + extra, body)
        self._counts.observe(method, status, started_ns)

    def _plain_write(self, method: str, key: bytes, exchange: Exchange) -> Put | Delete | None:
        """Returns the write that is asked for, None if the value is large or has not come yet."""
        if method == "DELETE":
            return Delete(key)
        value = exchange.whole_body(self._plain_bytes_max)
        return None if value is None else Put(key, value)

    async def _put(self, key: bytes, scope: Scope, receive: Receive, send: Send, extra: Headers) -> int:
        said = _meaningful(scope["headers"])
        ttl_ms = None
        if scope["query_string"]:
            query = parameters.query_of(scope["query_string"], _PUT_PARAMETERS)
            if "ttl" in query:
                ttl_ms = parameters.ttl_ms_of(query["ttl"])
        length = said.get(b"content-length")
        if len(said) == 1 and length is not None:
            condition = None
            timeout_ms = self._timeout_ms
        else:
            if b"content-range" in said:
                raise CallerFault("bad_request", "Content-Range is not supported: a PUT replaces the whole value.")
            condition = parameters.write_condition_of(said.get(b"if-match"), said.get(b"if-none-match"))
            timeout_ms = self._asked_timeout_ms(said)
        if length is None and b"transfer-encoding" not in said:
            return await self._write(Put(key, b"", ttl_ms, condition), timeout_ms, send, extra)
        if length is not None and len(length) < _SMALL_DIGITS:
            message = await receive()
            if message["type"] == "http.request" and not message["more_body"]:
                value = message["body"]
            else:
                value = await read_on(message, receive)
            if len(value) > self._value_bytes_max:
                raise _value_too_large(self._value_bytes_max)
            return await self._write(Put(key, value, ttl_ms, condition), timeout_ms, send, extra)
        reader = BodyReader(self._budget, self._value_bytes_max, _value_too_large)
        try:
            value = await reader.read(receive, None if length is None else int(length))
            return await self._write(Put(key, value, ttl_ms, condition), timeout_ms, send, extra)
        finally:
            reader.release()

    async def _delete(self, key: bytes, scope: Scope, receive: Receive, send: Send, extra: Headers) -> int:
        said = _meaningful(scope["headers"])
        if scope["query_string"]:
            parameters.query_of(scope["query_string"], _NO_PARAMETERS)
        condition = None
        timeout_ms = self._timeout_ms
        if said:
            if b"if-none-match" in said:
                raise CallerFault("bad_condition", "A DELETE takes If-Match only; If-None-Match has no meaning for it.")
            found = parameters.write_condition_of(said.get(b"if-match"), None)
            assert found is None or isinstance(found, IfMatch), found
            condition = found
            timeout_ms = self._asked_timeout_ms(said)
        return await self._write(Delete(key, condition), timeout_ms, send, extra)

    async def _write(self, operation: Put | Delete, timeout_ms: int, send: Send, extra: Headers) -> int:
        """Executes a write and answers its success; raises what is none."""
        result = (await self._service.write((operation,), Milliseconds(self._clock.now() + timeout_ms)))[0]
        return await _answer_write(result, send, extra)

    async def _get(self, key: bytes, scope: Scope, receive: Receive, send: Send, extra: Headers) -> int:
        said = _meaningful(scope["headers"])
        timeout_ms = self._timeout_ms
        known: list[bytes] | None = None
        if said:
            if b"if-match" in said:
                raise CallerFault("bad_condition", "If-Match has no meaning for a read; use If-None-Match.")
            timeout_ms = self._asked_timeout_ms(said)
            if b"if-none-match" in said:
                known = parameters.read_condition_of(said[b"if-none-match"])
        if scope["query_string"] and _asks_stale(scope["query_string"]):
            record, sequence = await self._service.get_stale(key)
            extra.append((b"x-corecache-sequence", b"%d" % sequence))
        else:
            record = await self._service.get(key, Milliseconds(self._clock.now() + timeout_ms))
        return await self._answer_record(record, known, scope, send, extra)

    async def _answer_record(
        self, record: Record | None, known: list[bytes] | None, scope: Scope, send: Send, extra: Headers
    ) -> int:
        """Answers what a read found; `known` are the tags that need not be sent again. Raises what is no success."""
        if record is None:
            raise problems.key_not_found()
        tag = b'"%d"' % record.version
        if known is not None and (tag in known or b"*" in known):
            await send_answer(send, 304, [(b"etag", tag), *extra])
            return 304
        value = record.value
        headers = [
            _OCTETS,
            (b"content-length", b"%d" % len(value)),
            (b"etag", tag),
            (b"x-corecache-timestamp", b"%d" % record.timestamp),
            *extra,
        ]
        if record.expires != NEVER:
            headers.append((b"x-corecache-expires", b"%d" % record.expires))
        if len(value) > FREE_BYTES and scope["method"] == "GET":
            await send_large_answer(send, headers, value, self._budget)
        else:
            await send({"type": _START, "status": 200, "headers": headers})
            await send({"type": _BODY, "body": value})
        return 200

    def _asked_timeout_ms(self, said: Mapping[bytes, bytes]) -> int:
        text = said.get(b"x-corecache-timeout")
        return self._timeout_ms if text is None else parameters.timeout_ms_of(text, self._timeout_max_ms)


async def _answer_write(result: Result, send: Send, extra: Headers) -> int:
    """Answers a write's success; raises what is none."""
    if isinstance(result, Written):
        headers = [(b"etag", b'"%d"' % result.version)]
    elif isinstance(result, Deleted):
        headers = []
    elif isinstance(result, ConditionFailed):
        if result.present is not None:
            extra.append((b"etag", b'"%d"' % result.present))
        raise problems.condition_failed(result.present)
    else:
        raise problems.key_not_found()
    await send({"type": _START, "status": 204, "headers": headers})
    await send(_NO_BODY)
    return 204


def _meaningful(headers: Headers) -> Mapping[bytes, bytes]:
    """Returns the headers that mean something to a key. Raises: CallerFault `bad_request` for one that is repeated."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in MEANINGFUL:
            if name in found:
                raise CallerFault("bad_request", f"The header {name.decode()} is given more than once.")
            found[name] = value
    return found


def _asks_stale(raw_query: bytes) -> bool:
    """Says whether `consistency=stale` is asked. Raises: CallerFault `bad_parameter`."""
    consistency = parameters.query_of(raw_query, _GET_PARAMETERS).get("consistency")
    if consistency not in (None, b"stale"):
        raise CallerFault("bad_parameter", "consistency can only be stale; leave it out to read the newest value.")
    return consistency is not None


def _value_too_large(bytes_max: int) -> CallerFault:
    return CallerFault(
        "value_too_large", f"The value is longer than {bytes_max:,} bytes (limits.value_bytes_max); split it."
    )
