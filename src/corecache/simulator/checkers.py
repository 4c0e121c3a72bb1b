"""What must be true of the whole cluster, looked at after every event from outside, with eyes that no node has.

The invariants of `docs/protocol.md`, each checked where an event may have broken it:

1. Log matching: an entry is the same, and follows the same one, wherever its epoch and sequence appear.
2. What is committed is on the disk of every member of the current view's `in_sync`.
3. One incarnation is activated in an epoch.
4. One replica of a partition may serve at any true instant, by its own clock, be it paused or not.
5. What was answered *not done* is in no log; what was answered as written is committed, and only once.
6. applied, commit point and durable never go back in a process, and the disk has what was acknowledged (R3).
7. Replicas that have applied the same sequence hold equal records.

What clients see, key by key, is judged at the end by `linearizability.py`. A broken rule raises `ViolationError`.
"""

from collections.abc import Sequence as Many

from corecache.identity import Epoch, Incarnation, Member, NodeId, PartitionId
from corecache.placement.view import VersionedView, View
from corecache.replication import invariants
from corecache.replication.log import Entry
from corecache.replication.messages import Replicated
from corecache.replication.replica import Replica
from corecache.simulator.clock import NodeClock, Schedule
from corecache.simulator.contents import Held
from corecache.simulator.disk import Disk
from corecache.simulator.trace import ViolationError


class History:
    """What is known of a partition: all entries ever appended anywhere, and those ever committed."""

    __slots__ = ("activated", "appended", "committed", "digests", "leading", "versions")

    def __init__(self) -> None:
        self.appended: dict[tuple[int, int], tuple[Entry, int]] = {}
        """(epoch, sequence) → the entry, and the epoch of the one before it."""
        self.committed: list[Entry] = []
        self.digests: dict[int, int] = {0: 0}
        """Applied sequence → digest of the records."""
        self.activated: dict[Epoch, tuple[NodeId, Incarnation]] = {}
        self.leading: dict[NodeId, tuple[Replica, NodeClock]] = {}
        """The replicas with a primary role."""
        self.versions: dict[int, int] = {}
        """Version → the sequence that committed it."""


class Watched:
    """What is known of one replica in one process: how far it went, and the epochs of its log's entries."""

    __slots__ = ("applied", "commit", "epochs", "first", "installing", "replica")

    def __init__(self, replica: Replica, held: Held) -> None:
        self.replica = replica
        self.installing = False
        self.applied = self.commit = int(held.applied.sequence)
        self.first = self.applied
        """The sequence of the first of `epochs`, which is applied."""
        self.epochs = [int(held.applied.epoch)]
        self.epochs += [held.log[at].epoch for at in range(self.first + 1, held.last + 1)]

    def epoch_at(self, sequence: int) -> int | None:
        """Returns the epoch of an entry, None if it lies before what is known."""
        return self.epochs[sequence - self.first] if self.first <= sequence <= self.last else None

    @property
    def last(self) -> int:
        """Returns the sequence of the last entry."""
        return self.first + len(self.epochs) - 1


class Checks:
    """All that is known of the cluster, and what must be true of it."""

    def __init__(self, schedule: Schedule) -> None:
        self.disks: dict[NodeId, Disk] = {}
        self.histories: dict[PartitionId, History] = {}
        self.views: dict[PartitionId, VersionedView] = {}
        self.values: dict[bytes, PartitionId] = {}
        """Every value that is in a log somewhere."""
        self.refused: dict[bytes, str] = {}
        """Every value whose write was answered *not done*."""
        self.contested: dict[PartitionId, None] = {}
        """Partitions of which two replicas have a primary role at present."""
        self._lost: set[tuple[PartitionId, Member]] = set()
        """Replicas whose disk was taken away: nobody can hold it against them that they hold nothing."""
        self._watched: dict[tuple[NodeId, PartitionId], Watched] = {}
        self._schedule = schedule

    # What a node does.

    def opened(self, node: NodeId, partition: PartitionId, replica: Replica) -> None:
        """Takes note of a replica that begins, with what its disk holds."""
        held = self.disks[node].contents.replicas[partition]
        self._watched[node, partition] = Watched(replica, held)

    def closed(self, node: NodeId) -> None:
        """Takes note that a node's process has ended."""
        for partition in [known for name, known in self._watched if name == node]:
            self.dropped(node, partition)

    def disk_lost(self, node: NodeId) -> None:
        """Takes note that a node's disk, with all that it holds, is about to be taken away."""
        for held in (self.disks[node].durable, self.disks[node].contents):
            for partition, replica in held.replicas.items():
                self._lost.add((partition, Member(node, replica.facts.replica)))

    def dropped(self, node: NodeId, partition: PartitionId) -> None:
        """Takes note that a replica is no more."""
        del self._watched[node, partition]
        self._note_leading(self.histories[partition], node, partition, None)

    def appending(self, node: NodeId, partition: PartitionId, entries: Many[Entry]) -> None:
        """Checks entries that a replica is about to append: invariants 1 and 5."""
        history, watched = self.histories[partition], self._watched[node, partition]
        for entry in entries:
            if entry.sequence != watched.last + 1:
                raise ViolationError(f"log matching: p{partition} on {node} appends {entry} after {watched.last}")
            known = history.appended.get((entry.epoch, entry.sequence))
            if known is None:
                history.appended[entry.epoch, entry.sequence] = (entry, watched.epochs[-1])
                for operation in entry.operations:
                    if operation.record is not None:
                        self._note_value(partition, operation.record.value)
            elif known != (entry, watched.epochs[-1]):
                raise ViolationError(
                    f"log matching: p{partition} on {node} has {entry} after epoch {watched.epochs[-1]}, "
                    f"elsewhere it is {known[0]} after epoch {known[1]}"
                )
            watched.epochs.append(entry.epoch)

    def _note_value(self, partition: PartitionId, value: bytes) -> None:
        if value in self.refused:
            raise ViolationError(f"{value!r} was answered not done ({self.refused[value]}) and is appended later")
        self.values[value] = partition

    def truncating(self, node: NodeId, partition: PartitionId, above: int) -> None:
        """Takes note of a truncation; checks that nothing committed goes with it (R1)."""
        watched = self._watched[node, partition]
        if above < watched.commit:
            raise ViolationError(f"p{partition} on {node} cuts above {above}, where {watched.commit} is committed")
        del watched.epochs[above + 1 - watched.first :]

    def acknowledging(self, node: NodeId, message: Replicated) -> None:
        """Checks that the disk has what a backup is about to acknowledge (R3), and it is of this log (R1)."""
        held = self.disks[node].durable.replicas.get(message.partition)
        watched = self._watched[node, message.partition]
        epoch = watched.epoch_at(message.upto)
        if held is None or held.facts.replica != message.sender or message.upto > max(held.last, held.applied.sequence):
            raise ViolationError(f"p{message.partition} on {node} acknowledges {message.upto}, which it has not synced")
        if epoch is not None and message.upto and not held.holds(message.upto, epoch):
            raise ViolationError(f"p{message.partition} on {node} acknowledges {message.upto} of another log")

    def installed(self, node: NodeId, partition: PartitionId) -> None:
        """Checks a replica whose snapshot is whole, and begins to watch it anew."""
        held = self.disks[node].contents.replicas[partition]
        replica = self._watched[node, partition].replica
        self._check_digest(node, partition, held)
        self._watched[node, partition] = Watched(replica, held)

    def emptied(self, node: NodeId, partition: PartitionId) -> None:
        """Takes note that a replica dropped what it held, to install a snapshot."""
        watched = self._watched[node, partition]
        watched.installing = True

    def applied(self, node: NodeId, partition: PartitionId) -> None:
        """Checks the records of a replica that has applied something: invariant 7."""
        held = self.disks[node].contents.replicas.get(partition)
        if held is not None and not held.facts.installing:
            self._check_digest(node, partition, held)

    def _check_digest(self, node: NodeId, partition: PartitionId, held: Held) -> None:
        digests = self.histories[partition].digests
        if digests.setdefault(held.applied.sequence, held.digest) != held.digest:
            raise ViolationError(
                f"equal stores: p{partition} on {node} has applied {held.applied.sequence} with other records"
            )

    # After every event.

    def after(self, node: NodeId, partition: PartitionId, replica: Replica, clock: NodeClock) -> None:
        """Checks a replica that an event has touched, and what it means for the others."""
        try:
            invariants.check(replica)
        except AssertionError as broken:
            raise ViolationError(f"p{partition} on {node}: {broken}") from broken
        watched = self._watched[node, partition]
        log, history = replica.log, self.histories[partition]
        if watched.installing:
            return
        if log.applied < watched.applied or log.commit < watched.commit:
            raise ViolationError(
                f"p{partition} on {node}: applied {watched.applied} → {log.applied}, "
                f"commit {watched.commit} → {log.commit} has gone back"
            )
        watched.applied = log.applied
        if log.commit > watched.commit:
            self._committed(node, partition, watched, log.commit)
        primary = replica.primary
        leading = history.leading.get(node)
        if (primary is None) != (leading is None) or (leading is not None and leading[0] is not replica):
            self._note_leading(history, node, partition, None if primary is None else (replica, clock))
        if primary is not None and primary.activated:
            self._check_activated(history, node, partition, replica)
        if partition in self.contested:
            self.check_serving(partition)

    def _committed(self, node: NodeId, partition: PartitionId, watched: Watched, commit: int) -> None:
        """Notes what a replica has learned to be committed; checks invariants 1, 2 and 5 for it."""
        history = self.histories[partition]
        for sequence in range(watched.commit + 1, commit + 1):
            epoch = watched.epoch_at(sequence)
            if epoch is None:
                raise ViolationError(f"p{partition} on {node} commits {sequence}, which it does not hold")
            if sequence <= len(history.committed):
                if history.committed[sequence - 1].epoch != epoch:
                    raise ViolationError(
                        f"p{partition} on {node} commits {sequence} of epoch {epoch}, "
                        f"which is committed as {history.committed[sequence - 1]}"
                    )
                continue
            assert sequence == len(history.committed) + 1
            entry, _ = history.appended[epoch, sequence]
            history.committed.append(entry)
            self._note_versions(partition, history, entry)
        watched.commit = commit
        self._check_in_sync(partition, commit)

    def _note_versions(self, partition: PartitionId, history: History, entry: Entry) -> None:
        for operation in entry.operations:
            if operation.record is not None:
                version = operation.record.version
                if version in history.versions:
                    raise ViolationError(f"p{partition}: version {version} is given twice")
                history.versions[version] = entry.sequence

    def _check_in_sync(self, partition: PartitionId, commit: int) -> None:
        for member in self.views[partition].view.in_sync:
            if not self._holds(partition, member, commit):
                raise ViolationError(
                    f"p{partition}: {commit} is committed, and {member.node} ({member.replica}), "
                    f"which is in sync by view {self.views[partition].version}, does not have it on its disk"
                )

    def _holds(self, partition: PartitionId, member: Member, sequence: int) -> bool:
        """Says whether a member's disk holds a committed entry. One whose disk was taken away counts as holding it."""
        held = self.disks[member.node].durable.replicas.get(partition)
        if held is None or held.facts.replica != member.replica:
            return (partition, member) in self._lost
        if self.disks[member.node].lost:
            return True
        return held.holds(sequence, self.histories[partition].committed[sequence - 1].epoch)

    def _note_leading(
        self, history: History, node: NodeId, partition: PartitionId, leading: tuple[Replica, NodeClock] | None
    ) -> None:
        if leading is None:
            history.leading.pop(node, None)
        else:
            history.leading[node] = leading
        if len(history.leading) > 1:
            self.contested[partition] = None
        else:
            self.contested.pop(partition, None)

    def _check_activated(self, history: History, node: NodeId, partition: PartitionId, replica: Replica) -> None:
        assert replica.primary is not None
        known = history.activated.setdefault(replica.primary.epoch, (node, replica.incarnation))
        if known != (node, replica.incarnation):
            raise ViolationError(f"p{partition}: {node} is activated in epoch {replica.primary.epoch}, as {known} was")

    def check_serving(self, partition: PartitionId) -> None:
        """Checks that at most one replica may serve at this true instant: invariant 4."""
        now = self._schedule.now
        serving = [
            (node, replica.serving_epoch(clock.local(now)))
            for node, (replica, clock) in self.histories[partition].leading.items()
        ]
        if sum(1 for _, epoch in serving if epoch) > 1:
            raise ViolationError(f"p{partition}: {serving} may serve at once (node, epoch)")

    # What the coordinator and the clients see.

    def viewed(self, partition: PartitionId, confirmed: VersionedView) -> None:
        """Checks a view that was accepted: invariant 2, for those whom it trusts."""
        self.views[partition] = confirmed
        history = self.histories.setdefault(partition, History())
        if history.committed:
            self._check_in_sync(partition, len(history.committed))

    def not_done(self, value: bytes, reason: str) -> None:
        """Checks a write that is answered *not done*: it must not be in any log, now or later."""
        if value in self.values:
            raise ViolationError(f"{value!r} is answered not done ({reason}), and it is in a log")
        self.refused[value] = reason

    def written(self, node: NodeId, partition: PartitionId, version: int, view: View) -> None:
        """Checks a put that is answered as done: it is committed, and on as many disks as it should be (R5).

        `view` is what the primary knows. In a newer one another may stand for a member of it, which may have discarded
        its copy already: both count.
        """
        history = self.histories[partition]
        sequence = history.versions.get(version)
        if sequence is None:
            raise ViolationError(f"p{partition} on {node} answers version {version} as written; it is not committed")
        members = {*view.in_sync, *self.views[partition].view.in_sync}
        copies = sum(1 for member in members if self._holds(partition, member, sequence))
        if copies < view.min_in_sync:
            raise ViolationError(f"p{partition}: version {version} is answered as written with {copies} copies")

    # At the end.

    def check_all(self) -> None:
        """Checks what the events alone don't show: every replica's records against the committed log, and the views."""
        for partition in sorted(self.histories):
            history = self.histories[partition]
            for node in sorted(self.disks):
                held = self.disks[node].contents.replicas.get(partition)
                if held is None or held.facts.installing:
                    continue
                replayed = Held(held.facts)
                for entry in history.committed[: held.applied.sequence]:
                    replayed.apply(entry)
                if replayed.records != held.records:
                    raise ViolationError(f"p{partition} on {node} holds other records than its log gives")
            if history.committed:
                self._check_in_sync(partition, len(history.committed))
