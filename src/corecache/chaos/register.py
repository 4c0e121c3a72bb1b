"""What one key does: the register that a history is held against, one call at a time.

A key has a value or none, a version, and perhaps a time to live. `after` says what becomes of it when a call takes
effect and gives the answer that the client noted; None if the key, as it is, can't give that answer.

Versions rise, and not every protocol tells them. An untold version is above all that were told before it, and whoever
is told first settles it; it is never guessed, so that a history is not convicted for what nobody was told.

A record with a time to live vanishes by itself. When it may is no question of the record, but of who still waits for an
answer: `linearizability` asks `vanished` for it. Here it is only noted from when on it may, and by when it must have.
Nodes count that time in whole milliseconds of the wall clock, clients in nanoseconds of a steady one: hence the leeway.
"""

from typing import Final, NamedTuple

from corecache.chaos.history import ABSENT, PRESENT, Call

NEVER: Final = 1 << 62
"""A time in ns that does not come."""

GONE_AFTER_NS: Final = 1_000_000_000
"""A record of which this much more than its time to live has passed must not be found."""

_MS: Final = 1_000_000
_ROUNDED_NS: Final = 2 * _MS
_SLEWED_ONE_IN: Final = 1000


class Register(NamedTuple):
    """A key. `version` is None if it is not told yet, `highest` the highest told so far.

    Calls that end before `vanishes_from_ns` must find the record, calls that begin after `gone_by_ns` must not.
    """

    value: str | None = None
    version: int | None = ABSENT
    highest: int = 0
    vanishes_from_ns: int = NEVER
    gone_by_ns: int = NEVER


def has_effect(call: Call) -> bool:
    """Says whether a call changes the key: a get and a call that failed do not."""
    return call.kind != "get" and call.outcome != "failed"


def vanished(register: Register) -> Register:
    """Returns the key without its record."""
    return Register(highest=register.highest)


def after(call: Call, register: Register) -> Register | None:
    """Returns the key after a call that gave its answer (if *unknown*: that took effect), None if it can't be so."""
    if register.value is not None and call.begin_ns > register.gone_by_ns:
        return None
    if call.kind == "get":
        return _seen(register, call.version) if register.value == call.value else None
    if call.outcome == "failed":
        return _failed(call, register)
    met = _met(call.condition, register)
    if met is None:
        return None
    if call.kind == "put":
        return _put(call, met)
    if call.kind == "add":
        return _added(call, met)
    return vanished(met) if met.value is not None else None


def _seen(register: Register, version: int | None) -> Register | None:
    """Returns the key after somebody was told its version, None if it can't have that one."""
    if version is None or version == register.version:
        return register
    if register.version is None and version > register.highest:
        return register._replace(version=version, highest=version)
    return None


def _met(condition: int | None, register: Register) -> Register | None:
    """Returns the key if a condition holds for it."""
    if condition is None:
        return register
    if condition == ABSENT:
        return register if register.value is None else None
    if condition == PRESENT:
        return register if register.value is not None else None
    return _seen(register, condition)


def _failed(call: Call, register: Register) -> Register | None:
    """Returns the key after a call whose condition did not hold, or that found nothing to delete."""
    if call.kind == "add":
        return register if _number(register.value) is None else None
    if call.condition is None:
        return register if call.kind == "delete" and register.value is None else None
    if call.condition == ABSENT:
        return _seen(register, call.version) if register.value is not None else None
    if call.condition == PRESENT:
        return _seen(register, call.version) if register.value is None else None
    if call.condition in (register.version, call.version):
        return None
    return _seen(register, call.version)


def _put(call: Call, register: Register) -> Register | None:
    vanishes_from_ns = gone_by_ns = NEVER
    if call.ttl_ms is not None:
        ttl_ns = call.ttl_ms * _MS
        vanishes_from_ns = call.begin_ns + ttl_ns - ttl_ns // _SLEWED_ONE_IN - _ROUNDED_NS
        if call.outcome == "done":
            gone_by_ns = call.end_ns + ttl_ns + GONE_AFTER_NS
    return _written(call, register, Register(call.value, None, 0, vanishes_from_ns, gone_by_ns))


def _added(call: Call, register: Register) -> Register | None:
    number = _number(register.value)
    if number is None:
        return None
    total = str(number + call.amount)
    if call.outcome == "done" and call.value != total:
        return None
    return _written(call, register, register._replace(value=total))


def _written(call: Call, before: Register, record: Register) -> Register | None:
    """Returns the key with a new record: its version is above all before it, as far as it is told."""
    if call.version is None:
        return record._replace(version=None, highest=before.highest)
    if call.version <= before.highest:
        return None
    return record._replace(version=call.version, highest=call.version)


def _number(value: str | None) -> int | None:
    """Returns what is added to, None if it is no decimal number."""
    if value is None:
        return 0
    digits = value.removeprefix("-")
    return int(value) if digits.isascii() and digits.isdigit() else None
