"""The commands on values: reading, writing, cutting, counting.

What an update does is decided where its key's primary is, by `replication/updating.py`; here are its arguments and its
answer. A SET without conditions is a plain `Put`, which needs no record and so never waits for one.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from corecache.config import Config
from corecache.operations import (
    Absent,
    Add,
    AddFloat,
    Assign,
    AssignNew,
    Extend,
    Overwrite,
    Put,
    Read,
    Result,
    Retime,
    Take,
    Until,
)
from corecache.replication.long_double import number_of
from corecache.replication.updating import INTEGER_MIN
from corecache.serving.resp.commands.arguments import (
    NO_NUMBER,
    OK,
    SYNTAX,
    answer_changed,
    answer_number,
    answer_ok,
    answer_value,
    checked_key,
    checked_keys,
    checked_value,
    following,
    integer,
    invalid_expiry,
    outcome,
    until,
    value_of,
)
from corecache.serving.resp.commands.command import Arguments, Command, Keyed, Plan, Refusal
from corecache.wire.resp import Failure, Reply

_TIMES = frozenset((b"EX", b"PX", b"EXAT", b"PXAT"))
_ONLY: dict[bytes, Literal["absent", "present"]] = {b"NX": "absent", b"XX": "present"}


class _Options(msgspec.Struct):
    """The options of SET and GETEX. `time` is that of a time to live with its number's text."""

    time: tuple[bytes, bytes] | None = None
    keeps: bool = False
    only: Literal["always", "absent", "present"] = "always"
    with_old: bool = False


def _options(words: Arguments, keeping: bytes, conditional: bool) -> _Options:
    """Takes the options apart; `keeping` is the one that excludes a time to live."""
    options, rest = _Options(), iter(words)
    for word in rest:
        name = word.upper()
        if name in _TIMES and not options.keeps and (options.time is None or options.time[0] == name):
            options.time = (name, following(rest))
        elif name == keeping and options.time is None:
            options.keeps = True
        elif conditional and name in _ONLY and options.only in ("always", _ONLY[name]):
            options.only = _ONLY[name]
        elif conditional and name == b"GET":
            options.with_old = True
        else:
            raise Refusal(SYNTAX)
    return options


def _positive_until(option: bytes, text: bytes, command: str) -> Until:
    when = integer(text)
    if when <= 0:
        raise invalid_expiry(command)
    return until(option, when, command)


def _get(arguments: Arguments, _: Config) -> Plan:
    return Plan((Read(checked_key(arguments[1])),), _answer_read)


def _answer_read(results: Sequence[Result]) -> Reply:
    return value_of(results[0])


def _set(arguments: Arguments, config: Config) -> Plan:
    key, value = checked_key(arguments[1]), checked_value(arguments[2], config)
    if len(arguments) == 3:
        return Plan((Put(key, value),), answer_ok)
    options = _options(arguments[3:], b"KEEPTTL", True)
    end: Until | None = None if options.keeps else Until()
    if options.time is not None:
        end = _positive_until(*options.time, "set")
    if options.only == "always" and not options.with_old and end is not None and end.at is None:
        return Plan((Put(key, value, end.after_ms),), answer_ok)
    operation = Assign(key, value, end, options.only, options.with_old)
    return Plan((operation,), answer_value if options.with_old else _answer_set)


def _answer_set(results: Sequence[Result]) -> Reply:
    return OK if answer_changed(results) else None


def _setnx(arguments: Arguments, config: Config) -> Plan:
    return Plan(
        (Assign(checked_key(arguments[1]), checked_value(arguments[2], config), only="absent"),), answer_changed
    )


def _setex(arguments: Arguments, config: Config) -> Plan:
    return _set_with_time(b"EX", "setex", arguments, config)


def _psetex(arguments: Arguments, config: Config) -> Plan:
    return _set_with_time(b"PX", "psetex", arguments, config)


def _set_with_time(option: bytes, command: str, arguments: Arguments, config: Config) -> Plan:
    key, value = checked_key(arguments[1]), checked_value(arguments[3], config)
    return Plan((Put(key, value, _positive_until(option, arguments[2], command).after_ms),), answer_ok)


def _getset(arguments: Arguments, config: Config) -> Plan:
    return Plan((Assign(checked_key(arguments[1]), checked_value(arguments[2], config), with_old=True),), answer_value)


def _getdel(arguments: Arguments, _: Config) -> Plan:
    return Plan((Take(checked_key(arguments[1])),), answer_value)


def _getex(arguments: Arguments, _: Config) -> Plan:
    key, options = checked_key(arguments[1]), _options(arguments[2:], b"PERSIST", False)
    if options.time is None:
        if options.keeps:
            return Plan((Retime(key, Until(), with_value=True),), answer_value)
        return Plan((Read(key),), _answer_read)
    try:
        end = _positive_until(*options.time, "getex")
    except Refusal as refusal:
        # Redis looks at the key first: one that is absent is answered null, whatever the time is.
        failure = Failure(str(refusal))
        return Plan((Read(key),), lambda results: None if isinstance(results[0], Absent) else failure)
    return Plan((Retime(key, end, with_value=True),), answer_value)


def _mget(arguments: Arguments, _: Config) -> Plan:
    return Plan(
        [Read(key) for key in checked_keys(arguments[1:])], lambda results: [value_of(each) for each in results]
    )


def _mset(arguments: Arguments, config: Config) -> Plan:
    return Plan([Put(key, value) for key, value in _pairs(arguments, config)], answer_ok)


def _msetnx(arguments: Arguments, config: Config) -> Plan:
    pairs = tuple(_pairs(arguments, config))
    return Plan((AssignNew(pairs[0][0], pairs),), answer_changed)


def _pairs(arguments: Arguments, config: Config) -> list[tuple[bytes, bytes]]:
    """Returns the keys with their values; of a key that is there twice, the last one counts."""
    if len(arguments) % 2 == 0:
        raise Refusal(f"ERR wrong number of arguments for '{arguments[0].lower().decode()}' command")
    values = [checked_value(value, config) for value in arguments[2::2]]
    return list(dict(zip(checked_keys(arguments[1::2]), values, strict=True)).items())


def _strlen(arguments: Arguments, _: Config) -> Plan:
    return Plan((Read(checked_key(arguments[1])),), lambda results: len(value_of(results[0]) or b""))


def _append(arguments: Arguments, config: Config) -> Plan:
    key, value = checked_key(arguments[1]), checked_value(arguments[2], config)
    return Plan((Extend(key, value, config.limits.value_bytes_max),), answer_number)


def _getrange(arguments: Arguments, _: Config) -> Plan:
    key, first, last = checked_key(arguments[1]), integer(arguments[2]), integer(arguments[3])
    return Plan((Read(key),), lambda results: _part(value_of(results[0]) or b"", first, last))


def _part(value: bytes, first: int, last: int) -> bytes:
    """Returns the bytes from `first` to `last`, counted from the end if below 0."""
    if first < 0 and last < 0 and first > last:
        return b""
    size = len(value)
    # Before the beginning means the beginning, for the last byte too: that is how Redis has it.
    begin = max(first + size, 0) if first < 0 else first
    end = max(last + size, 0) if last < 0 else last
    return value[begin : end + 1]


def _setrange(arguments: Arguments, config: Config) -> Plan:
    key, offset, value = checked_key(arguments[1]), integer(arguments[2]), checked_value(arguments[3], config)
    if offset < 0:
        raise Refusal("ERR offset is out of range")
    return Plan((Overwrite(key, offset, value, config.limits.value_bytes_max),), answer_number)


def _incr(arguments: Arguments, _: Config) -> Plan:
    return _add(arguments[1], 1)


def _decr(arguments: Arguments, _: Config) -> Plan:
    return _add(arguments[1], -1)


def _incrby(arguments: Arguments, _: Config) -> Plan:
    return _add(arguments[1], integer(arguments[2]))


def _decrby(arguments: Arguments, _: Config) -> Plan:
    amount = integer(arguments[2])
    if amount == INTEGER_MIN:
        raise Refusal("ERR decrement would overflow")
    return _add(arguments[1], -amount)


def _add(key: bytes, amount: int) -> Plan:
    return Plan((Add(checked_key(key), amount),), _answer_sum)


def _answer_sum(results: Sequence[Result]) -> Reply:
    result = outcome(results[0])
    return result if isinstance(result, Failure) else int(result.value or b"")


def _incrbyfloat(arguments: Arguments, _: Config) -> Plan:
    key, amount = checked_key(arguments[1]), arguments[2]
    if number_of(amount) is None:
        raise Refusal(NO_NUMBER)
    return Plan((AddFloat(key, amount.decode("ascii")),), answer_value)


def _command(
    name: str,
    arity: int,
    flags: str,
    since: str,
    summary: str,
    plan: Keyed,
    keys: tuple[int, int] = (1, 1),
) -> Command:
    words = tuple(flags.split())
    categories = ("write" if "write" in words else "read", "string", "fast" if "fast" in words else "slow")
    return Command(name, arity, words, 1, *keys, categories, "string", since, summary, plan)


_WRITE, _FAST_WRITE, _READ, _FAST_READ = "write denyoom", "write denyoom fast", "readonly", "readonly fast"

COMMANDS: tuple[Command, ...] = (
    _command("get", 2, _FAST_READ, "1.0.0", "Tells a key's value.", _get),
    _command("set", -3, _WRITE, "1.0.0", "Stores a value, under conditions and for a time if wanted.", _set),
    _command("setnx", 3, _FAST_WRITE, "1.0.0", "Stores a value if the key has none.", _setnx),
    _command("setex", 4, _WRITE, "2.0.0", "Stores a value for some seconds.", _setex),
    _command("psetex", 4, _WRITE, "2.6.0", "Stores a value for some milliseconds.", _psetex),
    _command("getset", 3, _FAST_WRITE, "1.0.0", "Stores a value and tells the one before.", _getset),
    _command("getdel", 2, "write fast", "6.2.0", "Removes a key and tells its value.", _getdel),
    _command("getex", -2, "write fast", "6.2.0", "Tells a value and changes when it expires.", _getex),
    _command("mget", -2, _FAST_READ, "1.0.0", "Tells the values of several keys.", _mget, (-1, 1)),
    _command("mset", -3, _WRITE, "1.0.1", "Stores several values at once.", _mset, (-1, 2)),
    _command("msetnx", -3, _WRITE, "1.0.1", "Stores several values if no key has one.", _msetnx, (-1, 2)),
    _command("strlen", 2, _FAST_READ, "2.2.0", "Tells how many bytes a value has.", _strlen),
    _command("append", 3, _FAST_WRITE, "2.0.0", "Adds bytes to the end of a value.", _append),
    _command("getrange", 4, _READ, "2.4.0", "Tells a part of a value.", _getrange),
    _command("substr", 4, _READ, "1.0.0", "Tells a part of a value; GETRANGE's old name.", _getrange),
    _command("setrange", 4, _WRITE, "2.2.0", "Overwrites a part of a value.", _setrange),
    _command("incr", 2, _FAST_WRITE, "1.0.0", "Adds one to an integer.", _incr),
    _command("decr", 2, _FAST_WRITE, "1.0.0", "Takes one from an integer.", _decr),
    _command("incrby", 3, _FAST_WRITE, "1.0.0", "Adds to an integer.", _incrby),
    _command("decrby", 3, _FAST_WRITE, "1.0.0", "Takes from an integer.", _decrby),
    _command("incrbyfloat", 3, _FAST_WRITE, "2.6.0", "Adds to a decimal number.", _incrbyfloat),
)
