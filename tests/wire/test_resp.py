"""Redis's protocol: replies mean the same in RESP2 and in RESP3."""

from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corecache.wire.resp import Failure, NullArray, Reply, Set, Status, Verbatim, encode


class Decoder:
    """Reads replies of either protocol; what RESP2 has no word for becomes what is sent for it."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.at = 0

    def line(self) -> bytes:
        end = self.octets.index(b"\r\n", self.at)
        line = self.octets[self.at : end]
        self.at = end + 2
        return line

    def bulk(self, length: int) -> bytes:
        found = self.octets[self.at : self.at + length]
        assert self.octets[self.at + length : self.at + length + 2] == b"\r\n"
        self.at += length + 2
        return found

    def reply(self) -> object:
        line = self.line()
        sign, text = line[:1], line[1:]
        match sign:
            case b"+":
                return Status(text.decode("utf-8", "surrogateescape"))
            case b"-":
                return Failure(text.decode("utf-8", "surrogateescape"))
            case b":":
                return int(text)
            case b"$":
                return None if text == b"-1" else self.bulk(int(text))
            case b"*":
                return NullArray() if text == b"-1" else [self.reply() for _ in range(int(text))]
            case b"_":
                assert not text
                return None
            case b"#":
                return {b"t": True, b"f": False}[text]
            case b",":
                return float(text)
            case b"=":
                kind, _, octets = self.bulk(int(text)).partition(b":")
                return Verbatim(octets.decode("utf-8", "surrogateescape"), kind.decode())
            case b"%":
                return {self.reply(): self.reply() for _ in range(int(text))}
            case b"~":
                return Set(cast(tuple[Reply, ...], tuple(self.reply() for _ in range(int(text)))))
        raise AssertionError(line)


def decoded(octets: bytes) -> object:
    """Returns the one reply that bytes are."""
    decoder = Decoder(octets)
    reply = decoder.reply()
    assert decoder.at == len(octets)
    return reply


def text_of(text: str) -> bytes:
    """Returns the bytes that text is."""
    return text.encode("utf-8", "surrogateescape")


def as_read(reply: Reply, protocol: int) -> object:
    """Returns what a reader of a protocol makes of a reply."""
    three = protocol == 3
    match reply:
        case Status(text) | Failure(text):
            return type(reply)(text.replace("\r", " ").replace("\n", " "))
        case Verbatim(text):
            return reply if three else text_of(text)
        case NullArray():
            return None if three else reply
        case bool():
            return reply if three else int(reply)
        case float():
            return reply if three else b"%.17g" % reply
        case str():
            return text_of(reply)
        case list():
            return [as_read(item, protocol) for item in reply]
        case dict():
            pairs = [(as_read(key, protocol), as_read(item, protocol)) for key, item in reply.items()]
            return dict(pairs) if three else [item for pair in pairs for item in pair]
        case Set(members):
            items = [as_read(item, protocol) for item in members]
            return Set(cast(tuple[Reply, ...], tuple(items))) if three else items
    return reply


texts_st = st.text(max_size=20)
keys_st = st.one_of(texts_st, st.integers(), st.binary(max_size=20))
replies_st: st.SearchStrategy[Reply] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.binary(max_size=50),
        texts_st,
        texts_st.map(Status),
        texts_st.map(Failure),
        texts_st.map(Verbatim),
        st.just(NullArray()),
        st.lists(texts_st.map(Status), max_size=5).map(tuple).map(Set),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(texts_st, inner, max_size=5),
        st.dictionaries(keys_st, inner, max_size=3),
    ),
    max_leaves=20,
)


@given(replies_st, st.sampled_from([2, 3]))
@example({"a": 1, b"b": [None, {"c": 0.1}]}, 2)
def test_replies_are_read_as_they_were_meant(reply: Reply, protocol: int) -> None:
    """In either protocol; a map whose keys would be the same bytes is not asked for."""
    if isinstance(reply, dict) and protocol == 3 and len({as_read(key, 3) for key in reply}) < len(reply):
        return
    assert decoded(encode(reply, protocol)) == as_read(reply, protocol)


@pytest.mark.parametrize(
    ("reply", "resp2", "resp3"),
    [
        (Status("OK"), b"+OK\r\n", b"+OK\r\n"),
        (Status("QUEUED"), b"+QUEUED\r\n", b"+QUEUED\r\n"),
        (Failure("ERR no\r\n+OK"), b"-ERR no  +OK\r\n", b"-ERR no  +OK\r\n"),
        (Failure("ERR got '\udcff'"), b"-ERR got '\xff'\r\n", b"-ERR got '\xff'\r\n"),
        (None, b"$-1\r\n", b"_\r\n"),
        (NullArray(), b"*-1\r\n", b"_\r\n"),
        (b"", b"$0\r\n\r\n", b"$0\r\n\r\n"),
        (b"a\r\nb", b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
        ("é", b"$2\r\n\xc3\xa9\r\n", b"$2\r\n\xc3\xa9\r\n"),
        (-7, b":-7\r\n", b":-7\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (False, b":0\r\n", b"#f\r\n"),
        (3.0, b"$1\r\n3\r\n", b",3\r\n"),
        (0.1, b"$19\r\n0.10000000000000001\r\n", b",0.10000000000000001\r\n"),
        (float("inf"), b"$3\r\ninf\r\n", b",inf\r\n"),
        (float("-inf"), b"$4\r\n-inf\r\n", b",-inf\r\n"),
        (float("nan"), b"$3\r\nnan\r\n", b",nan\r\n"),
        ([1, [b"a", None]], b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n", b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n_\r\n"),
        ({"a": {}}, b"*2\r\n$1\r\na\r\n*0\r\n", b"%1\r\n$1\r\na\r\n%0\r\n"),
        (Set((Status("a"), "b")), b"*2\r\n+a\r\n$1\r\nb\r\n", b"~2\r\n+a\r\n$1\r\nb\r\n"),
        (Verbatim("a:b"), b"$3\r\na:b\r\n", b"=7\r\ntxt:a:b\r\n"),
    ],
)
def test_each_kind_of_reply(reply: Reply, resp2: bytes, resp3: bytes) -> None:
    """As Redis writes it."""
    assert encode(reply, 2) == resp2
    assert encode(reply, 3) == resp3
