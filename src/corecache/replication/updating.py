"""What an update makes of a record: the rules that the primary resolves them by (R16). Pure, like all beside it.

Rule 1: the record that is given is the newest of its key, pending ones included, and has not expired.
Rule 2: integers are those of 64 bits with a sign, written as Redis writes them: no spaces, no leading zeros, no plus.
Rule 3: decimal numbers are what Redis's INCRBYFLOAT makes of them on a PC (`long_double.py`).
Rule 4: a new time to live leaves the value's timestamp as it was, a new value gets the date.

`Change` says what is to be stored; the version is given by who keeps them (`pending.py`).
"""

from fractions import Fraction
from typing import NamedTuple

from corecache.identity import Timestamp
from corecache.operations import (
    NEVER,
    Add,
    AddFloat,
    Assign,
    Check,
    ConditionFailed,
    Extend,
    Overwrite,
    Record,
    Rejected,
    Result,
    Retime,
    Take,
    Until,
    Update,
    Updated,
)
from corecache.replication.long_double import number_of, rounded, text_of

INTEGER_MIN = -(1 << 63)
INTEGER_MAX = (1 << 63) - 1
_INTEGER_CHARACTERS_MAX = 20


class Change(NamedTuple):
    """What is to become of a key: a value with its dates, or, without a value, nothing."""

    value: bytes | None
    timestamp: Timestamp
    expires: Timestamp


Outcome = tuple[Change | None, Result]
"""What is to be stored, None if nothing, and what is told."""

_UNCHANGED = Updated(False)


def updated(update: Update, record: Record | None, date: Timestamp) -> Outcome:
    """Returns what an update of one key makes of its record at a date. `Duplicate`, of two keys, is not for here."""
    kind = type(update)
    if kind is Check:
        assert isinstance(update, Check)
        present = record.version if record is not None else None
        return None, (_UNCHANGED if present == update.version else ConditionFailed(present))
    if kind is Assign:
        assert isinstance(update, Assign)
        return _assign(update, record, date)
    if kind is Take:
        if record is None:
            return None, _UNCHANGED
        return _removal(date), Updated(True, record.value)
    if kind is Retime:
        assert isinstance(update, Retime)
        return _retime(update, record, date)
    if kind is Extend:
        assert isinstance(update, Extend)
        return _replace(_value(record) + update.value, update.bytes_max, record, date)
    if kind is Overwrite:
        assert isinstance(update, Overwrite)
        return _overwrite(update, record, date)
    if kind is Add:
        assert isinstance(update, Add)
        return _add(update.amount, record, date)
    assert isinstance(update, AddFloat), update
    return _add_number(update.amount, record, date)


def _assign(update: Assign, record: Record | None, date: Timestamp) -> Outcome:
    old = record.value if record is not None and update.with_old else None
    if (update.only == "absent" and record is not None) or (update.only == "present" and record is None):
        return None, Updated(False, old)
    if update.until is None:
        expires = record.expires if record is not None else NEVER
    else:
        expires = _end(update.until, date)
        if NEVER < expires <= date:
            return _removal(date), Updated(True, old)
    return Change(update.value, date, expires), Updated(True, old)


def _retime(update: Retime, record: Record | None, date: Timestamp) -> Outcome:
    if record is None:
        return None, _UNCHANGED
    told = record.value if update.with_value else None
    expires, before = _end(update.until, date), record.expires
    applies = {
        "always": True,
        "if_expiring": before != NEVER,
        "if_not_expiring": before == NEVER,
        "if_later": before != NEVER and expires > before,
        "if_earlier": before == NEVER or expires < before,
        "if_expiring_and_earlier": before != NEVER and expires < before,
    }
    if not applies[update.only] or (expires == NEVER and before == NEVER):
        return None, Updated(False, told)
    if NEVER < expires <= date:
        return _removal(date), Updated(True, told)
    return Change(record.value, record.timestamp, expires), Updated(True, told)


def _overwrite(update: Overwrite, record: Record | None, date: Timestamp) -> Outcome:
    value = _value(record)
    if not update.value:
        return None, Updated(False, None, len(value))
    if update.offset + len(update.value) > update.bytes_max:
        return None, Rejected("too_long")
    head = value[: update.offset].ljust(update.offset, b"\0")
    return _replace(head + update.value + value[update.offset + len(update.value) :], update.bytes_max, record, date)


def _replace(value: bytes, bytes_max: int, record: Record | None, date: Timestamp) -> Outcome:
    if len(value) > bytes_max:
        return None, Rejected("too_long")
    return Change(value, date, _expiry(record)), Updated(True, None, len(value))


def _add(amount: int, record: Record | None, date: Timestamp) -> Outcome:
    present = 0 if record is None else integer_of(record.value)
    if present is None:
        return None, Rejected("no_integer")
    total = present + amount
    if not INTEGER_MIN <= total <= INTEGER_MAX:
        return None, Rejected("overflow")
    text = b"%d" % total
    return Change(text, date, _expiry(record)), Updated(True, text)


def _add_number(amount: str, record: Record | None, date: Timestamp) -> Outcome:
    present, added = Fraction(0) if record is None else number_of(record.value), number_of(amount.encode())
    if present is None or added is None:
        return None, Rejected("no_number")
    total = rounded(present + added) if isinstance(present, Fraction) and isinstance(added, Fraction) else None
    if total is None:
        return None, Rejected("not_finite")
    text = text_of(total)
    return Change(text, date, _expiry(record)), Updated(True, text)


def integer_of(text: bytes) -> int | None:
    """Returns the integer that a text says (rule 2), None if it says none."""
    if not 0 < len(text) <= _INTEGER_CHARACTERS_MAX:
        return None
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or (digits[:1] == b"0" and text != b"0"):
        return None
    number = int(text)
    return number if INTEGER_MIN <= number <= INTEGER_MAX else None


def _end(until: Until, date: Timestamp) -> Timestamp:
    """Returns the date that is meant; one before all dates becomes the first of them, for 0 means never."""
    if until.at is not None:
        return max(until.at, Timestamp(1))
    return NEVER if until.after_ms is None else max(Timestamp(date + until.after_ms), Timestamp(1))


def _removal(date: Timestamp) -> Change:
    return Change(None, date, NEVER)


def _value(record: Record | None) -> bytes:
    return record.value if record is not None else b""


def _expiry(record: Record | None) -> Timestamp:
    return record.expires if record is not None else NEVER
