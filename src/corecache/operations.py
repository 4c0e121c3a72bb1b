"""What clients ask for, what the log holds, and what is answered: the nouns that every other module passes on.

Three families, in the order of an operation's life:

1. *Operations* (`Put`, `Delete`, `Read`, `Expire`) are what a client asks for. They may depend on what is stored.
2. *Resolved* operations are what the primary made of them: a whole record, or none. They depend on nothing, so that a
   log of them can be replayed anywhere, any number of times, without a clock or a die (`docs/protocol.md`).
3. *Results* (`Written`, `Deleted`, `Absent`, `ConditionFailed`, `Found`) say what an operation did. What did not
   happen at all is no result but an error (`errors.py`).

Keys and values are bytes throughout; no encoding is ever assumed. This module decides nothing.
"""

from typing import TypeAlias

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


Operation: TypeAlias = Put | Delete | Read | Expire


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


Result: TypeAlias = Written | Deleted | Absent | ConditionFailed | Found
