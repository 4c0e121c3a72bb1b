"""What a client writes is read exactly, or refused with the one declared error."""

from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corecache.config import Limits
from corecache.errors import CallerFault
from corecache.operations import IfAbsent, IfMatch
from corecache.serving.http import parameters
from corecache.serving.http.batch_operations import batch_of, ttl_ms_of
from corecache.serving.http.listing import range_of

NAMES = ("ttl", "limit")

PARSERS: dict[str, Callable[[bytes], Any]] = {
    "key_of": parameters.key_of,
    "percent_decoded": lambda raw: parameters.percent_decoded(raw, "it"),
    "query_of": lambda raw: parameters.query_of(raw, NAMES),
    "ttl_ms_of": parameters.ttl_ms_of,
    "timeout_ms_of": lambda raw: parameters.timeout_ms_of(raw, 1000),
    "number_of": lambda raw: parameters.number_of(raw, "limit", 1000),
    "flag_of": lambda raw: parameters.flag_of(raw, "keys_only"),
    "if_match": lambda raw: parameters.write_condition_of(raw, None),
    "if_none_match": lambda raw: parameters.write_condition_of(None, raw),
    "read_condition_of": parameters.read_condition_of,
    "resume_of": parameters.resume_of,
    "range_of": lambda raw: range_of(raw, 1000),
    "batch_of": lambda raw: batch_of(raw, Limits()),
}

MARKS = [b"%", b"%2", b"%2F", b"%zz", b"&", b"=", b'"', b"*", b", ", b".", b"-", b" ", b"\x00", b"{", b"}", b"[", b"]"]
WORDS = [b"ttl", b"limit", b"cursor", b"prefix", b"start", b"end", b"keys_only", b"true", b"null", b"inf", b"e", b"AQ"]
PIECES = [b'"1"', b'W/"1"', b"0", b"1", b"9" * 20, b'"operations":', b'"op":"put"', b'"key":', b'"value":', b'"\xff"']

likely = st.lists(st.sampled_from(MARKS + WORDS + PIECES) | st.binary(max_size=3), max_size=12).map(b"".join)


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_parses_or_gives_the_one_declared_error(name: str) -> None:
    """Whatever bytes come, a parser returns or raises CallerFault, with a sentence and a code."""

    @given(likely)
    def check(raw: bytes) -> None:
        try:
            PARSERS[name](raw)
        except CallerFault as error:
            assert error.message.endswith(".")
            assert error.code.startswith(("bad_", "value_"))

    check()


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["", "/", "/:@!$&'()*+,;="]))
def test_every_key_survives_percent_encoding(key: bytes, safe: str) -> None:
    """What is percent-encoded in any way, in letters of any case, decodes to the same bytes."""
    assert parameters.key_of(b"".join(b"%%%02x" % byte for byte in key)) == key
    assert parameters.key_of(quote_from_bytes(key, safe=safe).encode()) == key


@pytest.mark.parametrize("raw", [b"%", b"a%", b"%1", b"%1g", b"%g1", b"%%30", b"% 1", b"%+1", b"%-1"])
def test_bad_percent_encoding_is_refused(raw: bytes) -> None:
    """A percent sign without two hexadecimal digits is no key."""
    with pytest.raises(CallerFault) as caught:
        parameters.key_of(raw)
    assert caught.value.code == "bad_encoding"


def test_a_plus_is_a_plus() -> None:
    """Keys and queries are bytes, not forms."""
    assert parameters.key_of(b"a+b") == b"a+b"
    assert parameters.query_of(b"ttl=1+2", NAMES) == {"ttl": b"1+2"}


@pytest.mark.parametrize("raw", [b"", b"x" * 8193, b"%41" * 8193])
def test_a_key_has_1_to_8192_bytes_after_decoding(raw: bytes) -> None:
    """Empty and oversized keys are refused; the limit counts decoded bytes."""
    with pytest.raises(CallerFault) as caught:
        parameters.key_of(raw)
    assert caught.value.code == "bad_key"
    assert parameters.key_of(b"%41" * 8192) == b"A" * 8192


@pytest.mark.parametrize(
    "raw", [b"tll=1", b"ttl=1&ttl=2", b"ttl", b"ttl=1&", b"&", b"=1", b"ttl=1&&limit=2", b"t%54l=1"]
)
def test_a_query_has_known_parameters_once_with_a_value(raw: bytes) -> None:
    """Unknown, repeated and empty parameters are refused."""
    with pytest.raises(CallerFault) as caught:
        parameters.query_of(raw, NAMES)
    assert caught.value.code == "bad_parameter"


def test_an_unknown_parameter_is_named() -> None:
    """The error says which name is unknown and which are possible."""
    with pytest.raises(CallerFault, match=r"'tll' is unknown; possible are limit, ttl"):
        parameters.query_of(b"tll=1", NAMES)


@given(st.decimals(min_value=Decimal("0.0000001"), max_value=parameters.TTL_SECONDS_MAX, places=7))
@example(Decimal("0.07"))
@example(Decimal("0.0000001"))
def test_a_ttl_is_rounded_up_to_milliseconds(seconds: Decimal) -> None:
    """A record never expires before its time is over."""
    exact = int((seconds * 1000).to_integral_value(ROUND_CEILING))
    assert parameters.ttl_ms_of(f"{seconds:f}".encode()) == exact


@given(st.integers(min_value=1, max_value=parameters.TTL_SECONDS_MAX * 1000))
@example(70)
@example(parameters.TTL_SECONDS_MAX * 1000)
def test_the_ttl_of_a_batch_means_the_same(ttl_ms: int) -> None:
    """A JSON number of seconds gives the milliseconds that its decimal spelling says."""
    assert ttl_ms_of(ttl_ms / 1000) == ttl_ms


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"0.0",
        b"-1",
        b"+1",
        b"1e3",
        b"inf",
        b"nan",
        b" 1",
        b"1 ",
        b"1,5",
        b".5",
        b"5.",
        b"0x1",
        b"1_0",
        b"1\n",
        b"315360001",
        b"315360000.001",
        b"9" * 4000,
        "\N{ARABIC-INDIC DIGIT ONE}".encode(),
        "\N{FULLWIDTH DIGIT ONE}".encode(),
    ],
)
def test_a_bad_ttl_is_refused(text: bytes) -> None:
    """A ttl is digits, perhaps with decimals, above 0 and up to ten years."""
    with pytest.raises(CallerFault) as caught:
        parameters.ttl_ms_of(text)
    assert caught.value.code == "bad_ttl"


@pytest.mark.parametrize("text", [b"0", b"1001", b"-5", b"1.0", b"", b"1e2", b" 7"])
def test_a_bad_timeout_is_refused(text: bytes) -> None:
    """A timeout is whole milliseconds within the limit."""
    with pytest.raises(CallerFault) as caught:
        parameters.timeout_ms_of(text, 1000)
    assert caught.value.code == "bad_timeout"


def test_conditions_of_a_write() -> None:
    """The headers of HTTP become the conditions of the node."""
    assert parameters.write_condition_of(None, None) is None
    assert parameters.write_condition_of(None, b"*") == IfAbsent()
    assert parameters.write_condition_of(b"*", None) == IfMatch(None)
    assert parameters.write_condition_of(b'"7", "8"', None) == IfMatch((7, 8))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "tags",
    [b"", b"7", b'W/"7"', b'"7" "8"', b'"7",', b'"a"', b'"07"', b'"-1"', b'"7', b'*, "7"', b'"9999999999999999999"'],
)
def test_a_bad_if_match_is_refused(tags: bytes) -> None:
    """Weak, unquoted, joined or impossible versions are no condition."""
    with pytest.raises(CallerFault) as caught:
        parameters.write_condition_of(tags, None)
    assert caught.value.code == "bad_condition"


@pytest.mark.parametrize(("if_match", "if_none_match"), [(None, b'"7"'), (b"*", b"*"), (b'"7"', b"*"), (None, b"")])
def test_other_conditions_of_a_write_are_refused(if_match: bytes | None, if_none_match: bytes) -> None:
    """If-None-Match of a write is `*` alone."""
    with pytest.raises(CallerFault) as caught:
        parameters.write_condition_of(if_match, if_none_match)
    assert caught.value.code == "bad_condition"


@given(st.binary(min_size=1, max_size=200))
def test_a_cursor_gives_its_key_back(key: bytes) -> None:
    """Cursors are one spelling of a key, and survive a URL."""
    cursor = parameters.cursor_from(key).encode()
    assert parameters.resume_of(cursor) == key
    assert parameters.percent_decoded(cursor, "it") == cursor
    for other in (cursor + b"A", cursor[:-1], cursor + b"=", b"B" + cursor[1:]):
        try:
            assert parameters.resume_of(other) != key
        except CallerFault as error:
            assert error.code == "bad_cursor"


@given(st.binary(min_size=1, max_size=6) | st.just(b"\xff\xff"), st.binary(max_size=8))
def test_the_end_of_a_prefix_is_the_least_key_beyond_it(prefix: bytes, key: bytes) -> None:
    """A key lies between a prefix and its end exactly if it starts with it."""
    end = parameters.prefix_end(prefix)
    assert (key >= prefix and (end is None or key < end)) == key.startswith(prefix)


@given(st.binary(max_size=3), st.binary(max_size=3), st.binary(max_size=3), st.binary(min_size=1, max_size=4))
def test_prefix_start_and_end_intersect(prefix: bytes, start: bytes, end: bytes, key: bytes) -> None:
    """A listing's range holds a key exactly if all three bounds do; an empty end is none."""
    raw = "&".join(f"{n}={quote_from_bytes(v)}" for n, v in (("prefix", prefix), ("start", start), ("end", end)))
    asked = range_of(raw.encode(), 100)
    within = key >= asked.start and (asked.end is None or key < asked.end)
    assert within == (key.startswith(prefix) and start <= key and (not end or key < end))
