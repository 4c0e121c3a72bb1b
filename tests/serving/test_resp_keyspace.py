"""The commands on keys, carried out by the primary's own rules. What is expected is what Redis 7.0.15 answers."""

import pytest

from corecache.identity import Timestamp
from corecache.serving.resp.commands import arguments
from corecache.wire.resp import Failure, Reply, Status
from serving.plan_executor import TABLE, Executor

OK = Status("OK")
SYNTAX = Failure("ERR syntax error")
NO_KEY = Failure("ERR no such key")


@pytest.fixture(params=[0, 50], ids=["fetched", "pending"])
def node(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Executor:
    """Returns an executor whose date is today's."""
    executor = Executor(stale_entries=request.param)
    monkeypatch.setattr(arguments, "today_ms", lambda: executor.date)
    return executor


def test_removing_and_counting(node: Executor) -> None:
    """A key that is named twice is counted twice, and removed once."""
    node.ask("MSET", "a", "1", "b", "2", "c", "3")
    assert node.ask("EXISTS", "a", "a", "none", "b") == 3
    assert node.ask("TOUCH", "a", "a", "none") == 2
    assert node.ask("DEL", "a", "a", "none") == 1
    assert node.ask("UNLINK", "b", "c") == 2
    assert node.ask("EXISTS", "a", "b", "c") == 0


def test_the_kind_of_a_value(node: Executor) -> None:
    """There is but one."""
    assert node.ask("TYPE", "k") == Status("none")
    node.ask("SET", "k", "v")
    assert node.ask("TYPE", "k") == Status("string")


def test_renaming_takes_the_value_and_its_time_along(node: Executor) -> None:
    """To itself, to another, to one that is taken."""
    assert node.ask("RENAME", "a", "b") == NO_KEY
    node.ask("SET", "a", "1", "EX", "100")
    node.ask("SET", "b", "2")
    assert node.ask("RENAMENX", "a", "b") == 0
    assert node.ask("RENAME", "a", "b") == OK
    assert node.ask("MGET", "a", "b") == [None, b"1"]
    assert node.ask("TTL", "b") == 100
    assert node.ask("RENAMENX", "b", "c") == 1
    assert node.ask("RENAME", "c", "c") == OK
    assert node.ask("RENAMENX", "c", "c") == 0
    assert node.ask("RENAMENX", "none", "none") == NO_KEY
    assert node.ask("MGET", "b", "c") == [None, b"1"]


def test_an_expired_key_is_none(node: Executor) -> None:
    """Neither to rename, nor in the way of a copy, nor to remove."""
    node.ask("SET", "a", "1", "PX", "1")
    node.ask("SET", "b", "2")
    node.date = Timestamp(node.date + 1)
    assert node.ask("RENAME", "a", "b") == NO_KEY
    assert node.ask("COPY", "b", "a") == 1
    assert node.ask("PTTL", "a") == -1
    node.ask("SET", "c", "3", "PX", "1")
    node.date = Timestamp(node.date + 1)
    assert node.ask("DEL", "c") == 0


def test_copying(node: Executor) -> None:
    """The copy has the value and the time of the first, and is on its own from then on."""
    assert node.ask("COPY", "a", "b") == 0
    node.ask("SET", "a", "1", "EX", "100")
    assert node.ask("COPY", "a", "b") == 1
    assert node.ask("TTL", "b") == 100
    node.ask("SET", "a", "2")
    assert node.ask("COPY", "a", "b") == 0
    assert node.ask("COPY", "a", "b", "replace", "DB", "0") == 1
    assert node.ask("GET", "b") == b"2"
    assert node.ask("TTL", "b") == -1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("a a", "ERR source and destination objects are the same"),
        ("a b DB 1", "ERR Copying to another database is not allowed in cluster mode"),
        ("a b DB 16", "ERR DB index is out of range"),
        ("a b DB -1", "ERR DB index is out of range"),
        ("a b DB 99999999999", "ERR value is out of range, value must between -2147483648 and 2147483647"),
        ("a b DB x", "ERR value is not an integer or out of range"),
        ("a b DB", "ERR syntax error"),
        ("a b FOO", "ERR syntax error"),
    ],
)
def test_copies_that_can_not_be(node: Executor, words: str, error: str) -> None:
    """Refused in Redis's words."""
    assert node.ask("COPY", *words.split()) == Failure(error)


@pytest.mark.parametrize(
    ("value", "encoding"),
    [("12", "int"), ("-9223372036854775808", "int"), ("012", "embstr"), ("x" * 44, "embstr"), ("x" * 45, "raw")],
)
def test_encodings(node: Executor, value: str, encoding: str) -> None:
    """What Redis would choose."""
    assert node.ask("OBJECT", "ENCODING", "k") is None
    node.ask("SET", "k", value)
    assert node.ask("object", "encoding", "k") == encoding


def test_what_is_not_tracked(node: Executor) -> None:
    """The same for every value."""
    answers: dict[str, Reply] = {"IDLETIME": 0, "REFCOUNT": 1}
    for name, expected in answers.items():
        node.ask("DEL", "k")
        assert node.ask("OBJECT", name, "k") is None
        node.ask("SET", "k", "v")
        assert node.ask("OBJECT", name, "k") == expected
    failure = node.ask("OBJECT", "FREQ", "k")
    assert isinstance(failure, Failure)
    assert failure.text.startswith("ERR An LFU maxmemory policy is not selected, ")
    assert node.ask("OBJECT", "FREQ", "none") is None


def test_memory(node: Executor) -> None:
    """An estimate, above the sizes of key and value."""
    assert node.ask("MEMORY", "USAGE", "k") is None
    node.ask("SET", "k", "v" * 1000)
    usage = node.ask("MEMORY", "USAGE", "k", "SAMPLES", "5")
    assert isinstance(usage, int)
    assert 1001 < usage < 1200
    assert node.ask("MEMORY", "USAGE", "k", "SAMPLES") == SYNTAX
    assert node.ask("MEMORY", "USAGE", "k", "SAMPLES", "-1") == SYNTAX
    assert node.ask("MEMORY", "USAGE", "k", "FOO", "1") == SYNTAX
    assert node.ask("MEMORY", "USAGE", "k", "SAMPLES", "x") == Failure("ERR value is not an integer or out of range")


def test_every_command_is_carried_out_in_one_way() -> None:
    """And every command that has keys by a plan."""
    for command in TABLE.values():
        for each in command.subcommands or (command,):
            assert (each.plan is None) != (each.instant is None), each.name
            assert each.summary
            assert bool(each.first_key) == (each.plan is not None)
