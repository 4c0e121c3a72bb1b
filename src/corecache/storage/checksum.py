"""The checksum of a partition's records, by which replicas are compared.

Rule 1: it is over every key and every byte of its record as `keyspace.py` has them, each with its length before it, in
the order of the keys. So two replicas have equal checksums if, and for all that matters only if, they hold equal
records: whatever wrote them, however they came and whichever files they are in.
Rule 2: the lengths are a part of it, so that bytes can't wander from one key or record into the next unnoticed.

As of which sequence the records are is not part of it: whoever compares two checksums compares the sequences first.
It guards against defects and damage, not against someone who makes up records on purpose.
"""

from hashlib import blake2b
from struct import Struct
from typing import Final

_LENGTHS: Final = Struct(">HI")
_DIGEST_BYTES: Final = 16


class Checksum:
    """A checksum in the making."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        """Begins with no records."""
        self._hash = blake2b(digest_size=_DIGEST_BYTES)

    def add(self, key: bytes, raw: bytes) -> None:
        """Adds the next record's bytes. Requires: its key is above all that were added."""
        self._hash.update(_LENGTHS.pack(len(key), len(raw)) + key)
        self._hash.update(raw)

    def text(self) -> str:
        """Returns the checksum of what was added so far, in hexadecimal."""
        return self._hash.hexdigest()
