"""Fuzzes `serving/http/parameters.py` and the range of a listing: what clients write into paths, queries and headers.

Every parser gets the same bytes. Where a meaning can be computed in an obvious way too, that twin must agree; where a
parser has an inverse, the way there and back must end where it began. Each error must also be fit to be answered.
"""

from collections.abc import Callable, Collection
from decimal import ROUND_CEILING, Decimal
from typing import TypeVar
from urllib.parse import quote

from corecache.errors import CallerFault
from corecache.operations import KEY_BYTES_MAX, IfAbsent, IfMatch
from corecache.serving.http import parameters, problems
from corecache.serving.http.listing import range_of

WORDS = (
    *(b"%", b"%25", b"%00", b"%ff", b"%C3%BC", b"%zz", b"+", b"&", b"=", b"&&", b"?", b"#", b"/", b"..", b"\xff"),
    *(b"ttl=", b"consistency=stale", b"prefix=", b"start=", b"end=", b"limit=", b"cursor=", b"keys_only=true"),
    *(b"0", b"1", b".", b"0.001", b"1e3", b"-1", b"315360000", b"9223372036854775807", b"9223372036854775808"),
    *(b"*", b'"', b'"42"', b'W/"42"', b", ", b"\t", b"true", b"false", b"AQ", b"_", b"-"),
)

Meaning = TypeVar("Meaning")

_QUERY_NAMES = ("prefix", "start", "end", "limit", "cursor", "keys_only", "ttl", "consistency")


def target(data: bytes) -> None:
    """Whatever bytes arrive: each parser gives a value in its range or raises `CallerFault` with its declared codes."""
    _check_key(data)
    _check_query(data)
    _check_numbers(data)
    _check_conditions(data)
    _check_cursor(data)


def _parsed(parse: Callable[[], Meaning], *codes: str) -> Meaning | None:
    """Returns what a parser gives, None if it refuses with one of its codes."""
    try:
        return parse()
    except CallerFault as error:
        _check_refusal(error, codes)
        return None


def _check_refusal(error: CallerFault, codes: Collection[str]) -> None:
    assert error.code in codes, error
    status, _, body = problems.answer_of(error, write=True)
    assert status == 400, status
    assert body.decode(), "the answer is text"


def _check_key(data: bytes) -> None:
    key = _parsed(lambda: parameters.key_of(data), "bad_key", "bad_encoding")
    if key is not None:
        assert 1 <= len(key) <= KEY_BYTES_MAX, len(key)
        assert parameters.key_of(quote(key, safe="").encode()) == key, "encoded anew it is the same key"
    if 1 <= len(data) <= KEY_BYTES_MAX:
        assert parameters.key_of(quote(data, safe="").encode()) == data, "every key can be asked for"


def _check_query(data: bytes) -> None:
    query = _parsed(lambda: parameters.query_of(data, _QUERY_NAMES), "bad_parameter", "bad_encoding")
    if query:
        spelt = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        assert parameters.query_of(spelt.encode(), _QUERY_NAMES) == query, "spelt anew it is the same query"
    asked = _parsed(lambda: range_of(data, 1000), "bad_parameter", "bad_encoding", "bad_cursor")
    if asked is not None:
        assert 1 <= asked.limit <= 1000, asked


def _check_numbers(data: bytes) -> None:
    ttl_ms = _parsed(lambda: parameters.ttl_ms_of(data), "bad_ttl")
    if ttl_ms is not None:
        assert 1 <= ttl_ms <= parameters.TTL_SECONDS_MAX * 1000, ttl_ms
        exact = Decimal(data.decode("ascii")) * 1000
        assert ttl_ms == exact.to_integral_value(ROUND_CEILING), (ttl_ms, exact)
    timeout_ms = _parsed(lambda: parameters.timeout_ms_of(data, 60_000), "bad_timeout")
    assert timeout_ms is None or 1 <= timeout_ms <= 60_000, timeout_ms
    number = _parsed(lambda: parameters.number_of(data, "limit", 1000), "bad_parameter")
    assert number is None or 1 <= number <= 1000, number
    flag = _parsed(lambda: parameters.flag_of(data, "keys_only"), "bad_parameter")
    assert flag is None or data == (b"true" if flag else b"false"), flag


def _check_conditions(data: bytes) -> None:
    matching = _parsed(lambda: parameters.write_condition_of(data, None), "bad_condition")
    if matching is not None:
        assert isinstance(matching, IfMatch), matching
        if matching.versions is not None:
            assert all(0 <= version <= parameters.VERSION_MAX for version in matching.versions), matching
            spelt = ", ".join(f'"{version}"' for version in matching.versions)
            assert parameters.write_condition_of(spelt.encode(), None) == matching, "spelt anew it is the same"
    absent = _parsed(lambda: parameters.write_condition_of(None, data), "bad_condition")
    assert absent is None or (isinstance(absent, IfAbsent) and data == b"*"), absent
    assert _parsed(lambda: parameters.write_condition_of(data, data), "bad_condition") is None
    tags = _parsed(lambda: parameters.read_condition_of(data), "bad_condition")
    assert tags is None or tags == [b"*"] or all(tag[:1] == tag[-1:] == b'"' and len(tag) > 1 for tag in tags), tags


def _check_cursor(data: bytes) -> None:
    resume = _parsed(lambda: parameters.resume_of(data), "bad_cursor")
    if resume is not None:
        assert parameters.cursor_from(resume).encode() == data, "a key has one cursor"
    if 1 <= len(data) <= KEY_BYTES_MAX + 1:
        assert parameters.resume_of(parameters.cursor_from(data).encode()) == data, "a cursor leads to its key"
    beyond = parameters.prefix_end(data)
    assert beyond is None or data + b"\xff" * 9 < beyond, "no key with the prefix is beyond its end"
