"""Random commands of Redis's protocol, right and wrong.

Everything comes from a seeded `Random`: a seed is a sequence. The keys are few and of one hash tag, so that commands
meet on them; the arguments include what parsers stumble over. One command in four is malformed: a word too few or too
many, or one that is junk.

No random command gives a key a time to live that ends while the test runs, since no two servers' clocks agree on when
that is; a time that has come already does.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from corecache.placement.slots import slot_of

Draw = Callable[[Random], list[bytes]]
Part = str | bytes | Draw | tuple["Part", ...]

FAR_S = 4_102_444_800
KEYS = [b"{t}%d" % number for number in range(4)] + [b"{t}\xff\r\n\0"]
VALUES = [
    *(b"", b"a", b"hello world", b"10", b"-5", b"0", b"007", b" 1", b"1 ", b"+1", b"3.14", b"-0.5", b"1e3", b"nan"),
    *(b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"\0\xff\r\n", b"x" * 44, b"y" * 45),
    *(b"inf", b"ohmytext mynewtext"),
]  # fmt: skip
JUNK = [
    *(b"", b"abc", b"-1", b"0", b"1.5", b"1000000000", b"nan", b"inf", b"1e3", b" 1", b"01", b"9223372036854775807"),
    *(b"9223372036854775808", b"-9223372036854775809", b"NX", b"XX", b"GT", b"EX", b"get", b"COUNT", b"it's"),
    b"\0\xff",
]  # fmt: skip


def _words(part: Part, dice: Random) -> list[bytes]:
    if isinstance(part, tuple):
        return [word for each in part for word in _words(each, dice)]
    if callable(part):
        return part(dice)
    return [part.encode() if isinstance(part, str) else part]


def one(*parts: Part) -> Draw:
    """Draws one of these."""
    return lambda dice: _words(dice.choice(parts), dice)


def some(*parts: Part, most: int = 2) -> Draw:
    """Draws some of these, none often, in any order, whether or not they go together."""
    return lambda dice: _words(tuple(dice.sample(parts, dice.choice(range(min(most, len(parts)) + 1)))), dice)


def several(*parts: Part, most: int = 3) -> Draw:
    """Draws all of them, one to `most` times."""
    return lambda dice: [word for _ in range(dice.randint(1, most)) for word in _words(parts, dice)]


KEY = one(*KEYS)
VALUE = one(*VALUES)
SMALL = one(*map(str, (*range(-6, 7), 20, 100)))
OFFSET = one("0", "1", "3", "11", "50", "-1", "-9223372036854775808", "536870912", "4294967296")
AMOUNT = one("1", "-1", "5", "0", "9223372036854775807", "-9223372036854775808", "9223372036854775806", "+1", "00")
FLOAT = one("0.1", "-2.5", "1e2", "5.0e-5", "3", "0", "-0", "1e17", "1.7976931348623157e308", "+1.5", ".5", "5.")


def random_number(least: int, most: int, scale: int = 1) -> Draw:
    """Draws a number, a multiple of `scale`."""
    return lambda dice: [b"%d" % (scale * dice.randint(least, most))]


LATER_S, LATER_MS = random_number(100, 1_000_000), random_number(100, 1_000_000, 1000)
LATE_S, LATE_MS = (random_number(scale * FAR_S, scale * FAR_S + 1_000_000) for scale in (1, 1000))
SECONDS = one(*[LATER_S] * 4, "0", "-1", "9223372036854775", "9223372036854775807", "-9223372036854775808")
MILLISECONDS = one(*[LATER_MS] * 4, "0", "-1", "9223372036854775000", "9223372036854775807", "-9223372036854775808")
DATE_S = one(
    *[LATE_S] * 4,
    *("1", "0", "-5", "9223372036854775807", "9223372036854776"),
)
DATE_MS = one(*[LATE_MS] * 4, "1", "0", "-5", "9223372036854775807")
CLIENT_NAME = one("", "one", "two", "a b", "a\n", "ü")
SLOT = one(str(slot_of(KEYS[0])), "0", "16383", "16384", "-1", "x")
CONTAINER = one("OBJECT", "MEMORY", "CLIENT", "COMMAND", "SLOWLOG", "LATENCY", "CONFIG", "CLUSTER")
CURSOR = one("0", "0", "0", "x", "-1", "18446744073709551616")
PATTERN = one("*", "{t}*", "{t}[0-2]", "{t}[^1]", "?t?1", "\\{t}1", "nothing", "", "{t}[", "{t}[2-0]", "**1", "{t}\\")
EXPIRY = (("EX", SECONDS), ("PX", MILLISECONDS), ("EXAT", DATE_S), ("PXAT", DATE_MS))
NOT_YET = (("EX", SECONDS), ("PX", MILLISECONDS), ("EXAT", one(LATE_S, "0", "-5")), ("PXAT", one(LATE_MS, "0", "-5")))
"""A SET with a date that has passed leaves a key in Redis that some commands see until one of the others removes it."""

KEYED: list[tuple[Part, ...]] = [
    ("GET", KEY),
    ("SET", KEY, VALUE),
    ("SET", KEY, VALUE, some("NX", "XX", "GET", "KEEPTTL", *NOT_YET, most=3)),
    ("SET", KEY, VALUE, some("nx", "xx", "get", *NOT_YET)),
    ("SETNX", KEY, VALUE),
    ("SETEX", KEY, SECONDS, VALUE),
    ("PSETEX", KEY, MILLISECONDS, VALUE),
    ("GETSET", KEY, VALUE),
    ("GETDEL", KEY),
    ("GETEX", KEY, some("PERSIST", *EXPIRY)),
    ("MGET", several(KEY)),
    ("MSET", several(KEY, VALUE)),
    ("MSETNX", several(KEY, VALUE, most=2)),
    ("STRLEN", KEY),
    ("APPEND", KEY, VALUE),
    ("GETRANGE", KEY, SMALL, SMALL),
    ("SUBSTR", KEY, SMALL, SMALL),
    ("SETRANGE", KEY, OFFSET, VALUE),
    ("INCR", KEY),
    ("DECR", KEY),
    ("INCRBY", KEY, AMOUNT),
    ("DECRBY", KEY, AMOUNT),
    ("INCRBYFLOAT", KEY, FLOAT),
    ("LCS", KEY, KEY, some("LEN", "IDX", ("MINMATCHLEN", SMALL), "WITHMATCHLEN", most=3)),
    ("DEL", several(KEY)),
    ("UNLINK", several(KEY)),
    ("EXISTS", several(KEY)),
    ("TOUCH", several(KEY)),
    ("TYPE", KEY),
    ("RENAME", KEY, KEY),
    ("RENAMENX", KEY, KEY),
    ("COPY", KEY, KEY, some("REPLACE", ("DB", "0"))),
    *((name, KEY, SECONDS, some("NX", "XX", "GT", "LT")) for name in ("EXPIRE",)),
    *((name, KEY, MILLISECONDS, some("NX", "XX", "GT", "LT")) for name in ("PEXPIRE",)),
    ("EXPIREAT", KEY, DATE_S, some("NX", "XX", "GT", "LT")),
    ("PEXPIREAT", KEY, DATE_MS, some("NX", "XX", "GT", "LT")),
    *((name, KEY) for name in ("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "PERSIST")),
    ("OBJECT", one("ENCODING", "REFCOUNT", "IDLETIME", "FREQ"), KEY),
    ("MEMORY", "USAGE", KEY, some(("SAMPLES", SMALL))),
]
"""What reads or writes keys, and can stand in a transaction with any outcome."""

OTHERS: list[tuple[Part, ...]] = [
    ("KEYS", PATTERN),
    ("SCAN", CURSOR, some(("MATCH", PATTERN), ("COUNT", SMALL), ("TYPE", one("string", "list", "x")))),
    ("RANDOMKEY",),
    ("DBSIZE",),
    ("FLUSHDB", some("ASYNC", "SYNC")),
    ("FLUSHALL", some("ASYNC", "SYNC")),
    ("PING",),
    ("PING", VALUE),
    ("ECHO", VALUE),
    ("TIME",),
    ("SELECT", one("0", "x", "-1", "99999999999999999999")),
    ("HELLO",),
    ("HELLO", one("1", "4", "x", "")),
    ("HELLO", one("2", "3"), some(("AUTH", one("default", "x"), one("x", "")), ("SETNAME", CLIENT_NAME), "x")),
    ("AUTH", one("x", ("x", "y"), ("default", "x"), ("a", "b", "c"))),
    ("RESET",),
    ("QUIT",),
    ("INFO", some("server", "everything", "x")),
    ("LOLWUT", some(("VERSION", SMALL), SMALL)),
    ("LOLWUT", "VERSION", one("5", "6", "4294967301"), some(SMALL, "x", "66", most=3)),
    ("COMMAND",),
    ("COMMAND", "COUNT"),
    ("COMMAND", "INFO", some("get", "SET", "nosuch")),
    ("COMMAND", "DOCS", "get"),
    ("COMMAND", "LIST", some(("FILTERBY", one(("PATTERN", "get*"), ("ACLCAT", "nosuch"), ("MODULE", "x"), "x")))),
    ("COMMAND", "GETKEYS", one(("GET", KEY), ("MSET", several(KEY, VALUE)), "PING", "nosuch", "GET")),
    ("COMMAND", "GETKEYS", "LCS", KEY, KEY),
    ("CLIENT", one("ID", "INFO", "LIST", "GETNAME")),
    ("CLIENT", "SETNAME", CLIENT_NAME),
    ("CLIENT", "LIST", "TYPE", one("normal", "MASTER", "replica", "slave", "pubsub", "x", "ü", b"\0\xff")),
    ("CLIENT", "LIST", "ID", several(one(SMALL, "x", "9999999999"))),
    ("CLIENT", "NO-EVICT", one("on", "OFF", "x")),
    ("CLIENT", "REPLY", one("ON", "x")),
    ("CONFIG", "GET", several(one("maxmemory", "save", "appendonly", "databases", "nosuch", "maxmemory-policy"))),
    ("WAIT", one("0", "-3"), one("0", "5", "100000", "-1", "x")),
    ("WAIT", "1", "1"),
    ("READONLY",),
    ("READWRITE",),
    ("CLUSTER", one("INFO", "MYID", "NODES", "SLOTS", "SHARDS", "LINKS")),
    ("CLUSTER", "KEYSLOT", one(KEY, VALUE)),
    ("CLUSTER", "COUNTKEYSINSLOT", SLOT),
    ("CLUSTER", "GETKEYSINSLOT", SLOT, SMALL),
    ("SLOWLOG", one("LEN", "GET", "RESET", ("GET", SMALL))),
    ("LATENCY", one("LATEST", ("HISTORY", "x"), "RESET", ("RESET", "x"), "DOCTOR")),
    ("LATENCY", "GRAPH", one("x", "ü", b"\xff\0")),
    (CONTAINER, "HELP"),
    (CONTAINER, one("nosuch", "x\r\ny", "")),
    (one("OBJECT", "MEMORY", "CLIENT", "SLOWLOG", "LATENCY", "CONFIG", "CLUSTER"),),
    (one("nosuch", "", "get ", "g\r\nt", "x" * 200), several(VALUE)),
]  # fmt: skip

NEWER: list[tuple[Part, ...]] = [
    ("WAITAOF", one("0", "1", "2", "-1", "x"), one("0", "-1", "x"), one("0", "5", "-1", "x")),
    ("WAITAOF", one("0", "1"), "1", "1"),
    (
        "CLIENT",
        "SETINFO",
        one("lib-name", "LIB-VER", "x", "", b"\xff\0"),
        one("redis-py", "1.2.3", "a b", "", "ü", "a\n"),
    ),
    ("CLIENT", "NO-TOUCH", one("on", "OFF", "x", "")),
    ("CLIENT", "INFO"),
    ("RESET",),
    ("SET", KEY, VALUE),
]
"""What came with Redis 7.2, and what shows that it is heeded."""

CONTROL: list[tuple[Part, ...]] = [
    ("MULTI",),
    ("MULTI",),
    ("EXEC",),
    ("EXEC",),
    ("EXEC",),
    ("DISCARD",),
    ("WATCH", several(KEY)),
    ("UNWATCH",),
]

CONTAINERS = {b"CLUSTER", b"CLIENT", b"COMMAND", b"CONFIG", b"MEMORY", b"OBJECT", b"SLOWLOG", b"LATENCY"}
_UNCOVERED = {
    *((b"CLIENT", word) for word in (b"KILL", b"PAUSE", b"TRACKING")),
    *((b"SELECT", b"%d" % number) for number in range(1, 16)),
    *((b"SELECT", b"01"), (b"HELLO", b"01")),
}
"""What junk must not make of a command: what CoreCache has not, or has otherwise and is tested so."""


COMMANDS = (
    b"ping echo hello auth select quit reset command client config info time dbsize lolwut get set setnx setex psetex "
    b"getset getdel getex mget mset msetnx strlen append getrange substr setrange incr decr incrby decrby incrbyfloat "
    b"lcs del unlink exists touch type rename renamenx copy randomkey expire pexpire expireat pexpireat ttl pttl "
    b"expiretime pexpiretime persist keys scan flushdb flushall multi exec discard watch unwatch wait readonly "
    b"readwrite cluster object memory slowlog latency"
).split()
SUBCOMMANDS = [
    f"{container} {name}".encode()
    for container, names in (
        ("command", "count docs info list getkeys"),
        ("client", "id info list getname setname no-evict reply help"),
        ("config", "get help"),
        ("cluster", "info myid nodes slots shards keyslot countkeysinslot getkeysinslot links help"),
        ("object", "encoding freq idletime refcount help"),
        ("memory", "usage help"),
        ("slowlog", "get len reset help"),
        ("latency", "latest history reset doctor help"),
    )
    for name in names.split()
]
"""What the reference has of what CoreCache has; what came after it is in `test_resp_against_valkey.py`."""

LENGTH = 50


class Step(NamedTuple):
    """A command, on the first connection or the second."""

    connection: int
    words: tuple[bytes, ...]


def sequence(seed: int, length: int = LENGTH, kinds: Sequence[tuple[Part, ...]] = ()) -> list[Step]:
    """Returns the commands of a seed, of some kinds if not of all."""
    dice = Random(seed)
    steps: list[Step] = []
    while len(steps) < length:
        share = dice.random()
        other = share > 0.92
        parts = dice.choice(kinds or (KEYED if share < 0.6 or other else CONTROL if share < 0.72 else OTHERS))
        words = _words(parts, dice)
        if not other and dice.random() < 0.25:
            words = _malformed(words, dice)
        words[0] = _cased(words[0], dice)
        head = words[0].upper(), words[1].upper() if len(words) > 1 else b""
        if head not in _UNCOVERED and not _blocks(words):
            steps.append(Step(int(other), tuple(words)))
    return steps


def _blocks(words: Sequence[bytes]) -> bool:
    """Says whether Redis would wait, longer than a moment, for replicas that it has not."""
    name, *numbers = words
    if name.upper() not in (b"WAIT", b"WAITAOF"):
        return False
    wanted = numbers[-2:]
    return wanted[0:1] not in ([], [b"0"]) and wanted[0].isdigit() and wanted != [b"1", b"1"]


def command(parts: Sequence[Part], dice: Random) -> tuple[bytes, ...]:
    """Draws one command of a kind."""
    return tuple(_words(tuple(parts), dice))


def _cased(word: bytes, dice: Random) -> bytes:
    return dice.choice([word, word, word.lower(), word.title()])


def _malformed(words: list[bytes], dice: Random) -> list[bytes]:
    """Drops, adds, doubles or spoils a word; the command's own name stays."""
    at = dice.randrange(1, len(words) + 1)
    kind = dice.choice(["drop", "add", "spoil", "spoil", "double"])
    if kind == "add" or at == len(words):
        return [*words[:at], dice.choice(JUNK), *words[at:]]
    if kind == "drop":
        return words[:at] + words[at + 1 :]
    if kind == "double":
        return words[: at + 1] + words[at:]
    # The hash tag stays: Redis's own server has no slots to cross.
    spoiled = b"{t}" + dice.choice(JUNK) if words[at].startswith(b"{t}") else dice.choice(JUNK)
    return [*words[:at], spoiled, *words[at + 1 :]]
