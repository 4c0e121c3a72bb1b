"""What a primary does: from its new epoch to activation (R10), from a request to its answer (R4 to R6, R16).

A request's way: *queued* (the node's) → parked, if it needs a record that must be fetched → *appended*: given a
sequence in the log → committed, when the required set has acknowledged it → applied → answered. What is dropped before
it was appended is *not done*; what is dropped after it is *outcome unknown*. Nothing is ever dropped in silence.

Invariants:

1. `_waiting` is in the order of sequences, and holds every request that was appended, or leans on what was, and is
   neither answered nor refused.
2. Nothing is answered before the entry that it wrote or leans on is applied.
3. Before activation no client's request is appended, and no read is served.

The law for every role (views, epochs, failures) is in `replica.py`.
"""

from collections import defaultdict, deque

import msgspec

from corecache.errors import NotDone, OutcomeUnknown
from corecache.identity import Epoch, Member, Milliseconds, Sequence, Timestamp, Version
from corecache.operations import Resolved, Result
from corecache.placement.view import View
from corecache.replication.actions import Action, Answer, Append, Apply, Cut, Refuse, WakeAt
from corecache.replication.events import Appended, Applied, ClientWrites, Fetched, Request
from corecache.replication.log import Entry, Log
from corecache.replication.pending import Pending
from corecache.replication.progress import Progress

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
        "_applying",
        "_barrier",
        "_date",
        "_epoch",
        "_log",
        "_log_retention_bytes",
        "_member",
        "_pending",
        "_progress",
        "_uncut_bytes",
        "_waiting",
        "activated",
        "view",
    )

    def __init__(self, member: Member, view: View, log: Log, version: Version, log_retention_bytes: int) -> None:
        """Takes over `log`, whose window may hold entries of earlier epochs. `version`: the highest in the store."""
        self.view = view
        self.activated = False
        self._member = member
        self._epoch: Epoch = view.epoch
        self._log = log
        self._progress = Progress(view.in_sync)
        self._pending = Pending(version)
        for entry in log.window:
            self._pending.replay(entry)
        self._barrier: Sequence | None = None
        self._applying = log.applied
        self._waiting: deque[Waiting] = deque()
        self._alarm: Milliseconds | None = None
        self._date = Timestamp(0)
        self._uncut_bytes = 0
        self._log_retention_bytes = log_retention_bytes

    @property
    def begun(self) -> bool:
        """Says whether the barrier was appended."""
        return self._barrier is not None

    def begin(self) -> list[Action]:
        """Appends the barrier (R10, step 4): when it is applied, so is all before it, and the primary is activated."""
        assert self._barrier is None
        self._barrier = Sequence(self._log.last + 1)
        return [self._append([])]

    def on_client_writes(self, event: ClientWrites, now: Milliseconds) -> list[Action]:
        """Appends what can be resolved at once, as one entry; parks the rest."""
        if not self.activated:
            return [Refuse(event.requests, NotDone("no_primary", "The primary is not ready yet; try again.", 100))]
        if len(self.view.in_sync) < self.view.min_in_sync:
            return [Refuse(event.requests, self._too_few_copies())]
        self._date = event.accepted
        actions: list[Action] = []
        requests = event.requests
        late = [request for request in requests if request.deadline <= now]
        if late:
            actions.append(Refuse(late, _too_late()))
            requests = [request for request in requests if request.deadline > now]
        sequence = Sequence(self._log.last + 1)
        resolved: list[Resolved] = []
        told: dict[Sequence, list[Told]] = defaultdict(list)
        parked = self._pending.take(requests, sequence, self._date, resolved, told)
        actions += self._append_resolved(resolved, told)
        if parked:
            actions.append(self._pending.park(parked))
            actions += self._wake_for(min(request.deadline for request in parked))
        return actions

    def on_fetched(self, event: Fetched, now: Milliseconds) -> list[Action]:
        """Resolves the oldest parked group; refuses those of its requests that need what the disk can't give."""
        group = self._pending.unpark()
        actions: list[Action] = []
        late, ready = [], []
        for request in group.requests:
            error = next((event.unreadable[op.key] for op in request.operations if op.key in event.unreadable), None)
            if error is not None:
                actions.append(Refuse([request], error))
            elif request.deadline <= now:
                late.append(request)
            else:
                ready.append(request)
        if late:
            actions.append(Refuse(late, _too_late()))
        sequence = Sequence(self._log.last + 1)
        resolved: list[Resolved] = []
        told: dict[Sequence, list[Told]] = defaultdict(list)
        for request in ready:
            results, leans_on = self._pending.resolve(request, event.records, sequence, self._date, resolved)
            told[leans_on].append((request, results))
        actions += self._append_resolved(resolved, told)
        self._pending.release(group, self._log.applied)
        return actions

    def on_appended(self, event: Appended) -> list[Action]:
        """Counts this disk's acknowledgement, and begins to apply what is now committed (R3, R4, R6)."""
        self._log.durable = max(self._log.durable, event.upto)
        self._progress.acknowledge(self._member, event.upto)
        committed = self._progress.committed()
        if committed <= self._log.commit:
            return []
        self._log.commit = committed
        entries = self._log.between(self._applying, committed)
        self._applying = committed
        return [Apply(entries)]

    def on_applied(self, event: Applied, now: Milliseconds) -> list[Action]:
        """Answers all that waited for these entries; activates, if the barrier is among them."""
        self._pending.note_applied(self._log.between(self._log.applied, event.upto), event.upto)
        self._log.note_applied(event.upto)
        activates = not self.activated and self._barrier is not None and event.upto >= self._barrier
        self.activated = self.activated or activates
        answers: list[Told] = []
        while self._waiting and self._waiting[0].upto <= event.upto:
            answers += self._waiting.popleft().answers
        actions: list[Action] = [Answer(answers)] if answers else []
        # Nobody else holds a replica that might still need these entries (R15).
        if (activates or self._uncut_bytes > self._log_retention_bytes) and len(self.view.replicas) == 1:
            self._uncut_bytes = 0
            actions.append(Cut(event.upto))
        return actions

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
        parked = self._pending.take_overdue(now)
        if parked:
            actions.append(Refuse(parked, _too_late()))
        deadlines = [waiting.deadline for waiting in self._waiting]
        deadlines += [request.deadline for request in self._pending.parked()]
        return actions + self._wake_for(min(deadlines, default=_NO_DEADLINE))

    def step_down(self, reason: str) -> list[Action]:
        """Ends everything under way: what was appended as unknown, what was not as not done (R2)."""
        self.activated = False
        actions: list[Action] = []
        appended = [request for waiting in self._waiting for request, _ in waiting.answers]
        self._waiting.clear()
        if appended:
            actions.append(Refuse(appended, OutcomeUnknown("stepped_down", f"{reason} The write may have been done.")))
        parked = self._pending.abandon()
        if parked:
            actions.append(Refuse(parked, NotDone("stepped_down", reason)))
        return actions

    def _append_resolved(self, resolved: list[Resolved], told: dict[Sequence, list[Told]]) -> list[Action]:
        actions: list[Action] = [self._append(resolved)] if resolved else []
        for upto in sorted(told) if len(told) > 1 else told:
            answers = told[upto]
            if answers and upto <= self._log.applied:
                actions.append(Answer(answers))
            elif answers:
                self._uncut_bytes += sum([request.size_bytes for request, _ in answers])
                actions += self._wait(upto, answers)
        return actions

    def _append(self, resolved: list[Resolved]) -> Append:
        entry = Entry(self._epoch, Sequence(self._log.last + 1), tuple(resolved))
        self._log.append(entry)
        return Append([entry])

    def _wait(self, upto: Sequence, answers: list[Told]) -> list[Action]:
        waiting = Waiting(upto, answers, min([request.deadline for request, _ in answers]))
        index = len(self._waiting)
        while index and self._waiting[index - 1].upto > upto:
            index -= 1
        self._waiting.insert(index, waiting)
        return self._wake_for(waiting.deadline)

    def _wake_for(self, deadline: Milliseconds) -> list[Action]:
        if deadline == _NO_DEADLINE or (self._alarm is not None and self._alarm <= deadline):
            return []
        self._alarm = deadline
        return [WakeAt(deadline)]

    def _too_few_copies(self) -> NotDone:
        counts = f"{len(self.view.in_sync)} of the {self.view.min_in_sync} replicas needed are in sync"
        return NotDone("too_few_copies", f"The partition takes no writes: {counts}; try again.")


_NO_DEADLINE = Milliseconds(1 << 62)


def _too_late() -> NotDone:
    return NotDone("deadline_passed", "The deadline passed before the write was begun; try again.", 0)
