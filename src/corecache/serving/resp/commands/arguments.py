"""What the words of keyed commands mean, what they are refused with, and what results are answered with.

Rule 1: error words are Redis's, for clients match on them.
Rule 2: the only clock is `today_ms`. It is asked for two things: whether a time to live leads beyond the last date, and
how much of one is left. When a record expires is decided by its primary (`replication/updating.py`).
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from corecache.config import Config
from corecache.identity import Timestamp
from corecache.operations import KEY_BYTES_MAX, Found, Record, Rejected, Result, Until, Updated
from corecache.replication.updating import INTEGER_MAX, integer_of
from corecache.serving.resp.commands.command import Refusal
from corecache.wire.resp import Failure, Reply, Status

OK: Final = Status("OK")
SYNTAX: Final = "ERR syntax error"
NO_INTEGER: Final = "ERR value is not an integer or out of range"
NO_NUMBER: Final = "ERR value is not a valid float"
TOO_LONG: Final = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

_SECONDS_MAX = INTEGER_MAX // 1000
_REJECTIONS: Final = {
    "absent": Failure("ERR no such key"),
    "no_integer": Failure(NO_INTEGER),
    "no_number": Failure(NO_NUMBER),
    "overflow": Failure("ERR increment or decrement would overflow"),
    "not_finite": Failure("ERR increment would produce NaN or Infinity"),
    "too_long": Failure(TOO_LONG),
}


def today_ms() -> int:
    """Returns the date in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def checked_key(key: bytes) -> bytes:
    """Returns the key. Raises: Refusal if it is none."""
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise Refusal(f"ERR invalid key: a key has 1 to {KEY_BYTES_MAX} bytes")
    return key


def checked_keys(keys: Iterable[bytes]) -> list[bytes]:
    """Returns the keys. Raises: Refusal if one is none."""
    return [checked_key(key) for key in keys]


def checked_value(value: bytes, config: Config) -> bytes:
    """Returns the value. Raises: Refusal if it is too long."""
    if len(value) > config.limits.value_bytes_max:
        raise Refusal(TOO_LONG)
    return value


def integer(text: bytes) -> int:
    """Returns the integer of 64 bits that a word says. Raises: Refusal."""
    number = integer_of(text)
    if number is None:
        raise Refusal(NO_INTEGER)
    return number


def following(words: Iterator[bytes]) -> bytes:
    """Returns the word after an option. Raises: Refusal if there is none."""
    word = next(words, None)
    if word is None:
        raise Refusal(SYNTAX)
    return word


def until(option: bytes, when: int, command: str) -> Until:
    """Returns when a record is to expire by `EX`, `PX`, `EXAT` or `PXAT` and its number, which may be of the past.

    Raises: Refusal, in the name of the command, if that is beyond the last date.
    """
    if option in (b"EX", b"EXAT"):
        if not -_SECONDS_MAX <= when <= _SECONDS_MAX:
            raise invalid_expiry(command)
        when *= 1000
    if option in (b"EXAT", b"PXAT"):
        return Until(at=Timestamp(max(when, 0)))
    if when > INTEGER_MAX - today_ms():
        raise invalid_expiry(command)
    return Until(after_ms=when)


def invalid_expiry(command: str) -> Refusal:
    """Returns the refusal of a time at which nothing can expire."""
    return Refusal(f"ERR invalid expire time in '{command}' command")


def left_ms(record: Record) -> int:
    """Returns how much of its time a record has left. Requires: it expires."""
    return max(record.expires - today_ms(), 0)


def value_of(result: Result) -> bytes | None:
    """Returns the value that a read found."""
    return result.record.value if isinstance(result, Found) else None


def outcome(result: Result) -> Updated | Failure:
    """Returns an update's result, or the error that its rejection is answered with."""
    if isinstance(result, Rejected):
        return _REJECTIONS[result.code]
    assert isinstance(result, Updated), result
    return result


def answer_ok(_: Sequence[Result]) -> Reply:
    """Answers OK, whatever was found."""
    return OK


def answer_value(results: Sequence[Result]) -> Reply:
    """Answers the value that an update tells, or null."""
    result = outcome(results[0])
    return result if isinstance(result, Failure) else result.value


def answer_number(results: Sequence[Result]) -> Reply:
    """Answers the length that an update tells."""
    result = outcome(results[0])
    return result if isinstance(result, Failure) else result.number


def answer_changed(results: Sequence[Result]) -> Reply:
    """Answers 1 if an update has changed something, 0 if not."""
    result = outcome(results[0])
    return result if isinstance(result, Failure) else int(result.changed)
