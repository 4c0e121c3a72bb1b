"""The commands about all keys together."""

import random
from typing import Any

import msgspec
import pytest

from corecache.config import Limits
from corecache.errors import NotDone
from corecache.identity import Epoch, Incarnation, Lineage, Member, Milliseconds, NodeId, PartitionId, ReplicaId
from corecache.placement.slots import partition_of, slots_of
from corecache.placement.view import View
from corecache.ports import Page
from corecache.reports import PartitionReport
from corecache.serving.resp.commands import whole
from corecache.serving.resp.commands.command import Refusal
from corecache.serving.resp.cursors import Cursors, Position
from corecache.serving.resp.glob import Glob
from corecache.serving.resp.session import Session
from corecache.wire.resp import Status
from serving.resp_session import FakeServer, ask


def told(session: Session, *words: str | bytes) -> Any:
    """Returns the reply to a command."""
    return ask(whole.COMMANDS, session, *words)


def iterated(session: Session, *options: str | bytes) -> list[bytes]:
    """Returns what a whole iteration gives."""
    found: list[bytes] = []
    cursor: str = "0"
    while True:
        cursor, keys = told(session, "scan", cursor, *options)
        found += keys
        if cursor == "0":
            return found


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (b"*", [b"a", b"\xff\n"], []),
        (b"a?c", [b"abc", b"a\nc"], [b"ac", b"abbc"]),
        (b"*a*b*", [b"ab", b"xaybz", b"aab"], [b"ba"]),
        (b"a**b", [b"ab", b"axb"], [b"a"]),
        (b"ab*ba", [b"abba", b"abxba"], [b"aba"]),
        (b"[a-c]", [b"a", b"b", b"c"], [b"d", b"-"]),
        (b"[c-a]", [b"a", b"b", b"c"], [b"d"]),
        (b"[^a-c]x", [b"dx", b"^x"], [b"ax"]),
        (b"[abc", [b"a", b"c"], [b"[", b"abc"]),
        (b"[a\\]]", [b"a", b"]"], [b"\\"]),
        (b"[a-]", [b"a", b"]", b"_"], [b"-"]),
        (b"[]", [], [b"", b"]", b"a"]),
        (b"[^]", [b"a"], [b"ab"]),
        (b"\\*", [b"*"], [b"a", b"\\*"]),
        (b"a\\", [b"a\\"], [b"a"]),
        (b".+(x)", [b".+(x)"], [b"aa(x)"]),
        (b"", [b""], [b"a"]),
    ],
)
def test_patterns_match_as_in_redis(pattern: bytes, matching: list[bytes], others: list[bytes]) -> None:
    """Patterns match as in Redis."""
    glob = Glob(pattern)
    assert [text for text in (*matching, *others) if glob.matches(text)] == matching
    assert all(text.startswith(glob.prefix) for text in matching)


def test_patterns_match_as_one_that_goes_back_would() -> None:
    """The obvious matcher, which tries every place for every star, on many small patterns and texts."""

    def matches(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(matches(pattern[1:], text[at:]) for at in range(len(text) + 1))
        return bool(text) and pattern[0] in (text[0], "?") and matches(pattern[1:], text[1:])

    dice = random.Random(4)
    for _ in range(5000):
        pattern = "".join(dice.choices("ab?*", k=dice.randint(0, 7)))
        text = "".join(dice.choices("ab", k=dice.randint(0, 7)))
        assert Glob(pattern.encode()).matches(text.encode()) == matches(pattern, text), (pattern, text)


def test_a_pattern_with_many_stars_is_no_trap() -> None:
    """A pattern with many stars is no trap."""
    assert not Glob(b"*a" * 500 + b"*b").matches(b"a" * 8192)
    with pytest.raises(Refusal, match="1024 bytes"):
        Glob(b"a" * 1025)


def test_keys_and_dbsize_go_over_all_pages() -> None:
    """KEYS and DBSIZE go over all pages."""
    server = FakeServer(Limits(page_items_max=3))
    names = [b"user:%d" % number for number in range(10)] + [b"other", b"user;"]
    server.put(*names)
    session = server.connect()
    assert told(session, "keys", "*") == sorted(names)
    assert told(session, "keys", "user:*") == names[:10]
    assert told(session, "keys", "*[37]") == [b"user:3", b"user:7"]
    assert told(session, "dbsize") == 12


def test_keys_refuses_an_answer_that_is_too_long() -> None:
    """KEYS refuses an answer that is too long."""
    server = FakeServer(pipeline_bytes_max=65_536)
    server.put(*(b"%d" % number + b"x" * 8000 for number in range(9)))
    assert told(server.connect(), "keys", "*").startswith("-ERR the answer would have more than 65536 bytes")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("x",), "-ERR invalid cursor"),
        ((" 5",), "-ERR invalid cursor"),
        (("-1",), "-ERR invalid cursor"),
        (("18446744073709551616",), "-ERR invalid cursor"),
        (("0", "match"), "-ERR syntax error"),
        (("0", "match", "a", "count"), "-ERR syntax error"),
        (("0", "count", "0"), "-ERR syntax error"),
        (("0", "count", "x"), "-ERR value is not an integer or out of range"),
        (("0", "foo", "bar"), "-ERR syntax error"),
    ],
)
def test_scan_refuses_as_redis_does(words: tuple[str, ...], error: str) -> None:
    """SCAN refuses as Redis does."""
    assert told(FakeServer().connect(), "scan", *words) == error


def test_scan_finds_every_key_once() -> None:
    """SCAN finds every key once."""
    server = FakeServer(Limits(page_items_max=7))
    names = sorted(b"k%d" % number for number in range(100))
    server.put(*names)
    session = server.connect()
    assert iterated(session) == names
    assert iterated(session, "COUNT", "1000") == names
    assert iterated(session, "match", "k5*", "count", "2") == [b"k5", *(b"k5%d" % number for number in range(10))]
    assert iterated(session, "type", "STRING") == names
    assert told(session, "scan", "0", "type", "list") == ["0", []]
    assert told(session, "scan", "0", "match", "zz*") == ["0", []]
    cursor, found = told(session, "scan", "0", "count", "5")
    assert len(found) == 5
    assert 0 < int(cursor) < 2**53


def test_scan_finds_what_stays_while_others_come_and_go() -> None:
    """SCAN finds what stays while others come and go."""
    server = FakeServer()
    stay = {b"s%d" % number for number in range(200)}
    go = [b"g%d" % number for number in range(100)]
    server.put(*stay, *go)
    session = server.connect()
    found: set[bytes] = set()
    cursor = "0"
    while True:
        cursor, keys = told(session, "scan", cursor)
        found.update(keys)
        if cursor == "0":
            break
        server.put(b"t%d" % len(found))
        server.service.records.pop(go.pop(), None)
    assert stay <= found


def test_a_cursor_can_be_sent_again_until_the_next_one_is_used() -> None:
    """A cursor can be sent again until the next one is used."""
    server = FakeServer()
    server.put(*(b"%02d" % number for number in range(30)))
    session = server.connect()
    first, _ = told(session, "scan", "0")
    second, keys = told(session, "scan", first)
    assert told(session, "scan", first)[1] == keys
    assert told(session, "scan", second)[1] == [b"%02d" % number for number in range(20, 30)]
    assert told(session, "scan", first).startswith("-ERR invalid cursor")


def test_an_iteration_whose_cursor_is_forgotten_ends_with_an_error() -> None:
    """An iteration whose cursor is forgotten ends with an error."""
    server = FakeServer(cursors_max=1)
    server.put(*(b"%02d" % number for number in range(30)))
    session = server.connect()
    first, _ = told(session, "scan", "0")
    for _ in range(2):
        told(session, "scan", "0")
    assert told(session, "scan", first).startswith("-ERR invalid cursor")


def test_a_long_iteration_pushes_no_other_out() -> None:
    """A long iteration pushes no other out."""
    cursors = Cursors(2)
    waits = cursors.give(Position(b"waits", None, 0))
    cursor = 0
    for _ in range(100):
        cursor = cursors.give(Position(b"goes on", None, cursor))
        assert cursors.find(cursor)
    assert cursors.find(waits)


def shared_out(server: FakeServer, led: set[int]) -> None:
    """Makes a cluster of eight partitions, of which this node leads some."""
    report = super(type(server.service), server.service).cluster()
    mine, other = (Member(NodeId(name), ReplicaId("r")) for name in (report.node, "other"))
    partitions = []
    for number in range(8):
        primary = mine if number in led else other
        view = View(Lineage(1), Epoch(1), primary, Incarnation(1), (mine, other), (primary.node,))
        slots = slots_of(PartitionId(number), 8)
        partitions.append(PartitionReport(PartitionId(number), slots.start, slots.stop - 1, view, 1, "", 0, 0, 0, 0))
    server.service.reported = msgspec.structs.replace(report, partitions=tuple(partitions))


def test_a_client_that_follows_the_map_is_shown_what_the_node_leads() -> None:
    """A client that follows the map is shown what the node leads."""
    server = FakeServer(clustered=True)
    names = [b"%03d" % number for number in range(100)]
    server.put(*names)
    led = {1, 2, 5}
    shared_out(server, led)
    mine = [name for name in names if partition_of(name, 8) in led]
    session = server.connect()
    assert told(session, "dbsize") == 100
    session.cluster_aware = True
    assert told(session, "dbsize") == len(mine) < 100
    assert told(session, "keys", "*") == mine
    cursor, found = told(session, "scan", "0")
    shared_out(server, {0})
    while cursor != "0":
        cursor, keys = told(session, "scan", cursor)
        found += keys
    assert found == mine
    assert told(session, "flushall") == Status("OK")
    assert not server.service.records


def test_a_random_key_can_be_any_of_few() -> None:
    """A random key can be any of few."""
    server = FakeServer()
    session = server.connect()
    assert told(session, "randomkey") is None
    server.put(b"a", b"b", b"c")
    assert {told(session, "randomkey") for _ in range(100)} == {b"a", b"b", b"c"}


def test_a_random_key_comes_from_all_over_many() -> None:
    """A random key comes from all over many."""
    server = FakeServer(Limits(page_items_max=10))
    server.put(*(b"a-long-way-to-the-first-difference:%04d" % number for number in range(1000)))
    server.put(b"z" * 8192)
    session = server.connect()
    drawn = {told(session, "randomkey") for _ in range(60)}
    assert drawn <= server.service.records.keys()
    assert len({key[-3:-2] for key in drawn}) > 5


async def empty_page(_: bytes, __: bytes | None, ___: int, ____: Milliseconds, values: bool = True) -> Page:
    """Finds nothing, but does not say so at once."""
    return Page((), b"x" if _ < b"x" else None)


def test_pages_without_keys_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without keys are passed over."""
    server = FakeServer()
    monkeypatch.setattr(server.service, "scan", empty_page)
    session = server.connect()
    assert told(session, "randomkey") is None
    assert told(session, "dbsize") == 0
    assert iterated(session) == []
    assert told(session, "flushdb") == Status("OK")


@pytest.mark.parametrize("words", [("flushall",), ("flushdb", "ASYNC"), ("flushall", "sync")])
def test_flushing_deletes_all(words: tuple[str, ...]) -> None:
    """Flushing deletes all."""
    server = FakeServer(Limits(page_items_max=3))
    server.put(*(b"%d" % number for number in range(10)))
    assert told(server.connect(), *words) == Status("OK")
    assert not server.service.records


@pytest.mark.parametrize("words", [("flushall", "foo"), ("flushdb", "async", "sync")])
def test_flushing_refuses_other_words(words: tuple[str, ...]) -> None:
    """Flushing refuses other words."""
    server = FakeServer()
    server.put(b"a")
    assert told(server.connect(), *words) == "-ERR syntax error"
    assert server.service.records


def test_a_delete_that_is_not_done_ends_the_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delete that is not done ends the flush."""

    async def write_many(requests: list[object], _: Milliseconds) -> list[object]:
        return [NotDone("no_primary", "Later.") for _ in requests]

    server = FakeServer()
    server.put(b"a")
    monkeypatch.setattr(server.service, "write_many", write_many)
    with pytest.raises(NotDone):
        told(server.connect(), "flushall")
