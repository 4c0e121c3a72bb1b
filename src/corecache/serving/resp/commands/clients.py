"""The commands by which a client says who it is and how it wants to be answered, and asks who else is there.

There are no passwords yet: the user "default" is let in with any, as Redis does without a password. There is one
database. READONLY is taken from everybody, also on a node alone, where it changes nothing.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from corecache.replication.updating import integer_of
from corecache.serving.resp.commands.arguments import OK, SYNTAX, integer
from corecache.serving.resp.commands.command import Arguments, Command, Instant, Refusal, echoed
from corecache.wire.resp import Reply, Status, Verbatim

if TYPE_CHECKING:
    from corecache.serving.resp.session import Session

REDIS_VERSION: Final = "7.0.15"
"""Whose commands and words these are. Clients read it, and expect that what that version has is there."""

_PROTOCOLS: Final = (2, 3)
_TYPES: Final = (b"normal", b"master", b"replica", b"slave", b"pubsub")
_WRONG_USER: Final = "WRONGPASS invalid username-password pair or user is disabled."
_NOT_ASKED_FOR: Final = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)

_NAME_BYTES_MAX = 512


def mode_of(session: "Session") -> str:
    """Returns how Redis would call this node: alone ("standalone") or one of a cluster ("cluster")."""
    return "cluster" if session.server.config.coordination.zookeeper else "standalone"


def integer_or(text: bytes, words: str) -> int:
    """Returns the integer of 64 bits that a word says. Raises: Refusal, with words of the command's own."""
    number = integer_of(text)
    if number is None:
        raise Refusal(words)
    return number


def _ping(_: "Session", arguments: Arguments) -> Reply:
    if len(arguments) > 2:
        raise Refusal("ERR wrong number of arguments for 'ping' command")
    return arguments[1] if len(arguments) == 2 else Status("PONG")


def _echo(_: "Session", arguments: Arguments) -> Reply:
    return arguments[1]


def _auth(_: "Session", arguments: Arguments) -> Reply:
    if len(arguments) > 3:
        raise Refusal(SYNTAX)
    if len(arguments) == 2:
        raise Refusal(_NOT_ASKED_FOR)
    _check_user(arguments[1])
    return OK


def _check_user(user: bytes) -> None:
    if user != b"default":
        raise Refusal(_WRONG_USER)


def _hello(session: "Session", arguments: Arguments) -> Reply:
    protocol = session.protocol
    name = session.name
    if len(arguments) > 1:
        protocol = integer_or(arguments[1], "ERR Protocol version is not an integer or out of range")
        if protocol not in _PROTOCOLS:
            raise Refusal("NOPROTO unsupported protocol version")
    words = iter(arguments[2:])
    for word in words:
        option = word.lower()
        try:
            if option == b"auth":
                user, _ = next(words), next(words)
                _check_user(user)
            elif option == b"setname":
                name = next(words)
                _check_name(name, "Client names")
            else:
                raise StopIteration
        except StopIteration:
            raise Refusal(f"ERR Syntax error in HELLO option '{echoed(word[:128])}'") from None
    session.protocol = protocol
    session.name = name
    return {
        "server": "redis",
        "version": REDIS_VERSION,
        "proto": protocol,
        "id": session.id,
        "mode": mode_of(session),
        "role": "master",
        "modules": [],
    }


def _select(session: "Session", arguments: Arguments) -> Reply:
    if integer(arguments[1]) != 0:
        if mode_of(session) == "cluster":
            raise Refusal("ERR SELECT is not allowed in cluster mode")
        raise Refusal("ERR DB index is out of range")
    return OK


def _quit(session: "Session", _: Arguments) -> Reply:
    session.quits = True
    return OK


def _reset(session: "Session", _: Arguments) -> Reply:
    session.reset()
    return Status("RESET")


def _readonly(session: "Session", _: Arguments) -> Reply:
    session.readonly = True
    return OK


def _readwrite(session: "Session", _: Arguments) -> Reply:
    session.readonly = False
    return OK


def _id(session: "Session", _: Arguments) -> Reply:
    return session.id


def _getname(session: "Session", _: Arguments) -> Reply:
    return session.name or None


def _setname(session: "Session", arguments: Arguments) -> Reply:
    _check_name(arguments[2], "Client names")
    session.name = arguments[2]
    return OK


def _setinfo(session: "Session", arguments: Arguments) -> Reply:
    attribute = arguments[2].lower()
    if attribute not in (b"lib-name", b"lib-ver"):
        raise Refusal(f"ERR Unrecognized option '{echoed(arguments[2][:128])}'")
    _check_name(arguments[3], arguments[2].decode())
    if attribute == b"lib-name":
        session.library = arguments[3]
    else:
        session.library_version = arguments[3]
    return OK


def _check_name(name: bytes, what: str) -> None:
    """Refuses what would break a line of CLIENT LIST."""
    if len(name) > _NAME_BYTES_MAX:
        raise Refusal(f"ERR {what} cannot be longer than {_NAME_BYTES_MAX} bytes.")
    if not all(33 <= byte <= 126 for byte in name):
        raise Refusal(f"ERR {what} cannot contain spaces, newlines or special characters.")


def _no_evict(session: "Session", arguments: Arguments) -> Reply:
    session.no_evict = _on(arguments[2])
    return OK


def _no_touch(session: "Session", arguments: Arguments) -> Reply:
    session.no_touch = _on(arguments[2])
    return OK


def _on(word: bytes) -> bool:
    if word.lower() not in (b"on", b"off"):
        raise Refusal(SYNTAX)
    return word.lower() == b"on"


def _reply(session: "Session", arguments: Arguments) -> Reply:
    """Only ON is answered; that OFF and SKIP are not is seen to by the connection, as for what follows."""
    mode = arguments[2].lower()
    if mode not in (b"on", b"off", b"skip"):
        raise Refusal(SYNTAX)
    if mode != b"skip" or session.replies == "on":
        session.replies = mode.decode()
    return OK


def _info(session: "Session", _: Arguments) -> Reply:
    return Verbatim(_line(session, session.server.clock.today()))


def _list(session: "Session", arguments: Arguments) -> Reply:
    wanted: frozenset[int] | None = None
    if len(arguments) == 4 and arguments[2].lower() == b"type":
        kind = arguments[3].lower()
        if kind not in _TYPES:
            raise Refusal(f"ERR Unknown client type '{echoed(arguments[3][:128])}'")
        wanted = None if kind == b"normal" else frozenset()
    elif len(arguments) >= 4 and arguments[2].lower() == b"id":
        wanted = frozenset(integer_or(each, "ERR Invalid client ID") for each in arguments[3:])
    elif len(arguments) > 2:
        raise Refusal(SYNTAX)
    today = session.server.clock.today()
    shown = (each for each in session.server.sessions() if wanted is None or each.id in wanted)
    return Verbatim("".join(_line(each, today) for each in shown))


def _line(session: "Session", today: int) -> str:
    """Returns a client's line, with those of Redis's fields that mean something here."""
    fields = {
        "id": session.id,
        "addr": session.address,
        "laddr": session.local_address,
        "name": session.name.decode("ascii"),
        "age": max(0, today - session.born_ms) // 1000,
        "idle": max(0, today - session.seen_ms) // 1000,
        "flags": "".join(_flags(session)) or "N",
        "db": 0,
        "sub": 0,
        "psub": 0,
        "ssub": 0,
        "multi": -1 if session.queued is None else len(session.queued),
        "cmd": session.command,
        "user": "default",
        "redir": -1,
        "resp": session.protocol,
        "lib-name": session.library.decode("ascii"),
        "lib-ver": session.library_version.decode("ascii"),
    }
    return " ".join(f"{name}={value}" for name, value in fields.items()) + "\n"


def _flags(session: "Session") -> Iterator[str]:
    if session.queued is not None:
        yield "x"
    if session.readonly:
        yield "r"
    if session.no_evict:
        yield "e"
    if session.no_touch:
        yield "T"


_HELP: Final = (
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    Return the name that this connection was given.",
    "ID",
    "    Return the number of this connection.",
    "INFO",
    "    Return the line of this connection in CLIENT LIST.",
    "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <id> [<id> ...]]",
    "    Return a line for each connection to this node.",
    "NO-EVICT (ON|OFF)",
    "    Take note of the wish; no connection is evicted anyway.",
    "NO-TOUCH (ON|OFF)",
    "    Take note of the wish; no key is evicted anyway.",
    "REPLY (ON|OFF|SKIP)",
    "    Answer this connection, answer nothing, or leave out the next answer.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Note which library speaks here.",
    "SETNAME <name>",
    "    Give this connection a name.",
    "HELP",
    "    Print this help.",
)


def _help(_: "Session", __: Arguments) -> Reply:
    return [Status(line) for line in _HELP]


_ALWAYS: Final = ("loading", "stale", "fast")
_EARLY: Final = ("noscript", "loading", "stale", "fast", "no_auth", "allow_busy")
_PLAIN: Final = ("noscript", "loading", "stale")
_ADMIN: Final = ("admin", *_PLAIN)
_DANGEROUS: Final = ("admin", "slow", "dangerous", "connection")


def _one(
    name: str,
    arity: int,
    flags: tuple[str, ...],
    since: str,
    summary: str,
    instant: Instant,
    group: str = "connection",
) -> Command:
    return Command(
        name,
        arity,
        flags,
        categories=("fast", "connection"),
        group=group,
        since=since,
        summary=summary,
        instant=instant,
    )


def _sub(
    name: str,
    arity: int,
    since: str,
    summary: str,
    instant: Instant,
    flags: tuple[str, ...] = _PLAIN,
    categories: tuple[str, ...] = ("slow", "connection"),
) -> Command:
    return Command(
        f"client|{name}",
        arity,
        flags,
        categories=categories,
        group="connection",
        since=since,
        summary=summary,
        instant=instant,
    )


COMMANDS: Final = (
    _one("ping", -1, ("fast",), "1.0.0", "Answers, which shows that the node is there.", _ping),
    _one("echo", 2, _ALWAYS, "1.0.0", "Answers with its argument.", _echo),
    _one("hello", -1, _EARLY, "6.0.0", "Agrees on the protocol, and tells who the node is.", _hello),
    _one("auth", -2, _EARLY, "1.0.0", "Lets a user in; there are no passwords.", _auth),
    _one("select", 2, _ALWAYS, "1.0.0", "Chooses the database, of which there is one.", _select),
    _one("quit", -1, _EARLY, "1.0.0", "Ends the connection once all before it is answered.", _quit),
    _one("reset", 1, _EARLY, "6.2.0", "Makes the connection as it was when it was new.", _reset),
    _one("readonly", 1, _ALWAYS, "3.0.0", "Allows reads from copies that may lag behind.", _readonly, "cluster"),
    _one("readwrite", 1, _ALWAYS, "3.0.0", "Has reads answered by primaries again.", _readwrite, "cluster"),
    Command(
        "client",
        -2,
        categories=("slow",),
        group="connection",
        since="2.4.0",
        summary="Tells and sets what concerns connections.",
        subcommands=(
            _sub("getname", 2, "2.6.9", "Returns the connection's name.", _getname),
            _sub("help", 2, "5.0.0", "Lists the subcommands.", _help, ("loading", "stale")),
            _sub("id", 2, "5.0.0", "Returns the connection's number.", _id),
            _sub("info", 2, "6.2.0", "Describes the connection.", _info),
            _sub("list", -2, "2.4.0", "Describes all connections.", _list, _ADMIN, _DANGEROUS),
            _sub("no-evict", 3, "7.0.0", "Notes a wish about eviction.", _no_evict, _ADMIN, _DANGEROUS),
            _sub("no-touch", 3, "7.2.0", "Notes a wish about the age of keys.", _no_touch),
            _sub("reply", 3, "3.2.0", "Says which commands are answered.", _reply),
            _sub("setinfo", 4, "7.2.0", "Notes the client's library.", _setinfo),
            _sub("setname", 3, "2.6.9", "Names the connection.", _setname),
        ),
    ),
)
