"""What a primary does: from its new epoch to activation (R10), from a request to its answer (R4 to R6, R16).

A request's way: *queued* (the node's) → parked, if it needs a record that must be fetched → *appended*: given a
sequence in the log → committed, when the required set has acknowledged it → applied → answered. What is dropped before
it was appended is *not done*; what is dropped after it is *outcome unknown*. Nothing is ever dropped in silence.

Invariants:

1. `_waiting` is in the order of sequences, and holds every request that was appended, or leans on what was, and is
   neither answered nor refused.
2. Nothing is answered before the entry that it wrote or leans on is applied; nothing that wrote nothing is answered
   unless a read could be (R7).
3. Before activation no client's request is appended, and no read is served.

What is sent to the backups is in `backups.py`, who they are in `membership.py`, the law for every role (views, epochs,
failures) in `replica.py`.
"""

from collections import defaultdict, deque
from collections.abc import Sequence as Many

import msgspec

from corecache.errors import NotDone, OutcomeUnknown
from corecache.identity import Epoch, Member, Milliseconds, NodeId, Sequence, Timestamp
from corecache.operations import ConditionFailed, Deleted, Resolved, Result, Updated, Written
from corecache.replication.actions import Action, Answer, Append, Refuse, WakeAt
from corecache.replication.backups import Backups
from corecache.replication.events import Applied, ClientWrites, Fetched, Request
from corecache.replication.log import Entry, size_of
from corecache.replication.membership import Membership
from corecache.replication.messages import Claim, Partitional, Released, Replicated
from corecache.replication.pending import WRITTEN_BYTES_MAX, Pending, written_bytes
from corecache.replication.refusals import behind, too_few_at_the_end, too_late, unreadable
from corecache.replication.state import State
from corecache.replication.transfer import Throttle

Told = tuple[Request, list[Result]]


class Waiting(msgspec.Struct):
    """Requests whose answers wait until `upto` is applied; `deadline` is the earliest of theirs."""

    upto: Sequence
    answers: list[Told]
    deadline: Milliseconds


class Primary:
    """A replica's primary role for one epoch."""

    __slots__ = (
        "_alarm",
        "_date",
        "_held",
        "_lease_ends",
        "_minima",
        "_partition",
        "_pending",
        "_state",
        "_unapplied_bytes",
        "_waiting",
        "activated",
        "backups",
        "epoch",
        "membership",
    )

    def __init__(self, state: State, throttle: Throttle, now: Milliseconds) -> None:
        """Takes over the log, which may hold entries of earlier epochs. Requires: the view names this replica."""
        assert state.confirmed is not None
        self.epoch: Epoch = state.confirmed.view.epoch
        self.activated = False
        self.backups = Backups(state, throttle, state.confirmed.view, now)
        self.membership = Membership(state, self.backups, lambda: not self._pending.parked())
        self._state = state
        self._partition = state.partition
        self._lease_ends = state.peers.lease_ends
        self._pending = Pending(state.log.version)
        for entry in state.log.window:
            self._pending.replay(entry)
        self._waiting: deque[Waiting] = deque()
        self._held: list[Request] = []
        self._minima: list[tuple[Sequence, int]] = []
        self._alarm: Milliseconds | None = None
        self._date = Timestamp(0)
        self._unapplied_bytes = size_of(state.log.window)

    @property
    def begun(self) -> bool:
        """Says whether the barrier was appended."""
        return self.backups.barrier is not None

    def begin(self, now: Milliseconds) -> list[Action]:
        """Appends the barrier (R10, step 4): when it is applied, so is all before it, and the primary is activated."""
        assert not self.begun
        self.backups.barrier = Sequence(self._state.log.last + 1)
        return [*self._append([]), *self.backups.replicate(now)]

    def holds_leases(self, now: Milliseconds) -> bool:
        """Says whether every other member of the required set has granted a lease that has not run out (R7)."""
        end = self._lease_ends.get(self._partition)
        if end is None:
            end = self._lease_ends[self._partition] = self.leases_end()
        return now < end

    def leases_end(self) -> Milliseconds:
        """Asks each of those members, as a read should not have to: returns when the first of their leases ends."""
        peers, partition = self._state.peers, self._partition
        ends = [peers[member.node].lease_end(partition, self.epoch, member) for member in self.backups.required]
        return min(ends, default=_NO_END)

    def may_answer(self, now: Milliseconds) -> bool:
        """Says whether a linearizable read may be answered now (R7)."""
        return self.activated and self.holds_leases(now)

    def claim_to(self, node: NodeId, now: Milliseconds) -> Claim | None:
        """Returns the claim that a beat to a node is to carry (R8), None for a node that has no part in this."""
        progress, confirmed = self.backups.progress.get(node), self._state.confirmed
        if progress is None or confirmed is None:
            return None
        stuck = self.membership.stuck(now)
        return Claim(self._state.partition, self.epoch, confirmed.version, progress.member.replica, stuck)

    def on_message(self, sender: Member, message: Partitional, now: Milliseconds) -> list[Action]:
        """Takes a message of another replica, sent in this epoch."""
        if isinstance(message, Replicated):
            news, actions = self.backups.on_replicated(message, sender, now)
            return actions + self._on_acknowledged(now) if news else actions
        return self.backups.on_message(message, sender, now) + self.membership.decide(now)

    # Writes.

    def on_client_writes(self, event: ClientWrites, now: Milliseconds) -> list[Action]:
        """Appends what can be resolved at once, as one entry; parks the rest. During a hand-over all is held (R13)."""
        if not self.activated:
            return [Refuse(event.requests, NotDone("no_primary", "The primary is not ready yet; try again.", 100))]
        self._date = event.accepted
        if self.membership.hands_over_to is not None:
            self._held += event.requests
            return self._wake_for(min(request.deadline for request in event.requests))
        refusal = self.membership.refusal()
        if refusal is not None:
            return [Refuse(event.requests, refusal)]
        return self._take(event.requests, now)

    def _take(self, requests: Many[Request], now: Milliseconds) -> list[Action]:
        actions: list[Action] = []
        late = [request for request in requests if request.deadline <= now]
        if late:
            actions.append(Refuse(late, too_late()))
            requests = [request for request in requests if request.deadline > now]
        while requests:
            if self._is_behind():
                return [*actions, Refuse(list(requests), behind(self._unapplied_bytes))]
            sequence = Sequence(self._state.log.last + 1)
            resolved: list[Resolved] = []
            told: dict[Sequence, list[Told]] = defaultdict(list)
            parked, requests = self._pending.take(requests, sequence, self._date, resolved, told)
            actions += self._append_resolved(resolved, told, now)
            if parked:
                actions.append(self._pending.park(self.epoch, parked))
                actions += self._wake_for(min(request.deadline for request in parked))
        return actions

    def _is_behind(self) -> bool:
        """Says whether too much waits to be applied: small requests can make large entries."""
        return self._unapplied_bytes > self._state.settings.uncommitted_bytes_max

    def on_fetched(self, event: Fetched, now: Milliseconds) -> list[Action]:
        """Resolves the oldest parked group; refuses those of its requests that need what the disk can't give."""
        if event.epoch != self.epoch:
            return []
        group = self._pending.unpark()
        actions: list[Action] = []
        late: list[Request] = []
        ready: deque[Request] = deque()
        for request in group.requests:
            error = unreadable(request, event, alone=len(group.requests) == 1)
            if error is not None:
                actions.append(Refuse([request], error))
            elif request.deadline <= now:
                late.append(request)
            else:
                ready.append(request)
        if late:
            actions.append(Refuse(late, too_late()))
        refusal = self.membership.refusal()
        if refusal is not None and ready:
            actions.append(Refuse(list(ready), refusal))
            ready.clear()
        while ready:
            if self._is_behind():
                actions.append(Refuse(list(ready), behind(self._unapplied_bytes)))
                break
            sequence = Sequence(self._state.log.last + 1)
            resolved: list[Resolved] = []
            told: dict[Sequence, list[Told]] = defaultdict(list)
            left_bytes = WRITTEN_BYTES_MAX
            while ready and left_bytes >= 0:
                request, before = ready.popleft(), len(resolved)
                results, leans_on = self._pending.resolve(request, event.records, sequence, self._date, resolved)
                told[leans_on].append((request, results))
                left_bytes -= written_bytes(resolved, before)
            actions += self._append_resolved(resolved, told, now)
        self._pending.release(group, self._state.log.applied)
        return actions

    def _append_resolved(
        self, resolved: list[Resolved], told: dict[Sequence, list[Told]], now: Milliseconds
    ) -> list[Action]:
        actions: list[Action] = []
        if resolved:
            actions = [*self._append(resolved), *self.backups.replicate(now)]
        for upto in sorted(told) if len(told) > 1 else told:
            answers = told[upto]
            if answers and upto <= self._state.log.applied:
                actions += self._answer(answers, now)
            elif answers:
                actions += self._wait(upto, answers)
        return actions

    def _append(self, resolved: list[Resolved]) -> list[Action]:
        log = self._state.log
        entry = Entry(self.epoch, Sequence(log.last + 1), tuple(resolved))
        log.append(entry)
        self._unapplied_bytes += size_of((entry,))
        return [Append([entry], log.generation)]

    # From the log to the answer.

    def on_appended(self, now: Milliseconds) -> list[Action]:
        """Counts this disk's acknowledgement (R3), and applies what is committed by it."""
        return self._advance(now)

    def _on_acknowledged(self, now: Milliseconds) -> list[Action]:
        """Applies what is committed by a backup's acknowledgement; looks whether that one may join or take over now."""
        actions = self._advance(now)
        joins = self.membership.hands_over_to is not None or len(self.backups.progress) + 1 > len(
            self.membership.view.in_sync
        )
        return actions + self.membership.decide(now) if joins else actions

    def _advance(self, now: Milliseconds) -> list[Action]:
        """Moves the commit point to where the required set is (R4)."""
        log = self._state.log
        committed = self.backups.committed(log.durable)
        if committed <= log.commit:
            return []
        log.commit = committed
        return self._state.begin_apply()

    def on_applied(self, event: Applied, now: Milliseconds) -> list[Action]:
        """Answers all that waited for these entries; activates, if the barrier is among them."""
        entries, actions = self._state.note_applied(event.upto, now)
        self._pending.note_applied(entries, event.upto)
        self._unapplied_bytes -= size_of(entries)
        barrier = self.backups.barrier
        if not self.activated and barrier is not None and event.upto >= barrier:
            actions += self._activate()
        answers: list[Told] = []
        while self._waiting and self._waiting[0].upto <= event.upto:
            waiting = self._waiting.popleft()
            if self._has_enough_copies(waiting.upto):
                answers += waiting.answers
            else:
                actions.append(Refuse([request for request, _ in waiting.answers], too_few_at_the_end()))
        while self._minima and self._minima[0][0] <= event.upto:
            del self._minima[0]
        return self._answer(answers, now) + actions if answers else actions

    def _activate(self) -> list[Action]:
        self.activated = True
        self.membership.activated = True
        # Each start appends a barrier; nobody else could need what is left of the lives before.
        return self._state.cut(self._state.log.applied) if self._state.alone else []

    def _has_enough_copies(self, upto: Sequence) -> bool:
        """Says whether as many are in sync as were ever wanted since an entry was appended (R5)."""
        view = self.membership.view
        wanted = max([least for until, least in self._minima if until >= upto], default=0)
        return len(view.in_sync) >= max(wanted, view.min_in_sync)

    def note_minimum(self, least: int) -> None:
        """Notes the `min_in_sync` of a view that was confirmed until now: what is in the log must satisfy it (R5)."""
        if self._state.log.last > self._state.log.applied:
            self._minima.append((self._state.log.last, least))

    def _answer(self, answers: list[Told], now: Milliseconds) -> list[Action]:
        """Tells results; those that tell of state without having written pass the checks of a read (R7, R16)."""
        if self.may_answer(now):
            return [Answer(answers)]
        wrote = [told for told in answers if _wrote(told[1])]
        read = [request for request, results in answers if not _wrote(results)]
        actions: list[Action] = [Answer(wrote)] if wrote else []
        if read:
            error = NotDone(
                "no_lease", "The primary can't tell whether it still is; nothing was written; try again.", 50
            )
            actions.append(Refuse(read, error))
        return actions

    def _wait(self, upto: Sequence, answers: list[Told]) -> list[Action]:
        waiting = Waiting(upto, answers, min([request.deadline for request, _ in answers]))
        index = len(self._waiting)
        while index and self._waiting[index - 1].upto > upto:
            index -= 1
        self._waiting.insert(index, waiting)
        return self._wake_for(waiting.deadline)

    # Time.

    def on_tick(self, now: Milliseconds) -> list[Action]:
        """Looks after the backups, the view, and a hand-over that takes too long."""
        actions = self.backups.on_tick(now)
        if self.membership.overdue(now):
            self.membership.give_up_handing_over(now)
        actions += self.membership.decide(now)
        actions += self._advance(now)
        if self._held and self.membership.hands_over_to is None:
            held, self._held = self._held, []
            refusal = self.membership.refusal()
            actions += self._take(held, now) if refusal is None else [Refuse(held, refusal)]
        return actions

    def on_view(self, now: Milliseconds) -> list[Action]:
        """Goes on under a newer view of this epoch: less may be required, or something else be due."""
        return [*self._advance(now), *self.membership.decide(now)]

    def on_woken(self, now: Milliseconds) -> list[Action]:
        """Ends what has passed its deadline: what is in the log as unknown (R5), what is not as not done."""
        self._alarm = None
        overdue: list[Request] = []
        for waiting in self._waiting:
            if waiting.deadline <= now:
                overdue += [request for request, _ in waiting.answers if request.deadline <= now]
                waiting.answers = [told for told in waiting.answers if told[0].deadline > now]
                waiting.deadline = min((told[0].deadline for told in waiting.answers), default=_NO_DEADLINE)
        actions: list[Action] = []
        if overdue:
            error = OutcomeUnknown(
                "deadline_passed", "The deadline passed after the write was put into the log: it may yet be done."
            )
            actions.append(Refuse(overdue, error))
        late = self._pending.take_overdue(now) + [request for request in self._held if request.deadline <= now]
        if late:
            self._held = [request for request in self._held if request.deadline > now]
            actions.append(Refuse(late, too_late()))
        deadlines = [waiting.deadline for waiting in self._waiting]
        deadlines += [request.deadline for request in (*self._pending.parked(), *self._held)]
        return actions + self._wake_for(min(deadlines, default=_NO_DEADLINE))

    def yields(self, now: Milliseconds) -> bool:
        """Says whether it hands over, or is about to (R13)."""
        return self.activated and self.membership.hands_over(now)

    def released(self) -> list[Action]:
        """Tells the new primary that nothing is served here any more, if it was handed over to (R13).

        Requires: called when the role ends, in the step that ends it.
        """
        target = self.membership.handed_over_to() if self.activated else None
        if target is None or self._state.confirmed is None:
            return []
        return self._state.send(Released, target, self._state.confirmed.version)

    def step_down(self, reason: str) -> list[Action]:
        """Ends everything under way: what was appended as unknown, what was not as not done (R2)."""
        self.activated = False
        actions: list[Action] = self.backups.end()
        appended = [request for waiting in self._waiting for request, _ in waiting.answers]
        self._waiting.clear()
        if appended:
            actions.append(Refuse(appended, OutcomeUnknown("stepped_down", f"{reason} The write may have been done.")))
        waiting = self._pending.abandon() + self._held
        self._held = []
        if waiting:
            actions.append(Refuse(waiting, NotDone("stepped_down", reason, 0)))
        return actions

    def _wake_for(self, deadline: Milliseconds) -> list[Action]:
        if deadline == _NO_DEADLINE or (self._alarm is not None and self._alarm <= deadline):
            return []
        self._alarm = deadline
        return [WakeAt(deadline)]


_NO_DEADLINE = Milliseconds(1 << 62)
_NO_END = Milliseconds(1 << 62)


def _wrote(results: list[Result]) -> bool:
    """Says whether a request with these results has changed something."""
    changed = any(
        type(result) is Written or type(result) is Deleted or (type(result) is Updated and result.changed)
        for result in results
    )
    return changed and not any(type(result) is ConditionFailed for result in results)
