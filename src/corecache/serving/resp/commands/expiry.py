"""The commands on when keys expire: setting it, telling it, taking it back.

A time to live counts from when its command is accepted, by the clock of the key's primary; how much of it is left is
told by the clock of the node that answers.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from corecache.config import Config
from corecache.operations import NEVER, Found, Read, Record, Result, Retime, Until
from corecache.serving.resp.commands.arguments import answer_changed, checked_key, integer, left_ms, until
from corecache.serving.resp.commands.command import Arguments, Command, Keyed, Plan, Refusal, echoed
from corecache.wire.resp import Reply

_ABSENT, _LASTING = -2, -1
"""What is told of a key that there is not, and of one that does not expire."""

_CONDITIONS = frozenset((b"NX", b"XX", b"GT", b"LT"))


def _expire(arguments: Arguments, _: Config) -> Plan:
    return _retime(b"EX", arguments)


def _pexpire(arguments: Arguments, _: Config) -> Plan:
    return _retime(b"PX", arguments)


def _expireat(arguments: Arguments, _: Config) -> Plan:
    return _retime(b"EXAT", arguments)


def _pexpireat(arguments: Arguments, _: Config) -> Plan:
    return _retime(b"PXAT", arguments)


def _retime(option: bytes, arguments: Arguments) -> Plan:
    only = _condition(arguments[3:])
    end = until(option, integer(arguments[2]), arguments[0].lower().decode())
    return Plan((Retime(checked_key(arguments[1]), end, only),), answer_changed)


_Only: TypeAlias = Literal[
    "always", "if_expiring", "if_not_expiring", "if_later", "if_earlier", "if_expiring_and_earlier"
]


def _condition(words: Arguments) -> _Only:
    given = set()
    for word in words:
        name = word.upper()
        if name not in _CONDITIONS:
            raise Refusal(f"ERR Unsupported option {echoed(word)}")
        given.add(name)
    if b"NX" in given and len(given) > 1:
        raise Refusal("ERR NX and XX, GT or LT options at the same time are not compatible")
    if {b"GT", b"LT"} <= given:
        raise Refusal("ERR GT and LT options at the same time are not compatible")
    if {b"XX", b"LT"} <= given:
        return "if_expiring_and_earlier"
    if b"NX" in given:
        return "if_not_expiring"
    if b"GT" in given:
        # Later than never is nothing: this holds for none but an expiring key, with XX or without.
        return "if_later"
    if b"LT" in given:
        return "if_earlier"
    return "if_expiring" if given else "always"


def _persist(arguments: Arguments, _: Config) -> Plan:
    return Plan((Retime(checked_key(arguments[1]), Until()),), answer_changed)


def _ttl(arguments: Arguments, _: Config) -> Plan:
    return _told(arguments, lambda record: _seconds(left_ms(record)))


def _pttl(arguments: Arguments, _: Config) -> Plan:
    return _told(arguments, left_ms)


def _expiretime(arguments: Arguments, _: Config) -> Plan:
    return _told(arguments, lambda record: _seconds(record.expires))


def _pexpiretime(arguments: Arguments, _: Config) -> Plan:
    return _told(arguments, lambda record: record.expires)


def _told(arguments: Arguments, measured: Callable[[Record], int]) -> Plan:
    def answer(results: Sequence[Result]) -> Reply:
        found = results[0]
        if not isinstance(found, Found):
            return _ABSENT
        return _LASTING if found.record.expires == NEVER else measured(found.record)

    return Plan((Read(checked_key(arguments[1])),), answer)


def _seconds(milliseconds: int) -> int:
    """Rounds as Redis does: half a second counts as one."""
    return (milliseconds + 500) // 1000


def _command(name: str, arity: int, flags: str, since: str, summary: str, plan: Keyed) -> Command:
    words = tuple(flags.split())
    categories = ("keyspace", "write" if "write" in words else "read", "fast")
    return Command(name, arity, words, 1, 1, 1, categories, "generic", since, summary, plan)


_READ, _WRITE = "readonly fast", "write fast"

COMMANDS: tuple[Command, ...] = (
    _command("expire", -3, _WRITE, "1.0.0", "Makes a key expire after some seconds.", _expire),
    _command("pexpire", -3, _WRITE, "2.6.0", "Makes a key expire after some milliseconds.", _pexpire),
    _command("expireat", -3, _WRITE, "1.2.0", "Makes a key expire at a date in seconds.", _expireat),
    _command("pexpireat", -3, _WRITE, "2.6.0", "Makes a key expire at a date in milliseconds.", _pexpireat),
    _command("ttl", 2, _READ, "1.0.0", "Tells the seconds until a key expires.", _ttl),
    _command("pttl", 2, _READ, "2.6.0", "Tells the milliseconds until a key expires.", _pttl),
    _command("expiretime", 2, _READ, "7.0.0", "Tells the date at which a key expires, in seconds.", _expiretime),
    _command("pexpiretime", 2, _READ, "7.0.0", "Tells the date at which a key expires, in milliseconds.", _pexpiretime),
    _command("persist", 2, _WRITE, "2.2.0", "Makes a key that expires a lasting one.", _persist),
)
