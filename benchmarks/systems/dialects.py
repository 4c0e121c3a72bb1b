"""What is sent to a system for a write and for a read, and how the right answer is known. Pure.

The rule: an answer is right only if it says so. A write is answered as the protocol says a done one is, and a read
with the value that was written; all keys of one size have the same value, so that this costs a comparison. Whatever
else comes ends the run, and hence no failure is ever counted as work.
"""

import base64
import re
from typing import Protocol

from benchmarks.closed_loop import Whole, command, key
from benchmarks.wrk import LoadError

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

    def found(self, value: bytes) -> bytes | Whole:
        """Returns what tells that this value was read."""


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

    def found(self, value: bytes) -> Whole:
        """The value is the body."""
        return of_http(value)


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

    def found(self, value: bytes) -> Whole:
        """The value in base64 is in the body."""
        return of_http(b'"%b"' % base64.b64encode(value))

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

    def found(self, value: bytes) -> bytes | Whole:
        """The value."""
        return b"$%d\r\n%b\r\n" % (len(value), value)


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
        if missing < 0 or within not in body:
            raise LoadError(f"a request was answered {answer[:300]!r}")
        return True

    return whole
