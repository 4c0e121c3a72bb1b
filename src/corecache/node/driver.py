"""Drives a node's machine: brings it all that happens, and carries out the actions that it answers with.

It decides nothing. What is written goes in rounds that share one fsync (`rounds.py`), from queues that refuse
(`queues.py`); what takes its own time is in `transfers.py`, `proposals.py` and `fetching.py`. What is sent goes to the
link in the same turn of the loop, which is before the own disk has it: all members' disks work at the same time.

Rule 1: events are handled one after another, never from within another event's handling, except the completion of a
fetch that needed no disk.
Rule 2: nobody is left without an answer: not when a replica goes, nor when the node stops.
Rule 3: an exception out of the machine means a broken invariant. The node stops, loudly, before it spreads.
Rule 4: the machine is ticked each `beat_ms` if the node has a link, and is told the true time however late that is.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from corecache.config import Replication
from corecache.errors import Broken, NotDone
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.node.fetching import fetch
from corecache.node.proposals import Proposals
from corecache.node.queues import Queues
from corecache.node.requests import ClientRequest
from corecache.node.rounds import Rounds
from corecache.node.transfers import Transfers
from corecache.node.views import Views
from corecache.operations import Record
from corecache.placement.view import VersionedView
from corecache.ports import Clock, Coordinator, Link, SessionState, Store, Uncached
from corecache.replication import actions, events
from corecache.replication.machine import Asked, Machine
from corecache.replication.messages import Envelope, Message
from corecache.replication.recovered import Recovered

_OVERDUE_CHECK_SECONDS = 0.1

log = structlog.get_logger("corecache.node")


class Driver:
    """Drives the machine of a node. All of it runs on one event loop. `link` is set before `start`, if there is one."""

    def __init__(
        self,
        machine: Machine,
        views: Views,
        store: Store,
        coordinator: Coordinator,
        clock: Clock,
        limits: Replication,
        values_bytes_max: int,
        draw_id: Callable[[], str],
        broke: Callable[[str], None],
    ) -> None:
        """Takes the parts. `values_bytes_max` bounds the values that one group of parked requests may read.

        `draw_id` gives a random name. `broke` is called with a sentence when an invariant is broken: stop the node.
        """
        self.machine = machine
        self.link: Link | None = None
        self.views = views
        self._values_bytes_max = values_bytes_max
        self._store = store
        self._coordinator = coordinator
        self._clock = clock
        self._limits = limits
        self._stopped = False
        self._connected = True
        self._told_full = False
        self._broke = broke
        self.rounds = Rounds(store, self._deliver_all, self._hand_over, self._storage_failed)
        self.queues = Queues(limits, self.rounds.to_append)
        self.transfers = Transfers(
            machine, store, self.rounds, draw_id, self.deliver, self._adopted, self._storage_failed, self._spawn
        )
        self._proposals = Proposals(coordinator, self._view_told, self._spawn)
        self._outbox: dict[tuple[NodeId, bool], list[Message]] = {}
        self._fetches: dict[PartitionId, deque[actions.Fetch]] = {}
        self._alarms: dict[PartitionId, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._begin: dict[type[Any], Callable[[Any, Any], None]] = {
            actions.ProposeView: self._proposals.propose,
            actions.ReadView: self._begin_read_view,
            actions.Save: self.rounds.save,
            actions.Truncate: self.rounds.truncate,
            actions.Append: self.rounds.append,
            actions.Apply: self._begin_apply,
            actions.Cut: self.rounds.cut,
            actions.Fetch: self._begin_fetch,
            actions.ReadLog: self.transfers.read_log,
            actions.ReadSnapshot: self.transfers.read_snapshot,
            actions.EndSnapshot: self._end_snapshot,
            actions.BeginInstall: self.transfers.begin_install,
            actions.Install: self.transfers.install,
            actions.Adopt: self.transfers.adopt,
            actions.Discard: self._begin_discard,
            actions.Send: self._begin_send,
            actions.Answer: self._begin_answer,
            actions.Refuse: self._begin_refuse,
            actions.WakeAt: self._begin_wake_at,
            actions.StepDown: self._begin_step_down,
            actions.Halt: self._begin_halt,
        }

    def start(self) -> None:
        """Begins the rounds. Requires: a running event loop."""
        for rounds in (
            self.rounds.append_rounds(),
            self.rounds.apply_rounds(),
            self.rounds.cut_rounds(),
            self._overdue_rounds(),
        ):
            self._spawn(rounds)
        if self.link is not None:
            self._spawn(self._ticks())

    async def stop(self) -> None:
        """Ends the rounds. Whatever still waits is refused, appended writes as *unknown*."""
        self._stopped = True
        for handle in self._alarms.values():
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.transfers.close()
        for partition in self.queues.partitions():
            self.queues.empty(partition, _stopping())
        for partition, replica in self.machine.replicas.items():
            if replica.primary is not None:
                for action in replica.primary.step_down("The node is stopping."):
                    self._begin[type(action)](partition, action)
        self._send_all()

    # What happens.

    def submit(self, partition: PartitionId, request: ClientRequest) -> None:
        """Queues a request for the next append round. Raises: NotDone `overloaded` or `stopping`."""
        if self._stopped:
            raise _stopping()
        self.queues.put(partition, request)

    def deliver(self, partition: PartitionId, event: events.Event) -> None:
        """Brings a replica an event and begins the actions that it answers with."""
        self._deliver_all(((partition, event),))

    def _deliver_all(self, happened: Iterable[tuple[PartitionId, events.Event]]) -> None:
        now, handle, begin = self._clock.now(), self.machine.handle, self._begin
        partition: PartitionId | None = None
        try:
            for happened_to, event in happened:
                partition = happened_to
                for asked_by, action in handle(happened_to, event, now):
                    begin[type(action)](asked_by, action)
        except Exception as exception:  # Rule 3.
            self._complain(partition, exception)
            raise
        if self._outbox:
            self._send_all()
        if self.views.activating:
            self.views.look(self.machine.replicas)

    def _carry_out(self, ask: Callable[..., Asked], *given: object) -> None:
        """Tells the machine what has happened to the node, and begins the actions that it answers with."""
        try:
            for partition, action in ask(*given, self._clock.now()):
                self._begin[type(action)](partition, action)
        except Exception as exception:  # Rule 3.
            self._complain(None, exception)
            raise
        if self._outbox:
            self._send_all()

    def _complain(self, partition: PartitionId | None, exception: Exception) -> None:
        log.critical("a broken invariant", partition=partition, exc_info=True)
        self._broke(f"Partition {partition}: a broken invariant, {exception!r}.")

    def view_changed(self, partition: PartitionId, confirmed: VersionedView) -> None:
        """Takes a view that the coordinator holds."""
        self._view_told(partition, events.ViewChanged(confirmed))

    def _view_told(self, partition: PartitionId, event: events.ViewChanged | events.ViewRefused) -> None:
        confirmed = event.confirmed if isinstance(event, events.ViewChanged) else event.current
        self.views.note(partition, confirmed)
        self.deliver(partition, event)

    def session_changed(self, state: SessionState) -> None:
        """Takes the state of the session with the coordinator."""
        if (state is SessionState.CONNECTED) != self._connected:
            log.info("session with the coordinator", state=state.value)
        self._connected = state is SessionState.CONNECTED
        self._carry_out(self.machine.session, state is SessionState.CONNECTED)

    def received(self, envelope: Envelope) -> None:
        """Takes messages of another node."""
        self._carry_out(self.machine.received, envelope)

    def connected(self, node: NodeId, incarnation: Incarnation) -> None:
        """Takes that a node can be reached."""
        self._carry_out(self.machine.connected, node, incarnation)

    def lost(self, node: NodeId, refused: bool) -> None:
        """Takes that a connection is lost."""
        log.info("lost a node", node=node, refused=refused)
        self._carry_out(self.machine.lost, node, refused)

    def leave(self) -> None:
        """Begins to hand over all that is led here: the node is to stop."""
        self._carry_out(self.machine.leave)

    def hands_over_for_room(self, partition: PartitionId) -> bool:
        """Says whether a partition led here is handed over, as there is no room for puts. Requires: there is none."""
        self._look_for_room()
        replica = self.machine.replicas.get(partition)
        return replica is not None and replica.primary is not None and replica.primary.yields(self._clock.now())

    def _look_for_room(self) -> None:
        self.machine.room(self._store.accepts_puts(), self._clock.now())
        full = self.machine.knowledge.full
        if full != self._told_full:
            self._told_full = full
            if full:
                log.warning("only the disk's reserve is left: what is led here is handed over to nodes with room")
            else:
                log.info("the disk has room again")

    def follow(self) -> None:
        """Has the coordinator tell of the views of all partitions that are held here."""
        self._coordinator.follow(sorted(self.machine.replicas))

    def _hand_over(self) -> None:
        writes = self.queues.take(self._clock.today(), self._is_busy)
        if not writes:
            return
        for partition, event in writes:
            if partition not in self.machine.replicas:
                self.queues.refuse(event.requests, _not_here())
        self._deliver_all(writes)

    def _storage_failed(self, failure: Broken) -> None:
        log.critical("storage failed", reason=failure.message)
        for partition in list(self.machine.replicas):
            self.deliver(partition, events.StorageFailed(failure.message))

    # Time.

    async def _overdue_rounds(self) -> None:
        while True:
            await asyncio.sleep(_OVERDUE_CHECK_SECONDS)
            self.queues.refuse_overdue(self._clock.now())

    async def _ticks(self) -> None:
        while True:
            self._look_for_room()
            self._carry_out(self.machine.tick)
            if self.views.activating:
                self.views.look(self.machine.replicas)
            await asyncio.sleep(self._limits.beat_ms / 1000)

    # The actions, each begun and not waited for.

    def _begin_send(self, partition: PartitionId | None, action: actions.Send) -> None:
        self._outbox.setdefault((action.to, action.bulk), []).append(action.message)

    def _send_all(self) -> None:
        """Hands what was said in this step to the link."""
        outbox, self._outbox = self._outbox, {}
        if self.link is not None:
            for (to, bulk), messages in outbox.items():
                self.link.send(to, messages, bulk)

    def _is_busy(self, partition: PartitionId) -> bool:
        """Says whether an entry is on its way: what comes next may wait for it."""
        replica = self.machine.replicas.get(partition)
        return replica is not None and replica.primary is not None and replica.log.commit < replica.log.last

    def _begin_apply(self, partition: PartitionId, action: actions.Apply) -> None:
        self.rounds.apply(partition, action)
        self.queues.note_free(partition)

    def _begin_read_view(self, partition: PartitionId, action: actions.ReadView) -> None:
        self._proposals.read(partition)

    def _end_snapshot(self, partition: PartitionId, action: actions.EndSnapshot) -> None:
        self.transfers.end_snapshot(partition, action.transfer)

    def _adopted(self, partition: PartitionId, recovered: Recovered, action: actions.Adopt) -> None:
        self._carry_out(self.machine.adopt, partition, recovered, action.confirmed)
        self.follow()

    def _begin_discard(self, partition: PartitionId, action: actions.Discard) -> None:
        self.queues.empty(partition, _not_here())
        alarm = self._alarms.pop(partition, None)
        if alarm is not None:
            alarm.cancel()
        self.transfers.discard(partition)
        self.follow()

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
        self.deliver(partition, events.Fetched(action.epoch, records, {}))

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
        self.queues.admission.leave(len(action.answers), size_bytes)

    def _begin_refuse(self, partition: PartitionId, action: actions.Refuse) -> None:
        self.queues.refuse(action.requests, action.error)

    def _begin_wake_at(self, partition: PartitionId, action: actions.WakeAt) -> None:
        known = self._alarms.pop(partition, None)
        if known is not None:
            known.cancel()
        delay = max(0, action.time - self._clock.now()) / 1000
        self._alarms[partition] = asyncio.get_running_loop().call_later(delay, self._wake, partition)

    def _wake(self, partition: PartitionId) -> None:
        self._alarms.pop(partition, None)
        self.deliver(partition, events.Woken())

    def _begin_step_down(self, partition: PartitionId, action: actions.StepDown) -> None:
        log.warning("stepped down as primary", partition=partition, reason=action.reason)
        # What waited for its entries to be committed is to be told.
        self.queues.note_free(partition)

    def _begin_halt(self, partition: PartitionId, action: actions.Halt) -> None:
        log.critical("a replica has halted", partition=partition, broken=action.broken)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._broke(f"A task of the node ended: {task.exception()!r}.")


def _stopping() -> NotDone:
    return NotDone("stopping", "The node is stopping; try another, or later.")


def _not_here() -> NotDone:
    return NotDone("no_primary", "This node no longer holds the partition; another does. Try again.", 0)
