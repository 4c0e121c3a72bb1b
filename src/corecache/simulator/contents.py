"""What a simulated disk holds, and the writes that change it: plain values, without a queue, a sync or a fault.

Each write is a value with one method, `to`, which changes contents. A disk keeps two `Contents`: what a reader sees
now, and what a crash would leave at least; a write is done to the first when it is begun and to the second when it is
synced.

A write checks that it makes sense where it lands (an entry follows the last, an applied entry the applied one): if it
does not, the machine asked for what a real store would refuse or, worse, accept.
"""

import hashlib
from collections.abc import Sequence as Many
from typing import TypeAlias

import msgspec

from corecache.identity import PartitionId, Sequence
from corecache.operations import Record
from corecache.replication.log import Entry
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, NodeFacts, Recovered, ReplicaFacts

_digest_encoder = msgspec.msgpack.Encoder()


class Held:
    """One replica on a disk."""

    __slots__ = ("applied", "cut", "digest", "facts", "last", "log", "records")

    def __init__(self, facts: ReplicaFacts) -> None:
        self.facts = facts
        self.applied: AppliedPoint = NOTHING_APPLIED
        self.log: dict[int, Entry] = {}
        self.last = 0
        self.cut = 0
        self.records: dict[bytes, Record] = {}
        self.digest = 0
        """Of the records; equal for equal records, whatever way led to them."""

    def copy(self) -> "Held":
        """Returns one that can be changed without changing this one."""
        other = Held(self.facts)
        other.applied, other.log, other.last, other.cut = self.applied, dict(self.log), self.last, self.cut
        other.records, other.digest = dict(self.records), self.digest
        return other

    def apply(self, entry: Entry) -> None:
        """Brings the records up to the next entry."""
        assert entry.sequence == self.applied.sequence + 1, f"applies {entry.sequence} after {self.applied.sequence}"
        version = self.applied.version
        for operation in entry.operations:
            self.put(operation.key, operation.record)
            if operation.record is not None and operation.record.version > version:
                version = operation.record.version
        self.applied = AppliedPoint(entry.sequence, entry.epoch, version)

    def put(self, key: bytes, record: Record | None) -> None:
        """Sets or removes a record, and keeps the digest."""
        old = self.records.get(key)
        if old is not None:
            self.digest ^= _digest_of(key, old)
        if record is not None:
            self.records[key] = record
            self.digest ^= _digest_of(key, record)
        elif old is not None:
            del self.records[key]

    def holds(self, sequence: int, epoch: int) -> bool:
        """Says whether an entry, and with it all before it, is in the log or the records."""
        if self.facts.installing:
            return False
        entry = self.log.get(sequence)
        if entry is not None and sequence <= self.last:
            return entry.epoch == epoch
        return sequence <= self.applied.sequence

    def recovered(self) -> Recovered:
        """Returns the replica as a machine that starts is told of it."""
        entries = tuple(self.log[at] for at in range(self.applied.sequence + 1, self.last + 1))
        return Recovered(self.facts, self.applied, entries, Sequence(self.cut))


class Contents:
    """A disk."""

    __slots__ = ("node", "replicas")

    def __init__(self) -> None:
        self.node: NodeFacts | None = None
        self.replicas: dict[PartitionId, Held] = {}

    def copy(self) -> "Contents":
        """Returns one that can be changed without changing this one."""
        other = Contents()
        other.node = self.node
        other.replicas = {partition: held.copy() for partition, held in self.replicas.items()}
        return other


class Write(msgspec.Struct):
    """A change of one replica. Lower in the queue means earlier on the disk."""

    partition: PartitionId

    def to(self, contents: Contents) -> None:
        """Changes contents."""
        raise NotImplementedError


class SaveWrite(Write):
    """The facts of a replica, that may be new."""

    facts: ReplicaFacts

    def to(self, contents: Contents) -> None:
        """Sets them."""
        held = contents.replicas.get(self.partition)
        if held is None:
            contents.replicas[self.partition] = Held(self.facts)
        else:
            held.facts = self.facts


class AppendWrite(Write):
    """Entries at the end of the log, after what is above `truncated` is gone."""

    entries: Many[Entry]
    generation: int
    truncated: int | None

    def to(self, contents: Contents) -> None:
        """Adds them."""
        held = contents.replicas[self.partition]
        if self.truncated is not None:
            for sequence in range(self.truncated + 1, held.last + 1):
                held.log.pop(sequence, None)
            held.last = min(held.last, self.truncated)
            assert held.last >= held.applied.sequence, f"cuts to {held.last} below applied {held.applied.sequence}"
        for entry in self.entries:
            assert entry.sequence == held.last + 1, f"appends {entry.sequence} after {held.last}"
            held.log[entry.sequence] = entry
            held.last = entry.sequence


class ApplyWrite(Write):
    """Committed entries, into the records."""

    entries: Many[Entry]

    def to(self, contents: Contents) -> None:
        """Applies them."""
        held = contents.replicas[self.partition]
        for entry in self.entries:
            held.apply(entry)


class CutWrite(Write):
    """The log loses its beginning."""

    upto: Sequence

    def to(self, contents: Contents) -> None:
        """Cuts it."""
        held = contents.replicas[self.partition]
        assert self.upto <= held.applied.sequence, f"cuts {self.upto} above applied {held.applied.sequence}"
        for sequence in range(held.cut + 1, self.upto + 1):
            held.log.pop(sequence, None)
        held.cut = max(held.cut, self.upto)


class BeginInstallWrite(Write):
    """The replica is emptied, under new facts."""

    facts: ReplicaFacts

    def to(self, contents: Contents) -> None:
        """Empties it."""
        contents.replicas[self.partition] = Held(self.facts)


class InstallWrite(Write):
    """Records of a snapshot; with `whole` it is complete."""

    records: Many[tuple[bytes, Record]]
    whole: tuple[ReplicaFacts, AppliedPoint] | None

    def to(self, contents: Contents) -> None:
        """Adds them."""
        held = contents.replicas[self.partition]
        for key, record in self.records:
            held.put(key, record)
        if self.whole is not None:
            held.facts, held.applied = self.whole
            held.last = held.cut = held.applied.sequence


class DiscardWrite(Write):
    """The replica is dropped."""

    def to(self, contents: Contents) -> None:
        """Drops it."""
        contents.replicas.pop(self.partition, None)


SomeWrite: TypeAlias = SaveWrite | AppendWrite | ApplyWrite | CutWrite | BeginInstallWrite | InstallWrite | DiscardWrite


def _digest_of(key: bytes, record: Record) -> int:
    encoded = _digest_encoder.encode((key, record))
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big")
