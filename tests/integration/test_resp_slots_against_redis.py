"""Slots as in a Redis that is a cluster: which keys go together, and what is told of the map."""

import itertools

import pytest

from integration.resp_pair import Both, Pair, see

CROSSING: list[tuple[bytes, ...]] = [
    (b"MGET", b"a", b"b"),
    (b"MSET", b"a", b"1", b"b", b"2"),
    (b"MSETNX", b"a", b"1", b"b", b"2"),
    (b"DEL", b"a", b"b"),
    (b"UNLINK", b"a", b"b"),
    (b"EXISTS", b"a", b"b"),
    (b"TOUCH", b"a", b"b"),
    (b"RENAME", b"a", b"b"),
    (b"RENAMENX", b"a", b"b"),
    (b"COPY", b"a", b"b"),
    (b"LCS", b"a", b"b"),
    (b"WATCH", b"a", b"b"),
    (b"MGET", b"{a}1", b"{a}2"),
    (b"MGET", b"{}a", b"{}b"),
    (b"MGET", b"a{b", b"b"),
    (b"MSET", b"a", b"1", b"b"),
]


@pytest.mark.parametrize("protocol", [2, 3])
def test_slots_are_guarded_alike(pair: Pair, protocol: int) -> None:
    """Commands with keys of several slots, outside of transactions and inside."""
    with Both(pair, protocol) as both:
        for words in CROSSING:
            both.ask(0, *words)
            for inside in [(words,), ((b"SET", b"a", b"1"), words), ((b"SET", b"c", b"1"), (b"SET", b"a", b"2"))]:
                if words[0] == b"WATCH":
                    continue
                both.ask(0, b"MULTI")
                for each in inside:
                    both.ask(0, *each)
                both.ask(0, b"EXEC")
                both.ask(0, b"GET", b"a")
            both.ask(0, b"UNWATCH")
        for watched, written in itertools.product((b"{w}1", b"other"), repeat=2):
            both.ask(0, b"WATCH", watched)
            both.ask(0, b"MULTI")
            both.ask(0, b"SET", written, b"1")
            both.ask(0, b"EXEC")
        for number in (b"0", b"1", b"15", b"16", b"x"):
            both.ask(0, b"SELECT", number)
        see(both.different)


@pytest.mark.parametrize("protocol", [2, 3])
def test_slots_are_told_alike(pair: Pair, protocol: int) -> None:
    """CLUSTER: slots of keys, counts, keys of a slot; what a map, a list of nodes and a report look like."""
    with Both(pair, protocol) as both:
        for number in range(12):
            both.ask(0, b"SET", b"{s}%d" % number, b"")
        for key in (b"a", b"{a}b", b"", b"{}x", b"{x", b"x}{y}", b"{{a}}", b"\xff\0", b"123456789"):
            both.ask(0, b"CLUSTER", b"KEYSLOT", key)
        slot = both.ask(0, b"CLUSTER", b"KEYSLOT", b"{s}")[0].value
        for asked in (b"%d" % slot, b"%d" % (slot + 1), b"0", b"16383", b"16384", b"-1", b"x", b""):
            both.ask(0, b"CLUSTER", b"COUNTKEYSINSLOT", asked)
            for count in (b"0", b"100", b"-1", b"x"):
                both.ask(0, b"CLUSTER", b"GETKEYSINSLOT", asked, count)
        for name in (b"INFO", b"MYID", b"NODES", b"SLOTS", b"SHARDS", b"LINKS", b"HELP", b"nosuch", b"KEYSLOT"):
            for words in ((b"CLUSTER", name), (b"CLUSTER", name, b"x", b"y", b"z")):
                both.ask(0, *words)
        for line in (b"READONLY", b"READWRITE", b"READONLY x", b"CLUSTER", b"READWRITE x"):
            both.ask(0, *line.split())
        see(both.different)
