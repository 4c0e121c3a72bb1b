"""COMMAND: what commands there are, in the shape in which clients of Redis 7 read it.

Everything is made from the declarations of the commands, so it can't be wrong about one without the server being so.
Two things are less than Redis tells: there are no tips, and of a key it is only said whether it is read or written.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from corecache.serving.resp.commands.arguments import SYNTAX
from corecache.serving.resp.commands.command import Arguments, Command, Refusal
from corecache.serving.resp.glob import Glob
from corecache.wire.resp import Reply, Set, Status

if TYPE_CHECKING:
    from corecache.serving.resp.session import Session


def table() -> Mapping[bytes, Command]:
    """Returns all commands. Late, because the table holds this module's too."""
    from corecache.serving.resp.commands.table import TABLE

    return TABLE


def described(command: Command) -> Reply:
    """Returns the ten elements that describe a command."""
    return [
        command.name,
        command.arity,
        _words(command.flags),
        command.first_key,
        command.last_key,
        command.step,
        _words(f"@{category}" for category in command.categories),
        Set(()),
        Set((_keys_of(command),) if command.first_key else ()),
        Set(tuple(described(each) for each in command.subcommands)),
    ]


def _words(words: Iterable[str]) -> Set:
    return Set(tuple(Status(word) for word in words))


def _access(command: Command) -> Set:
    return _words(("RO", "access") if "readonly" in command.flags else ("RW", "access", "update"))


def _keys_of(command: Command) -> Reply:
    """Returns where the keys are; the last one counts from the first, or from the end if it is below 0."""
    last = command.last_key if command.last_key < 0 else command.last_key - command.first_key
    begin: Reply = {"type": "index", "spec": {"index": command.first_key}}
    find: Reply = {"type": "range", "spec": {"lastkey": last, "keystep": command.step, "limit": 0}}
    return {"flags": _access(command), "begin_search": begin, "find_keys": find}


def _documented(commands: Iterable[Command]) -> dict[Reply, Reply]:
    shown: dict[Reply, Reply] = {}
    for command in commands:
        about: dict[Reply, Reply] = {"summary": command.summary, "since": command.since, "group": command.group}
        if command.subcommands:
            about["subcommands"] = _documented(command.subcommands)
        shown[command.name] = about
    return shown


def _everything() -> Iterator[Command]:
    for command in table().values():
        yield command
        yield from command.subcommands


def _named(name: bytes) -> Command | None:
    """Returns a command, or, as in `client|id`, a subcommand."""
    wanted = name.lower()
    command = table().get(wanted.partition(b"|")[0])
    if command is None or b"|" not in wanted:
        return command
    return next((each for each in command.subcommands if each.name.encode() == wanted), None)


def _all(_: "Session", __: Arguments) -> Reply:
    return [described(command) for command in table().values()]


def _count(_: "Session", __: Arguments) -> Reply:
    return len(table())


def _info(session: "Session", arguments: Arguments) -> Reply:
    if len(arguments) == 2:
        return _all(session, arguments)
    found = (_named(name) for name in arguments[2:])
    return [None if command is None else described(command) for command in found]


def _docs(_: "Session", arguments: Arguments) -> Reply:
    if len(arguments) == 2:
        return _documented(table().values())
    return _documented(command for name in arguments[2:] if (command := _named(name)) is not None)


def _list(_: "Session", arguments: Arguments) -> Reply:
    commands = _everything()
    if len(arguments) == 2:
        return [command.name for command in commands]
    if len(arguments) != 5 or arguments[2].lower() != b"filterby":
        raise Refusal(SYNTAX)
    kind, wanted = arguments[3].lower(), arguments[4].lower()
    if kind == b"module":
        return []
    if kind == b"aclcat":
        return [command.name for command in commands if wanted.decode("utf-8", "replace") in command.categories]
    if kind != b"pattern":
        raise Refusal(SYNTAX)
    pattern = Glob(wanted)
    return [command.name for command in commands if pattern.matches(command.name.encode())]


def _meant(arguments: Arguments) -> tuple[Command, Arguments]:
    """Returns the command that stands in the arguments of this one. Raises: Refusal."""
    whole = arguments[2:]
    command = table().get(whole[0].lower())
    if command is not None and command.subcommands and len(whole) > 1:
        command = _named(whole[0] + b"|" + whole[1])
    if command is None:
        raise Refusal("ERR Invalid command specified")
    if not command.first_key:
        raise Refusal("ERR The command has no key arguments")
    if not command.takes(len(whole)):
        raise Refusal("ERR Invalid number of arguments specified for command")
    return command, whole


def _getkeys(_: "Session", arguments: Arguments) -> Reply:
    command, whole = _meant(arguments)
    return list(command.keys(whole))


def _getkeysandflags(_: "Session", arguments: Arguments) -> Reply:
    command, whole = _meant(arguments)
    return [[key, _access(command)] for key in command.keys(whole)]


_HELP: Final = (
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Describe all commands.",
    "COUNT",
    "    Return how many commands there are.",
    "DOCS [<command-name> ...]",
    "    Return what commands are for, of all or of these.",
    "GETKEYS <full-command>",
    "    Return the keys in a command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys in a command, each with what is done to it.",
    "INFO [<command-name> ...]",
    "    Describe all commands, or these.",
    "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
    "    Return the names of the commands.",
    "HELP",
    "    Print this help.",
)


def _help(_: "Session", __: Arguments) -> Reply:
    return [Status(line) for line in _HELP]


_FLAGS: Final = ("loading", "stale")
_CATEGORIES: Final = ("slow", "connection")
_CALLS: Final = (
    ("count", 2, "2.8.13", "Counts the commands.", _count),
    ("docs", -2, "7.0.0", "Says what commands are for.", _docs),
    ("getkeys", -4, "2.8.13", "Finds the keys in a command.", _getkeys),
    ("getkeysandflags", -4, "7.0.0", "Finds the keys in a command and what is done to them.", _getkeysandflags),
    ("help", 2, "5.0.0", "Lists the subcommands.", _help),
    ("info", -2, "2.8.13", "Describes commands.", _info),
    ("list", -2, "7.0.0", "Names the commands.", _list),
)

COMMANDS: Final = (
    Command(
        "command",
        -1,
        _FLAGS,
        categories=_CATEGORIES,
        group="server",
        since="2.8.13",
        summary="Describes the commands.",
        instant=_all,
        subcommands=tuple(
            Command(
                f"command|{name}",
                arity,
                _FLAGS,
                categories=_CATEGORIES,
                group="server",
                since=since,
                summary=summary,
                instant=instant,
            )
            for name, arity, since, summary, instant in _CALLS
        ),
    ),
)
