"""Which role a replica has: primary, backup, or none yet; how it comes into one, and out of it.

`replica.py` says when; here is what it takes. A primary begins when its epoch is durable and no lease that was granted
from here can be in force (R10, steps 1 to 3); once in an epoch, and never again in that one after it has stepped down.
A backup begins anew with each epoch. The log, the facts and the leases granted outlast every role.
"""

from corecache.identity import Epoch, Member, Milliseconds
from corecache.placement.view import View
from corecache.replication.actions import Action, StepDown, WakeAt
from corecache.replication.backup import Backup
from corecache.replication.grants import Grants
from corecache.replication.primary import Primary
from corecache.replication.state import State
from corecache.replication.transfer import Throttle


class Roles:
    """The role of one replica: at most one of `primary` and `backup` is there."""

    __slots__ = ("_leases", "_led", "_state", "_throttle", "backup", "primary")

    def __init__(self, state: State, leases: Grants, throttle: Throttle) -> None:
        """Begins without a role."""
        self.primary: Primary | None = None
        self.backup: Backup | None = None
        self._state = state
        self._leases = leases
        self._throttle = throttle
        self._led = Epoch(0)

    def lead_again(self) -> list[Action]:
        """Proposes this replica as primary under a new epoch, after a restart (R14).

        An entry of the old epoch may have left this node without being on its disk. Under the same epoch it could be
        written a second time with another content.
        """
        state = self._state
        if not state.proposals.possible or state.confirmed is None or state.peers.leaving:
            return []
        view = state.confirmed.view
        epoch = Epoch(max(view.epoch, state.facts.epoch) + 1)
        again = View(
            view.lineage, epoch, state.member, state.incarnation, view.in_sync, view.replicas, view.min_in_sync
        )
        return state.proposals.propose(again, state.confirmed.version)

    def lead(self, now: Milliseconds) -> list[Action]:
        """Takes the role when the epoch is durable (R10, step 1), once in an epoch."""
        state = self._state
        assert state.confirmed is not None
        epoch = state.confirmed.view.epoch
        if state.durable_epoch != epoch or self._led >= epoch or state.facts.installing or state.installing:
            return []
        self._led = epoch
        self.backup = None
        self.primary = Primary(state, self._throttle, now)
        return self.begin(now)

    def begin(self, now: Milliseconds) -> list[Action]:
        """Appends the barrier as soon as no grant that was given before can be in force any more (R10, step 3)."""
        assert self.primary is not None
        if self._leases.have_ended(now):
            return self.primary.begin(now)
        return [WakeAt(self._leases.until)]

    def follow(self, primary: Member, now: Milliseconds) -> list[Action]:
        """Takes the role of a backup of a primary, or goes on in it under a newer view."""
        state, confirmed = self._state, self._state.confirmed
        actions = self.step_down(f"The partition's primary is node {primary.node} now.")
        backup = self.backing(primary, now)
        if confirmed is None:
            return actions
        in_sync = state.member in confirmed.view.in_sync
        backup.note_view(in_sync, now)
        if in_sync:
            return actions
        if state.facts.lineage != confirmed.view.lineage:
            return actions + backup.start_anew(now)
        return actions if state.facts.installing or state.installing else actions + backup.say_where(now)

    def step_down(self, reason: str) -> list[Action]:
        """Ends the role of a primary, if it is one, with all that is under way (R2)."""
        primary = self.primary
        if primary is None:
            return []
        released = primary.released()
        actions = primary.step_down(reason)
        self.primary = None
        return [*actions, *released, StepDown(reason)]

    def retire(self) -> list[Action]:
        """Ends any role: the view has no use for this replica."""
        self.backup = None
        return self.step_down("This node no longer holds the partition.")

    def backing(self, primary: Member, now: Milliseconds) -> Backup:
        """Returns the role of a backup of a primary in the present epoch, begun if it has not. Requires: no primary."""
        if self.backup is None or self.backup.epoch != self._state.facts.epoch:
            self.backup = Backup(self._state, primary, now)
        self.backup.primary = primary
        return self.backup
