"""One node's replica of a partition: the law for every role, and the one door, `Replica.handle`.

An event and the time come in, a list of actions goes out, and a finished action comes back as the next event.

Here is decided which role the replica has: what a view means to it (R14: after a restart it must lead under a new
epoch), which messages count (R2: none of a lower epoch), when it becomes primary (R10, steps 1 to 3), whom it grants
leases (R8), and when it stops (R3: a failed disk; a contradiction). What a primary does is in `primary.py`, what a
backup does in `backup.py`.

Invariants:

1. `facts.epoch` is durable before the replica appends or acknowledges anything in that epoch.
2. There is a `Primary` only if the newest view names this member with this incarnation.
3. Once `failed` is set, nothing is appended, applied or acknowledged any more in this process.
4. No lease is granted to anybody from the moment that the view names this replica primary.
"""

from collections.abc import Callable
from typing import Any

from corecache.config import Replication
from corecache.errors import CoreCacheError, NotDone
from corecache.identity import Epoch, Incarnation, Member, Milliseconds, NodeId, PartitionId
from corecache.placement.view import VersionedView, View
from corecache.replication import events
from corecache.replication import messages as said
from corecache.replication.actions import Action, Discard, Halt, ReadView, Refuse
from corecache.replication.backup import Backup
from corecache.replication.grants import Grants
from corecache.replication.log import Log
from corecache.replication.peers import Peers
from corecache.replication.primary import Primary
from corecache.replication.recovered import Recovered, ReplicaFacts
from corecache.replication.roles import Roles
from corecache.replication.state import Contradiction, State
from corecache.replication.transfer import Throttle

_NO_EPOCH = Epoch(0)
_FROM_PRIMARY = (said.Replicate, said.Offer, said.Chunk)


class Replica:
    """A replica, from the opening of its disk to the end of the process."""

    def __init__(
        self,
        partition: PartitionId,
        node: NodeId,
        incarnation: Incarnation,
        recovered: Recovered,
        grants_end: Milliseconds,
        settings: Replication,
        retention_bytes: int,
        peers: Peers | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        """Takes what the disk holds. `grants_end`: when every lease that this node may have granted has run out."""
        self.state = State(
            partition, node, incarnation, recovered, settings, retention_bytes, peers if peers is not None else Peers()
        )
        self.failed: str | None = None
        self.leases = Grants(self.state, grants_end)
        self.roles = Roles(
            self.state, self.leases, throttle if throttle is not None else Throttle(settings.transfer_bytes_per_second)
        )
        self._looked_at = Milliseconds(-(1 << 62))
        self._on: dict[type[Any], Callable[[Any, Milliseconds], list[Action]]] = {
            events.ViewChanged: self._on_view_changed,
            events.ViewRefused: self._on_view_refused,
            events.Saved: self._on_saved,
            events.ClientWrites: self._on_client_writes,
            events.Fetched: self._on_fetched,
            events.Appended: self._on_appended,
            events.Applied: self._on_applied,
            events.LogRead: self._on_log_read,
            events.SnapshotRead: self._on_snapshot_read,
            events.InstallBegun: self._on_install_begun,
            events.ChunkInstalled: self._on_chunk_installed,
            events.StorageFailed: self._on_storage_failed,
            events.Woken: self._on_woken,
        }

    @property
    def partition(self) -> PartitionId:
        """Returns which partition this is a replica of."""
        return self.state.partition

    @property
    def member(self) -> Member:
        """Returns who this replica is."""
        return self.state.member

    @property
    def incarnation(self) -> Incarnation:
        """Returns the node's incarnation."""
        return self.state.incarnation

    @property
    def facts(self) -> ReplicaFacts:
        """Returns the replica's facts."""
        return self.state.facts

    @property
    def log(self) -> Log:
        """Returns the replica's log."""
        return self.state.log

    @property
    def confirmed(self) -> VersionedView | None:
        """Returns the newest view that the coordinator was seen to hold."""
        return self.state.confirmed

    @property
    def primary(self) -> Primary | None:
        """Returns the role of a primary, None if the replica has it not."""
        return self.roles.primary

    @property
    def backup(self) -> Backup | None:
        """Returns the role of a backup, None if the replica has it not."""
        return self.roles.backup

    # The doors.

    def handle(self, event: events.Event, now: Milliseconds) -> list[Action]:
        """Takes what happened and the steady clock's time; returns what to do, in order (see `actions.py`)."""
        try:
            return self._on[type(event)](event, now)
        except Contradiction as contradiction:
            return self._halt(contradiction)

    def receive(self, sender: NodeId, message: said.Partitional, now: Milliseconds) -> list[Action]:
        """Takes a message of another node's replica."""
        if message.receiver != self.state.facts.replica:
            return []
        try:
            return self._on_message(Member(sender, message.sender), message, now)
        except Contradiction as contradiction:
            return self._halt(contradiction)

    def tick(self, now: Milliseconds) -> list[Action]:
        """Looks at what time has brought about. Called each `beat_ms`, or so."""
        return self._guarded(self._on_tick, now)

    def connected(self, node: NodeId, now: Milliseconds) -> list[Action]:
        """A connection to a node stands anew: what was under way to it may be lost."""
        if self.primary is not None:
            return self._guarded(self.primary.backups.on_connected, node, now)
        if self.backup is not None and self.backup.primary.node == node and not self.failed:
            self.backup.attached = False
            return self.backup.on_tick(now)
        return []

    def invited(self, now: Milliseconds) -> list[Action]:
        """The primary wants to hear where this replica stands, or that it acts on a newer view (R12)."""
        if self.backup is None or self.failed is not None or self.state.facts.installing or self.state.installing:
            return self.look(now)
        return [*self.look(now), *self.backup.say_where(now)]

    def serving_epoch(self, now: Milliseconds) -> Epoch:
        """Returns the epoch in which a linearizable read may be answered now, 0 if none (R7).

        A record fetched from the store may be answered only if this is the same, and not 0, before and after.
        """
        primary = self.primary
        return primary.epoch if primary is not None and primary.may_answer(now) else _NO_EPOCH

    def refusal(self) -> CoreCacheError:
        """Returns why clients can't be served now. Requires: the replica does not serve."""
        if self.failed is not None:
            return NotDone("storage_failed", self.failed)
        if self.confirmed is not None and self.confirmed.view.primary != self.member:
            return NotDone(
                "no_primary", f"Node {self.confirmed.view.primary.node} is primary of this partition; try it.", 0
            )
        return NotDone("no_primary", "The partition's primary is not ready yet; try again.", 100)

    # Leases.

    def grants(self, claimant: NodeId, claim: said.Claim, now: Milliseconds) -> bool:
        """Says whether a claim is granted from now on for `lease_ms` (R8); it tells that the primary is there, too."""
        if not self.leases.give(claim, now):
            return False
        backup = self.backup
        if backup is not None and claim.epoch == self.facts.epoch and claimant == backup.primary.node:
            backup.on_claim(claim, now)
        return True

    def claim_to(self, node: NodeId, now: Milliseconds) -> said.Claim | None:
        """Returns the claim that a beat to a node is to carry for this partition, None if there is none."""
        state, confirmed = self.state, self.state.confirmed
        if confirmed is None or not state.names_this:
            return None
        if self.primary is not None:
            return self.primary.claim_to(node, now)
        if self.failed is None:
            return None
        # A disk that has failed can't lead, and its node can't even say so to the coordinator: the others may.
        member = next((member for member in confirmed.view.in_sync if member.node == node), None)
        if member is None:
            return None
        return said.Claim(state.partition, confirmed.view.epoch, confirmed.version, member.replica, True)

    def look(self, now: Milliseconds) -> list[Action]:
        """Reads the view, but not too often: something said that there may be a newer one."""
        if now - self._looked_at < self.state.settings.resend_ms:
            return []
        self._looked_at = now
        return [ReadView()]

    # Views.

    def _on_view_changed(self, event: events.ViewChanged, now: Milliseconds) -> list[Action]:
        state, confirmed = self.state, event.confirmed
        before = state.confirmed
        if before is not None and confirmed.version <= before.version:
            return []
        state.confirmed = confirmed
        state.proposals.superseded()
        view = confirmed.view
        if self.failed is not None:
            return self.roles.step_down(self.failed)
        if view.epoch < state.facts.epoch:
            # Something was heard from a later epoch already: there is a newer view than this one.
            return [*self.roles.step_down("A later epoch has begun."), *self.look(now)]
        in_sync = state.member in view.in_sync
        if not in_sync and state.node not in view.replicas:
            actions = self.roles.retire()
            return [*actions, Discard()] if state.is_leftover else actions
        actions = state.accept(view.epoch, view.lineage if in_sync else state.facts.lineage)
        if view.primary == state.member:
            return actions + self._on_named(view, before, now)
        return actions + self.roles.follow(view.primary, now)

    def _on_named(self, view: View, before: VersionedView | None, now: Milliseconds) -> list[Action]:
        if view.incarnation > self.incarnation:
            # Two processes of one node would take the partition from each other for ever: the older one yields.
            return self.roles.step_down("A later start of this node is the partition's primary now.")
        if view.incarnation < self.incarnation:
            return self.roles.lead_again()
        if self.primary is not None and self.primary.epoch == view.epoch:
            assert before is not None
            self.primary.note_minimum(before.view.min_in_sync)
            self.primary.membership.on_view(before)
            return self.primary.on_view(now)
        actions = self.roles.step_down("A new epoch begins.")
        return actions + self.roles.lead(now)

    def _on_view_refused(self, event: events.ViewRefused, now: Milliseconds) -> list[Action]:
        state, current = self.state, event.current
        if state.confirmed is None or current.version > state.confirmed.version:
            return self._on_view_changed(events.ViewChanged(current), now)
        if current.version < state.confirmed.version:
            return []
        # The same view stands as before the proposal, which therefore came to nothing, or may yet win. To propose again
        # on this very version settles it: of the two, the coordinator accepts one (R18).
        state.proposals.unanswered()
        if self.primary is not None:
            return self.primary.membership.decide(now)
        if current.view.primary == state.member and current.view.incarnation < self.incarnation and not self.failed:
            return self.roles.lead_again()
        return []

    def _on_saved(self, event: events.Saved, now: Milliseconds) -> list[Action]:
        state = self.state
        state.durable_epoch = max(state.durable_epoch, event.epoch)
        if self.failed is not None or state.durable_epoch != state.facts.epoch:
            return []
        if state.names_this and self.primary is None:
            return self.roles.lead(now)
        return self.backup.acknowledge() if self.backup is not None else []

    # Messages.

    def _on_message(self, sender: Member, message: said.Partitional, now: Milliseconds) -> list[Action]:
        state, kind = self.state, type(message)
        if kind is said.Released:
            assert isinstance(message, said.Released)
            return self._on_released(message, now)
        if self.failed is not None:
            return self.backup.say_failing() if self.backup is not None and kind in _FROM_PRIMARY else []
        if message.epoch < state.facts.epoch:
            return [] if kind is said.Fenced else state.send(said.Fenced, sender)
        if message.epoch > state.facts.epoch:
            actions = self._on_later_epoch(message.epoch, sender, kind in _FROM_PRIMARY, now)
            if kind not in _FROM_PRIMARY:
                return actions
        else:
            actions = []
        if isinstance(message, _FROM_PRIMARY):
            return actions + self._from_primary(sender, message, now)
        return self.primary.on_message(sender, message, now) if self.primary is not None else []

    def _on_later_epoch(self, epoch: Epoch, sender: Member, leads: bool, now: Milliseconds) -> list[Action]:
        """Steps down at once (R2), and looks who is primary."""
        actions = self.state.accept(epoch, self.state.facts.lineage)
        if leads:
            return actions + self.roles.follow(sender, now) + self.look(now)
        actions += self.roles.step_down("A later epoch has begun.")
        self.roles.backup = None
        return actions + self.look(now)

    def _from_primary(
        self, sender: Member, message: said.Replicate | said.Offer | said.Chunk, now: Milliseconds
    ) -> list[Action]:
        if self.primary is not None or self.state.names_this:
            raise Contradiction(f"node {sender.node} leads in this replica's own epoch {message.epoch}")
        return self.roles.backing(sender, now).on_message(message, now)

    def _on_released(self, message: said.Released, now: Milliseconds) -> list[Action]:
        self.leases.note_released(message.version)
        if self.primary is not None and not self.primary.begun:
            return self.roles.begin(now)
        return []

    # What the disk and the clients say.

    def _on_client_writes(self, event: events.ClientWrites, now: Milliseconds) -> list[Action]:
        if self.primary is None:
            return [Refuse(event.requests, self.refusal())]
        return self.primary.on_client_writes(event, now)

    def _on_fetched(self, event: events.Fetched, now: Milliseconds) -> list[Action]:
        return self.primary.on_fetched(event, now) if self.primary is not None else []

    def _on_appended(self, event: events.Appended, now: Milliseconds) -> list[Action]:
        log = self.state.log
        if event.generation != log.generation or self.failed is not None:
            return []
        log.durable = max(log.durable, event.upto)
        if self.primary is not None:
            return self.primary.on_appended(now)
        return self.backup.acknowledge() if self.backup is not None else []

    def _on_applied(self, event: events.Applied, now: Milliseconds) -> list[Action]:
        if event.generation != self.state.installs or self.failed is not None:
            return []
        if self.primary is not None:
            return self.primary.on_applied(event, now)
        return self.state.note_applied(event.upto, now)[1]

    def _on_log_read(self, event: events.LogRead, now: Milliseconds) -> list[Action]:
        return self.primary.backups.on_log_read(event, now) if self.primary is not None else []

    def _on_snapshot_read(self, event: events.SnapshotRead, now: Milliseconds) -> list[Action]:
        return self.primary.backups.on_snapshot_read(event, now) if self.primary is not None else []

    def _on_install_begun(self, event: events.InstallBegun, now: Milliseconds) -> list[Action]:
        self.state.emptied(event.replica, installing=event.transfer != 0)
        actions = self.state.save_what_waited()
        return actions + self.backup.on_install_begun(event, now) if self.backup is not None else actions

    def _on_chunk_installed(self, event: events.ChunkInstalled, now: Milliseconds) -> list[Action]:
        self.state.installing = False
        actions = self.backup.on_chunk_installed(event, now) if self.backup is not None else []
        return self.state.save_what_waited() + actions

    def _on_storage_failed(self, event: events.StorageFailed, now: Milliseconds) -> list[Action]:
        self.failed = event.reason
        actions = self.roles.step_down(event.reason)
        return actions + self.backup.say_failing() if self.backup is not None else actions

    # Time, and the end of a role.

    def _on_woken(self, event: events.Woken, now: Milliseconds) -> list[Action]:
        if self.primary is None:
            return []
        return self.primary.on_woken(now) if self.primary.begun else self.roles.begin(now)

    def _on_tick(self, now: Milliseconds) -> list[Action]:
        primary, confirmed = self.primary, self.confirmed
        if self.failed is not None:
            return []
        if primary is not None:
            return primary.on_tick(now) if primary.begun else self.roles.begin(now) + primary.on_tick(now)
        if self.backup is not None and not self.state.names_this:
            return self.backup.on_tick(now)
        if confirmed is not None and confirmed.view.primary == self.member:
            if confirmed.view.incarnation < self.incarnation:
                return self.roles.lead_again()
            if confirmed.view.incarnation == self.incarnation:
                return self.roles.lead(now)
        return [Discard()] if self.state.is_leftover else self.look(now)

    def _guarded(self, step: Callable[..., list[Action]], *given: Any) -> list[Action]:
        try:
            return step(*given)
        except Contradiction as contradiction:
            return self._halt(contradiction)

    def _halt(self, contradiction: Contradiction) -> list[Action]:
        """Ends this replica over a contradiction: nothing of the step that found it is done (R1, R10)."""
        self.failed = f"Partition {self.partition} has halted: {contradiction}. Nothing more is done here."
        return [*self.roles.step_down(self.failed), Halt(self.failed)]
