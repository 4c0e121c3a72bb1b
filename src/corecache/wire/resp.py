"""Redis's protocol, what clients are sent: replies, and their bytes in RESP2 or RESP3. Requests: `resp_requests.py`.

Rule 1: every reply can be told in either protocol. What RESP2 has no word for becomes what Redis sends for it there.
Rule 2: an error or a status is one line, whatever is in its text: else the client would take the rest for replies.
Rule 3: the same reply is the same bytes in every process; so a set is sorted.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec


class Status(msgspec.Struct, frozen=True):
    """A simple string, as in +OK."""

    text: str


class Failure(msgspec.Struct, frozen=True):
    """An error; the text begins with its word, as in -ERR."""

    text: str


class Verbatim(msgspec.Struct, frozen=True):
    """Text with a kind of three letters: RESP3's verbatim string, RESP2's bulk string."""

    text: str
    kind: str = "txt"


class Set(msgspec.Struct, frozen=True):
    """Things without an order, none twice: RESP3's set, RESP2's array."""

    items: tuple["Reply", ...]


class NullArray(msgspec.Struct, frozen=True):
    """No array: RESP2's *-1, RESP3's null."""


Reply: TypeAlias = (
    bool
    | int
    | float
    | bytes
    | str
    | Status
    | Failure
    | Verbatim
    | NullArray
    | Set
    | list["Reply"]
    | dict["Reply", "Reply"]
    | None
)


def encode(reply: Reply, protocol: int) -> bytes:
    """Returns a reply in RESP2 or RESP3. In text, a lone surrogate as of `surrogateescape` is the byte that it was."""
    if type(reply) is bytes:
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return _ENCODERS[type(reply)](reply, protocol)


def _null(_reply: None, protocol: int) -> bytes:
    return b"_\r\n" if protocol == 3 else b"$-1\r\n"


def _null_array(_reply: NullArray, protocol: int) -> bytes:
    return b"_\r\n" if protocol == 3 else b"*-1\r\n"


def _status(reply: Status, _protocol: int) -> bytes:
    return b"+OK\r\n" if reply.text == "OK" else b"+%b\r\n" % _one_line(reply.text)


def _failure(reply: Failure, _protocol: int) -> bytes:
    return b"-%b\r\n" % _one_line(reply.text)


def _one_line(text: str) -> bytes:
    """Returns text as bytes, with spaces for line ends: after one the client would expect another reply."""
    return _octets(text).translate(_LINE_ENDS_TO_SPACES)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _number(reply: int, _protocol: int) -> bytes:
    return b":%d\r\n" % reply


def _boolean(reply: bool, protocol: int) -> bytes:
    if protocol == 3:
        return b"#t\r\n" if reply else b"#f\r\n"
    return b":1\r\n" if reply else b":0\r\n"


def _double(reply: float, protocol: int) -> bytes:
    digits = b"%.17g" % reply
    return b",%b\r\n" % digits if protocol == 3 else encode(digits, protocol)


def _text(reply: str, protocol: int) -> bytes:
    return encode(_octets(reply), protocol)


def _verbatim(reply: Verbatim, protocol: int) -> bytes:
    octets = _octets(reply.text)
    if protocol == 3:
        return b"=%d\r\n%b:%b\r\n" % (len(octets) + 4, reply.kind.encode(), octets)
    return encode(octets, protocol)


def _array(reply: list[Reply], protocol: int) -> bytes:
    return b"*%d\r\n%b" % (len(reply), b"".join([encode(item, protocol) for item in reply]))


def _map(reply: dict[Reply, Reply], protocol: int) -> bytes:
    pairs = b"".join([encode(key, protocol) + encode(item, protocol) for key, item in reply.items()])
    return b"%%%d\r\n%b" % (len(reply), pairs) if protocol == 3 else b"*%d\r\n%b" % (2 * len(reply), pairs)


def _set(reply: Set, protocol: int) -> bytes:
    items = b"".join([encode(item, protocol) for item in reply.items])
    return b"%b%d\r\n%b" % (b"~" if protocol == 3 else b"*", len(reply.items), items)


_LINE_ENDS_TO_SPACES = bytes.maketrans(b"\r\n", b"  ")
_ENCODERS: dict[type, Callable[[Any, int], bytes]] = {
    int: _number,
    type(None): _null,
    Status: _status,
    list: _array,
    Failure: _failure,
    str: _text,
    dict: _map,
    bool: _boolean,
    float: _double,
    Set: _set,
    Verbatim: _verbatim,
    NullArray: _null_array,
}
