"""The commands on expiry, carried out by the primary's own rules. What is expected is what Redis 7.0.15 answers."""

import pytest

from corecache.identity import Timestamp
from corecache.serving.resp.commands import arguments
from corecache.wire.resp import Failure
from serving.plan_executor import Executor

INTEGER_MAX = 9223372036854775807


@pytest.fixture(params=[0, 50], ids=["fetched", "pending"])
def node(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Executor:
    """Returns an executor whose date is today's."""
    executor = Executor(stale_entries=request.param)
    monkeypatch.setattr(arguments, "today_ms", lambda: executor.date)
    return executor


def test_a_key_expires_when_told(node: Executor) -> None:
    """In seconds and milliseconds, after a time and at a date."""
    date = node.date
    for words in (("EXPIRE", 10), ("PEXPIRE", 10_000), ("EXPIREAT", date // 1000 + 10), ("PEXPIREAT", date + 10_000)):
        node.date = date
        node.ask("SET", "k", "v")
        assert node.ask(words[0], "k", words[1]) == 1
        assert node.ask("PTTL", "k") == 10_000
        assert node.ask("TTL", "k") == 10
        assert node.ask("PEXPIRETIME", "k") == date + 10_000
        assert node.ask("EXPIRETIME", "k") == date // 1000 + 10
        node.date = Timestamp(date + 9_999)
        assert node.ask("GET", "k") == b"v"
        node.date = Timestamp(date + 10_000)
        assert node.ask("GET", "k") is None
        assert node.ask("TTL", "k") == -2


def test_what_does_not_expire_or_is_not_there(node: Executor) -> None:
    """Each has its number."""
    for name in ("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"):
        assert node.ask(name, "none") == -2
        node.ask("SET", "k", "v")
        assert node.ask(name, "k") == -1
    assert node.ask("EXPIRE", "none", "10") == 0
    assert node.ask("PERSIST", "none") == 0
    assert node.ask("PERSIST", "k") == 0


def test_persist(node: Executor) -> None:
    """What expired does no more."""
    node.ask("SET", "k", "v", "EX", "10")
    assert node.ask("PERSIST", "k") == 1
    assert node.ask("TTL", "k") == -1
    assert node.ask("GET", "k") == b"v"


@pytest.mark.parametrize("words", ["EXPIRE k 0", "EXPIRE k -1", "PEXPIRE k -9223372036854775808", "PEXPIREAT k -5"])
def test_a_time_that_has_come_removes(node: Executor, words: str) -> None:
    """The past is no error."""
    node.ask("SET", "k", "v")
    assert node.ask(*words.split()) == 1
    assert node.ask("EXISTS", "k") == 0


@pytest.mark.parametrize(
    ("before", "option", "seconds", "changes"),
    [
        (None, "NX", 10, 1),
        (None, "XX", 10, 0),
        (None, "GT", 10, 0),
        (None, "XX GT", 10, 0),
        (None, "LT", 10, 1),
        (20, "NX", 10, 0),
        (20, "xx", 10, 1),
        (20, "GT", 10, 0),
        (20, "GT", 20, 0),
        (20, "GT XX", 30, 1),
        (20, "LT", 10, 1),
        (20, "LT", 20, 0),
        (20, "LT", -1, 1),
        (20, "GT", -1, 0),
    ],
)
def test_conditions(node: Executor, before: int | None, option: str, seconds: int, changes: int) -> None:
    """Never is later than any date."""
    node.ask("SET", "k", "v", *(("EX", before) if before is not None else ()))
    assert node.ask("EXPIRE", "k", seconds, *option.split()) == changes
    left = seconds if changes else before
    assert node.ask("TTL", "k") == (-1 if left is None else -2 if left < 0 else left)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("EXPIRE k 1 FOO", "ERR Unsupported option FOO"),
        ("EXPIRE k x foo", "ERR Unsupported option foo"),
        ("EXPIRE k 1 NX XX", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE k 1 GT LT", "ERR GT and LT options at the same time are not compatible"),
        ("EXPIRE k x", "ERR value is not an integer or out of range"),
        ("EXPIRE k 9223372036854776", "ERR invalid expire time in 'expire' command"),
        ("expire k -9223372036854776", "ERR invalid expire time in 'expire' command"),
        ("PEXPIRE k 9223372036854775807", "ERR invalid expire time in 'pexpire' command"),
        ("EXPIREAT k 9223372036854776", "ERR invalid expire time in 'expireat' command"),
    ],
)
def test_times_that_can_not_be(node: Executor, words: str, error: str) -> None:
    """Refused in Redis's words, options first."""
    assert node.ask(*words.split()) == Failure(error)


def test_the_last_date(node: Executor) -> None:
    """The greatest date that Redis takes is kept as it is."""
    node.ask("SET", "k", "v")
    assert node.ask("PEXPIREAT", "k", INTEGER_MAX) == 1
    assert node.ask("PEXPIRETIME", "k") == INTEGER_MAX
    assert node.ask("PTTL", "k") == INTEGER_MAX - node.date


def test_seconds_are_rounded(node: Executor) -> None:
    """To the nearest."""
    node.ask("SET", "k", "v", "PX", "1500")
    assert node.ask("TTL", "k") == 2
    node.ask("SET", "k", "v", "PX", "1499")
    assert node.ask("TTL", "k") == 1


def test_the_date_is_that_of_the_clock() -> None:
    """Milliseconds since 1970."""
    assert 1_700_000_000_000 < arguments.today_ms() < 10_000_000_000_000
