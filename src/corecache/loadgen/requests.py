"""Operations as the bytes that go over the wire, in HTTP and in Redis's protocol. Pure.

Rule 1: a request is one formatted string. What does not change between requests is made once, and the keys have one
length, so that a generator in Python keeps up with the node.

Rule 2: keys that are loaded are numbered from 0, the same in every run, so that a run can use what another has kept.
Keys that are inserted have numbers of their run alone (`first_inserted`), behind all that can be loaded: what one run
inserts, no other overwrites or removes.
"""

from typing import Final, Protocol

from corecache.wire.resp_command import command

PREFIX: Final = b"corecache-bench/"
"""All keys of the load begin with it."""

RUNS: Final = 10**7
"""A run that inserts draws its number from 1 to below this."""

_NUMBERS_OF_A_RUN: Final = 10**11
_NUMBER: Final = b"%018d"


def key(number: int) -> bytes:
    """Returns the name of a key. All have one length."""
    return PREFIX + _NUMBER % number


def first_inserted(run: int) -> int:
    """Returns the number of the first key that a run inserts."""
    assert 1 <= run < RUNS
    return run * _NUMBERS_OF_A_RUN


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
        path = b"/v1/kv/" + PREFIX + _NUMBER
        quoted = PREFIX.replace(b"/", b"%%2F")
        ending = ending.replace(b"%", b"%%")
        self._read = b"GET " + path + ending + b"\r\n"
        self._write = b"PUT " + path + ending + b"Content-Length: %d\r\n\r\n%b"
        self._scan = b"GET /v1/kv?prefix=" + quoted + b"&start=" + quoted + _NUMBER + b"&limit=%d" + ending + b"\r\n"

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

    _READ = command(b"GET", key(0)).replace(key(0), PREFIX + _NUMBER)
    _WRITE = command(b"SET", key(0), b"").replace(key(0), PREFIX + _NUMBER).replace(b"$0\r\n", b"$%d\r\n%b")

    def read(self, number: int) -> bytes:
        """Returns a GET."""
        return self._READ % number

    def write(self, number: int, value: bytes) -> bytes:
        """Returns a SET."""
        return self._WRITE % (number, len(value), value)

    def scan(self, number: int, items: int) -> bytes:
        """Raises: there is no such command, and who plans a load for this protocol knows."""
        raise NotImplementedError("Redis's protocol lists keys in no order")
