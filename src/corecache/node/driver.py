"""Carries out the actions of a node's replicas, and brings them the completions as events.

It decides nothing. What it owns is the *rounds*: an append round takes all that was asked to be made durable since the
last one began (client writes of every partition, barriers, facts) to the store in one call, so that all of it shares
one fsync (group commit); an apply round does the same for committed entries. The two run side by side. While a round is
at the disk, the next one fills up.

Rule 1: the events of one replica are handled one after another, never from within another event's handling, except the
completion of a fetch that needed no disk.
Rule 2: a write that waits in a queue when its deadline passes is refused as *not done*: nobody is left without an
answer because a disk hangs.
Rule 3: an exception out of a replica means a broken invariant. The node stops, loudly, before it spreads.

Requests and their counting are in `requests.py`, reads in `node.py`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from corecache.config import Replication
from corecache.errors import Broken, CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import PartitionId, Sequence
from corecache.node.fetching import fetch
from corecache.node.requests import Admission, ClientRequest
from corecache.operations import Record
from corecache.placement.view import VersionedView
from corecache.ports import Clock, Coordinator, Store, Uncached
from corecache.replication import actions, events
from corecache.replication.log import Entry
from corecache.replication.recovered import ReplicaFacts
from corecache.replication.replica import Replica

_OVERDUE_CHECK_SECONDS = 0.1
_VIEW_RETRY_SECONDS = 0.5

log = structlog.get_logger("corecache.node")


class Driver:
    """Drives the replicas of a node. All of it runs on one event loop."""

    def __init__(
        self,
        replicas: Mapping[PartitionId, Replica],
        store: Store,
        coordinator: Coordinator,
        clock: Clock,
        limits: Replication,
        values_bytes_max: int,
        broke: Callable[[str], None],
    ) -> None:
        """Takes the parts. `values_bytes_max` bounds the values that one group of parked requests may read.

        `broke` is called with a sentence when an invariant is broken: the node must stop.
        """
        self._values_bytes_max = values_bytes_max
        self.admission = Admission(limits)
        self.rounds = 0
        self._replicas = replicas
        self._store = store
        self._coordinator = coordinator
        self._clock = clock
        self._limits = limits
        self._stopped = False
        self._broke = broke
        self._queues: dict[PartitionId, deque[ClientRequest]] = {}
        self._saves: dict[PartitionId, ReplicaFacts] = {}
        self._appends: list[tuple[PartitionId, Entry]] = []
        self._applies: list[tuple[PartitionId, Entry]] = []
        self._cuts: dict[PartitionId, Sequence] = {}
        self._fetches: dict[PartitionId, deque[actions.Fetch]] = {}
        self._alarms: dict[PartitionId, asyncio.TimerHandle] = {}
        self._to_append = asyncio.Event()
        self._to_apply = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._begin: dict[type[Any], Callable[[PartitionId, Any], None]] = {
            actions.ProposeView: self._begin_propose,
            actions.Save: self._begin_save,
            actions.Append: self._begin_append,
            actions.Apply: self._begin_apply,
            actions.Cut: self._begin_cut,
            actions.Fetch: self._begin_fetch,
            actions.Answer: self._begin_answer,
            actions.Refuse: self._begin_refuse,
            actions.WakeAt: self._begin_wake_at,
            actions.StepDown: self._begin_step_down,
        }

    def start(self) -> None:
        """Begins the rounds. Requires: a running event loop."""
        for rounds in (self._append_rounds(), self._apply_rounds(), self._overdue_rounds()):
            self._spawn(rounds)

    async def stop(self) -> None:
        """Ends the rounds. Whatever still waits is refused, appended writes as *unknown*."""
        self._stopped = True
        for handle in self._alarms.values():
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for partition, replica in self._replicas.items():
            self._refuse_queued(partition, _stopping())
            if replica.primary is not None:
                for action in replica.primary.step_down("The node is stopping."):
                    self._begin[type(action)](partition, action)

    def submit(self, partition: PartitionId, request: ClientRequest) -> None:
        """Queues a request for the next append round. Raises: NotDone `overloaded` or `stopping`."""
        if self._stopped:
            raise _stopping()
        self.admission.admit(request)
        queue = self._queues.get(partition)
        if queue is None:
            self._queues[partition] = deque((request,))
            self._to_append.set()
        else:
            queue.append(request)

    def deliver(self, partition: PartitionId, event: events.Event) -> None:
        """Brings a replica an event and begins the actions that it answers with."""
        self._deliver_all(((partition, event),))

    def _deliver_all(self, happened: Iterable[tuple[PartitionId, events.Event]]) -> None:
        now, begin, replicas = self._clock.now(), self._begin, self._replicas
        partition = None
        try:
            for partition, event in happened:
                for action in replicas[partition].handle(event, now):
                    begin[type(action)](partition, action)
        except Exception as exception:  # Rule 3.
            log.critical("a broken invariant", partition=partition, exc_info=True)
            self._broke(f"Partition {partition}: a broken invariant, {exception!r}.")
            raise

    # The rounds.

    async def _append_rounds(self) -> None:
        while True:
            await self._to_append.wait()
            self._to_append.clear()
            try:
                if self._saves:
                    saves, self._saves = self._saves, {}
                    await self._store.save(None, saves)
                    for partition in saves:
                        self.deliver(partition, events.Saved())
                self._hand_over_queued()
                if self._appends:
                    entries, self._appends = self._appends, []
                    self.rounds += 1
                    await self._store.append(entries)
                    last = {partition: entry.sequence for partition, entry in entries}
                    self._deliver_all((partition, events.Appended(upto)) for partition, upto in last.items())
            except Broken as failure:
                self._storage_failed(failure)

    def _hand_over_queued(self) -> None:
        accepted = self._clock.today()
        left_bytes, left_requests = self._limits.batch_bytes_max, self._limits.batch_requests_max
        queues, self._queues = self._queues, {}
        begun: dict[PartitionId, deque[ClientRequest]] = {}
        writes: list[tuple[PartitionId, events.Event]] = []
        for partition, queue in queues.items():
            requests = []
            while queue and left_bytes > 0 and left_requests > 0:
                request = queue.popleft()
                left_bytes -= request.size_bytes
                left_requests -= 1
                if not request.reply.done():
                    requests.append(request)
                else:
                    self.admission.leave(1, request.size_bytes)
            if queue:
                (begun if requests else self._queues)[partition] = queue
            if requests:
                writes.append((partition, events.ClientWrites(requests, accepted)))
        self._deliver_all(writes)
        # Whoever had a share of this round comes last in the next one: a busy partition holds up no other.
        self._queues |= begun
        if self._queues:
            self._to_append.set()

    async def _apply_rounds(self) -> None:
        while True:
            await self._to_apply.wait()
            self._to_apply.clear()
            try:
                entries, self._applies = self._applies, []
                await self._store.apply(entries)
                last = {partition: entry.sequence for partition, entry in entries}
                self._deliver_all((partition, events.Applied(upto)) for partition, upto in last.items())
                if self._cuts:
                    cuts, self._cuts = self._cuts, {}
                    await self._store.cut(cuts)
            except Broken as failure:
                self._storage_failed(failure)

    async def _overdue_rounds(self) -> None:
        while True:
            await asyncio.sleep(_OVERDUE_CHECK_SECONDS)
            now = self._clock.now()
            for queue in self._queues.values():
                for request in queue:
                    if request.deadline <= now and not request.reply.done():
                        request.reply.set_exception(
                            NotDone("deadline_passed", "The deadline passed before the write was begun; try again.", 0)
                        )

    def _storage_failed(self, failure: Broken) -> None:
        log.critical("storage failed", reason=failure.message)
        self._appends.clear()
        self._applies.clear()
        for partition in self._replicas:
            self.deliver(partition, events.StorageFailed(failure.message))

    # The actions, each begun and not waited for.

    def _begin_save(self, partition: PartitionId, action: actions.Save) -> None:
        self._saves[partition] = action.facts
        self._to_append.set()

    def _begin_append(self, partition: PartitionId, action: actions.Append) -> None:
        self._appends += [(partition, entry) for entry in action.entries]
        self._to_append.set()

    def _begin_apply(self, partition: PartitionId, action: actions.Apply) -> None:
        self._applies += [(partition, entry) for entry in action.entries]
        self._to_apply.set()

    def _begin_cut(self, partition: PartitionId, action: actions.Cut) -> None:
        self._cuts[partition] = action.upto

    def _begin_fetch(self, partition: PartitionId, action: actions.Fetch) -> None:
        waiting = self._fetches.get(partition)
        if waiting is not None:
            waiting.append(action)
            return
        records: dict[bytes, Record | None] = {}
        for key in action.keys:
            record = self._store.peek(partition, key)
            if isinstance(record, Uncached):
                self._fetches[partition] = deque((action,))
                self._spawn(self._fetch_rounds(partition))
                return
            records[key] = record
        self.deliver(partition, events.Fetched(records, {}))

    async def _fetch_rounds(self, partition: PartitionId) -> None:
        waiting = self._fetches[partition]
        try:
            while waiting:
                fetched = await fetch(self._store, partition, waiting[0], self._values_bytes_max)
                waiting.popleft()
                self.deliver(partition, fetched)
        finally:
            del self._fetches[partition]

    def _begin_answer(self, partition: PartitionId, action: actions.Answer) -> None:
        size_bytes = 0
        for request, results in action.answers:
            assert isinstance(request, ClientRequest)
            size_bytes += request.size_bytes
            reply = request.reply
            if not reply.done():
                reply.set_result(results)
        self.admission.leave(len(action.answers), size_bytes)

    def _begin_refuse(self, partition: PartitionId, action: actions.Refuse) -> None:
        for request in action.requests:
            assert isinstance(request, ClientRequest)
            self.admission.leave(1, request.size_bytes)
            if not request.reply.done():
                request.reply.set_exception(action.error)

    def _begin_wake_at(self, partition: PartitionId, action: actions.WakeAt) -> None:
        known = self._alarms.pop(partition, None)
        if known is not None:
            known.cancel()
        delay = max(0, action.time - self._clock.now()) / 1000
        self._alarms[partition] = asyncio.get_running_loop().call_later(delay, self._wake, partition)

    def _wake(self, partition: PartitionId) -> None:
        self._alarms.pop(partition, None)
        self.deliver(partition, events.Woken())

    def _begin_propose(self, partition: PartitionId, action: actions.ProposeView) -> None:
        self._spawn(self._propose(partition, action))

    async def _propose(self, partition: PartitionId, action: actions.ProposeView) -> None:
        try:
            accepted = await self._coordinator.propose(partition, action.view, action.expected)
        except (NotDone, OutcomeUnknown) as error:
            # Its own success is possible too: only reading can tell (R18). Not at once: what failed needs a moment.
            log.warning("a view change is not settled", partition=partition, reason=error.message)
            await asyncio.sleep(_VIEW_RETRY_SECONDS)
            accepted = None
        if accepted is not None:
            self.deliver(partition, events.ViewChanged(accepted))
        else:
            self.deliver(partition, events.ViewRefused(await self._read_view(partition)))

    async def _read_view(self, partition: PartitionId) -> VersionedView:
        while True:
            try:
                return (await self._coordinator.views())[partition]
            except (NotDone, OutcomeUnknown) as error:
                log.warning("a view can't be read; trying again", partition=partition, reason=error.message)
                await asyncio.sleep(_VIEW_RETRY_SECONDS)

    def _begin_step_down(self, partition: PartitionId, action: actions.StepDown) -> None:
        log.warning("stepped down as primary", partition=partition, reason=action.reason)

    def _refuse_queued(self, partition: PartitionId, error: CoreCacheError) -> None:
        requests = list(self._queues.pop(partition, ()))
        self._begin_refuse(partition, actions.Refuse(requests, error))

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._broke(f"A task of the node ended: {task.exception()!r}.")


def _stopping() -> NotDone:
    return NotDone("stopping", "The node is stopping; try another, or later.")
