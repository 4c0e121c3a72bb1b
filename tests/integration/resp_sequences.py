"""Random commands of Redis's protocol, right and wrong, and when two servers' answers to one are alike.

Everything comes from a seeded `Random`: a seed is a sequence. The keys are few and of one hash tag, so that commands
meet on them; the arguments include what parsers stumble over. One command in four is malformed: a word too few or too
many, or one that is junk.

No random command gives a key a time to live that ends while the test runs, since no two servers' clocks agree on when
that is; a time that has come already does.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from integration.resp_harness import Reply

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
    ("AUTH", one("x", ("x", "y"), ("a", "b", "c"))),
    ("RESET",),
    ("QUIT",),
    ("INFO", some("server", "everything", "x")),
    ("LOLWUT", some(("VERSION", SMALL))),
    ("COMMAND",),
    ("COMMAND", "COUNT"),
    ("COMMAND", "INFO", some("get", "SET", "nosuch")),
    ("COMMAND", "DOCS", "get"),
    ("COMMAND", "LIST", some(("FILTERBY", one(("PATTERN", "get*"), ("ACLCAT", "nosuch"), ("MODULE", "x"), "x")))),
    ("COMMAND", "GETKEYS", one(("GET", KEY), ("MSET", several(KEY, VALUE)), "PING", "nosuch", "GET")),
    ("COMMAND", "GETKEYS", "LCS", KEY, KEY),
    ("CLIENT", one("ID", "INFO", "LIST", "GETNAME")),
    ("CLIENT", "SETNAME", one("", "one", "two", "a b", "a\n", "ü")),
    ("CLIENT", "NO-EVICT", one("on", "OFF", "x")),
    ("CLIENT", "REPLY", one("ON", "x")),
    ("CONFIG", "GET", several(one("maxmemory", "save", "appendonly", "databases", "nosuch", "maxmemory-policy"))),
    ("WAIT", "0", "0"),
    ("SLOWLOG", one("LEN", "GET", "RESET", ("GET", SMALL))),
    ("LATENCY", one("LATEST", ("HISTORY", "x"), "RESET", ("RESET", "x"), "DOCTOR")),
    (one("OBJECT", "MEMORY", "CLIENT", "COMMAND", "SLOWLOG", "LATENCY", "CONFIG"), "HELP"),
    (one("OBJECT", "MEMORY", "CLIENT", "COMMAND", "SLOWLOG", "LATENCY", "CONFIG"), one("nosuch", "x\r\ny", "")),
    (one("OBJECT", "MEMORY", "CLIENT", "SLOWLOG", "LATENCY", "CONFIG"),),
    (one("nosuch", "", "get ", "g\r\nt", "x" * 200), several(VALUE)),
]  # fmt: skip

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

_CONTAINERS = {b"CLUSTER", b"CLIENT", b"COMMAND", b"CONFIG", b"MEMORY", b"OBJECT", b"SLOWLOG", b"LATENCY"}
_UNCOVERED = {
    *((b"CLIENT", word) for word in (b"KILL", b"PAUSE", b"TRACKING")),
    *((b"SELECT", b"%d" % number) for number in range(1, 16)),
    *((b"SELECT", b"01"), (b"HELLO", b"01")),
}
"""What junk must not make of a command: what CoreCache has not, or has otherwise and is tested so."""


class Step(NamedTuple):
    """A command, on the first connection or the second."""

    connection: int
    words: tuple[bytes, ...]


def sequence(seed: int, length: int = 50) -> list[Step]:
    """Returns the commands of a seed."""
    dice = Random(seed)
    steps: list[Step] = []
    while len(steps) < length:
        share = dice.random()
        other = share > 0.92
        parts = dice.choice(KEYED if share < 0.7 or other else CONTROL if share < 0.82 else OTHERS)
        words = _words(parts, dice)
        if not other and dice.random() < 0.25:
            words = _malformed(words, dice)
        words[0] = _cased(words[0], dice)
        head = words[0].upper(), words[1].upper() if len(words) > 1 else b""
        if head not in _UNCOVERED and head != (b"CLIENT", b"REPLY"):
            steps.append(Step(int(other), tuple(words)))
    return steps


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


# Alike

Alike = Callable[[Reply, Reply], bool]


def same(theirs: Reply, ours: Reply) -> bool:
    """Alike: equal, kind by kind and word by word."""
    return theirs == ours


def same_members(theirs: Reply, ours: Reply) -> bool:
    """Alike: the same members, in any order."""
    return theirs.kind == ours.kind and Counter(theirs.value) == Counter(ours.value)


def same_names(theirs: Reply, ours: Reply) -> bool:
    """Alike: a map, or its flat array, of the same names in any order, whatever they stand for."""

    def names(reply: Reply) -> set[Reply]:
        return {name for name, _ in reply.value} if reply.kind == "map" else set(reply.value[::2])

    return theirs.kind == ours.kind and len(theirs.value) == len(ours.value) and names(theirs) == names(ours)


def same_kind(theirs: Reply, ours: Reply) -> bool:
    """Alike: of one kind, whatever it says."""
    return theirs.kind == ours.kind


def same_shape(theirs: Reply, ours: Reply) -> bool:
    """Alike: of one kind, and what is inside too, whatever it says."""
    return theirs.kind == ours.kind and _shape(theirs) == _shape(ours)


def _shape(reply: Reply) -> Any:
    if reply.kind == "map":
        return [(key, _shape(value)) for key, value in reply.value]
    return [_shape(each) for each in reply.value] if isinstance(reply.value, tuple) else reply.kind


def same_length(theirs: Reply, ours: Reply) -> bool:
    """Alike: of one kind and length."""
    return theirs.kind == ours.kind and len(theirs.value) == len(ours.value)


def same_slots(theirs: Reply, ours: Reply) -> bool:
    """Alike: ranges of slots with nodes, of which the first kinds of fields are the same."""

    def fields(reply: Reply) -> Any:
        first, last, node = reply.value[0].value[:3]
        return first.kind, last.kind, [each.kind for each in node.value]

    return theirs.kind == ours.kind == "array" and fields(theirs) == fields(ours)


def within(tolerance: int) -> Alike:
    """Alike: the same number, or two positive ones that are near each other."""

    def near(theirs: Reply, ours: Reply) -> bool:
        if theirs == ours:
            return True
        numbers = theirs.kind == ours.kind == "integer" and theirs.value > 0 and ours.value > 0
        return numbers and bool(abs(theirs.value - ours.value) <= tolerance)

    return near


def scanned(theirs: Reply, ours: Reply) -> bool:
    """Alike: a cursor and some keys; a whole iteration is compared elsewhere."""
    return theirs.kind == ours.kind and [each.kind for each in theirs.value] == [each.kind for each in ours.value]


def entry_of_command(theirs: Reply, ours: Reply) -> bool:
    """Alike: name, number of words, flags, places of the keys, and categories."""
    if theirs.kind != "array" or ours.kind != "array":
        return theirs == ours
    return len(theirs.value) == len(ours.value) and all(
        one == other if one.kind != "array" or other.kind != "array" else _described(one) == _described(other)
        for one, other in zip(theirs.value, ours.value, strict=True)
    )


def _described(entry: Reply) -> Any:
    name, arity, flags, first, last, step, categories = entry.value[:7]
    kinds = [each.kind for each in entry.value]
    return name, arity, flags.kind, set(flags.value), first, last, step, categories.kind, set(categories.value), kinds


_ALIKE: dict[bytes, Alike] = {
    b"TTL": within(1),
    b"PTTL": within(1000),
    b"EXPIRETIME": within(1),
    b"PEXPIRETIME": within(1000),
    b"KEYS": same_members,
    b"SCAN": scanned,
    b"RANDOMKEY": same_kind,
    b"TIME": same_shape,
    b"HELLO": same_shape,
    b"INFO": same_kind,
    b"LOLWUT": same_kind,
    b"COMMAND": same_kind,
    b"COMMAND COUNT": same_kind,
    b"COMMAND LIST": same_kind,
    b"COMMAND DOCS": same_kind,
    b"COMMAND INFO": entry_of_command,
    b"CLIENT ID": same_kind,
    b"CLIENT INFO": same_kind,
    b"CLIENT LIST": same_kind,
    b"CONFIG GET": same_names,
    b"OBJECT IDLETIME": same_kind,
    b"OBJECT ENCODING": same_kind,
    b"OBJECT FREQ": same_kind,
    b"OBJECT REFCOUNT": same_kind,
    b"MEMORY USAGE": same_kind,
    b"SLOWLOG LEN": same_kind,
    b"SLOWLOG GET": same_kind,
    b"LATENCY LATEST": same_kind,
    b"LATENCY HISTORY": same_kind,
    b"LATENCY RESET": same_kind,
    b"LATENCY DOCTOR": same_kind,
    b"CLUSTER INFO": same_kind,
    b"CLUSTER MYID": same_length,
    b"CLUSTER NODES": same_kind,
    b"CLUSTER LINKS": same_kind,
    b"CLUSTER SLOTS": same_slots,
    b"CLUSTER SHARDS": same_shape,
    b"CLUSTER GETKEYSINSLOT": same_members,
    **{container + b" HELP": same_kind for container in _CONTAINERS},
}


def alike_of(words: Sequence[bytes]) -> Alike:
    """Returns how the answers to a command are compared when neither is an error: word by word unless said."""
    name = words[0].upper()
    if name in _CONTAINERS and len(words) > 1:
        name += b" " + words[1].upper()
    if name == b"COMMAND INFO" and len(words) == 2:
        return same_kind
    return _ALIKE.get(name, same)
