"""Who is in sync: when a primary proposes to lose a backup (R11), to gain one (R12), or to hand over (R13).

`decide` is asked after whatever may change the answer, and at each tick; it proposes at most one view at a time. It
also keeps the required set: the members of the confirmed view and of every unsettled proposal, and those who join and
are counted already.

Rules:

1. A member that is lost counts in the required set until the view without it is confirmed.
2. A proposal that leaves fewer than `min_in_sync`, because of silence alone, waits for `patience_ms`: a primary that is
   itself cut off should not win against the healthy side. Those who are left count only if they were heard within half
   a lease: who hears nobody any more has not heard all of them last at the same moment. Meanwhile it says that it is
   stuck, if the others would be enough without it: they may hear it although it does not hear them, and then nothing
   else would ever replace it. One whose process is known to be gone is dropped at once.
3. Only an activated primary adds members or hands over.
4. Who joins is counted first, and proposed when it has everything that is committed; it is let go after `join_ms`.
5. It must act on a view that is no older than this one, so that it never drops its content for a view from before.
"""

from collections.abc import Callable

from corecache.errors import NotDone
from corecache.identity import Epoch, Member, Milliseconds, NodeId
from corecache.placement.view import VersionedView, View
from corecache.replication.actions import Action
from corecache.replication.backups import Backups
from corecache.replication.progress import Progress, Stage
from corecache.replication.state import State

_SMALL_LAG_ENTRIES = 64
_PAUSE_BEATS = 50


class Membership:
    """The primary's care for its view. `hands_over_to` is set while new writes are held for a hand-over (R13)."""

    __slots__ = (
        "_backups",
        "_handed",
        "_handing_since",
        "_is_quiet",
        "_not_before",
        "_state",
        "_stuck_since",
        "activated",
        "hands_over_to",
    )

    def __init__(self, state: State, backups: Backups, is_quiet: Callable[[], bool]) -> None:
        """Takes the replica's state and its backups; `is_quiet` says whether no request is about to be appended."""
        self._state = state
        self._is_quiet = is_quiet
        self._backups = backups
        self._stuck_since: Milliseconds | None = None
        self._handed: View | None = None
        self._handing_since = Milliseconds(0)
        self._not_before = Milliseconds(-(1 << 62))
        self.activated = False
        self.hands_over_to: Member | None = None
        self.count()

    @property
    def view(self) -> View:
        """Returns the confirmed view."""
        assert self._state.confirmed is not None
        return self._state.confirmed.view

    def count(self) -> None:
        """Brings the required set up to date."""
        named = [*self.view.in_sync]
        for view in self._unsettled():
            named += view.in_sync
        named += [each.member for each in self._backups.progress.values() if each.counted_since is not None]
        self._backups.require(member for member in named if member != self._state.member)

    def _unsettled(self) -> list[View]:
        """Returns the proposals that may yet win (R18)."""
        return self._state.proposals.unsettled

    def refusal(self) -> NotDone | None:
        """Returns why no new write is taken, None if it is (R5)."""
        for view in (self.view, *self._unsettled()):
            if len(view.in_sync) < view.min_in_sync:
                counts = f"{len(view.in_sync)} of the {view.min_in_sync} replicas needed are in sync"
                return NotDone("too_few_copies", f"The partition takes no writes: {counts}; try again.")
        return None

    def stuck(self, now: Milliseconds) -> bool:
        """Says whether a view change is needed that can't be had here and could elsewhere (R9).

        For want of a session, and that for a lease's time; or because too few are heard here, and the others suffice.
        """
        if self._state.proposals.connected:
            self._stuck_since = None
            return self._hears_too_few(now)
        if self._without_lost(now) is None:
            self._stuck_since = None
            return False
        if self._stuck_since is None:
            self._stuck_since = now
        return now - self._stuck_since >= self._state.settings.lease_ms

    def _hears_too_few(self, now: Milliseconds) -> bool:
        """Says whether fewer than `min_in_sync` are left with who was silent for `grace_ms`, and not without us.

        A lease's time would be too short: what is only late is no reason to move a partition.
        """
        view = self.view
        if now < self._state.peers.suspect_from or len(view.in_sync) - 1 < view.min_in_sync:
            return False
        heard_from = Milliseconds(now - self._state.settings.grace_ms)
        others = (self._backups.of(member) for member in view.in_sync)
        return 1 + sum(other is not None and other.heard_at > heard_from for other in others) < view.min_in_sync

    def on_view(self, before: VersionedView) -> None:
        """Takes a newer view in which this replica is primary in the same epoch."""
        for member in before.view.in_sync:
            if member not in self.view.in_sync:
                # It may come back when it acts on this view, and says so (rule 5).
                self._backups.forget(member.node)
        for member in self.view.in_sync:
            progress = self._backups.of(member)
            if progress is not None:
                progress.counted_since = None
        self.count()

    def decide(self, now: Milliseconds) -> list[Action]:
        """Proposes what is due, if anything is and a proposal is possible."""
        self._let_go(now)
        if not self._state.proposals.possible:
            return []
        confirmed = self._state.confirmed
        assert confirmed is not None
        wanted = self._without_lost(now)
        if self.activated:
            self._count_joiners(now)
            wanted = self._with_joined(wanted or self.view)
            wanted = self._without_extra(wanted)
            if wanted == self.view:
                wanted = self._handed_over(now) if not self._unsettled() else None
        if wanted is None and self._unsettled():
            # An answer was lost, and that proposal may yet win: another on the same version ends it (R18).
            wanted = self.view
        if wanted is None or (wanted == self.view and not self._unsettled()):
            return []
        actions = self._state.proposals.propose(wanted, confirmed.version)
        self.count()
        return actions

    # R11.

    def _without_lost(self, now: Milliseconds) -> View | None:
        """Returns the view without the members that are lost, None if nobody is, or it is too early."""
        view, settings = self.view, self._state.settings
        lost, silent, heard = [], [], 0
        for member in view.in_sync:
            if member == self._state.member:
                continue
            progress = self._backups.of(member)
            if progress is None or progress.lost or self._state.peers[member.node].gone:
                lost.append(member)
            elif self._is_silent(progress, now, settings.lease_ms):
                silent.append(member)
            elif now - progress.heard_at < settings.lease_ms // 2:
                heard += 1
        if now < self._state.peers.suspect_from:
            silent = []
        if silent and 1 + heard < view.min_in_sync:
            silent = [
                member
                for member in silent
                if (progress := self._backups.of(member)) is not None
                and self._is_silent(progress, now, settings.patience_ms)
            ]
        if not lost and not silent:
            return None
        return _with_in_sync(view, [member for member in view.in_sync if member not in lost and member not in silent])

    def _is_silent(self, progress: Progress, now: Milliseconds, silence_ms: int) -> bool:
        waiting = progress.waiting_since
        late = waiting is not None and now - waiting >= max(self._state.settings.ack_ms, silence_ms)
        return late or now - progress.heard_at >= silence_ms

    # R12.

    def _count_joiners(self, now: Milliseconds) -> None:
        """Counts those whose lag is small: from now on commits wait for them."""
        log, peers = self._state.log, self._state.peers
        counted = False
        for progress in self._backups.progress.values():
            if (
                progress.counted_since is None
                and progress.member not in self._backups.required
                and self._may_join(progress)
                and progress.stage not in (Stage.OFFERED, Stage.INSTALLING)
                and progress.acknowledged
                and log.last - progress.acknowledged <= _SMALL_LAG_ENTRIES
                and not peers[progress.member.node].gone
                and not peers[progress.member.node].leaving
            ):
                progress.counted_since = now
                counted = True
        if counted:
            self.count()

    def _may_join(self, progress: Progress) -> bool:
        """Says whether a replica is wanted, and acts on a view that is no older than this one (rule 5)."""
        confirmed = self._state.confirmed
        assert confirmed is not None
        return progress.member.node in confirmed.view.replicas and progress.version >= confirmed.version

    def _with_joined(self, view: View) -> View:
        joined = [
            progress.member
            for progress in self._backups.progress.values()
            if progress.counted_since is not None
            and progress.member not in view.in_sync
            and progress.acknowledged >= self._state.log.commit
            and self._may_join(progress)
        ]
        return _with_in_sync(view, [*view.in_sync, *joined]) if joined else view

    def _let_go(self, now: Milliseconds) -> None:
        """Counts those no longer who have not joined in time; one in an unsettled proposal stays required."""
        let_go = False
        for progress in self._backups.progress.values():
            since = progress.counted_since
            if since is None:
                continue
            peer = self._state.peers[progress.member.node]
            if now - since >= self._state.settings.join_ms or peer.gone or progress.lost is not None:
                progress.counted_since = None
                progress.version = -1
                progress.lost = None
                let_go = True
        if let_go:
            self.count()

    def _without_extra(self, view: View) -> View:
        """Drops a member that is no longer wanted, when as many as were wanted are in sync without it."""
        extra = [member for member in view.in_sync if member.node not in view.replicas and member != view.primary]
        if not extra or len(view.in_sync) <= max(len(view.replicas), view.min_in_sync):
            return view
        return _with_in_sync(view, [member for member in view.in_sync if member != extra[-1]])

    # R13.

    def _handed_over(self, now: Milliseconds) -> View | None:
        """Returns the view with another primary, once that one has everything; None if it has not, or none is due."""
        target = self.hands_over_to
        if target is None:
            target = self._due(now)
            if target is None:
                return None
            self.hands_over_to = target
            self._handing_since = now
        progress = self._backups.of(target)
        if progress is None or now - self._handing_since >= self._state.settings.handover_ms:
            self.give_up_handing_over(now)
            return None
        log = self._state.log
        if progress.acknowledged < log.last or log.commit < log.last or not self._is_quiet():
            return None
        view = self.view
        incarnation = self._state.peers[target.node].incarnation
        epoch = Epoch(view.epoch + 1)
        self._handed = View(view.lineage, epoch, target, incarnation, view.in_sync, view.replicas, view.min_in_sync)
        return self._handed

    def handed_over_to(self) -> Member | None:
        """Returns whom this replica has handed over to, once that is confirmed (R13), else None."""
        return self.view.primary if self.view == self._handed else None

    def give_up_handing_over(self, now: Milliseconds) -> None:
        """Ends a hand-over that came to nothing; the next one waits a while."""
        self.hands_over_to = None
        self._not_before = Milliseconds(now + _PAUSE_BEATS * self._state.settings.beat_ms)

    def overdue(self, now: Milliseconds) -> bool:
        """Says whether a hand-over has taken too long, so that held writes must go on."""
        return self.hands_over_to is not None and now - self._handing_since >= self._state.settings.handover_ms

    def _due(self, now: Milliseconds) -> Member | None:
        """Returns whom to hand over to now: the preferred primary, or anybody if this node leaves or is not wanted.

        A node whose disk is full is preferred by nobody, and hands over to anybody who has room.
        """
        view, peers = self.view, self._state.peers
        wanted = {node: rank for rank, node in enumerate(view.replicas)}
        must = peers.leaving or self._state.node not in wanted
        if (not must and not peers.full and view.replicas[0] == self._state.node) or now < self._not_before:
            return None
        able = [
            member
            for member in view.in_sync
            if member != self._state.member
            and self._may_take_over(member, wanted, peers.leaving or peers.full)
            and (must or not peers[member.node].full)
        ]
        able.sort(key=lambda member: (peers[member.node].full, wanted.get(member.node, len(wanted))))
        if not able:
            return None
        return able[0] if must or peers.full or able[0].node == view.replicas[0] else None

    def hands_over(self, now: Milliseconds) -> bool:
        """Says whether a hand-over is under way, or about to begin."""
        return self.hands_over_to is not None or self._due(now) is not None

    def _may_take_over(self, member: Member, wanted: dict[NodeId, int], anybody: bool) -> bool:
        progress, peer = self._backups.of(member), self._state.peers[member.node]
        return (
            progress is not None
            and progress.lost is None
            and peer.linked
            and not peer.leaving
            and peer.incarnation > 0
            and (anybody or member.node in wanted)
            and progress.stage is Stage.STREAMING
            and self._state.log.last - progress.acknowledged <= _SMALL_LAG_ENTRIES
        )


def _with_in_sync(view: View, in_sync: list[Member]) -> View:
    return View(
        view.lineage, view.epoch, view.primary, view.incarnation, tuple(in_sync), view.replicas, view.min_in_sync
    )
