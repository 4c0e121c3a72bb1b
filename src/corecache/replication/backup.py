"""What a backup does: takes the primary's log (R1, R3) and its snapshots (R12), takes over if it falls silent (R9).

Invariants:

1. An acknowledgement, and a commit point, reach only as far as the last entry matched with *this* primary in *this*
   epoch: `matched` begins at 0 in each epoch. What the disk holds beyond that may be another history (R1).
2. Nothing is acknowledged before it is on the disk, nor before the epoch is (R2, R3).
3. Nothing at or below the commit point is ever cut, nor acknowledged under another content. Whoever wants it cut
   contradicts what is committed, and hears where this replica stands: that primary halts (R10). If this one halted, the
   primary would drop it, and go on without what is committed.
4. While a snapshot is installed nothing else is taken, and nobody counts on what is there (`facts.installing`). From
   the moment at which the disk is told to drop what is here, nothing is matched, and nothing of it acknowledged.

A backup forgets all of this when the epoch changes; the log and the facts stay. It leaves to `replica.py` which
messages count, and when this role ends.
"""

from corecache.identity import Epoch, Lineage, Member, Milliseconds, Sequence
from corecache.placement.view import View
from corecache.replication.actions import Action, Append, BeginInstall, Install, Truncate
from corecache.replication.events import ChunkInstalled, InstallBegun
from corecache.replication.log import Entry, Position, size_of
from corecache.replication.messages import (
    Accepted,
    Chunk,
    Claim,
    Failing,
    Installed,
    Offer,
    Replicate,
    Replicated,
    Standing,
)
from corecache.replication.recovered import AppliedPoint, ReplicaFacts
from corecache.replication.state import State

_STAGGER_BEATS = 2
_STRIDE_ENTRIES = 64
_STRIDE_BYTES = 1 << 20
_FLAPS_MAX = 5
_SILENT_RESENDS = 8


class Backup:
    """A replica's role while another is primary, in one epoch. `primary` is whom it follows, `heard` whether it was."""

    __slots__ = (
        "_attempts",
        "_begun_at",
        "_chunk_next",
        "_chunks_at",
        "_in_sync",
        "_not_before",
        "_point",
        "_said_at",
        "_state",
        "_transfer",
        "_unapplied_bytes",
        "attached",
        "claimed_at",
        "epoch",
        "heard",
        "matched",
        "primary",
        "stuck_since",
    )

    def __init__(self, state: State, primary: Member, now: Milliseconds) -> None:
        """Begins an epoch: nothing is matched yet."""
        self._state = state
        self.epoch = state.facts.epoch
        self.primary = primary
        self.matched = Sequence(0)
        self.attached = False
        self.heard = False
        self.stuck_since: Milliseconds | None = None
        self.claimed_at = now
        self._in_sync = False
        self._begun_at = now
        self._not_before = now
        self._attempts = 0
        self._said_at = Milliseconds(-(1 << 62))
        self._transfer: int | None = None
        self._chunk_next = 0
        self._chunks_at = now
        self._point: AppliedPoint | None = None
        self._unapplied_bytes = 0

    def on_message(self, message: Replicate | Offer | Chunk, now: Milliseconds) -> list[Action]:
        """Takes a message of the primary's."""
        if isinstance(message, Replicate):
            return self.on_replicate(message, now)
        return self.on_offer(message, now) if isinstance(message, Offer) else self.on_chunk(message, now)

    # The log.

    def on_replicate(self, message: Replicate, now: Milliseconds) -> list[Action]:
        """Takes entries that follow one that is here, and acknowledges what is durable; else says where it stands."""
        if self._state.installing or self._state.facts.installing:
            return []
        log = self._state.log
        previous, entries = message.previous, message.entries
        if previous.sequence < log.applied:
            # What is applied is committed, so that every primary since has it.
            skipped = min(log.applied - previous.sequence, len(entries))
            if skipped and entries[skipped - 1].epoch > log.committed.epoch:
                return self.say_where(now)
            if previous.sequence + skipped < log.applied:
                return self._take((), Sequence(previous.sequence + skipped), message.commit, now)
            last = entries[skipped - 1]
            previous, entries = Position(last.epoch, last.sequence), entries[skipped:]
        if log.position(previous.sequence) != previous:
            # Also if it is one that is committed here: then it is the primary that halts, when it hears of it (R10).
            return self.say_where(now)
        return self._take(entries, Sequence(previous.sequence + len(entries)), message.commit, now)

    def _take(self, entries: tuple[Entry, ...], end: Sequence, commit: Sequence, now: Milliseconds) -> list[Action]:
        """Takes entries that follow on what is here; `end` is the last sequence that is matched by them."""
        self.attached = True
        log = self._state.log
        new = 0
        while new < len(entries) and log.position(entries[new].sequence) == Position(
            entries[new].epoch, entries[new].sequence
        ):
            new += 1
        actions: list[Action] = []
        if new < len(entries):
            above = Sequence(entries[new].sequence - 1)
            if above < log.last:
                if above < log.commit:
                    return self.say_where(now)
                log.truncate(above)
                actions.append(Truncate(above))
            fresh = entries[new:]
            for entry in fresh:
                log.append(entry)
            actions.append(Append(fresh, log.generation))
        self.matched = max(self.matched, end)
        log.commit = max(log.commit, min(commit, self._commit_limit()))
        self._unapplied_bytes += size_of(entries[new:])
        # Nobody waits for it here: it is done in strides, unless there is nothing else to be done.
        unapplied = log.commit - self._state.applying
        if new == len(entries) or unapplied >= _STRIDE_ENTRIES or self._unapplied_bytes >= _STRIDE_BYTES:
            actions += self._apply()
        return actions if new < len(entries) else actions + self.acknowledge()

    def _apply(self) -> list[Action]:
        """Applies what is committed."""
        self._unapplied_bytes = 0
        return self._state.begin_apply()

    def _commit_limit(self) -> Sequence:
        """Returns how far the primary's commit point may be believed (invariant 1)."""
        return self.matched

    def _acknowledged(self) -> Sequence:
        """Returns how far may be acknowledged (invariants 1 and 2)."""
        return min(self._state.log.durable, self.matched)

    def acknowledge(self) -> list[Action]:
        """Says how far this disk has what was matched, once it has the epoch too."""
        state = self._state
        if not self.attached or state.durable_epoch != state.facts.epoch or state.facts.installing:
            return []
        return state.send(Replicated, self.primary, self._acknowledged(), state.log.commit)

    def say_where(self, now: Milliseconds) -> list[Action]:
        """Says where it stands, so that the primary can begin or begin again there."""
        self._said_at = now
        state = self._state
        version = state.confirmed.version if state.confirmed is not None else -1
        lineage = state.facts.lineage
        return state.send(Standing, self.primary, state.log.committed, state.log.end, version, lineage)

    # Snapshots.

    def on_offer(self, message: Offer, now: Milliseconds) -> list[Action]:
        """Drops what is here for a snapshot, unless that is worth more (R12)."""
        state = self._state
        view = state.confirmed.view if state.confirmed is not None else None
        if view is None or state.member in view.in_sync:
            return []
        if message.point.sequence <= state.log.commit:
            return self.say_where(now)
        if state.installing or (self._transfer is not None and self._transfer >= message.transfer):
            return []
        self._transfer = message.transfer
        self._chunk_next = 0
        return self._drop_all(message.transfer, view.lineage, True, now)

    def start_anew(self, now: Milliseconds) -> list[Action]:
        """Drops what is here, because it means nothing: the replica is empty then, and a stranger."""
        state = self._state
        if state.installing or state.confirmed is None:
            return []
        self._transfer = None
        return self._drop_all(0, state.confirmed.view.lineage, False, now)

    def _drop_all(self, transfer: int, lineage: Lineage, installing: bool, now: Milliseconds) -> list[Action]:
        facts = self._state.facts
        self._state.installing = True
        self.attached, self.matched = False, Sequence(0)
        self._chunks_at = now
        return [BeginInstall(transfer, ReplicaFacts(facts.replica, facts.epoch, lineage, installing))]

    def on_install_begun(self, event: InstallBegun, now: Milliseconds) -> list[Action]:
        """The content is gone, and the replica has another id: the transfer may begin."""
        self._chunks_at = now
        if self._state.facts.installing:
            if event.transfer != self._transfer:
                return self.start_anew(now)
            return self._state.send(Accepted, self.primary, event.transfer)
        return self.say_where(now)

    def on_chunk(self, message: Chunk, now: Milliseconds) -> list[Action]:
        """Installs the next chunk; acknowledges again one that is installed already."""
        state = self._state
        if message.transfer != self._transfer or state.installing or not state.facts.installing:
            return []
        self._chunks_at = now
        if message.number != self._chunk_next:
            already = message.number < self._chunk_next
            return state.send(Installed, self.primary, message.transfer, message.number) if already else []
        state.installing = True
        facts = state.facts
        whole = ReplicaFacts(facts.replica, facts.epoch, facts.lineage, not message.last)
        self._point = message.point if message.last else None
        return [
            Install(message.transfer, message.number, message.records, message.point, message.last, whole),
        ]

    def on_chunk_installed(self, event: ChunkInstalled, now: Milliseconds) -> list[Action]:
        """Acknowledges a chunk. With the last one the replica is whole, and its log begins at the snapshot's edge."""
        if event.transfer != self._transfer:
            return self.start_anew(now)
        self._chunk_next = event.number + 1
        self._chunks_at = now
        if self._point is not None:
            self._state.whole(self._point)
            self._point = None
            self._transfer = None
        return self._state.send(Installed, self.primary, event.transfer, event.number)

    def _tick_install(self, now: Milliseconds) -> list[Action]:
        """Gives up what came to nothing, or asks for it again."""
        state = self._state
        if state.installing or now - self._chunks_at < state.settings.resend_ms:
            return []
        if self._transfer is None or now - self._chunks_at >= _SILENT_RESENDS * state.settings.resend_ms:
            return self.start_anew(now)
        return state.send(Accepted, self.primary, self._transfer) if self._chunk_next == 0 else []

    # The primary's silence.

    def note_view(self, in_sync: bool, now: Milliseconds) -> None:
        """Takes note of whether a view counts on this replica; who was just taken in has not missed the primary yet."""
        if in_sync and not self._in_sync:
            self.claimed_at = max(self.claimed_at, now)
        self._in_sync = in_sync

    def on_claim(self, claim: Claim, now: Milliseconds) -> None:
        """The primary has claimed this partition in this epoch."""
        self.heard = True
        self.claimed_at = now
        if not claim.stuck:
            self.stuck_since = None
        elif self.stuck_since is None:
            self.stuck_since = now

    def on_tick(self, now: Milliseconds) -> list[Action]:
        """Asks to be served if nothing has come; takes over if the primary is silent."""
        state = self._state
        if state.facts.installing:
            return self._tick_install(now)
        actions = self._apply() if not state.installing else []
        waits = not self.attached and not state.installing and state.peers[self.primary.node].linked
        if waits and now - self._said_at >= state.settings.resend_ms:
            return actions + self.say_where(now)
        return actions + self._take_over(now) if self._should_take_over(now) else actions

    def _should_take_over(self, now: Milliseconds) -> bool:
        state = self._state
        if not self._may_take_over() or not state.proposals.possible:
            return False
        if now < self._not_before or now < state.peers.suspect_from:
            return False
        return now - self._silent_since() >= self._patience_ms(now)

    def _may_take_over(self) -> bool:
        """Says whether the view lets this replica become primary: only a member in sync does (R9)."""
        state = self._state
        if state.confirmed is None or state.facts.installing or state.peers.leaving:
            return False
        view = state.confirmed.view
        return state.member in view.in_sync and state.member != view.primary and view.lineage == state.facts.lineage

    def _silent_since(self) -> Milliseconds:
        """Returns since when it is time to think of taking over."""
        assert self._state.confirmed is not None
        gone_at = self._state.peers[self._state.confirmed.view.primary.node].gone_at
        if gone_at is not None:
            return max(gone_at, self._begun_at)
        return self.stuck_since if self.stuck_since is not None else self.claimed_at

    def _is_gone(self) -> bool:
        """Says whether the primary's process is known to have ended."""
        assert self._state.confirmed is not None
        return self._state.peers[self._state.confirmed.view.primary.node].gone

    def _patience_ms(self, now: Milliseconds) -> int:
        settings, peers = self._state.settings, self._state.peers
        assert self._state.confirmed is not None
        view = self._state.confirmed.view
        rank = [member for member in view.in_sync if member != view.primary].index(self._state.member)
        stagger_ms = rank * _STAGGER_BEATS * settings.beat_ms
        heard_from = now - settings.lease_ms
        others = [member.node for member in view.in_sync if member not in (self._state.member, view.primary)]
        few = 1 + sum(peers[node].heard_at > heard_from for node in others) < view.min_in_sync
        if self._is_gone() or (self.stuck_since is not None and not few):
            return stagger_ms
        if not self.heard:
            cold = all(not peers[member.node].incarnation for member in view.in_sync if member.node != self._state.node)
            return stagger_ms + (settings.patience_cold_ms if cold else settings.patience_ms)
        return stagger_ms + (max(settings.patience_ms, settings.grace_ms) if few else settings.grace_ms)

    def _take_over(self, now: Milliseconds) -> list[Action]:
        state = self._state
        assert state.confirmed is not None
        self._attempts = min(self._attempts + 1, _FLAPS_MAX)
        self._not_before = Milliseconds(now + (state.settings.resend_ms << self._attempts))
        return state.proposals.propose(_taken_over(state, state.confirmed.view), state.confirmed.version)

    def say_failing(self) -> list[Action]:
        """Tells the primary that this disk has failed."""
        return self._state.send(Failing, self.primary)


def _taken_over(state: State, view: View) -> View:
    epoch = Epoch(max(view.epoch, state.facts.epoch) + 1)
    in_sync = tuple(member for member in view.in_sync if member != view.primary)
    return View(view.lineage, epoch, state.member, state.incarnation, in_sync, view.replicas, view.min_in_sync)
