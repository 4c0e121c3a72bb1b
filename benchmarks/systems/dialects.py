"""What is sent to a system for a write and for a read, and how the right answer is known. Pure.

The rule: an answer is right only if it says so. A write is answered as the protocol says a done one is, and a read
with one of the values that were written: that this is the key's own is for tests to show, and here it would cost the
load generator more than a look into a set. Whatever else comes ends the run, and hence no failure is counted as work.
"""

import base64
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from benchmarks.closed_loop import Whole, key
from benchmarks.wrk import LoadError
from corecache.wire.resp_command import command

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_HOST = b"Host: 127.0.0.1\r\n"


class Dialect(Protocol):
    """How a system is asked."""

    def write(self, number: int, value: bytes) -> bytes:
        """Returns the request that stores a value under the key of this number."""

    def read(self, number: int) -> bytes:
        """Returns the request for a key's value."""

    def written(self) -> bytes | Whole:
        """Returns what tells that a write is done."""

    def found(self, values: Sequence[bytes]) -> Whole:
        """Returns what tells that one of these values, all of one length, was read."""


class CoreCacheHttp:
    """CoreCache's HTTP API."""

    def write(self, number: int, value: bytes) -> bytes:
        """Returns a PUT."""
        return b"PUT /v1/kv/%b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (key(number), _HOST, len(value), value)

    def read(self, number: int) -> bytes:
        """Returns a GET."""
        return b"GET /v1/kv/%b HTTP/1.1\r\n%b\r\n" % (key(number), _HOST)

    def written(self) -> Whole:
        """A status of success."""
        return of_http(b"")

    def found(self, values: Sequence[bytes]) -> Whole:
        """The value is the body."""
        return _http_whole(frozenset(values).__contains__)


class EtcdHttp:
    """etcd's JSON gateway, the only HTTP that it has for keys: keys and values are base64, each call is a POST."""

    def write(self, number: int, value: bytes) -> bytes:
        """Returns a put."""
        body = b'{"key":"%b","value":"%b"}' % (base64.b64encode(key(number)), base64.b64encode(value))
        return self._post(b"put", body)

    def read(self, number: int) -> bytes:
        """Returns a range of one key, linearizable as it is by default."""
        return self._post(b"range", b'{"key":"%b"}' % base64.b64encode(key(number)))

    def written(self) -> Whole:
        """The answer's header says in which revision it is."""
        return of_http(b'"revision":')

    def found(self, values: Sequence[bytes]) -> Whole:
        """The value in base64 is in the body."""
        encoded = frozenset(map(base64.b64encode, values))
        return _http_whole(lambda body: body.partition(b'"value":"')[2].partition(b'"')[0] in encoded)

    def _post(self, call: bytes, body: bytes) -> bytes:
        return b"POST /v3/kv/%b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (call, _HOST, len(body), body)


class Resp:
    """Redis's protocol: CoreCache, Redis, and the server around PySyncObj."""

    def write(self, number: int, value: bytes) -> bytes:
        """Returns a SET."""
        return command(b"SET", key(number), value)

    def read(self, number: int) -> bytes:
        """Returns a GET."""
        return command(b"GET", key(number))

    def written(self) -> bytes | Whole:
        """The word of success."""
        return b"+OK\r\n"

    def found(self, values: Sequence[bytes]) -> Whole:
        """The value."""
        head = b"$%d\r\n" % len(values[0])
        right = frozenset(head + value + b"\r\n" for value in values)
        length = len(head) + len(values[0]) + 2

        def whole(answer: bytes) -> bool:
            if answer in right:
                return True
            if len(answer) >= length or not answer.startswith(head[: len(answer)]):
                raise LoadError(f"a request was answered {answer[:200]!r}")
            return False

        return whole


class RespThenWait(Resp):
    """Redis with two replicas: a `WAIT 2` goes out with each SET, and both are waited for."""

    _WAIT = command(b"WAIT", b"2", b"0")

    def write(self, number: int, value: bytes) -> bytes:
        """Returns a SET and a WAIT."""
        return super().write(number, value) + self._WAIT

    def written(self) -> bytes | Whole:
        """Both replicas have acknowledged."""
        return b"+OK\r\n:2\r\n"


def of_http(within: bytes) -> Whole:
    """Returns the question for an answer of success, its length told or in chunks, with these bytes in its body."""
    return _http_whole(lambda body: within in body)


def _http_whole(is_right: Callable[[bytes], bool]) -> Whole:
    """Returns the question for an answer of success, its length told or in chunks, with such a body."""

    def whole(answer: bytes) -> bool:
        head, gap, body = answer.partition(b"\r\n\r\n")
        if not gap:
            return False
        if not head.startswith(b"HTTP/1.1 2"):
            raise LoadError(f"a request was answered {answer[:300]!r}")
        head += b"\r\n"
        told = _LENGTH.search(head)
        if told is not None:
            missing = int(told[1]) - len(body)
        else:
            missing = int(bool(_CHUNKED.search(head)) and not body.endswith(_LAST_CHUNK))
        if missing > 0:
            return False
        if missing < 0 or not is_right(body):
            raise LoadError(f"a request was answered {answer[:300]!r}")
        return True

    return whole
