"""The commands on values, carried out by the primary's own rules. What is expected is what Redis 7.0.15 answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corecache.config import Config, Limits
from corecache.identity import Timestamp
from corecache.operations import Assign, Put, Until
from corecache.serving.resp.commands import arguments
from corecache.wire.resp import Failure, Reply, Status
from serving.plan_executor import TABLE, Executor

OK = Status("OK")
SYNTAX = Failure("ERR syntax error")
NO_INTEGER = Failure("ERR value is not an integer or out of range")
NO_NUMBER = Failure("ERR value is not a valid float")
TOO_LONG = Failure("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
INTEGER_MAX = 9223372036854775807


@pytest.fixture(params=[0, 50], ids=["fetched", "pending"])
def node(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Executor:
    """Returns an executor whose date is today's."""
    executor = Executor(Config(limits=Limits(value_bytes_max=64)), stale_entries=request.param)
    monkeypatch.setattr(arguments, "today_ms", lambda: executor.date)
    return executor


def test_a_value_is_what_was_set(node: Executor) -> None:
    """Byte for byte."""
    assert node.ask("GET", "k") is None
    assert node.ask("SET", "k", b"\0\xff") == OK
    assert node.ask("get", "k") == b"\0\xff"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), Put(b"k", b"v")),
        ((b"EX", b"3"), Put(b"k", b"v", 3000)),
        ((b"px", b"3"), Put(b"k", b"v", 3)),
        ((b"PX", b"3", b"PX", b"4"), Put(b"k", b"v", 4)),
        ((b"PXAT", b"3"), Assign(b"k", b"v", Until(at=Timestamp(3)))),
        ((b"keepttl",), Assign(b"k", b"v", None)),
        ((b"NX", b"NX"), Assign(b"k", b"v", only="absent")),
        ((b"xx", b"GET"), Assign(b"k", b"v", only="present", with_old=True)),
    ],
)
def test_only_a_set_that_asks_for_a_record_needs_one(options: tuple[bytes, ...], expected: Put | Assign) -> None:
    """A plain SET, and one with a time to live, is a plain put."""
    plan = TABLE["set"].plan
    assert plan is not None
    assert list(plan([b"SET", b"k", b"v", *options], Config()).operations) == [expected]


def test_set_under_a_condition(node: Executor) -> None:
    """NX, XX and GET, also together."""
    assert node.ask("SET", "k", "1", "XX") is None
    assert node.ask("SET", "k", "1", "NX") == OK
    assert node.ask("SET", "k", "2", "NX") is None
    assert node.ask("SET", "k", "2", "XX") == OK
    assert node.ask("SET", "k", "3", "NX", "GET") == b"2"
    assert node.ask("SET", "k", "3", "GET") == b"2"
    assert node.ask("SET", "other", "3", "GET") is None
    assert node.ask("MGET", "k", "other", "none", "k") == [b"3", b"3", None, b"3"]


def test_set_keeps_the_time_to_live_only_when_told(node: Executor) -> None:
    """KEEPTTL keeps it."""
    assert node.ask("SET", "k", "1", "EX", 100) == OK
    assert node.ask("SET", "k", "2", "KEEPTTL") == OK
    assert node.ask("TTL", "k") == 100
    assert node.ask("SET", "k", "3") == OK
    assert node.ask("TTL", "k") == -1


def test_what_is_set_for_a_time_is_gone_after_it(node: Executor) -> None:
    """To the millisecond."""
    for words in (("SET", "k", "v", "EX", "10"), ("SETEX", "k", "10", "v"), ("PSETEX", "k", "10000", "v")):
        assert node.ask(*words) == OK
        assert node.ask("PTTL", "k") == 10_000
        node.date = Timestamp(node.date + 9_999)
        assert node.ask("GET", "k") == b"v"
        node.date = Timestamp(node.date + 1)
        assert node.ask("GET", "k") is None


def test_a_date_of_the_past_removes(node: Executor) -> None:
    """OK is what Redis says to it."""
    node.ask("SET", "k", "1")
    assert node.ask("SET", "k", "2", "EXAT", "1", "GET") == b"1"
    assert node.ask("EXISTS", "k") == 0
    assert node.ask("SET", "k", "2", "PXAT", "1") == OK
    assert node.ask("EXISTS", "k") == 0


@pytest.mark.parametrize(
    "options",
    ["EX", "NX XX", "XX NX", "EX 1 PX 1", "KEEPTTL EX 1", "EX 1 KEEPTTL", "PERSIST", "FOO", "EX 1 2", "EX x FOO"],
)
def test_options_that_are_none(node: Executor, options: str) -> None:
    """Unknown ones, ones that exclude each other, ones without their number."""
    assert node.ask("SET", "k", "v", *options.split()) == SYNTAX


@pytest.mark.parametrize(
    "words",
    [
        ("set", "k", "v", "EX", "0"),
        ("set", "k", "v", "PXAT", "-1"),
        ("set", "k", "v", "EX", str(INTEGER_MAX)),
        ("set", "k", "v", "PX", str(INTEGER_MAX)),
        ("set", "k", "v", "EXAT", str(INTEGER_MAX // 1000 + 1)),
        ("setex", "k", "0", "v"),
        ("psetex", "k", str(INTEGER_MAX), "v"),
    ],
)
def test_a_time_at_which_nothing_can_expire(node: Executor, words: tuple[str, ...]) -> None:
    """Refused in Redis's words, with the command's name."""
    assert node.ask(*words) == Failure(f"ERR invalid expire time in '{words[0]}' command")
    assert node.ask("SET", "k", "v", "EX", "1.5") == NO_INTEGER


def test_the_last_date_can_be_told(node: Executor) -> None:
    """Up to it every time to live is taken, none beyond."""
    assert node.ask("SET", "k", "v", "PXAT", INTEGER_MAX) == OK
    assert node.ask("PEXPIRETIME", "k") == INTEGER_MAX
    left = INTEGER_MAX - node.date
    assert node.ask("SET", "k", "v", "PX", left + 1) == Failure("ERR invalid expire time in 'set' command")
    assert node.ask("SET", "k", "v", "PX", left) == OK
    assert node.ask("PEXPIRETIME", "k") == INTEGER_MAX


def test_the_old_ways_to_set(node: Executor) -> None:
    """SETNX, GETSET and GETDEL."""
    assert node.ask("SETNX", "k", "1") == 1
    assert node.ask("SETNX", "k", "2") == 0
    assert node.ask("EXPIRE", "k", "100") == 1
    assert node.ask("GETSET", "k", "3") == b"1"
    assert node.ask("TTL", "k") == -1
    assert node.ask("GETDEL", "k") == b"3"
    assert node.ask("GETDEL", "k") is None
    assert node.ask("GETSET", "k", "4") is None


def test_getex_changes_when_it_expires(node: Executor) -> None:
    """An absent key is answered before a bad time is."""
    assert node.ask("GETEX", "k", "EX", "0") is None
    node.ask("SET", "k", "v")
    assert node.ask("GETEX", "k") == b"v"
    assert node.ask("GETEX", "k", "EX", "10") == b"v"
    assert node.ask("TTL", "k") == 10
    assert node.ask("GETEX", "k", "EX", "0") == Failure("ERR invalid expire time in 'getex' command")
    assert node.ask("GETEX", "k", "EX", "x") == NO_INTEGER
    assert node.ask("GETEX", "k", "PERSIST", "EX", "1") == SYNTAX
    assert node.ask("GETEX", "k", "NX") == SYNTAX
    assert node.ask("GETEX", "k", "PERSIST") == b"v"
    assert node.ask("TTL", "k") == -1
    assert node.ask("GETEX", "k", "EXAT", "1") == b"v"
    assert node.ask("GET", "k") is None


def test_several_at_once(node: Executor) -> None:
    """Of a key that is named twice the last value counts; MSETNX stores all or nothing."""
    assert node.ask("MSET", "a", "1", "b", "2", "a", "3") == OK
    assert node.ask("MGET", "a", "b") == [b"3", b"2"]
    assert node.ask("MSETNX", "c", "1", "b", "9") == 0
    assert node.ask("MGET", "a", "b", "c") == [b"3", b"2", None]
    assert node.ask("MSETNX", "c", "1", "d", "2", "c", "3") == 1
    assert node.ask("MGET", "c", "d") == [b"3", b"2"]
    for name in ("mset", "msetnx"):
        expected = Failure(f"ERR wrong number of arguments for '{name}' command")
        assert node.ask(name, "a", "1", "b") == expected
        assert node.ask(name, "a") == expected


def test_extending_and_overwriting(node: Executor) -> None:
    """Zeros fill what lies between; nothing is stored for nothing."""
    assert node.ask("APPEND", "k", "") == 0
    assert node.ask("EXISTS", "k") == 1
    assert node.ask("APPEND", "k", "abc") == 3
    assert node.ask("SETRANGE", "k", "5", "xy") == 7
    assert node.ask("GET", "k") == b"abc\0\0xy"
    assert node.ask("SETRANGE", "k", "1", "Z") == 7
    assert node.ask("STRLEN", "k") == 7
    assert node.ask("SETRANGE", "none", INTEGER_MAX, "") == 0
    assert node.ask("EXISTS", "none") == 0
    assert node.ask("STRLEN", "none") == 0
    assert node.ask("SETRANGE", "k", "-1", "") == Failure("ERR offset is out of range")


def test_a_value_has_its_limit(node: Executor) -> None:
    """However it becomes too long."""
    value = "v" * 64
    assert node.ask("SET", "k", value) == OK
    assert node.ask("APPEND", "k", "v") == TOO_LONG
    assert node.ask("SETRANGE", "k", "64", "v") == TOO_LONG
    assert node.ask("SETRANGE", "none", INTEGER_MAX, "v") == TOO_LONG
    assert node.ask("SETRANGE", "k", "63", "v") == 64
    too_long = value + "v"
    for words in (("SET", "k", too_long), ("SETEX", "k", "1", too_long), ("MSET", "k", "1", "b", too_long)):
        assert node.ask(*words) == TOO_LONG


def test_a_key_has_its_limits(node: Executor) -> None:
    """The one difference to Redis in keys."""
    refusal = Failure("ERR invalid key: a key has 1 to 8192 bytes")
    for key in ("", "k" * 8193):
        for words in (("GET", key), ("SET", key, "v"), ("MSET", "k", "1", key, "v"), ("INCR", key), ("DEL", "k", key)):
            assert node.ask(*words) == refusal
    assert node.ask("SET", "k" * 8192, "v") == OK


@pytest.mark.parametrize(
    ("first", "last", "part"),
    [(0, -1, b"abcdef"), (1, 2, b"bc"), (-3, -2, b"de"), (-2, -3, b""), (0, -100, b"a"), (3, 1, b""), (5, 99, b"f")],
)
def test_a_part_of_a_value(node: Executor, first: int, last: int, part: bytes) -> None:
    """Counted from both ends; an end before the beginning is the beginning."""
    node.ask("SET", "k", "abcdef")
    assert node.ask("GETRANGE", "k", first, last) == node.ask("SUBSTR", "k", first, last) == part
    assert node.ask("GETRANGE", "none", first, last) == b""
    assert node.ask("GETRANGE", "k", first, "x") == NO_INTEGER


def test_counting(node: Executor) -> None:
    """Within 64 bits, and the time to live stays."""
    assert node.ask("INCR", "k") == 1
    assert node.ask("DECR", "k") == 0
    assert node.ask("INCRBY", "k", "41") == 41
    assert node.ask("DECRBY", "k", "-1") == 42
    assert node.ask("INCRBY", "k", INTEGER_MAX) == Failure("ERR increment or decrement would overflow")
    assert node.ask("DECRBY", "k", -INTEGER_MAX - 1) == Failure("ERR decrement would overflow")
    assert node.ask("INCRBY", "k", "1.0") == NO_INTEGER
    assert node.ask("GET", "k") == b"42"
    node.ask("EXPIRE", "k", "10")
    node.ask("INCR", "k")
    assert node.ask("TTL", "k") == 10
    node.ask("SET", "k", "042")
    assert node.ask("INCR", "k") == NO_INTEGER


def test_counting_in_decimals(node: Executor) -> None:
    """Without an exponent, without zeros at the end."""
    assert node.ask("INCRBYFLOAT", "k", "10.50") == b"10.5"
    assert node.ask("INCRBYFLOAT", "k", "-5.0e0") == b"5.5"
    assert node.ask("INCRBYFLOAT", "k", "inf") == Failure("ERR increment would produce NaN or Infinity")
    assert node.ask("INCRBYFLOAT", "k", "nan") == NO_NUMBER
    node.ask("SET", "k", " 1")
    assert node.ask("INCRBYFLOAT", "k", "1") == NO_NUMBER


LCS_ANSWERS: list[tuple[str, Reply]] = [
    ("", b"mytext"),
    ("LEN", 6),
    ("IDX", {"matches": [[[4, 7], [5, 8]], [[2, 3], [0, 1]]], "len": 6}),
    ("idx minmatchlen 4 withmatchlen", {"matches": [[[4, 7], [5, 8], 4]], "len": 6}),
    ("IDX LEN", Failure("ERR If you want both the length and indexes, please just use IDX.")),
    ("MINMATCHLEN", SYNTAX),
    ("MINMATCHLEN x", NO_INTEGER),
]


@pytest.mark.parametrize(("options", "expected"), LCS_ANSWERS)
def test_what_two_values_have_in_common(node: Executor, options: str, expected: Reply) -> None:
    """As a string, a length, and ranges from the last to the first."""
    node.ask("MSET", "a", "ohmytext", "b", "mynewtext")
    assert node.ask("LCS", "a", "b", *options.split()) == expected


def test_what_nothing_has_in_common(node: Executor) -> None:
    """An absent key is an empty value."""
    node.ask("SET", "a", "abc")
    assert node.ask("LCS", "a", "none") == node.ask("LCS", "none", "a") == b""
    assert node.ask("LCS", "a", "none", "LEN") == node.ask("LCS", "none", "a", "LEN") == 0
    assert node.ask("LCS", "none", "a", "IDX") == {"matches": [], "len": 0}


def test_values_too_long_to_compare() -> None:
    """Refused with the words that Redis has for it."""
    node = Executor()
    node.ask("MSET", "a", "a" * (1 << 18), "b", "b")
    assert node.ask("LCS", "a", "b") == Failure(
        "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
    )


def _lcs_by_the_table(a: bytes, b: bytes) -> bytes:
    """Redis's way, cell by cell."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, of_a in enumerate(a, 1):
        for j, of_b in enumerate(b, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if of_a == of_b else max(table[i - 1][j], table[i][j - 1])
    i, j, common = len(a), len(b), bytearray()
    while i and j:
        if a[i - 1] == b[j - 1]:
            common.append(a[i - 1])
            i, j = i - 1, j - 1
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return bytes(common[::-1])


@given(st.binary(max_size=20), st.text("ab", max_size=40), st.text("abc", max_size=40))
def test_bits_tell_what_the_table_tells(prefix: bytes, a: str, b: str) -> None:
    """The fast way is compared with the obvious one."""
    node = Executor()
    first, second = prefix + a.encode(), b.encode() + prefix
    node.ask("MSET", "a", first, "b", second)
    expected = _lcs_by_the_table(first, second)
    assert node.ask("LCS", "a", "b") == expected
    assert node.ask("LCS", "a", "b", "LEN") == len(expected)
