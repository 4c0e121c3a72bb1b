"""CoreCache answers as Redis's own server does: the same commands to both, the answers compared word by word.

How they are compared, and what is meant to differ, is in `resp_pair.py`.
"""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from integration.resp_alike import named
from integration.resp_harness import RespConnection
from integration.resp_pair import Both, Pair, compared, reference, see
from integration.resp_sequences import (
    COMMANDS,
    CONTROL,
    KEYED,
    KEYS,
    LENGTH,
    OTHERS,
    SUBCOMMANDS,
    VALUES,
    command,
    sequence,
)

SEQUENCES = 60


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_answers_as_redis_does(pair: Pair, tmp_path: Path, protocol: int) -> None:
    """What is compared depends on nothing but the commands: two Redis servers never differ."""
    with reference(tmp_path) as other:
        see(compared(Pair(pair.redis, other), protocol, range(SEQUENCES)).different)


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_commands_are_answered_alike(pair: Pair, protocol: int) -> None:
    """Strings, keys, expiry, transactions with interference, and everything about the server, right and wrong."""
    different, asked = compared(pair, protocol, range(1000 * protocol, 1000 * protocol + SEQUENCES))
    see(different)
    assert asked > 0.8 * SEQUENCES * LENGTH, "few sequences end before their end"


def test_all_commands_are_drawn() -> None:
    """Every command and subcommand that there is stands in the sequences, and in those of one with what it takes."""
    drawn = {step.words for seed in range(1000) for step in sequence(seed)}
    heads = {words[0].lower() for words in drawn} | {b" ".join(words[:2]).lower() for words in drawn}
    assert {*COMMANDS, *SUBCOMMANDS} - heads == set()


def test_what_is_answered_alike_ends_no_sequence(pair: Pair) -> None:
    """Nor does a meant difference that leaves the keys as they are; one that doesn't does."""
    with Both(pair) as both:
        for words in ((b"SCAN", b"x"), (b"LOLWUT",), (b"SCAN", b"5"), (b"MGET", b"a", b"b"), (b"SELECT", b"1")):
            both.ask(0, *words)
            assert not both.parted, words
        both.ask(0, b"SET", b"", b"x")
        assert both.parted
        see(both.different)


@pytest.mark.parametrize("protocol", [2, 3])
def test_wrong_numbers_of_words_are_answered_alike(pair: Pair, protocol: int) -> None:
    """Each command with one word, two words, …, as far as two more than it has; in a transaction too if it may be."""
    dice = Random(protocol)
    with Both(pair, protocol) as both:
        for parts in (*KEYED, *OTHERS, *CONTROL):
            words = [*command(parts, dice), b"more", b"most"]
            for count in range(1, len(words) + 1):
                both.ask(0, *words[:count])
                both.ask(0, b"DISCARD")
                if not words[0].startswith(b"FLUSH"):
                    both.ask(0, b"MULTI")
                    both.ask(0, *words[:count])
                    both.ask(0, b"EXEC")
                    both.ask(0, b"DISCARD")
        see(both.different)


def test_every_command_is_described_alike(pair: Pair) -> None:
    """COMMAND INFO: numbers of words, flags, places of keys, categories; COMMAND GETKEYS of each."""
    dice = Random(5)
    with Both(pair) as both:
        for name in COMMANDS:
            both.ask(0, b"COMMAND", b"INFO", name)
        for parts in KEYED:
            both.ask(0, b"COMMAND", b"GETKEYS", *command(parts, dice))
        see(both.different)


@pytest.mark.parametrize("protocol", [2, 3])
def test_whole_iterations_find_the_same_keys(pair: Pair, protocol: int) -> None:
    """SCAN to the end, by pattern, count and type."""
    options: list[list[bytes]] = [
        [],
        [b"MATCH", b"*7*"],
        [b"COUNT", b"7"],
        [b"COUNT", b"1000", b"MATCH", b"{k}1[0-4]"],
        [b"TYPE", b"string"],
        [b"TYPE", b"list"],
        [b"MATCH", b"nothing"],
    ]
    with Both(pair, protocol) as both:
        both.ask(0, b"MSET", *itertools.chain(*((b"{k}%d" % number, b"") for number in range(300))))
        see(both.different)
    for more in options:
        found = []
        for port in (pair.redis.resp_port, pair.ours.resp_port):
            with RespConnection(port, protocol) as connection:
                found.append(_scanned(connection, more))
        assert found[0] == found[1], more


def _scanned(connection: RespConnection, more: Sequence[bytes]) -> set[bytes]:
    cursor, keys = b"0", set()
    while True:
        reply = connection.ask("SCAN", cursor, *more)
        cursor, page = reply.plain
        keys.update(page)
        if cursor == b"0":
            return keys


def test_a_watched_key_is_guarded_alike(pair: Pair) -> None:
    """WATCH: against changes, deletions, re-creation, expiry and a flush by another; not against reads."""
    key = KEYS[0]
    interference: list[tuple[tuple[bytes, ...], ...]] = [
        ((b"SET", key, b"b"),),
        ((b"SET", key, b"a"),),
        ((b"DEL", key),),
        ((b"DEL", key), (b"SET", key, b"a")),
        ((b"GET", key),),
        ((b"TTL", key),),
        ((b"EXPIRE", key, b"1000"),),
        ((b"PERSIST", key),),
        ((b"APPEND", key, b""),),
        ((b"SETRANGE", key, b"0", b""),),
        ((b"RENAME", key, KEYS[1]),),
        ((b"COPY", KEYS[2], key, b"REPLACE"),),
        ((b"GETEX", key),),
        ((b"TOUCH", key),),
        ((b"SET", KEYS[3], b"x"),),
        ((b"FLUSHALL",),),
        ((b"MULTI",), (b"SET", key, b"c"), (b"EXEC",)),
        ((b"MULTI",), (b"SET", key, b"c"), (b"DISCARD",)),
    ]
    before: list[tuple[bytes, ...]] = [(b"SET", key, b"a"), (b"DEL", key), (b"SET", key, b"a", b"EX", b"500")]
    with Both(pair) as both:
        for start, others, self_made, undone in itertools.product(before, interference, [False, True], [False, True]):
            both.ask(0, b"SET", KEYS[2], b"z")
            both.ask(0, *start)
            both.ask(0, b"WATCH", key)
            for words in others:
                both.ask(0 if self_made else 1, *words)
            if undone:
                both.ask(0, b"UNWATCH")
            both.ask(0, b"MULTI")
            both.ask(0, b"SET", key, b"mine")
            both.ask(0, b"GET", key)
            both.ask(0, b"EXEC")
        see(both.different)


def test_transactions_are_refused_alike(pair: Pair) -> None:
    """What spoils a transaction when it is queued, what only fails when it is executed, and what can't stand in one."""
    key = KEYS[0]
    inside: list[tuple[bytes, ...]] = [
        (b"nosuch",),
        (b"GET",),
        (b"INCR", key),
        (b"SET", key, b"x", b"EX", b"0"),
        (b"SET", key, b"x", b"NX", b"XX"),
        (b"MULTI",),
        (b"WATCH", key),
        (b"UNWATCH",),
        (b"DISCARD",),
        (b"PING",),
        (b"RESET",),
        (b"KEYS", b"*"),
        (b"DBSIZE",),
        (b"CLIENT", b"SETNAME", b"x"),
        (b"CLIENT", b"GETNAME"),
        (b"CONFIG", b"GET", b"save"),
        (b"TIME",),
        (b"ECHO", b"x"),
        (b"SELECT", b"0"),
        (b"HELLO", b"2"),
        (b"HELLO", b"3"),
        (b"CLUSTER", b"MYID"),
        (b"CLUSTER", b"SLOTS"),
        (b"READONLY",),
        (b"WATCH", key, b"elsewhere"),
        (b"AUTH", b"x"),
        (b"WAIT", b"0", b"0"),
        (b"COMMAND", b"COUNT"),
        (b"INFO",),
        (b"OBJECT", b"nosuch"),
        (b"CLIENT", b"nosuch"),
        (b"QUIT",),
    ]
    with Both(pair) as both:
        for words in inside:
            both.ask(0, b"SET", key, b"text")
            both.ask(0, b"MULTI")
            both.ask(0, b"SET", KEYS[1], b"1")
            both.ask(0, b"GET", b"{t}absent")
            both.ask(0, *words)
            both.ask(0, b"GET", b"{t}absent")
            both.ask(0, b"SET", KEYS[2], b"2")
            both.ask(0, b"EXEC")
            both.ask(0, b"MGET", *KEYS)
        see(both.different)


def test_keys_expire_alike(pair: Pair) -> None:
    """What is left of a key whose time has come, by each way to say when; and what keeps or ends the time to live."""
    key, until = KEYS[0], int(time.time() * 1000) + 150
    soon: list[tuple[bytes, ...]] = [
        (b"PSETEX", key, b"40", b"v"),
        (b"SET", key, b"v", b"PX", b"40"),
        (b"SET", key, b"v", b"PXAT", b"%d" % until),
        (b"PEXPIRE", key, b"40"),
        (b"PEXPIREAT", key, b"%d" % until),
        (b"GETEX", key, b"PX", b"40"),
        (b"SET", key, b"v", b"EXAT", b"1"),
    ]
    kept: list[tuple[bytes, ...]] = [
        (b"APPEND", key, b"1"),
        (b"SET", key, b"1", b"KEEPTTL"),
        (b"SET", key, b"1"),
        (b"GETSET", key, b"1"),
        (b"SETRANGE", key, b"0", b"1"),
        (b"INCR", key),
        (b"INCRBYFLOAT", key, b"1.5"),
        (b"PERSIST", key),
        (b"GETEX", key, b"PERSIST"),
        (b"RENAME", key, KEYS[1]),
        (b"COPY", key, KEYS[1]),
        (b"MSET", key, b"1"),
    ]
    with Both(pair) as both:
        for words in soon:
            both.ask(0, b"SET", key, b"5")
            both.ask(0, *words)
            time.sleep(0.2)
            for name in (b"GET", b"EXISTS", b"TTL", b"PTTL", b"EXPIRETIME", b"TYPE", b"GETDEL", b"INCR", b"DEL"):
                both.ask(0, name, key)
            both.ask(0, b"DBSIZE")
        for words in kept:
            both.ask(0, b"SET", key, b"5", b"EX", b"1000")
            both.ask(0, *words)
            for name, asked in itertools.product((b"TTL", b"PEXPIRETIME", b"GET"), KEYS[:2]):
                both.ask(0, name, asked)
            both.ask(0, b"DEL", *KEYS)
        see(both.different)


def test_commands_are_counted_alike(pair: Pair) -> None:
    """LATENCY HISTOGRAM: what was carried out, well or not, in a transaction or not; nothing that was not."""
    said = [
        *("CONFIG RESETSTAT", "SET {t} x", "GET {t}", "GET", "nosuch", "INCR {t}", "SET {t} x NX XX", "LLEN"),
        *("MULTI", "GET {t}", "PING", "DISCARD", "MULTI", "GET {t}", "GET", "EXEC", "EXEC", "DISCARD", "PING a b"),
        *("MULTI", "SET {t} 1", "INCR {t}", "APPEND {t} x", "INCR {t}", "PING", "CLIENT ID", "EXEC", "CLIENT x"),
        *("WATCH {t}", "SET {t} 2", "MULTI", "DEL {t}", "EXEC", "UNWATCH", "ECHO x", "DBSIZE"),
    ]
    found = []
    for port in (pair.redis.resp_port, pair.ours.resp_port):
        with RespConnection(port, 3) as connection:
            for line in said:
                connection.ask(*line.split())
            counted = named(connection.ask("LATENCY", "HISTOGRAM"))
            found.append({name: named(each)[b"calls"].value for name, each in counted.items()})
    assert found[0] == found[1]
    assert found[0][b"incr"] == 3


def test_encodings_are_told_alike(pair: Pair) -> None:
    """OBJECT ENCODING of values that were set whole."""
    with Both(pair) as both:
        for value in VALUES:
            both.ask(0, b"SET", KEYS[0], value)
            theirs, ours = (each.ask("OBJECT", "ENCODING", KEYS[0]) for each in both._connections[0])
            assert theirs == ours, value
