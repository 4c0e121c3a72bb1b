"""The primary's dealings with the other replicas: what it sends to whom, and what they have acknowledged.

A member of the view is sent the log from this primary's applied point on, since every member has that (invariant 2).
A replica that joins says where it stands (`Standing`), and is sent what follows its commit point: from memory, from the
disk's log, or after a snapshot (R12). What was appended is sent as it is appended, without waiting for answers; what is
not acknowledged in time is sent again from the last acknowledgement.

Rules:

1. Acknowledgements count in this epoch only: a new primary begins with none (R1).
2. A replica whose commit point is beyond this log's end, or at another entry than this log has there, proves that
   something committed is missing here: the primary halts rather than guess (R10).
3. A member whose log is shorter than what it has acknowledged, or than what it must have, is damaged, and lost (R14).
4. Whoever has all entries and does not know that they are committed is told again: there may be no write for long, and
   a copy that may be read from lags until then.
5. What is sent ahead of acknowledgements is bounded for those that join; for the required set it is by the bounds on
   uncommitted writes.
"""

from collections.abc import Iterable

from corecache.identity import Member, Milliseconds, NodeId, Sequence
from corecache.placement.view import View
from corecache.replication.actions import Action, ReadLog, ReadView, Send
from corecache.replication.events import LogRead, SnapshotRead
from corecache.replication.log import Position, size_of
from corecache.replication.messages import (
    Accepted,
    Failing,
    Installed,
    Invite,
    Partitional,
    Replicate,
    Replicated,
    Standing,
)
from corecache.replication.progress import Progress, Stage
from corecache.replication.state import Contradiction, State
from corecache.replication.transfer import Throttle, Transfer

_AHEAD_ENTRIES_MAX = 256


class Backups:
    """All replicas but this one that a primary replicates to, by node: a node has one replica of a partition."""

    __slots__ = ("_invited_at", "_state", "_throttle", "_transfers", "barrier", "progress", "required")

    def __init__(self, state: State, throttle: Throttle, view: View, now: Milliseconds) -> None:
        """Begins with the members of the view."""
        self._state = state
        self._throttle = throttle
        self._transfers: dict[int, Transfer] = {}
        self._invited_at: dict[NodeId, Milliseconds] = {}
        self.progress: dict[NodeId, Progress] = {
            member.node: Progress(member, self._edge(), now) for member in view.in_sync if member != state.member
        }
        self.barrier: Sequence | None = None
        """The first entry of this epoch, None before it is appended. Who joins is served after it is applied."""
        self.required: tuple[Member, ...] = ()
        """The required set without this replica."""

    def _edge(self) -> Position:
        edge = self._state.log.position(self._state.log.applied)
        assert edge is not None
        return edge

    def _position(self, sequence: Sequence) -> Position | None:
        """Returns an entry's position, also of one that is no longer in memory, if it is of this epoch."""
        if self.barrier is not None and self.barrier <= sequence <= self._state.log.last:
            return Position(self._state.facts.epoch, sequence)
        return self._state.log.position(sequence)

    def of(self, member: Member) -> Progress | None:
        """Returns a member's progress, None if it is a stranger."""
        progress = self.progress.get(member.node)
        return progress if progress is not None and progress.member == member else None

    def require(self, members: Iterable[Member]) -> None:
        """Takes the required set without this replica; `membership.py` keeps it."""
        self.required = tuple(dict.fromkeys(members))
        self._state.peers.lease_ends.pop(self._state.partition, None)

    def committed(self, own: Sequence) -> Sequence:
        """Returns the highest sequence that the required set and this replica's own disk have (R4)."""
        committed = own
        for member in self.required:
            progress = self.of(member)
            if progress is None:
                return Sequence(0)
            committed = min(committed, progress.acknowledged)
        return committed

    # Sending.

    def replicate(self, now: Milliseconds) -> list[Action]:
        """Sends everybody what was appended and not sent yet."""
        actions: list[Action] = []
        last = self._state.log.last
        for progress in self.progress.values():
            if progress.sent < last and progress.stage is Stage.STREAMING:
                actions += self._stream(progress, now)
        return actions

    def _stream(self, progress: Progress, now: Milliseconds) -> list[Action]:
        log = self._state.log
        if progress.sent < log.applied:
            return self._read(progress, now)
        upto = log.last
        if progress.member not in self.required:
            upto = min(upto, Sequence(max(progress.acknowledged, log.applied) + _AHEAD_ENTRIES_MAX))
            if upto <= progress.sent:
                return []
        previous = log.position(progress.sent)
        assert previous is not None
        entries = tuple(log.between(progress.sent, upto))
        progress.sent = upto
        if progress.waiting_since is None:
            progress.waiting_since = now
        progress.told_commit = log.commit
        return self._state.send(Replicate, progress.member, previous, entries, log.commit)

    def _tell_commit(self, progress: Progress) -> list[Action]:
        log = self._state.log
        previous = self._position(max(progress.acknowledged, progress.edge.sequence))
        if previous is None:
            previous = self._edge()
        progress.told_commit = log.commit
        return self._state.send(Replicate, progress.member, previous, (), log.commit)

    def _read(self, progress: Progress, now: Milliseconds) -> list[Action]:
        """Asks the disk for entries that are no longer in memory, or offers a snapshot if it has them no more."""
        acknowledged = self._position(progress.acknowledged)
        if acknowledged is not None and acknowledged.sequence > progress.edge.sequence:
            progress.edge = acknowledged
        if progress.edge.sequence < self._state.log.cut:
            return self._offer(progress, now)
        if not self._throttle.allows(now):
            return []
        progress.stage = Stage.READING
        progress.said_at = now
        settings, log = self._state.settings, self._state.log
        return [ReadLog(progress.member.replica, progress.edge.sequence, log.applied, settings.transfer_chunk_bytes)]

    def _offer(self, progress: Progress, now: Milliseconds) -> list[Action]:
        if progress.member in self.required:
            progress.lost = "its log ends before what it must have"
            progress.stage = Stage.STREAMING
            return []
        # Unique in this process, also over epochs: the disk may still be reading for an older one.
        self._state.transfers += 1
        progress.stage = Stage.OFFERED
        progress.transfer = self._state.transfers
        transfer = Transfer(self._state, self._throttle, progress.transfer, progress, now)
        self._transfers[transfer.number] = transfer
        self._keep_log()
        return transfer.offer(now)

    # What they say.

    def on_message(self, message: Partitional, sender: Member, now: Milliseconds) -> list[Action]:
        """Takes a message that is no acknowledgement."""
        if isinstance(message, Standing):
            return self.on_standing(message, sender, now)
        if isinstance(message, Accepted):
            return self.on_accepted(message, sender, now)
        if isinstance(message, Installed):
            return self.on_installed(message, sender, now)
        progress = self.of(sender)
        if progress is not None and isinstance(message, Failing):
            progress.lost = "its disk has failed"
        return []

    def on_standing(self, message: Standing, sender: Member, now: Milliseconds) -> list[Action]:
        """Begins with a replica where it stands, or begins again."""
        confirmed, log = self._state.confirmed, self._state.log
        assert confirmed is not None
        if message.lineage != confirmed.view.lineage:
            return []
        if message.commit.sequence > log.last:
            raise Contradiction(
                f"{sender.node} has committed {message.commit.sequence}, and this primary's log ends at {log.last}"
            )
        known = self._position(message.commit.sequence)
        if known is not None and known != message.commit:
            raise Contradiction(
                f"{sender.node} has committed another entry {message.commit.sequence} than this primary"
            )
        progress = self.of(sender)
        if progress is not None and self._is_through(progress, message):
            # Its last word on the transfer was lost, or it has come further since it was offered: it joins from there.
            ended = self.forget(sender.node)
            return ended + self.on_standing(message, sender, now)
        if progress is not None and (sender in self.required or progress.acknowledged <= message.last.sequence):
            return self._known_stands(progress, message, now)
        if message.version > confirmed.version:
            return [ReadView()]
        if sender.node not in confirmed.view.replicas or not self._takes_joiners():
            return []
        if message.version < confirmed.version:
            return self._invite(sender.node, now, self._state.settings.beat_ms)
        replaced = self.progress.get(sender.node)
        if replaced is not None and replaced.member in self.required:
            # That node holds another replica now, hence no longer the one that the view counts on.
            replaced.lost = "it has lost its content"
            return []
        actions = self.forget(sender.node)
        progress = self.progress[sender.node] = Progress(sender, message.commit, now)
        progress.version = message.version
        return actions + self._stream(progress, now)

    def _takes_joiners(self) -> bool:
        """Says whether the barrier is applied: before that, more may be committed than is known here."""
        return self.barrier is not None and self._state.log.applied >= self.barrier

    def _known_stands(self, progress: Progress, message: Standing, now: Milliseconds) -> list[Action]:
        had = max(progress.acknowledged, progress.edge.sequence)
        if progress.member in self.required and message.last.sequence < had:
            progress.lost = "its log is shorter than what it has acknowledged"
            return []
        progress.version = max(progress.version, message.version)
        # Something on the way to it was lost or came out of order. It says so for all that follows: once is enough.
        if progress.stage not in (Stage.STREAMING, Stage.CATCHING_UP) or self._was_just_told(progress, now):
            return []
        return self._again(progress, now)

    def _was_just_told(self, progress: Progress, now: Milliseconds) -> bool:
        return now - progress.said_at < self._state.settings.beat_ms

    def _is_through(self, progress: Progress, message: Standing) -> bool:
        """Says whether a replica that is offered a snapshot, or takes one, has all of it by its own account."""
        transfer = self._transfers.get(progress.transfer)
        under_way = progress.stage in (Stage.OFFERED, Stage.INSTALLING)
        return transfer is not None and under_way and message.commit.sequence >= transfer.point.sequence

    def _again(self, progress: Progress, now: Milliseconds) -> list[Action]:
        """Sends again what is not acknowledged."""
        log = self._state.log
        progress.stage = Stage.STREAMING
        progress.said_at = now
        progress.sent = max(progress.acknowledged, progress.edge.sequence)
        if progress.sent < log.last:
            return self._stream(progress, now)
        return self._tell_commit(progress)

    def on_replicated(self, message: Replicated, sender: Member, now: Milliseconds) -> tuple[bool, list[Action]]:
        """Counts an acknowledgement (R3); says whether it is news."""
        progress = self.of(sender)
        if progress is None:
            return False, []
        progress.heard_at = progress.said_at = now
        if message.upto > self._state.log.last:
            raise Contradiction(f"{sender.node} acknowledged {message.upto}, and this primary's log ends before")
        progress.commit = max(progress.commit, message.commit)
        news = progress.acknowledge(message.upto, now)
        actions: list[Action] = []
        if progress.stage is Stage.CATCHING_UP and message.upto >= progress.pending.sequence:
            # Also what was acknowledged before may have been read for it again: its edge was not known to be so far.
            news = True
            progress.edge = progress.pending
            progress.sent = progress.edge.sequence
            progress.stage = Stage.STREAMING
        if news and progress.stage is Stage.STREAMING and progress.sent < self._state.log.last:
            progress.sent = max(progress.sent, progress.acknowledged)
            actions = self._stream(progress, now)
        return news, actions

    def on_log_read(self, event: LogRead, now: Milliseconds) -> list[Action]:
        """Sends what the disk gave; a log that has lost it means a snapshot."""
        progress = next((each for each in self.progress.values() if each.member.replica == event.replica), None)
        if progress is None or progress.stage is not Stage.READING or progress.edge.sequence != event.above:
            return []
        if not event.entries:
            return self._offer(progress, now)
        last = event.entries[-1]
        progress.stage = Stage.CATCHING_UP
        progress.pending = Position(last.epoch, last.sequence)
        progress.said_at = now
        self._throttle.take(size_of(list(event.entries)))
        return self._state.send(
            Replicate, progress.member, progress.edge, event.entries, self._state.log.commit, bulk=True
        )

    def on_accepted(self, message: Accepted, sender: Member, now: Milliseconds) -> list[Action]:
        """Begins a transfer that was offered."""
        transfer = self._transfers.get(message.transfer)
        if transfer is None or transfer.progress.member.node != sender.node:
            return []
        return transfer.on_accepted(message, sender, now)

    def on_snapshot_read(self, event: SnapshotRead, now: Milliseconds) -> list[Action]:
        """Sends a chunk that was read."""
        transfer = self._transfers.get(event.transfer)
        return transfer.on_read(event, now) if transfer is not None else []

    def on_installed(self, message: Installed, sender: Member, now: Milliseconds) -> list[Action]:
        """Goes on with a transfer; when it is through, with the log."""
        transfer = self._transfers.get(message.transfer)
        if transfer is None or transfer.progress.member != sender:
            return []
        actions = transfer.on_installed(message, now)
        if transfer.progress.stage is Stage.STREAMING:
            del self._transfers[transfer.number]
            self._keep_log()
            actions += self._stream(transfer.progress, now)
        return actions

    # Passing time.

    def on_connected(self, node: NodeId, now: Milliseconds) -> list[Action]:
        """A connection stands again: what was sent over the last one may be lost."""
        progress = self.progress.get(node)
        if progress is None or progress.stage not in (Stage.STREAMING, Stage.CATCHING_UP):
            return []
        return self._again(progress, now)

    def on_tick(self, now: Milliseconds) -> list[Action]:
        """Sends again what was lost, tells commit points, invites those who have not come."""
        actions: list[Action] = []
        state = self._state
        for progress in self.progress.values():
            peer = state.peers[progress.member.node]
            if now < peer.lease_end(state.partition, state.facts.epoch, progress.member):
                # Not the present time: a lease lasts after its granter has fallen silent, and that one is to be dropped
                # before it has missed this primary for long enough to take over (R9, R11).
                progress.heard_at = max(progress.heard_at, peer.answered_at)
            actions += self._tick_one(progress, now)
        for transfer in list(self._transfers.values()):
            actions += transfer.on_tick(now)
        assert state.confirmed is not None
        for node in state.confirmed.view.replicas:
            if node != state.node and (node not in self.progress or self._acts_on_older_view(self.progress[node])):
                actions += self._invite(node, now, state.settings.resend_ms)
        return actions

    def _acts_on_older_view(self, progress: Progress) -> bool:
        """Says whether one that is to join was last heard to act on an older view: it must say that it has this one.

        By a view between the two it may have dropped what it held, so that nobody takes what is sent to it.
        """
        confirmed = self._state.confirmed
        assert confirmed is not None
        return progress.member not in self.required and progress.version < confirmed.version

    def _tick_one(self, progress: Progress, now: Milliseconds) -> list[Action]:
        log = self._state.log
        if progress.stage is Stage.CATCHING_UP:
            late = now - progress.said_at >= self._state.settings.resend_ms
            return self._read(progress, now) if late else []
        if progress.stage is not Stage.STREAMING:
            return []
        behind = progress.acknowledged < log.last or progress.commit < log.commit
        if behind and now - progress.said_at >= self._state.settings.resend_ms:
            return self._again(progress, now)
        if progress.sent < log.applied:
            return self._read(progress, now)
        if progress.told_commit < log.commit:
            return self._tell_commit(progress)
        return []

    def _invite(self, node: NodeId, now: Milliseconds, pause_ms: int) -> list[Action]:
        if now - self._invited_at.get(node, Milliseconds(-(1 << 62))) < pause_ms:
            return []
        self._invited_at[node] = now
        return [Send(node, Invite(self._state.partition))]

    def forget(self, node: NodeId) -> list[Action]:
        """Has no more to do with a node's replica, until it says again where it stands."""
        progress = self.progress.pop(node, None)
        if progress is None:
            return []
        return self._end_transfer(progress)

    def end(self) -> list[Action]:
        """Ends all transfers: this is no primary any more."""
        return [action for progress in self.progress.values() for action in self._end_transfer(progress)]

    def _end_transfer(self, progress: Progress) -> list[Action]:
        transfer = self._transfers.pop(progress.transfer, None)
        self._keep_log()
        return transfer.end() if transfer is not None else []

    def _keep_log(self) -> None:
        points = [transfer.point.sequence for transfer in self._transfers.values()]
        self._state.retention.hold = min(points, default=None)
