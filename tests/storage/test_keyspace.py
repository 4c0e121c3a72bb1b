"""The bytes of keys and records: what goes in comes out, order is kept, garbage gives the one declared error."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corecache.identity import (
    Epoch,
    Incarnation,
    Lineage,
    Milliseconds,
    NodeId,
    PartitionId,
    ReplicaId,
    Sequence,
    Timestamp,
    Version,
)
from corecache.operations import Record, Resolved
from corecache.replication.log import Entry
from corecache.replication.recovered import AppliedPoint, NodeFacts, ReplicaFacts
from corecache.storage import keyspace
from corecache.storage.keyspace import KeyspaceError

NUMBERS = st.integers(0, 2**64 - 1)
PARTITIONS = st.integers(0, 16_383).map(PartitionId)
KEYS = st.binary(min_size=1, max_size=20)
RECORDS = st.builds(Record, st.binary(), NUMBERS.map(Version), NUMBERS.map(Timestamp), NUMBERS.map(Timestamp))
ENTRIES = st.builds(
    Entry,
    NUMBERS.map(Epoch),
    NUMBERS.map(Sequence),
    st.lists(st.builds(Resolved, KEYS, st.none() | RECORDS), max_size=4).map(tuple),
)
READERS = [
    keyspace.read_record_key,
    keyspace.read_record,
    keyspace.read_expiry_key,
    keyspace.read_log_key,
    keyspace.read_entry,
    keyspace.read_node_facts,
    keyspace.read_replica_facts,
    keyspace.read_applied,
    keyspace.read_cut,
    keyspace.read_facts_key,
]


@given(PARTITIONS, KEYS, RECORDS)
def test_a_record_comes_back(partition: PartitionId, key: bytes, record: Record) -> None:
    """A record's key, bytes and place in the expiry index give back what they were made of."""
    assert keyspace.read_record_key(keyspace.record_key(partition, key)) == (partition, key)
    assert keyspace.read_record(keyspace.record_bytes(record)) == record
    index_key = keyspace.expiry_key(record.expires, partition, record.version, key)
    assert keyspace.read_expiry_key(index_key) == (record.expires, partition, record.version, key)


@given(PARTITIONS, ENTRIES)
def test_an_entry_comes_back(partition: PartitionId, entry: Entry) -> None:
    """A log entry's key and bytes give back what they were made of."""
    assert keyspace.read_log_key(keyspace.log_key(partition, entry.sequence)) == (partition, entry.sequence)
    assert keyspace.read_entry(keyspace.entry_bytes(entry)) == entry


@given(st.text(max_size=5), NUMBERS, PARTITIONS, st.booleans())
def test_facts_come_back(name: str, number: int, partition: PartitionId, installing: bool) -> None:
    """Each fact's key and bytes give back what they were made of."""
    node = NodeFacts(name, 16, NodeId(name), Incarnation(number), Milliseconds(number))
    assert keyspace.read_node_facts(keyspace.node_facts_bytes(node)) == node
    replica = ReplicaFacts(ReplicaId(name), Epoch(number), Lineage(number), installing)
    assert keyspace.read_replica_facts(keyspace.replica_facts_bytes(replica)) == replica
    point = AppliedPoint(Sequence(number), Epoch(number), Version(number))
    assert keyspace.read_applied(keyspace.applied_bytes(point)) == point
    assert keyspace.read_cut(keyspace.cut_bytes(Sequence(number))) == number
    assert keyspace.read_facts_key(keyspace.NODE_FACTS_KEY) == ("node", None)
    assert keyspace.read_facts_key(keyspace.replica_facts_key(partition)) == ("replica", partition)
    assert keyspace.read_facts_key(keyspace.applied_key(partition)) == ("applied", partition)
    assert keyspace.read_facts_key(keyspace.cut_key(partition)) == ("cut", partition)


def test_a_replica_of_the_first_format_is_of_the_first_lineage_and_whole() -> None:
    """The two fields that format 1 wrote of a replica are read, and the others are what they must have been."""
    old = ReplicaFacts(ReplicaId("r1"), Epoch(4), Lineage(1), False)
    assert keyspace.read_replica_facts(bytes.fromhex("92a2723104")) == old


@given(st.lists(st.tuples(PARTITIONS, NUMBERS, KEYS), min_size=2, max_size=2))
def test_the_order_of_keys_is_the_order_of_what_they_name(pair: list[tuple[PartitionId, int, bytes]]) -> None:
    """Byte order sorts records by partition and key, the log by partition and sequence, the index by expiry."""
    (p, n, k), (q, m, j) = sorted(pair)
    assert keyspace.record_key(p, k) < keyspace.record_key(q, j) or (p, k) >= (q, j)
    assert keyspace.log_key(p, Sequence(n)) <= keyspace.log_key(q, Sequence(m))
    early, late = sorted([n, m])
    first = keyspace.expiry_key(Timestamp(early), p, Version(1), k)
    assert early == late or first < keyspace.expiry_key(Timestamp(late), q, Version(0), j)


@pytest.mark.parametrize("read", READERS)
@given(raw=st.binary(max_size=60))
def test_garbage_parses_or_gives_the_one_declared_error(read: Callable[[bytes], object], raw: bytes) -> None:
    """No bytes make a reader raise anything but KeyspaceError."""
    with suppress(KeyspaceError):
        assert read(raw) is not None


@pytest.mark.parametrize("read", READERS)
def test_nesting_without_end_gives_the_one_declared_error(read: Callable[[bytes], object]) -> None:
    """Also where it stands in a field that no one knows, which is skipped."""
    with suppress(KeyspaceError):
        read(b"\x98" + b"\x01" * 4 + b"\x91" * 100_000)


@given(ENTRIES, st.data())
def test_an_entry_cut_short_is_refused(entry: Entry, data: st.DataObject) -> None:
    """A prefix of an entry's bytes is never taken for an entry."""
    raw = keyspace.entry_bytes(entry)
    with pytest.raises(KeyspaceError):
        keyspace.read_entry(raw[: data.draw(st.integers(0, len(raw) - 1))])


def test_the_examples_of_the_formats_page_hold() -> None:
    """The bytes that docs/formats.md shows are those that are written."""
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8").replace(" ", "")
    partition, key = PartitionId(2), b"colour"
    record = Record(b"red", Version(7), Timestamp(1_700_000_000_000), Timestamp(1_700_000_060_000))
    entry = Entry(Epoch(4), Sequence(9), (Resolved(key, record), Resolved(b"shape", None)))
    for written in (
        keyspace.record_key(partition, key),
        keyspace.record_bytes(record),
        keyspace.expiry_key(record.expires, partition, record.version, key),
        keyspace.log_key(partition, entry.sequence),
        keyspace.entry_bytes(entry),
        keyspace.NODE_FACTS_KEY,
        keyspace.node_facts_bytes(
            NodeFacts("corecache", 16, NodeId("n1"), Incarnation(3), Milliseconds(1000), "5f1c09aa")
        ),
        keyspace.replica_facts_key(partition),
        keyspace.replica_facts_bytes(ReplicaFacts(ReplicaId("r1"), Epoch(4))),
        keyspace.applied_key(partition),
        keyspace.applied_bytes(AppliedPoint(Sequence(9), Epoch(4), Version(7))),
        keyspace.cut_key(partition),
        keyspace.cut_bytes(Sequence(8)),
    ):
        assert f"`{written.hex()}`" in page, written.hex()
