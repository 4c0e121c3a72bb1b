"""Fuzzes `storage/keyspace.py`: every kind of key and value that the disk gives back.

RocksDB's checksums keep random damage from ever getting here; what does get here is what another version, another
program or a defect of ours has written, and it must not be taken for a record that it is not.
"""

from collections.abc import Callable
from typing import TypeVar

from corecache.storage import keyspace
from corecache.storage.keyspace import KeyspaceError

WORDS = (
    *(b"\x00" * 8, b"\xff" * 8, b"\x00\x0f", b"n", b"r", b"a", b"c", b"key", b"\x00" * 24, b"\xff" * 24),
    *(b"\x90", b"\x93", b"\x94", b"\x92", b"\x95", b"\xc0", b"\xc1", b"\xc4\x01v", b"\xc4\xff", b"\xa1k", b"\xa1\xff"),
    *(b"\xcf" + b"\xff" * 8, b"\xd3" + b"\x80" + b"\x00" * 7, b"\xdd\xff\xff\xff\xff", b"\x91" * 2000, b"\x81\xa1a"),
    *(b"\xc2", b"\xc3", b"\x91", b"\x93\xa1r\x05\x01", b"\x94\xa1r\x05\x01\xc3"),
    *(b"\xcb\x7f\xf0" + b"\x00" * 6, b"\xd6\xff\x00\x00\x00\x01", b"\xc7\x0c\xff", b"\xca\x00\x00\x00\x00"),
)

Meaning = TypeVar("Meaning")


def target(data: bytes) -> None:
    """Whatever bytes the disk gives: they decode and encode anew to what means the same, or raise `KeyspaceError`."""
    _check_key(data, keyspace.read_record_key, keyspace.record_key)
    _check_key(data, keyspace.read_expiry_key, keyspace.expiry_key)
    _check_key(data, keyspace.read_log_key, keyspace.log_key)
    _check(data, keyspace.read_record, keyspace.record_bytes, exact=True)
    _check(data, keyspace.read_cut, keyspace.cut_bytes, exact=True)
    _check(data, keyspace.read_entry, keyspace.entry_bytes)
    _check(data, keyspace.read_node_facts, keyspace.node_facts_bytes)
    _check(data, keyspace.read_replica_facts, keyspace.replica_facts_bytes)
    _check(data, keyspace.read_applied, keyspace.applied_bytes)
    named = _decoded(data, keyspace.read_facts_key)
    if named is not None:
        kind, partition = named
        makers = {"replica": keyspace.replica_facts_key, "applied": keyspace.applied_key, "cut": keyspace.cut_key}
        assert data == (keyspace.NODE_FACTS_KEY if partition is None else makers[kind](partition)), named


def _decoded(data: bytes, decode: Callable[[bytes], Meaning]) -> Meaning | None:
    try:
        return decode(data)
    except KeyspaceError:
        return None


def _check_key(data: bytes, decode: Callable[[bytes], tuple[object, ...]], encode: Callable[..., bytes]) -> None:
    parts = _decoded(data, decode)
    if parts is not None:
        assert encode(*parts) == data, "a key has one spelling"


def _check(
    data: bytes, decode: Callable[[bytes], Meaning], encode: Callable[[Meaning], bytes], exact: bool = False
) -> None:
    meaning = _decoded(data, decode)
    if meaning is not None:
        anew = encode(meaning)
        assert anew == data or not exact, "a value has one spelling"
        assert decode(anew) == meaning, "encoded anew it means the same"
