"""The slow log, which keeps the last commands that took long, and SLOWLOG, which shows it.

Of a command is kept as much as Redis would keep, so that a log of long values stays short, and no password. What counts
as long is decided by who notes it (`shared.py`).
"""

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from corecache.serving.resp.commands.arguments import OK
from corecache.serving.resp.commands.clients import integer_or
from corecache.serving.resp.commands.command import Arguments, Refusal, echoed
from corecache.serving.resp.commands.containers import container, subcommand
from corecache.wire.resp import Reply

if TYPE_CHECKING:
    from corecache.serving.resp.session import Session

_WORDS_MAX: Final = 32
_WORD_BYTES_MAX: Final = 128
_SHOWN: Final = 10
_REDACTED: Final = b"(redacted)"
_FLAGS: Final = ("admin", "loading", "stale")


class Noted(msgspec.Struct, frozen=True):
    """A command that took long. `time` is in seconds since 1970."""

    id: int
    time: int
    duration_us: int
    arguments: tuple[bytes, ...]
    address: str
    name: bytes


class SlowLog:
    """The last commands that took long, the newest first."""

    def __init__(self, entries_max: int) -> None:
        """Takes how many are kept."""
        self.entries: deque[Noted] = deque(maxlen=entries_max)
        self._next = 0

    def note(self, now_ms: int, duration_us: int, arguments: Arguments, address: str, name: bytes) -> None:
        """Adds a command, with as much of its arguments as Redis would keep, and no password."""
        self.entries.appendleft(
            Noted(self._next, now_ms // 1000, duration_us, _trimmed(_without_secrets(arguments)), address, name)
        )
        self._next += 1

    def clear(self) -> None:
        """Forgets all; the numbers go on."""
        self.entries.clear()


def _without_secrets(arguments: Arguments) -> Arguments:
    name = arguments[0].lower()
    if name == b"auth":
        return [arguments[0], *[_REDACTED] * (len(arguments) - 1)]
    if name == b"hello":
        secret = next((at + 1 for at, word in enumerate(arguments) if word.lower() == b"auth"), len(arguments))
        return [_REDACTED if secret <= at < secret + 2 else word for at, word in enumerate(arguments)]
    return arguments


def _trimmed(arguments: Arguments) -> tuple[bytes, ...]:
    kept = arguments
    if len(arguments) > _WORDS_MAX:
        left = len(arguments) - _WORDS_MAX + 1
        kept = [*arguments[: _WORDS_MAX - 1], b"... (%d more arguments)" % left]
    return tuple(
        word
        if len(word) <= _WORD_BYTES_MAX
        else word[:_WORD_BYTES_MAX] + b"... (%d more bytes)" % (len(word) - _WORD_BYTES_MAX)
        for word in kept
    )


def _slowlog_get(session: "Session", arguments: Arguments) -> Reply:
    if len(arguments) > 3:
        raise Refusal(
            f"ERR unknown subcommand or wrong number of arguments for '{echoed(arguments[1])}'. Try SLOWLOG HELP."
        )
    words = "ERR count should be greater than or equal to -1"
    count = integer_or(arguments[2], words) if len(arguments) == 3 else _SHOWN
    if count < -1:
        raise Refusal(words)
    entries = list(session.server.slow_log.entries)
    return [
        [each.id, each.time, each.duration_us, list(each.arguments), each.address, each.name]
        for each in (entries if count == -1 else entries[:count])
    ]


def _slowlog_len(session: "Session", _: Arguments) -> Reply:
    return len(session.server.slow_log.entries)


def _slowlog_reset(session: "Session", _: Arguments) -> Reply:
    session.server.slow_log.clear()
    return OK


_HELP: Final = (
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>]",
    "    Return the last commands that took long, 10 or so many, or all for -1. Of each: its number, when,",
    "    how many microseconds it took, its arguments, the client's address and name.",
    "LEN",
    "    Return how many are noted.",
    "RESET",
    "    Forget them.",
    "HELP",
    "    Print this help.",
)

COMMANDS: Final = (
    container(
        "slowlog",
        "2.2.12",
        "Tells which commands took long.",
        "6.2.0",
        _HELP,
        subcommand("slowlog|get", -2, "2.2.12", "Lists the commands that took long.", _slowlog_get, _FLAGS),
        subcommand("slowlog|len", 2, "2.2.12", "Counts the commands that are noted.", _slowlog_len, _FLAGS),
        subcommand("slowlog|reset", 2, "2.2.12", "Forgets the commands that are noted.", _slowlog_reset, _FLAGS),
    ),
)
