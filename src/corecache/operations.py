"""What clients ask for, what the log holds, and what is answered: the nouns that every other module passes on.

Three families, in the order of an operation's life:

1. *Operations* (`Put`, `Delete`, `Read`, `Expire`, the `Update`s) are what a client asks for. They may depend on what
   is stored.
2. *Resolved* operations are what the primary made of them: a whole record, or none. They depend on nothing, so that a
   log of them can be replayed anywhere, any number of times, without a clock or a die (`docs/protocol.md`).
3. *Results* (`Written`, `Deleted`, `Absent`, `ConditionFailed`, `Found`, `Updated`, `Rejected`) say what an operation
   did. What did not happen at all is no result but an error (`errors.py`).

Keys and values are bytes throughout; no encoding is ever assumed. This module decides nothing.
"""

from typing import Literal, TypeAlias

import msgspec

from corecache.identity import Timestamp, Version

NEVER = Timestamp(0)
"""The expiry of a record that does not expire."""

KEY_BYTES_MAX = 8192
"""A key has 1 to this many bytes. Part of the format on disk, hence no setting."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A value as it is stored. `expires` is `NEVER` or the date from which the key counts as absent."""

    value: bytes
    version: Version
    timestamp: Timestamp
    expires: Timestamp = NEVER


class IfAbsent(msgspec.Struct, frozen=True, array_like=True, tag="if_absent"):
    """Holds if the key has no record (HTTP: `If-None-Match: *`)."""


class IfMatch(msgspec.Struct, frozen=True, array_like=True, tag="if_match"):
    """Holds if the key's record has one of these versions, or, with None, any (HTTP: `If-Match`)."""

    versions: tuple[Version, ...] | None


Condition: TypeAlias = IfAbsent | IfMatch


class Put(msgspec.Struct, array_like=True, tag="put", gc=False):
    """Stores `value` under `key`. With `ttl_ms` (1 or more) it expires that long after it was accepted."""

    key: bytes
    value: bytes
    ttl_ms: int | None = None
    condition: Condition | None = None


class Delete(msgspec.Struct, array_like=True, tag="delete", gc=False):
    """Removes `key`. A key without a record answers `Absent`."""

    key: bytes
    condition: IfMatch | None = None


class Read(msgspec.Struct, array_like=True, tag="read", gc=False):
    """Reads `key` in its place among the writes of an atomic batch; a plain GET never enters the log."""

    key: bytes


class Expire(msgspec.Struct, array_like=True, tag="expire", gc=False):
    """Removes `key` if its newest record has expired: what a read or the sweeper asks for that found one expired."""

    key: bytes


class Until(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When a record is to expire: `after_ms` it was accepted, or at the date `at` (0 or more); with neither, never.

    A time that has come already removes the record.
    """

    after_ms: int | None = None
    at: Timestamp | None = None


class Check(msgspec.Struct, array_like=True, tag="check", gc=False):
    """Fails, and with it all of its batch, if `key` no longer has this version; None: if it has a record."""

    key: bytes
    version: Version | None


class Assign(msgspec.Struct, array_like=True, tag="assign", gc=False):
    """Stores `value` if the key is absent or present as wanted. `until` None keeps the time to live that it has.

    `with_old`: the result tells the value from before, also if nothing was stored.
    """

    key: bytes
    value: bytes
    until: Until | None = Until()
    only: Literal["always", "absent", "present"] = "always"
    with_old: bool = False


class Take(msgspec.Struct, array_like=True, tag="take", gc=False):
    """Removes `key` and tells the value that it had."""

    key: bytes


class Extend(msgspec.Struct, array_like=True, tag="extend", gc=False):
    """Adds bytes to the end of a value, which may not become longer than `bytes_max`; tells its length."""

    key: bytes
    value: bytes
    bytes_max: int


class Overwrite(msgspec.Struct, array_like=True, tag="overwrite", gc=False):
    """Overwrites a value from `offset` on, after zeros as needed, up to `bytes_max`; tells its length."""

    key: bytes
    offset: int
    value: bytes
    bytes_max: int


class Add(msgspec.Struct, array_like=True, tag="add", gc=False):
    """Adds to a value that is a decimal integer of 64 bits, 0 if absent; tells the sum."""

    key: bytes
    amount: int


class AddFloat(msgspec.Struct, array_like=True, tag="add_float", gc=False):
    """Adds to a value that is a decimal number, 0 if absent; tells the sum, without an exponent."""

    key: bytes
    amount: str


class Retime(msgspec.Struct, array_like=True, tag="retime", gc=False):
    """Changes when a record expires, under a condition on when it does now; `never` counts as later than all dates.

    `with_value`: the result tells the value.
    """

    key: bytes
    until: Until
    only: Literal["always", "if_expiring", "if_not_expiring", "if_later", "if_earlier", "if_expiring_and_earlier"] = (
        "always"
    )
    with_value: bool = False


class Duplicate(msgspec.Struct, array_like=True, tag="duplicate", gc=False):
    """Gives the key `to`, of the same partition, the value and time to live of `key`; `moves`: and removes `key`.

    Without `replaces` nothing happens if `to` has a record.
    """

    key: bytes
    to: bytes
    replaces: bool
    moves: bool


class AssignNew(msgspec.Struct, array_like=True, tag="assign_new", gc=False):
    """Stores several values, of one partition and each under another key, if none of the keys has a record.

    `key` is the first of `pairs`.
    """

    key: bytes
    pairs: tuple[tuple[bytes, bytes], ...]


Update: TypeAlias = Check | Assign | Take | Extend | Overwrite | Add | AddFloat | Retime | Duplicate | AssignNew
"""Operations that make a new record of the one before; what they do is in `replication/updating.py`."""

Operation: TypeAlias = Put | Delete | Read | Expire | Update


def keys_of(operation: Operation) -> tuple[bytes, ...]:
    """Returns the keys that an operation reads or changes."""
    if type(operation) is Duplicate:
        return (operation.key, operation.to)
    return tuple(key for key, _ in operation.pairs) if type(operation) is AssignNew else (operation.key,)


class Resolved(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an operation became: from now on `key` holds `record`, or nothing."""

    key: bytes
    record: Record | None


class Written(msgspec.Struct, frozen=True, array_like=True, tag="written", gc=False):
    """A put was accepted and became `version`."""

    version: Version


class Deleted(msgspec.Struct, frozen=True, array_like=True, tag="deleted", gc=False):
    """A delete found a record and removed it."""


class Absent(msgspec.Struct, frozen=True, array_like=True, tag="absent", gc=False):
    """The key has no record."""


class ConditionFailed(msgspec.Struct, frozen=True, array_like=True, tag="condition_failed", gc=False):
    """The condition did not hold: nothing was written. `present` is the key's version, None if it has no record."""

    present: Version | None


class Found(msgspec.Struct, frozen=True, array_like=True, tag="found", gc=False):
    """A read found this record."""

    record: Record


class Updated(msgspec.Struct, frozen=True, array_like=True, tag="updated", gc=False):
    """An update was carried out. `changed` tells whether anything is different now.

    `value` is what the update tells of values, None if there was none; `number` a length.
    """

    changed: bool
    value: bytes | None = None
    number: int = 0


class Rejected(msgspec.Struct, frozen=True, array_like=True, tag="rejected", gc=False):
    """An update can't be carried out on the record that there is; others of its batch can."""

    code: Literal["absent", "no_integer", "no_number", "overflow", "not_finite", "too_long"]


Result: TypeAlias = Written | Deleted | Absent | ConditionFailed | Found | Updated | Rejected
