"""A conversation with a replica: events in, actions out, completions when the test says so.

It stands in for the driver and the disk of one replica. The disk keeps the durable log, the records and the facts, so
that a test can crash it and start the next process on what is left. After every event the invariants are checked.
"""

from collections import deque
from collections.abc import Sequence as Many

from corecache.config import Replication
from corecache.errors import CoreCacheError
from corecache.identity import (
    Epoch,
    Incarnation,
    Lineage,
    Member,
    Milliseconds,
    NodeId,
    PartitionId,
    ReplicaId,
    Sequence,
    Timestamp,
)
from corecache.operations import Operation, Record, Result
from corecache.placement.view import VersionedView, View
from corecache.replication import actions, events, invariants
from corecache.replication.log import Entry
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, Recovered, ReplicaFacts
from corecache.replication.replica import Replica

NODE = NodeId("n1")
MEMBER = Member(NODE, ReplicaId("r1"))


class Disk:
    """What survives a crash: facts, log, records. What is cut from the log is only marked so, for tests to look at."""

    def __init__(self) -> None:
        self.facts = ReplicaFacts(MEMBER.replica, Epoch(0))
        self.incarnation = Incarnation(0)
        self.log: list[Entry] = []
        self.cut = Sequence(0)
        self.records: dict[bytes, Record] = {}
        self.applied = NOTHING_APPLIED
        self.confirmed = VersionedView(View(Lineage(1), Epoch(1), MEMBER, Incarnation(1), (MEMBER,), (NODE,)), 0)

    def recovered(self) -> Recovered:
        """Returns what a store would find at opening."""
        above = tuple(entry for entry in self.log if entry.sequence > self.applied.sequence)
        return Recovered(self.facts, self.applied, above)

    def apply(self, entry: Entry) -> None:
        """Brings the records up to an entry."""
        version = self.applied.version
        for operation in entry.operations:
            if operation.record is None:
                self.records.pop(operation.key, None)
            else:
                self.records[operation.key] = operation.record
                version = max(version, operation.record.version)
        self.applied = AppliedPoint(entry.sequence, entry.epoch, version)


class Conversation:
    """One process of a replica on a disk. Completions wait in queues until they are let go."""

    def __init__(self, disk: Disk, grants_end: int = 0, retention_bytes: int = 1 << 30) -> None:
        self.disk = disk
        disk.incarnation = Incarnation(disk.incarnation + 1)
        self.replica = Replica(
            PartitionId(0),
            NODE,
            disk.incarnation,
            disk.recovered(),
            Milliseconds(grants_end),
            Replication(),
            retention_bytes,
        )
        self.now = 0
        self.date = 1_000_000
        self.results: dict[int, Many[Result] | CoreCacheError] = {}
        self.told: list[actions.Action] = []
        self.wake_at: int | None = None
        self.appending: deque[Entry] = deque()
        self.applying: deque[Entry] = deque()
        self.fetching: deque[tuple[Epoch, list[bytes]]] = deque()
        self._requests: dict[int, events.Request] = {}

    def begin(self) -> "Conversation":
        """Brings the view, and lets everything go until the replica serves."""
        self.feed(events.ViewChanged(self.disk.confirmed))
        self.finish()
        return self

    def write(self, *operations: Operation, timeout_ms: int = 5000) -> int:
        """Sends one request; returns its number."""
        return self.write_all([operations], timeout_ms)[0]

    def write_all(self, requests: Many[Many[Operation]], timeout_ms: int = 5000) -> list[int]:
        """Sends requests as one batch; returns their numbers."""
        sent = [events.Request(operations, Milliseconds(self.now + timeout_ms), 100) for operations in requests]
        numbers = []
        for request in sent:
            numbers.append(len(self._requests))
            self._requests[numbers[-1]] = request
        self.feed(events.ClientWrites(sent, Timestamp(self.date)))
        return numbers

    def feed(self, event: events.Event) -> list[actions.Action]:
        """Brings an event, begins its actions, checks the invariants; returns the actions."""
        begun = self.replica.handle(event, Milliseconds(self.now))
        for action in begun:
            self._begin(action)
        self.told += begun
        invariants.check(self.replica)
        return begun

    def serves(self) -> bool:
        """Says whether the replica would serve a read now."""
        return self.replica.serving_epoch(Milliseconds(self.now)) != 0

    def append(self) -> None:
        """Lets everything that was asked to be appended become durable."""
        self.disk.log += self.appending
        if self.appending:
            upto = self.appending[-1].sequence
            self.appending.clear()
            self.feed(events.Appended(upto, self.replica.log.generation))

    def apply(self) -> None:
        """Lets everything that was asked to be applied reach the records."""
        for entry in self.applying:
            self.disk.apply(entry)
        if self.applying:
            upto = self.applying[-1].sequence
            self.applying.clear()
            self.feed(events.Applied(upto))

    def fetch(self) -> None:
        """Lets the oldest fetch come back, with the records as they are now."""
        if self.fetching:
            epoch, keys = self.fetching.popleft()
            self.feed(events.Fetched(epoch, {key: self.disk.records.get(key) for key in keys}, {}))

    def finish(self) -> None:
        """Lets everything go until nothing is under way."""
        while self.appending or self.applying or self.fetching:
            self.fetch()
            self.append()
            self.apply()

    def wake(self) -> None:
        """Moves the clock to the time that was asked for, and says so."""
        assert self.wake_at is not None
        self.now, self.wake_at = max(self.now, self.wake_at), None
        self.feed(events.Woken())

    def _begin(self, action: actions.Action) -> None:
        match action:
            case actions.Append(entries, _):
                self.appending += entries
            case actions.Apply(entries, _):
                self.applying += entries
            case actions.Fetch(epoch, keys, _):
                self.fetching.append((epoch, list(keys)))
            case actions.Save(facts):
                self.disk.facts = facts
                self.feed(events.Saved(facts.epoch))
            case actions.ProposeView(view, expected):
                assert expected == self.disk.confirmed.version
                self.disk.confirmed = VersionedView(view, expected + 1)
                self.feed(events.ViewChanged(self.disk.confirmed))
            case actions.Answer(answers):
                for request, results in answers:
                    self._note(request, results)
            case actions.Refuse(requests, error):
                for request in requests:
                    self._note(request, error)
            case actions.WakeAt(time):
                self.wake_at = time
            case actions.Cut(upto):
                assert self.disk.cut < upto <= self.disk.applied.sequence
                self.disk.cut = upto

    def _note(self, request: events.Request, outcome: Many[Result] | CoreCacheError) -> None:
        number = next(number for number, known in self._requests.items() if known is request)
        assert number not in self.results, f"request {number} was told twice"
        self.results[number] = outcome
