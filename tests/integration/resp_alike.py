"""When two servers' answers to a command are alike: word by word, unless they tell of time, of chance or of the server.

What tells of the server itself is compared in kind, and in those of its fields that must agree.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from integration.resp_harness import Reply
from integration.resp_sequences import CONTAINERS

Alike = Callable[[Reply, Reply], bool]
SINCE_7_2 = {b"waitaof", b"client|setinfo", b"client|no-touch"}
"""What CoreCache has of a newer Redis than the reference is."""


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


def documented(theirs: Reply, ours: Reply) -> bool:
    """Alike: of the same commands. Redis tells of one as often as it is asked for it."""
    return theirs.kind == ours.kind and list(named(theirs)) == list(named(ours))


def named(reply: Reply) -> dict[bytes, Reply]:
    """Returns a map, or its flat array, by its names."""
    pairs = reply.value if reply.kind == "map" else zip(reply.value[::2], reply.value[1::2], strict=True)
    return {name.value: value for name, value in pairs}


def same_greeting(theirs: Reply, ours: Reply) -> bool:
    """Alike: what HELLO tells, but for the version, the client's number and how the node runs: of one kind there."""
    one, other = named(theirs), named(ours)
    return (
        theirs.kind == ours.kind
        and list(one) == list(other)
        and all(
            one[name].kind == other[name].kind if name in (b"version", b"id", b"mode") else one[name] == other[name]
            for name in one
        )
    )


def _lines(reply: Reply) -> list[dict[bytes, bytes]]:
    text = reply.value.removeprefix(b"txt:") if reply.kind == "verbatim" else reply.value
    return [dict(field.split(b"=", 1) for field in line.split(b" ")) for line in text.splitlines()]


def same_client(theirs: Reply, ours: Reply) -> bool:
    """Alike: one client's line, in all that does not tell of the server's own memory, numbers and addresses."""
    if theirs.kind != ours.kind:
        return False
    (one,), (other,) = _lines(theirs), _lines(ours)
    # Redis notes at once that a watched key has changed; here EXEC finds out.
    one[b"flags"] = one[b"flags"].replace(b"d", b"") or b"N"
    names = (
        b"lib-name",
        b"lib-ver",
        b"name",
        b"db",
        b"sub",
        b"psub",
        b"ssub",
        b"multi",
        b"flags",
        b"cmd",
        b"user",
        b"redir",
        b"resp",
    )
    return all(one[name] == other[name] for name in names if name in one) and _are_known(one, other)


def same_clients(theirs: Reply, ours: Reply) -> bool:
    """Alike: lines of clients, as many as there are, each with fields that Redis knows, in Redis's order."""
    return theirs.kind == ours.kind and all(
        _are_known(one, other) for one in _lines(theirs)[:1] for other in _lines(ours)
    )


def _are_known(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> bool:
    both = [name for name in other if name in one]
    return [name for name in one if name in other] == both and other.keys() - both <= {b"lib-name", b"lib-ver"}


def known_names(theirs: Reply, ours: Reply) -> bool:
    """Alike: names of commands, all of which Redis knows too."""
    return theirs.kind == ours.kind and {each.value for each in ours.value} <= SINCE_7_2 | {
        each.value for each in theirs.value
    }


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
    b"HELLO": same_greeting,
    b"INFO": same_kind,
    b"LOLWUT": same_kind,
    b"COMMAND": same_kind,
    b"COMMAND COUNT": same_kind,
    b"COMMAND LIST": known_names,
    b"COMMAND DOCS": documented,
    b"COMMAND INFO": entry_of_command,
    b"CLIENT ID": same_kind,
    b"CLIENT INFO": same_client,
    b"CLIENT LIST": same_clients,
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
    b"CLUSTER GETKEYSINSLOT": same_length,
    **{container + b" HELP": same_kind for container in CONTAINERS},
}


def alike_of(words: Sequence[bytes]) -> Alike:
    """Returns how the answers to a command are compared when neither is an error: word by word unless said."""
    name = words[0].upper()
    if name in CONTAINERS and len(words) > 1:
        name += b" " + words[1].upper()
    if name in (b"COMMAND INFO", b"COMMAND DOCS") and len(words) == 2:
        return same_kind
    if name == b"CLUSTER GETKEYSINSLOT" and [*words[3:]] == [b"100"]:
        return same_members
    return _ALIKE.get(name, same)
