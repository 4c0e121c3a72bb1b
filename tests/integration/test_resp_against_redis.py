"""CoreCache answers as Redis's own server does: the same commands to both, the answers compared word by word.

The reference is `redis-server`, a process of the test's own that is a cluster of one, as a node of CoreCache is: so it
has slots that commands must not cross, and one database. `resp_sequences.py` draws the commands and says which
answers are alike. What is meant to differ is in `DIFFERENCES`, each with its reason; anything else fails, with the seed
of the sequence and the commands that it began with.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol

import pytest

from corecache.chaos.processes import PortLease
from integration.node_harness import wait_until
from integration.resp_harness import OK, QUEUED, RedisServer, Reply, RespConnection, RespNode, encoded, running
from integration.resp_sequences import KEYED, KEYS, VALUES, Step, alike_of, command, same, sequence

SEQUENCES = 40
STREAMS = 150
SHOWN = 12
BEFORE = 8
CROSS_SLOT = Reply("error", b"CROSSSLOT Keys in request don't hash to the same slot")


class Server(Protocol):
    """A server of the protocol."""

    resp_port: int


class Pair(NamedTuple):
    """Redis, and who wants to answer as it does."""

    redis: Server
    ours: Server


class Difference(NamedTuple):
    """A difference that is meant: the reason, and the commands and answers that it is about."""

    reason: str
    holds: Callable[[Sequence[bytes], Reply, Reply], bool]


def says(beginning: bytes) -> Callable[[Sequence[bytes], Reply, Reply], bool]:
    """Returns whether CoreCache answers with an error that begins so."""
    return lambda _, __, ours: ours.kind == "error" and ours.value.startswith(beginning)


DIFFERENCES = [
    Difference(
        "a key has 1 to 8,192 bytes, as by HTTP; Redis allows none and half a gigabyte", says(b"ERR invalid key: ")
    ),
    Difference(
        "a transaction is one entry of one partition's log: what deletes all keys can't stand in it",
        says(b"ERR FLUSH"),
    ),
    Difference(
        "a cursor that this node has not given is refused, rather than an iteration begun in the middle",
        says(b"ERR invalid cursor"),
    ),
    Difference(
        "arguments are judged before the keys' slots; either way nothing happens",
        lambda _, theirs, ours: theirs == CROSS_SLOT and ours.kind == "error",
    ),
    Difference(
        "a command of a transaction that is refused for its arguments has no keys to be of another slot",
        lambda words, theirs, _: words[0].upper() == b"EXEC" and theirs == CROSS_SLOT,
    ),
    Difference(
        "the keys that a transaction watches are checked in its log entry: they are of its slot, or it is refused",
        lambda words, _, ours: words[0].upper() == b"EXEC" and ours == CROSS_SLOT,
    ),
    Difference("LOLWUT draws nothing, whatever it is told", lambda words, *_: words[0].upper() == b"LOLWUT"),
    Difference("there is one database, and no cluster mode to blame for it", says(b"ERR DB index is out of range")),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers, empty."""
    directory = tmp_path_factory.mktemp("against")
    with reference(directory / "redis") as redis, running(RespNode(directory / "node")) as node:
        yield Pair(redis, node)


@contextlib.contextmanager
def reference(directory: Path) -> Iterator[RedisServer]:
    """Runs a Redis that is a cluster of its own."""
    bus = PortLease()
    options = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(bus.number))
    with contextlib.ExitStack() as stack:
        stack.callback(bus.end)
        redis = stack.enter_context(RedisServer(directory, *options))
        with RespConnection(redis.resp_port) as connection:
            assert connection.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383) == OK
            wait_until(
                lambda: b"cluster_state:ok" in connection.ask("CLUSTER", "INFO").value, "Redis's cluster to be whole"
            )
        yield redis


class Both:
    """Two connections to each server, and what is queued on each of them."""

    def __init__(self, pair: Pair, protocol: int = 2) -> None:
        self._pair = pair
        self._protocol = protocol
        self._connections: dict[int, tuple[RespConnection, RespConnection]] = {}
        self._queued: dict[int, list[Sequence[bytes]]] = {}
        self.said: list[str] = []
        self.different: list[str] = []
        self.parted = False
        """Whether a difference that is meant has left the two with different keys, perhaps."""

    def __enter__(self) -> "Both":
        assert self.ask(0, b"FLUSHALL") == (OK, OK)
        return self

    def __exit__(self, *exception: object) -> None:
        for number in list(self._connections):
            self._hang_up(number)

    def _hang_up(self, number: int) -> None:
        for each in self._connections.pop(number):
            each.close()

    def ask(self, connection: int, *words: bytes) -> tuple[Reply, Reply]:
        """Sends a command to both servers, and notes what differs in their answers."""
        if connection not in self._connections:
            ports = self._pair.redis.resp_port, self._pair.ours.resp_port
            first, second = (RespConnection(port, self._protocol) for port in ports)
            self._connections[connection] = first, second
            self._queued[connection] = []
        replies = []
        for each in self._connections[connection]:
            try:
                replies.append(each.ask(*words))
            except (EOFError, ConnectionError):
                replies.append(Reply("the connection ends"))
        theirs, ours = replies
        shown = b" ".join(word if word.isalnum() else repr(word)[1:].encode() for word in words).decode()
        self.said.append(f"{connection}: {shown} -> {theirs}")
        same_enough = self._alike(connection, words, theirs, ours)
        if meant(words, theirs, ours):
            self.parted = True
        elif not same_enough:
            self.different.append(f"{connection}: {shown}\n    Redis: {theirs}\n    ours:  {ours}")
        if words[0].upper() == b"QUIT" or "the connection ends" in (theirs.kind, ours.kind):
            self._hang_up(connection)
        if words[0].upper() == b"RESET" and theirs.kind == "simple" and self._protocol == 3:
            for each in self._connections[connection]:
                each.ask("HELLO", 3)
        return theirs, ours

    def _alike(self, connection: int, words: Sequence[bytes], theirs: Reply, ours: Reply) -> bool:
        queued = self._queued[connection]
        name = words[0].upper()
        if theirs == ours == QUEUED:
            queued.append(words)
            return True
        if name in (b"EXEC", b"DISCARD", b"RESET", b"QUIT"):
            self._queued[connection] = []
        if name == b"EXEC" and theirs.kind == ours.kind == "array":
            return len(theirs.value) == len(ours.value) and all(
                alike(*each) or meant(*each) for each in zip(queued, theirs.value, ours.value, strict=True)
            )
        return alike(words, theirs, ours)


def alike(words: Sequence[bytes], theirs: Reply, ours: Reply) -> bool:
    """Says whether two answers to a command are as good as equal."""
    errors = "error" in (theirs.kind, ours.kind)
    return (same if errors else alike_of(words))(theirs, ours)


def meant(words: Sequence[bytes], theirs: Reply, ours: Reply) -> bool:
    """Says whether two answers to a command are meant to differ as they do."""
    return any(each.holds(words, theirs, ours) for each in DIFFERENCES)


def differences(pair: Pair, protocol: int, seeds: Sequence[int]) -> list[str]:
    """Runs sequences; returns what differed first in each that had a difference, with the commands before it."""
    found = []
    for seed in seeds:
        with Both(pair, protocol) as both:
            for step in sequence(seed):
                both.ask(step.connection, *step.words)
                if both.different:
                    found.append(f"seed {seed}:\n  " + "\n  ".join([*both.said[-BEFORE:-1], *both.different]))
                if both.different or both.parted:
                    break
    return found


def see(found: Sequence[str]) -> None:
    """Fails the test if anything differs."""
    assert not found, f"{len(found)} differences\n" + "\n".join(found[:SHOWN])


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_answers_as_redis_does(pair: Pair, tmp_path: Path, protocol: int) -> None:
    """What is compared depends on nothing but the commands: two Redis servers never differ."""
    with reference(tmp_path) as other:
        see(differences(Pair(pair.redis, other), protocol, range(SEQUENCES)))


@pytest.mark.parametrize("protocol", [2, 3])
def test_random_commands_are_answered_alike(pair: Pair, protocol: int) -> None:
    """Strings, keys, expiry, transactions with interference, and everything about the server, right and wrong."""
    see(differences(pair, protocol, range(1000 * protocol, 1000 * protocol + SEQUENCES)))


@pytest.mark.parametrize("protocol", [2, 3])
def test_wrong_numbers_of_words_are_answered_alike(pair: Pair, protocol: int) -> None:
    """Each command with one word, two words, …, as far as two more than it has."""
    dice = Random(protocol)
    with Both(pair, protocol) as both:
        for parts in KEYED:
            words = [*command(parts, dice), b"more", b"most"]
            for count in range(1, len(words) + 1):
                both.ask(0, *words[:count])
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


COMMANDS = (
    b"ping echo hello auth select quit reset command client config info time dbsize lolwut get set setnx setex psetex "
    b"getset getdel getex mget mset msetnx strlen append getrange substr setrange incr decr incrby decrby incrbyfloat "
    b"lcs del unlink exists touch type rename renamenx copy randomkey expire pexpire expireat pexpireat ttl pttl "
    b"expiretime pexpiretime persist keys scan flushdb flushall multi exec discard watch unwatch wait readonly "
    b"readwrite cluster object memory slowlog latency"
).split()


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
            both.ask(0, *words)
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


def test_encodings_are_told_alike(pair: Pair) -> None:
    """OBJECT ENCODING of values that were set whole."""
    with Both(pair) as both:
        for value in VALUES:
            both.ask(0, b"SET", KEYS[0], value)
            theirs, ours = (each.ask("OBJECT", "ENCODING", KEYS[0]) for each in both._connections[0])
            assert theirs == ours, value


def test_client_reply_is_obeyed_alike(pair: Pair) -> None:
    """OFF, SKIP and ON: only what is to be answered is."""
    orders = [
        *([b"CLIENT", b"REPLY", b"SKIP"], [b"PING", b"unheard"], [b"PING", b"heard"]),
        *([b"CLIENT", b"REPLY", b"OFF"], [b"PING", b"unheard"], [b"nosuch"], [b"CLIENT", b"REPLY", b"SKIP"]),
        *([b"CLIENT", b"REPLY", b"ON"], [b"PING", b"heard again"]),
        *([b"CLIENT", b"REPLY", b"SKIP"], [b"CLIENT", b"REPLY", b"ON"], [b"PING", b"at last"]),
    ]
    see_streams(pair, [b"".join(encoded(*each) for each in orders)])


# Slots


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


INLINE = rb"""
PING\r\n
ping\n
\r\nPING\r\n
  PING   x  \r\n
SET {t}a 'b c'\r\nGET {t}a\r\n
ECHO "a\\x41\\n"\r\n
ECHO 'it\\'s'\r\n
ECHO "unbalanced\r\nPING\r\n
ECHO 'a'b\r\nPING\r\n
ECHO ""\r\n
\n\n\nPING\n
nosuch a b\r\n
GET\r\n
ECHO \xff\r\n
"""
MULTIBULK = rb"""
*0\r\n
*-1\r\n
*-5\r\n
*x\r\n
*\r\n
*2147483648\r\n
*1x\r\n
*99999999999999999999\r\n
* 1\r\n
*1\r\n+PING\r\n
*1\r\n\r\n
*1\r\n$x\r\n
*1\r\n$-1\r\n
*1\r\n$536870913\r\n
*1\r\n$\r\n
*1\r\n:1\r\n
*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n
*1\r\n$0\r\n\r\n
*01\r\n$04\r\nPING\r\n
*+1\r\n$4\r\nPING\r\n
*2\r\n$4\r\nECHO\r\n$3\r\nab\r\n\r\n
*1\n$4\r\nPING\r\n
"""
"""A stream a line, written as in Python."""


def streams_of(lines: bytes) -> list[bytes]:
    """Returns the streams."""
    return [line.decode("unicode_escape").encode("latin-1") for line in lines.splitlines() if line]


def see_streams(pair: Pair, streams: Sequence[bytes]) -> None:
    """Sends each byte stream, and no more, to both servers, and compares all that they answer until they end it."""
    found = []
    for stream in streams:
        answers = []
        for port in (pair.redis.resp_port, pair.ours.resp_port):
            with RespConnection(port) as connection:
                connection.send(stream)
                connection.finish()
                answers.append(connection.read_all())
        if not _told_alike(*answers):
            shown = stream if len(stream) < 300 else stream[:150] + b" ... " + stream[-150:]
            found.append(f"{shown!r}\n    Redis: {_all(answers[0])}\n    ours:  {_all(answers[1])}")
    see(found)


def _told_alike(theirs: list[Reply], ours: list[Reply]) -> bool:
    """Says whether two lists of answers are equal, as far as the first difference that is meant."""
    for one, other in zip(theirs, ours, strict=False):
        if one != other:
            return meant([b"?"], one, other)
    # What can't become a right line is refused before it is whole.
    early = len(ours) == len(theirs) + 1 and not any(map(_is_protocol_error, theirs)) and _is_protocol_error(ours[-1])
    return len(theirs) == len(ours) or early


def _is_protocol_error(reply: Reply) -> bool:
    return reply.kind == "error" and reply.value.startswith(b"ERR Protocol error: ")


def _all(replies: list[Reply]) -> Reply:
    return Reply("array", tuple(replies))


def test_inline_commands_are_understood_alike(pair: Pair) -> None:
    """Quotes, escapes, blanks, and lines that are too long."""
    see_streams(pair, [*streams_of(INLINE), b"x" * 70_000])


def test_malformed_frames_are_refused_alike(pair: Pair) -> None:
    """Whatever is no number, no bulk string, or too long; each after a command that is answered, and before one."""
    ping = encoded("PING")
    see_streams(pair, [stream for each in streams_of(MULTIBULK) for stream in (each, ping + each + ping)])
    see_streams(pair, [b"*" + b"1" * 70_000, b"*1\r\n$" + b"1" * 70_000])


def test_spoiled_streams_are_answered_alike(pair: Pair) -> None:
    """Commands in one stream of which bytes were changed, added and taken away, or the end."""
    dice = Random(9)
    for _ in range(STREAMS):
        octets = bytearray(b"".join(encoded(*step.words) for step in sequence(dice.randrange(10**6), 6) if _tame(step)))
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(octets) + 1)
            match dice.choice(["change", "add", "take", "cut"]):
                case "change":
                    octets[at : at + 1] = bytes([dice.choice(b"\r\n*$+0123456789 x\xff")])
                case "add":
                    octets[at:at] = dice.choice([b"\r\n", b"*", b"$", b"1", b"PING\r\n", b"*1\r\n$4\r\nPING\r\n"])
                case "take":
                    del octets[at : at + dice.randint(1, 4)]
                case "cut":
                    del octets[at:]
        with Both(pair):
            # Redis's lines end at a NUL too, where the frames are lost.
            see_streams(pair, [bytes(octets).replace(b"\0", b"\1")])


def _tame(step: Step) -> bool:
    """Says whether a command's answer is compared word by word."""
    return alike_of(step.words) is same
