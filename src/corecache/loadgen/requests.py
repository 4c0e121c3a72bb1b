"""Operations as the bytes that go over the wire, in HTTP and in Redis's protocol. Pure.

Rule: a request is one formatted string. What does not change between requests is made once, and the keys have one
length, so that a generator in Python keeps up with the node.
"""

from typing import Protocol

PREFIX = b"corecache-bench/"
"""All keys of the load begin with it."""


def key(number: int) -> bytes:
    """Returns the name of a key. All have one length up to 10**12 keys."""
    return b"%b%012d" % (PREFIX, number)


class Dialect(Protocol):
    """What a protocol's requests look like."""

    def read(self, number: int) -> bytes:
        """Returns the request for a key's value."""

    def write(self, number: int, value: bytes) -> bytes:
        """Returns the request that stores a value."""

    def scan(self, number: int, items: int) -> bytes:
        """Returns the request for so many records from a key on."""


class HttpDialect:
    """CoreCache's HTTP API, to one host."""

    def __init__(self, host: str) -> None:
        """Takes what the header Host says."""
        ending = b" HTTP/1.1\r\nHost: %b\r\n" % host.encode()
        path = b"/v1/kv/" + PREFIX + b"%012d"
        quoted = PREFIX.replace(b"/", b"%%2F")
        ending = ending.replace(b"%", b"%%")
        self._read = b"GET " + path + ending + b"\r\n"
        self._write = b"PUT " + path + ending + b"Content-Length: %d\r\n\r\n%b"
        self._scan = b"GET /v1/kv?prefix=" + quoted + b"&start=" + quoted + b"%012d&limit=%d" + ending + b"\r\n"

    def read(self, number: int) -> bytes:
        """Returns a GET."""
        return self._read % number

    def write(self, number: int, value: bytes) -> bytes:
        """Returns a PUT."""
        return self._write % (number, len(value), value)

    def scan(self, number: int, items: int) -> bytes:
        """Returns the request for a page of a listing."""
        return self._scan % (number, items)


class RespDialect:
    """Redis's protocol. It has no listing in the keys' order, hence no scan."""

    _KEY = b"$%d\r\n" % len(key(0)) + PREFIX + b"%012d\r\n"
    _READ = b"*2\r\n$3\r\nGET\r\n" + _KEY
    _WRITE = b"*3\r\n$3\r\nSET\r\n" + _KEY + b"$%d\r\n%b\r\n"
    _DELETE = b"*2\r\n$3\r\nDEL\r\n" + _KEY

    def read(self, number: int) -> bytes:
        """Returns a GET."""
        return self._READ % number

    def write(self, number: int, value: bytes) -> bytes:
        """Returns a SET."""
        return self._WRITE % (number, len(value), value)

    def scan(self, number: int, items: int) -> bytes:
        """Raises: there is no such command, and who plans a load for this protocol knows."""
        raise NotImplementedError("Redis's protocol lists keys in no order")

    def delete(self, number: int) -> bytes:
        """Returns a DEL."""
        return self._DELETE % number
