"""The commands on keys as such: removing, counting, renaming, copying, and what Redis tells about how it keeps them.

All values are strings, and there is one database. What Redis tells of its own memory is answered as well as it can be
said of a value alone: its encoding is what Redis would choose when it is stored, its size is an estimate.
"""

from collections.abc import Callable, Sequence

from corecache.config import Config
from corecache.operations import Delete, Deleted, Duplicate, Found, Read, Record, Result
from corecache.replication.updating import integer_of
from corecache.serving.resp.commands.arguments import (
    OK,
    SYNTAX,
    answer_changed,
    checked_key,
    checked_keys,
    integer,
    outcome,
)
from corecache.serving.resp.commands.command import Arguments, Command, Keyed, Plan, Refusal
from corecache.serving.resp.session import Session
from corecache.wire.resp import Failure, Reply, Status

_EMBEDDED_BYTES_MAX = 44
"""Up to here Redis keeps a value beside its header."""
_RECORD_BYTES = 64
"""What a key with its value takes beside them, roughly: its version and dates, and their place in memory."""
_DATABASES = 16
_INT_MAX = (1 << 31) - 1
_NO_LFU = Failure(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
    "between policies at runtime LRU and LFU data will take some time to adjust."
)
_OBJECT_HELP = (
    "OBJECT <subcommand> [<arg> ...]. Subcommands are:",
    "ENCODING <key>",
    "    Tell how Redis would keep the value: int, embstr or raw.",
    "FREQ <key>",
    "    Not tracked here: an error.",
    "IDLETIME <key>",
    "    Not tracked here: always 0.",
    "REFCOUNT <key>",
    "    Values are not shared: always 1.",
    "HELP",
    "    Print this.",
)
_MEMORY_HELP = (
    "MEMORY <subcommand> [<arg> ...]. Subcommands are:",
    "USAGE <key> [SAMPLES <count>]",
    "    Estimate the bytes that a key takes with its value.",
    "HELP",
    "    Print this.",
)


def _delete(arguments: Arguments, _: Config) -> Plan:
    operations = [Delete(key) for key in checked_keys(arguments[1:])]
    return Plan(operations, lambda results: sum(isinstance(each, Deleted) for each in results))


def _exists(arguments: Arguments, _: Config) -> Plan:
    operations = [Read(key) for key in checked_keys(arguments[1:])]
    return Plan(operations, lambda results: sum(isinstance(each, Found) for each in results))


def _type(arguments: Arguments, _: Config) -> Plan:
    return _about(arguments[1], lambda _: Status("string"), Status("none"))


def _rename(arguments: Arguments, _: Config) -> Plan:
    return Plan((_duplicate(arguments, replaces=True, moves=True),), _answer_renamed)


def _renamenx(arguments: Arguments, _: Config) -> Plan:
    return Plan((_duplicate(arguments, replaces=False, moves=True),), answer_changed)


def _duplicate(arguments: Arguments, replaces: bool, moves: bool) -> Duplicate:
    return Duplicate(checked_key(arguments[1]), checked_key(arguments[2]), replaces, moves)


def _answer_renamed(results: Sequence[Result]) -> Reply:
    result = outcome(results[0])
    return result if isinstance(result, Failure) else OK


def _copy(arguments: Arguments, _: Config) -> Plan:
    replaces, database, rest = False, 0, iter(arguments[3:])
    for word in rest:
        option, number = word.upper(), None
        if option == b"DB":
            number = next(rest, None)
        if option == b"REPLACE":
            replaces = True
        elif number is not None:
            database = _database(number)
        else:
            raise Refusal(SYNTAX)
    if database:
        raise Refusal("ERR Copying to another database is not allowed in cluster mode")
    duplicate = _duplicate(arguments, replaces, moves=False)
    if duplicate.key == duplicate.to:
        raise Refusal("ERR source and destination objects are the same")
    return Plan((duplicate,), _answer_copied)


def _database(text: bytes) -> int:
    number = integer(text)
    if not -_INT_MAX - 1 <= number <= _INT_MAX:
        raise Refusal(f"ERR value is out of range, value must between {-_INT_MAX - 1} and {_INT_MAX}")
    if not 0 <= number < _DATABASES:
        raise Refusal("ERR DB index is out of range")
    return number


def _answer_copied(results: Sequence[Result]) -> Reply:
    # Only a source that is absent is rejected; to COPY that is no error.
    result = outcome(results[0])
    return 0 if isinstance(result, Failure) else int(result.changed)


def _encoding(arguments: Arguments, _: Config) -> Plan:
    return _about(arguments[2], _encoding_of)


def _encoding_of(record: Record) -> Reply:
    if integer_of(record.value) is not None:
        return "int"
    return "embstr" if len(record.value) <= _EMBEDDED_BYTES_MAX else "raw"


def _frequency(arguments: Arguments, _: Config) -> Plan:
    return _about(arguments[2], lambda _: _NO_LFU)


def _idle_time(arguments: Arguments, _: Config) -> Plan:
    return _about(arguments[2], lambda _: 0)


def _reference_count(arguments: Arguments, _: Config) -> Plan:
    return _about(arguments[2], lambda _: 1)


def _usage(arguments: Arguments, _: Config) -> Plan:
    key, options = arguments[2], arguments[3:]
    for name, samples in zip(options[::2], [*options[1::2], None], strict=False):
        if name.upper() != b"SAMPLES" or samples is None or integer(samples) < 0:
            raise Refusal(SYNTAX)
    return _about(key, lambda record: _RECORD_BYTES + len(key) + len(record.value))


def _about(key: bytes, told: Callable[[Record], Reply], absent: Reply = None) -> Plan:
    """Plans to read a key and to tell something about its record."""
    return Plan(
        (Read(checked_key(key)),),
        lambda results: told(results[0].record) if isinstance(results[0], Found) else absent,
    )


def _object_help(_: Session, __: Arguments) -> Reply:
    return [Status(line) for line in _OBJECT_HELP]


def _memory_help(_: Session, __: Arguments) -> Reply:
    return [Status(line) for line in _MEMORY_HELP]


def _command(
    name: str, arity: int, flags: str, since: str, summary: str, plan: Keyed, keys: tuple[int, int] = (1, 1)
) -> Command:
    words = tuple(flags.split())
    categories = ("keyspace", "write" if "write" in words else "read", "fast" if "fast" in words else "slow")
    return Command(name, arity, words, keys[0], keys[1], 1, categories, "generic", since, summary, plan)


_FAST_READ = "readonly fast"
_HELP_FLAGS = ("loading", "stale")

_OBJECT = Command(
    "object",
    -2,
    categories=("slow",),
    group="generic",
    since="2.2.3",
    summary="Tells how a value is kept.",
    subcommands=(
        _command("object|encoding", 3, "readonly", "2.2.3", "Tells a value's encoding.", _encoding, (2, 2)),
        _command("object|freq", 3, "readonly", "4.0.0", "Tells how often a key is used.", _frequency, (2, 2)),
        _command("object|idletime", 3, "readonly", "2.2.3", "Tells how long a key was not used.", _idle_time, (2, 2)),
        _command("object|refcount", 3, "readonly", "2.2.3", "Tells who shares a value.", _reference_count, (2, 2)),
        Command(
            "object|help",
            2,
            _HELP_FLAGS,
            categories=("keyspace", "slow"),
            group="generic",
            since="6.2.0",
            summary="Tells what OBJECT can.",
            instant=_object_help,
        ),
    ),
)

_MEMORY = Command(
    "memory",
    -2,
    categories=("slow",),
    group="server",
    since="4.0.0",
    summary="Tells what takes memory.",
    subcommands=(
        Command(
            "memory|usage",
            -3,
            ("readonly",),
            2,
            2,
            1,
            ("read", "slow"),
            "server",
            "4.0.0",
            "Estimates the bytes that a key takes.",
            _usage,
        ),
        Command(
            "memory|help",
            2,
            _HELP_FLAGS,
            categories=("slow",),
            group="server",
            since="4.0.0",
            summary="Tells what MEMORY can.",
            instant=_memory_help,
        ),
    ),
)

COMMANDS: tuple[Command, ...] = (
    _command("del", -2, "write", "1.0.0", "Removes keys.", _delete, (1, -1)),
    _command("unlink", -2, "write fast", "4.0.0", "Removes keys, as DEL does.", _delete, (1, -1)),
    _command("exists", -2, _FAST_READ, "1.0.0", "Counts the keys that there are.", _exists, (1, -1)),
    _command("touch", -2, _FAST_READ, "3.2.1", "Counts the keys that there are, as EXISTS does.", _exists, (1, -1)),
    _command("type", 2, _FAST_READ, "1.0.0", "Tells what kind of value a key has.", _type),
    _command("rename", 3, "write", "1.0.0", "Gives a key another name.", _rename, (1, 2)),
    _command("renamenx", 3, "write fast", "1.0.0", "Gives a key another name if that is free.", _renamenx, (1, 2)),
    _command("copy", -3, "write denyoom", "6.2.0", "Stores a key's value under another key too.", _copy, (1, 2)),
    _OBJECT,
    _MEMORY,
)
