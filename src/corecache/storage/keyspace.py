"""What every byte of a key and a record on the disk is: encoding and decoding, nothing else. See `docs/formats.md`.

Four column families, one function pair for each kind of key or record:

* `records`: partition, key → version, timestamp, expiry, value
* `log`: partition, sequence → entry
* `expiry`: expiry, partition, version, key → nothing. Its order is the order in which records expire. It carries the
  version, so that an entry belongs to one record for ever: one that is out of date can be removed without looking
  whether it has just been made anew.
* `facts`: a letter, for some a partition → what the node or a replica must not forget

Rule 1: integers are unsigned and big endian, so that the byte order of keys is the order of the numbers.
Rule 2: decoding gives what was encoded, or raises `KeyspaceError`; no byte string raises anything else.

A change here is a new format of the data directory (`directory.FORMAT`).
"""

import struct
from struct import Struct
from typing import Final, TypeVar

import msgspec

from corecache.identity import PartitionId, Sequence, Timestamp, Version
from corecache.operations import Record
from corecache.replication.log import Entry
from corecache.replication.recovered import AppliedPoint, NodeFacts, ReplicaFacts

RECORDS: Final = "records"
LOG: Final = "log"
EXPIRY: Final = "expiry"
FACTS: Final = "facts"
FAMILIES: Final = (RECORDS, LOG, EXPIRY, FACTS)

PREFIX: Final = Struct(">H")
"""A partition: the first two bytes of the keys of records and of the log."""

HEADER: Final = Struct(">QQQ")
"""Version, timestamp and expiry: the first 24 bytes of a record."""

_LOG_KEY: Final = Struct(">HQ")
_EXPIRY_KEY: Final = Struct(">QHQ")
_NUMBER: Final = Struct(">Q")

NODE_FACTS_KEY: Final = b"n"
_REPLICA_FACTS: Final = b"r"
_APPLIED: Final = b"a"
_CUT: Final = b"c"

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_entries = msgspec.msgpack.Decoder(Entry)
_node_facts = msgspec.msgpack.Decoder(NodeFacts)
_replica_facts = msgspec.msgpack.Decoder(ReplicaFacts)
_applied_points = msgspec.msgpack.Decoder(AppliedPoint)


class KeyspaceError(ValueError):
    """Bytes that none of the encoders here made. The message says which kind was expected."""


def record_key(partition: PartitionId, key: bytes) -> bytes:
    """Returns the key of a record in `records`."""
    return PREFIX.pack(partition) + key


def read_record_key(raw: bytes) -> tuple[PartitionId, bytes]:
    """Returns a record's partition and key. Raises: KeyspaceError."""
    if len(raw) <= PREFIX.size:
        raise KeyspaceError(f"a record's key has more than {PREFIX.size} bytes, not {len(raw)}")
    return PartitionId(PREFIX.unpack_from(raw)[0]), raw[PREFIX.size :]


def record_bytes(record: Record) -> bytes:
    """Returns a record's header and value."""
    return HEADER.pack(record.version, record.timestamp, record.expires) + record.value


def read_record(raw: bytes) -> Record:
    """Returns the record of these bytes; the header alone gives a record with an empty value. Raises: KeyspaceError."""
    try:
        version, timestamp, expires = HEADER.unpack_from(raw)
    except struct.error:
        raise KeyspaceError(f"a record has at least {HEADER.size} bytes, not {len(raw)}") from None
    return Record(raw[HEADER.size :], version, timestamp, expires)


def expiry_key(expires: Timestamp, partition: PartitionId, version: Version, key: bytes) -> bytes:
    """Returns the key in `expiry` for a record of this version that expires."""
    return _EXPIRY_KEY.pack(expires, partition, version) + key


def read_expiry_key(raw: bytes) -> tuple[Timestamp, PartitionId, Version, bytes]:
    """Returns expiry, partition, version and key. Raises: KeyspaceError."""
    if len(raw) <= _EXPIRY_KEY.size:
        raise KeyspaceError(f"an expiry's key has more than {_EXPIRY_KEY.size} bytes, not {len(raw)}")
    expires, partition, version = _EXPIRY_KEY.unpack_from(raw)
    return Timestamp(expires), PartitionId(partition), Version(version), raw[_EXPIRY_KEY.size :]


def log_key(partition: PartitionId, sequence: Sequence) -> bytes:
    """Returns the key of an entry in `log`."""
    return _LOG_KEY.pack(partition, sequence)


def read_log_key(raw: bytes) -> tuple[PartitionId, Sequence]:
    """Returns an entry's partition and sequence. Raises: KeyspaceError."""
    if len(raw) != _LOG_KEY.size:
        raise KeyspaceError(f"an entry's key has {_LOG_KEY.size} bytes, not {len(raw)}")
    partition, sequence = _LOG_KEY.unpack(raw)
    return PartitionId(partition), Sequence(sequence)


def entry_bytes(entry: Entry) -> bytes:
    """Returns an entry of the log as MessagePack."""
    return _encoder.encode(entry)


def read_entry(raw: bytes) -> Entry:
    """Returns the entry of these bytes. Raises: KeyspaceError."""
    return _decode(_entries, raw, "an entry of the log")


def node_facts_bytes(facts: NodeFacts) -> bytes:
    """Returns the node's facts as MessagePack; their key is `NODE_FACTS_KEY`."""
    return _encoder.encode(facts)


def read_node_facts(raw: bytes) -> NodeFacts:
    """Returns the node's facts. Raises: KeyspaceError."""
    return _decode(_node_facts, raw, "the node's facts")


def replica_facts_key(partition: PartitionId) -> bytes:
    """Returns the key of a replica's facts in `facts`."""
    return _REPLICA_FACTS + PREFIX.pack(partition)


def replica_facts_bytes(facts: ReplicaFacts) -> bytes:
    """Returns a replica's facts as MessagePack."""
    return _encoder.encode(facts)


def read_replica_facts(raw: bytes) -> ReplicaFacts:
    """Returns a replica's facts. Raises: KeyspaceError."""
    return _decode(_replica_facts, raw, "a replica's facts")


def applied_key(partition: PartitionId) -> bytes:
    """Returns the key of a partition's applied point in `facts`."""
    return _APPLIED + PREFIX.pack(partition)


def applied_bytes(point: AppliedPoint) -> bytes:
    """Returns an applied point as MessagePack."""
    return _encoder.encode(point)


def read_applied(raw: bytes) -> AppliedPoint:
    """Returns an applied point. Raises: KeyspaceError."""
    return _decode(_applied_points, raw, "an applied point")


def cut_key(partition: PartitionId) -> bytes:
    """Returns the key in `facts` of the sequence up to which a partition's log is cut."""
    return _CUT + PREFIX.pack(partition)


def cut_bytes(upto: Sequence) -> bytes:
    """Returns the last sequence that is cut off."""
    return _NUMBER.pack(upto)


def read_cut(raw: bytes) -> Sequence:
    """Returns the last sequence that is cut off. Raises: KeyspaceError."""
    if len(raw) != _NUMBER.size:
        raise KeyspaceError(f"a cut has {_NUMBER.size} bytes, not {len(raw)}")
    return Sequence(_NUMBER.unpack(raw)[0])


def read_facts_key(raw: bytes) -> tuple[str, PartitionId | None]:
    """Returns which fact a key in `facts` names ("node", "replica", "applied", "cut") and of which partition.

    Raises: KeyspaceError.
    """
    if raw == NODE_FACTS_KEY:
        return "node", None
    kind = {_REPLICA_FACTS: "replica", _APPLIED: "applied", _CUT: "cut"}.get(raw[:1])
    if kind is None or len(raw) != 1 + PREFIX.size:
        raise KeyspaceError(f"no fact has a key of these {len(raw)} bytes")
    return kind, PartitionId(PREFIX.unpack_from(raw, 1)[0])


def _decode(decoder: msgspec.msgpack.Decoder[T], raw: bytes, expected: str) -> T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeyspaceError(f"these {len(raw)} bytes are not {expected}: {error}") from None
