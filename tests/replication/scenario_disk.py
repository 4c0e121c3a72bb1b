"""A node's disk in a scenario: what it holds of one partition, and the writes that are asked for and not yet done.

Writes wait in their order until the lab lets them go; a crash drops those that wait, so it keeps a prefix of them, and
a failed disk does none any more. A truncation is done together with the append that follows it, as the store does it.
The disk survives the process; `wiped` and `shortened` play what should not happen to a disk and does.
"""

from collections import deque
from collections.abc import Callable

from corecache.identity import Epoch, Lineage, NodeId, ReplicaId, Sequence
from corecache.operations import Record
from corecache.replication import actions, events
from corecache.replication.log import Entry
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, Recovered, ReplicaFacts

CHUNK_RECORDS = 2
READ_ENTRIES = 4

Write = Callable[[], events.Event | None]
Snapshot = tuple[AppliedPoint, list[tuple[bytes, Record]]]


class Disk:
    """One node's disk. `facts` is None while it holds nothing of the partition."""

    def __init__(self, node: NodeId) -> None:
        """Begins empty."""
        self.node = node
        self.facts: ReplicaFacts | None = None
        self.log: list[Entry] = []
        self.cut = Sequence(0)
        self.records: dict[bytes, Record] = {}
        self.applied = NOTHING_APPLIED
        self.failed = False
        self.writes: deque[Write] = deque()
        self._snapshots: dict[int, Snapshot] = {}
        self._truncate: Sequence | None = None
        self._ids = 0

    # What survives.

    def recovered(self) -> Recovered:
        """Returns what a process finds at its start; the log of what is applied is not read again."""
        assert self.facts is not None
        entries = tuple(entry for entry in self.log if entry.sequence > self.applied.sequence)
        return Recovered(self.facts, self.applied, entries, self.cut)

    def crash(self) -> None:
        """Ends the process: what was asked for and not done is lost."""
        self.writes.clear()
        self._snapshots.clear()
        self._truncate = None
        self.failed = False

    def adopt(self, lineage: Lineage) -> None:
        """Makes an empty replica under a new id."""
        self._empty()
        self.facts = ReplicaFacts(self.draw(), Epoch(0), lineage)

    def wipe(self) -> None:
        """Forgets everything."""
        self._empty()
        self.facts = None

    def shorten(self, upto: int) -> None:
        """Loses the end of the log, and what was applied from there on: what no disk should do."""
        self.log = [entry for entry in self.log if entry.sequence <= upto]
        self.records, self.applied = {}, NOTHING_APPLIED
        for entry in self.log:
            self._apply(entry)

    def draw(self) -> ReplicaId:
        """Returns a replica id that this node never had."""
        self._ids += 1
        return ReplicaId(f"{self.node}/{self._ids}")

    def _empty(self) -> None:
        self.log, self.records, self.applied, self.cut = [], {}, NOTHING_APPLIED, Sequence(0)

    def begin(self, facts: ReplicaFacts, entries: list[Entry]) -> None:
        """Begins with a log that is applied."""
        self.facts = facts
        self.log = list(entries)
        for entry in entries:
            self._apply(entry)

    # Writes.

    def ask(self, action: actions.Action) -> None:
        """Takes a write of the machine, to be done when the lab lets it go."""
        match action:
            case actions.Save(facts):
                self.writes.append(lambda: self._save(facts))
            case actions.Truncate(above):
                self._truncate = above if self._truncate is None else min(above, self._truncate)
            case actions.Append(entries, generation):
                cut, self._truncate = self._truncate, None
                self.writes.append(lambda: self._append(list(entries), generation, cut))
            case actions.Apply(entries, generation):
                self.writes.append(lambda: self._apply_all(list(entries), generation))
            case actions.Cut(upto):
                self.writes.append(lambda: self._cut(upto))
            case actions.BeginInstall(transfer, facts):
                self.writes.append(lambda: self._begin_install(transfer, facts))
            case actions.Install():
                self.writes.append(lambda: self._install(action))
            case _:
                raise AssertionError(f"no write: {action}")

    def write(self) -> events.Event | None:
        """Does the oldest write; returns its completion."""
        return self.writes.popleft()()

    def _save(self, facts: ReplicaFacts) -> events.Event:
        self.facts = facts
        return events.Saved(facts.epoch)

    def _append(self, entries: list[Entry], generation: int, cut: Sequence | None) -> events.Event:
        if cut is not None:
            assert cut >= self.applied.sequence, "an applied entry is cut from the log's end"
            self.log = [entry for entry in self.log if entry.sequence <= cut]
        end = self.log[-1].sequence if self.log else self.applied.sequence
        assert entries[0].sequence == end + 1, f"{self.node} appends {entries[0].sequence} after {end}"
        self.log += entries
        return events.Appended(entries[-1].sequence, generation)

    def _apply_all(self, entries: list[Entry], generation: int) -> events.Event:
        for entry in entries:
            self._apply(entry)
        return events.Applied(entries[-1].sequence, generation)

    def _apply(self, entry: Entry) -> None:
        assert entry.sequence == self.applied.sequence + 1, f"{self.node} applies {entry.sequence} out of order"
        version = self.applied.version
        for operation in entry.operations:
            if operation.record is None:
                self.records.pop(operation.key, None)
            else:
                self.records[operation.key] = operation.record
                version = max(version, operation.record.version)
        self.applied = AppliedPoint(entry.sequence, entry.epoch, version)

    def _cut(self, upto: Sequence) -> None:
        assert self.cut < upto <= self.applied.sequence, "what is not applied is cut from the log's beginning"
        self.cut = upto
        self.log = [entry for entry in self.log if entry.sequence > upto]

    def _begin_install(self, transfer: int, facts: ReplicaFacts) -> events.Event:
        self._empty()
        self.facts = ReplicaFacts(self.draw(), facts.epoch, facts.lineage, facts.installing)
        return events.InstallBegun(transfer, self.facts.replica)

    def _install(self, action: actions.Install) -> events.Event:
        self.records.update(action.records)
        self.facts = action.facts
        if action.last:
            self.applied, self.cut = action.point, action.point.sequence
        return events.ChunkInstalled(action.transfer, action.number)

    # Reads.

    def read(self, action: actions.Fetch | actions.ReadLog | actions.ReadSnapshot) -> events.Event:
        """Reads what the machine asks for, as of now."""
        match action:
            case actions.Fetch(epoch, keys, _):
                return events.Fetched(epoch, {key: self.records.get(key) for key in keys}, {})
            case actions.ReadLog(replica, above, upto, _):
                entries = [entry for entry in self.log if above < entry.sequence <= upto][:READ_ENTRIES]
                return events.LogRead(replica, above, tuple(entries) if above >= self.cut else ())
            case actions.ReadSnapshot(transfer, number, _):
                if number == 0:
                    self._snapshots[transfer] = (self.applied, sorted(self.records.items()))
                point, records = self._snapshots[transfer]
                end = (number + 1) * CHUNK_RECORDS
                chunk = tuple(records[number * CHUNK_RECORDS : end])
                return events.SnapshotRead(transfer, number, point, chunk, end >= len(records))

    def end_snapshot(self, transfer: int) -> None:
        """Lets go of a snapshot's view."""
        self._snapshots.pop(transfer, None)
