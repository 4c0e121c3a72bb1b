"""Commands for those who look after a node: TIME, LOLWUT, WAIT, WAITAOF, DEBUG.

They are what is left besides the modules that have a subject: INFO in `information.py`, CONFIG in `configuration.py`,
SLOWLOG in `slow_log.py`, LATENCY in `latency.py`.
"""

import asyncio
import math
from typing import TYPE_CHECKING, Final

import corecache
from corecache.serving.resp.commands.arguments import NO_NUMBER, OK, integer
from corecache.serving.resp.commands.clients import REDIS_VERSION, integer_or
from corecache.serving.resp.commands.command import Arguments, Command, Instant, Refusal, Slow, echoed
from corecache.serving.resp.commands.containers import ADMIN, DANGEROUS
from corecache.wire.resp import Reply, Status, Verbatim

if TYPE_CHECKING:
    from corecache.serving.resp.session import Server, Session

_LOCAL_RANGE: Final = "ERR value is out of range, value must between 0 and 1"
_NEGATIVE: Final = "ERR value is out of range, must be positive"
_LOLWUT_NUMBERS: Final = {5: 3, 6: 2}
"""How many numbers Redis's drawings take, by the version, of which only the last 32 bits count."""
_DEBUG_HELP: Final = (
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "SLEEP <seconds>",
    "    Answer after so many seconds, which may be a fraction.",
    "HELP",
    "    Print this help.",
)


def _time(session: "Session", _: Arguments) -> Reply:
    """Tells the date; the clock counts milliseconds."""
    now_ms = session.server.clock.today()
    return [str(now_ms // 1000), str(now_ms % 1000 * 1000)]


def _lolwut(_: "Session", arguments: Arguments) -> Reply:
    """Draws nothing, and yet looks at what the drawing of a version would take."""
    if len(arguments) > 2 and arguments[1].lower() == b"version":
        asked = _LOLWUT_NUMBERS.get(integer(arguments[2]) & 0xFFFFFFFF, 0)
        for word in arguments[3 : 3 + asked]:
            integer(word)
    return Verbatim(f"CoreCache ver. {corecache.__version__}, which speaks as Redis ver. {REDIS_VERSION}\n")


def copies_besides(server: "Server") -> int:
    """Returns how many copies besides the primary's have every answered write, of the partition with the fewest."""
    views = [partition.view for partition in server.service.cluster().partitions if partition.view is not None]
    return min((len(view.in_sync) for view in views), default=1) - 1


def _check_timeout(word: bytes) -> None:
    if integer_or(word, "ERR timeout is not an integer or out of range") < 0:
        raise Refusal("ERR timeout is negative")


def _wait(session: "Session", arguments: Arguments) -> Reply:
    """Does not wait: what was answered is on all copies in sync, and with more time it would be on no more."""
    integer(arguments[1])
    _check_timeout(arguments[2])
    return copies_besides(session.server)


def _waitaof(session: "Session", arguments: Arguments) -> Reply:
    """Tells the same of disks, on which nothing is for certain unless the durability is "fsync"."""
    if not 0 <= integer(arguments[1]) <= 1:
        raise Refusal(_LOCAL_RANGE)
    if integer_or(arguments[2], _NEGATIVE) < 0:
        raise Refusal(_NEGATIVE)
    _check_timeout(arguments[3])
    if session.server.config.replication.durability != "fsync":
        return [0, 0]
    return [1, copies_besides(session.server)]


async def _debug(session: "Session", arguments: Arguments) -> Reply:
    """Knows SLEEP alone, which lets the others of the node go on."""
    if session.server.config.resp.debug_commands != "yes":
        raise Refusal(
            'ERR DEBUG command not allowed. Set resp.debug_commands to "yes" in the configuration file, '
            "and then restart the node."
        )
    what = arguments[1].lower()
    if what == b"help" and len(arguments) == 2:
        return [Status(line) for line in _DEBUG_HELP]
    if what != b"sleep" or len(arguments) != 3:
        name = echoed(arguments[1][:128])
        raise Refusal(f"ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP.")
    try:
        seconds = float(arguments[2])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise Refusal(NO_NUMBER)
    await asyncio.sleep(seconds)
    return OK


def _one(
    name: str,
    arity: int,
    flags: tuple[str, ...],
    categories: tuple[str, ...],
    since: str,
    summary: str,
    instant: Instant | None = None,
    slow: Slow | None = None,
    group: str = "server",
) -> Command:
    return Command(
        name,
        arity,
        flags,
        categories=categories,
        group=group,
        since=since,
        summary=summary,
        instant=instant,
        slow=slow,
    )


COMMANDS: Final = (
    _one("time", 1, ("loading", "stale", "fast"), ("fast",), "2.6.0", "Tells the date.", _time),
    _one("lolwut", -1, ("readonly", "fast"), ("read", "fast"), "5.0.0", "Tells the version.", _lolwut),
    _one(
        "wait",
        3,
        ("noscript",),
        ("slow", "connection"),
        "3.0.0",
        "Tells on how many other copies all answered writes are.",
        _wait,
        group="generic",
    ),
    _one(
        "waitaof",
        4,
        ("noscript",),
        ("slow", "connection"),
        "7.2.0",
        "Tells on how many disks all answered writes are.",
        _waitaof,
        group="generic",
    ),
    _one("debug", -2, ADMIN, DANGEROUS, "1.0.0", "Lets a client wait, for tests.", slow=_debug),
)
