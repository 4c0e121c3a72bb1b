"""One process of a simulated node: its machine, and the machine's actions turned into simulated deeds.

It does what `node/driver.py` does with real disks and sockets, and keeps the same contract (`actions.py`): actions are
begun in order, completions of one kind come back in order, a crash keeps a prefix of the writes. Every completion is an
event of its own. After every event the checks look at what it has touched.

How long a deed takes is thrown; nothing else is decided here. A process that has ended does nothing more.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Protocol, TypeAlias

import msgspec

from corecache.errors import CallerFault, NotDone
from corecache.identity import Epoch, Incarnation, Milliseconds, NodeId, PartitionId, ReplicaId, Timestamp
from corecache.operations import ConditionFailed, Put, Written
from corecache.placement.view import VersionedView, View
from corecache.replication import actions, events
from corecache.replication.machine import Machine
from corecache.replication.messages import Envelope, Message, PartitionMessage, Replicated
from corecache.replication.recovered import NOTHING_APPLIED, Recovered, ReplicaFacts
from corecache.replication.replica import Replica
from corecache.simulator import contents
from corecache.simulator.clock import NodeClock
from corecache.simulator.disk import Disk
from corecache.simulator.frames import decode_frame, encode_frame
from corecache.simulator.reads import Reads
from corecache.simulator.requests import ClientRequest
from corecache.simulator.trace import HaltError
from corecache.simulator.world import World

Asked: TypeAlias = list[tuple[PartitionId | None, Any]]


class Process(Protocol):
    """What a driver asks of its node."""

    def defer(self, target: Callable[[Any], None], event: object) -> bool:
        """Keeps an event for later, and says so, if the process is paused."""


class Driver:
    """A process."""

    def __init__(
        self,
        name: NodeId,
        incarnation: Incarnation,
        life: int,
        world: World,
        disk: Disk,
        clock: NodeClock,
        dice: Random,
        process: Process,
        grants_end: Milliseconds,
    ) -> None:
        """Makes the machine of what the disk holds."""
        self.name = name
        self.incarnation = incarnation
        self.ended = False
        self._life = life
        self.world = world
        self.disk = disk
        self.clock = clock
        self._process = process
        self.schedule = world.schedule
        self.checks = world.checks
        self._outbox: dict[tuple[NodeId, bool], list[Message]] = {}
        self._wakes: dict[PartitionId, Milliseconds] = {}
        self._adopting: dict[PartitionId, None] = {}
        reads = Reads(world.schedule, disk, dice, self._complete)
        self._on: dict[type[Any], Callable[[Any, Any], None]] = {
            actions.ProposeView: self._propose,
            actions.ReadView: self._read_view,
            actions.Save: self._save,
            actions.Truncate: self._truncate,
            actions.Append: self._append,
            actions.Apply: self._apply,
            actions.Cut: self._cut,
            actions.Fetch: reads.fetch,
            actions.ReadLog: reads.read_log,
            actions.ReadSnapshot: reads.read_snapshot,
            actions.EndSnapshot: reads.end_snapshot,
            actions.BeginInstall: self._begin_install,
            actions.Install: self._install,
            actions.Adopt: self._adopt,
            actions.Discard: self._discard,
            actions.Send: self._send,
            actions.Answer: self._answer,
            actions.Refuse: self.refuse,
            actions.WakeAt: self._wake_at,
            actions.StepDown: self._step_down,
            actions.Halt: self._halt,
        }
        recovered = {partition: held.recovered() for partition, held in sorted(disk.contents.replicas.items())}
        self.machine = Machine(
            name, incarnation, world.settings, recovered, self.now, grants_end, world.options.partitions
        )
        for partition in recovered:
            self.checks.opened(name, partition, self.machine.replicas[partition])

    @property
    def now(self) -> Milliseconds:
        """Returns the time by this node's clock."""
        return self.clock.local(self.schedule.now)

    @property
    def today(self) -> Timestamp:
        """Returns the date by this node's clock."""
        return self.clock.today(self.schedule.now)

    # Events in.

    def handle(self, partition: PartitionId, event: events.Event) -> None:
        """Hands an event to a replica, and does what it asks for."""
        self.world.note(self.name, type(event).__name__, partition, event)
        self._carry_out(self.machine.handle(partition, event, self.now), (partition,))

    def viewed(self, event: tuple[PartitionId, events.Event]) -> None:
        """Takes what the coordinator tells of a view."""
        partition, told = event
        if partition in self.machine.replicas or isinstance(told, events.ViewChanged):
            self.handle(partition, told)

    def session(self, connected: bool) -> None:
        """Takes a change of the session with the coordinator."""
        self.world.note(self.name, "session", None, "connected" if connected else "suspended")
        self._carry_out(self.machine.session(connected, self.now))

    def received(self, frame: bytes) -> None:
        """Takes a frame."""
        envelope = decode_frame(frame)
        self.world.trace.note_frame(frame)
        self.world.note(self.name, "received", None, envelope)
        touched = dict.fromkeys(
            message.partition for message in envelope.messages if isinstance(message, PartitionMessage)
        )
        self._carry_out(self.machine.received(envelope, self.now), tuple(touched))

    def connected(self, event: tuple[NodeId, Incarnation]) -> None:
        """Takes that a connection is there."""
        self.world.note(self.name, "connected", None, f"{event[0]}#{event[1]}")
        self._carry_out(self.machine.connected(event[0], event[1], self.now))

    def lost(self, event: tuple[NodeId, bool]) -> None:
        """Takes that a connection is lost."""
        self.world.note(self.name, "lost", None, f"{event[0]}{' (refused)' if event[1] else ''}")
        self._carry_out(self.machine.lost(event[0], event[1], self.now))

    def tick(self) -> None:
        """Takes that time has passed."""
        self._carry_out(self.machine.tick(self.now))

    def leave(self) -> None:
        """Takes that the node is to stop."""
        self.world.note(self.name, "leave", None)
        self._carry_out(self.machine.leave(self.now))

    def storage_failed(self) -> None:
        """Takes that the disk has failed, for all replicas."""
        for partition in sorted(self.machine.replicas):
            self.handle(partition, events.StorageFailed("The disk has failed."))

    # Actions out.

    def _carry_out(self, asked: Asked, touched: tuple[PartitionId, ...] = ()) -> None:
        """Begins actions in their order, sends what is to be sent, and has the checks look."""
        replicas = self.machine.replicas
        seen = dict.fromkeys(touched)
        for partition, action in asked:
            if partition is not None:
                seen[partition] = None
            self._on[type(action)](partition, action)
        if self._outbox:
            self._send_all()
        for partition in seen:
            replica = replicas.get(partition)
            if replica is not None:
                self.checks.after(self.name, partition, replica, self.clock)
        for partition in list(self.checks.contested):
            if partition in replicas:
                self.checks.check_serving(partition)

    def after(self, delay: int, target: Callable[[Any], None], event: object) -> None:
        """Calls `target(event)` after a delay, if this process still runs then."""
        self.schedule.after(delay, self.due, (target, event))

    def due(self, event: tuple[Callable[[Any], None], object]) -> None:
        """Calls a target with an event, unless this process has ended; later, if it is paused."""
        if not self.ended and not self._process.defer(self.due, event):
            event[0](event[1])

    def _complete(self, delay: int, partition: PartitionId, make: Callable[[], events.Event | None]) -> None:
        """Makes a completion after a delay and hands it to the replica of this moment, if it is still there."""
        self.after(delay, self._deliver, (self.machine.replicas.get(partition), partition, make))

    def _deliver(self, event: tuple[Replica | None, PartitionId, Callable[[], events.Event | None]]) -> None:
        replica, partition, make = event
        if replica is not None and self.machine.replicas.get(partition) is replica:
            completion = make()
            if completion is not None:
                self.handle(partition, completion)

    def _propose(self, partition: PartitionId, action: actions.ProposeView) -> None:
        self.world.note(self.name, "propose", partition, action)
        self.world.coordinator.propose(self.name, self._life, partition, action.view, action.expected)

    def _read_view(self, partition: PartitionId, action: actions.ReadView) -> None:
        self.world.coordinator.read(self.name, self._life, partition)

    def _write(
        self,
        partition: PartitionId,
        write: contents.SomeWrite,
        synced: bool,
        make: Callable[[], events.Event | None] | None,
    ) -> None:
        """Begins a write of the disk, which is followed by a completion, if it has one."""
        replica = self.machine.replicas.get(partition)
        if make is None:
            self.disk.begin(write, synced)
        else:
            self.disk.begin(write, synced, lambda: self.due((self._deliver, (replica, partition, make))))

    def _save(self, partition: PartitionId, action: actions.Save) -> None:
        epoch = action.facts.epoch
        self._write(partition, contents.SaveWrite(partition, action.facts), True, lambda: events.Saved(epoch))

    def _truncate(self, partition: PartitionId, action: actions.Truncate) -> None:
        self.world.note(self.name, "truncate", partition, action)
        self.checks.truncating(self.name, partition, action.above)
        self.disk.truncate(partition, action.above)

    def _append(self, partition: PartitionId, action: actions.Append) -> None:
        self.checks.appending(self.name, partition, action.entries)
        upto, generation = action.entries[-1].sequence, action.generation
        replica = self.machine.replicas.get(partition)
        completion = (self._deliver, (replica, partition, lambda: events.Appended(upto, generation)))
        self.disk.append(partition, list(action.entries), generation, lambda: self.due(completion))

    def _apply(self, partition: PartitionId, action: actions.Apply) -> None:
        upto, generation = action.entries[-1].sequence, action.generation

        def applied() -> events.Event:
            self.checks.applied(self.name, partition)
            return events.Applied(upto, generation)

        self._write(partition, contents.ApplyWrite(partition, action.entries), False, applied)

    def _cut(self, partition: PartitionId, action: actions.Cut) -> None:
        self._write(partition, contents.CutWrite(partition, action.upto), False, None)

    def _begin_install(self, partition: PartitionId, action: actions.BeginInstall) -> None:
        self.checks.emptied(self.name, partition)
        replica = self.world.draw_id()
        facts = msgspec.structs.replace(action.facts, replica=replica)

        def begun() -> events.Event:
            if not facts.installing:
                self.checks.installed(self.name, partition)
            return events.InstallBegun(action.transfer, replica)

        self._write(partition, contents.BeginInstallWrite(partition, facts), True, begun)

    def _install(self, partition: PartitionId, action: actions.Install) -> None:
        whole = (action.facts, action.point) if action.last else None

        def installed() -> events.Event:
            if action.last:
                self.checks.installed(self.name, partition)
            return events.ChunkInstalled(action.transfer, action.number)

        self._write(partition, contents.InstallWrite(partition, action.records, whole), True, installed)

    def _adopt(self, partition: PartitionId, action: actions.Adopt) -> None:
        if partition in self._adopting:
            return
        self._adopting[partition] = None
        facts = ReplicaFacts(self._id_of_empty(action.confirmed.view), Epoch(0), action.confirmed.view.lineage)
        adopted = (self._adopted, (partition, facts, action.confirmed))
        self.disk.begin(contents.SaveWrite(partition, facts), True, lambda: self.due(adopted))

    def _id_of_empty(self, view: View) -> ReplicaId:
        """Returns the id of a replica that a view wants here, and that holds nothing."""
        return self.world.draw_id()

    def _adopted(self, event: tuple[PartitionId, ReplicaFacts, VersionedView]) -> None:
        partition, facts, confirmed = event
        del self._adopting[partition]
        self.world.note(self.name, "adopted", partition, facts)
        asked = self.machine.adopt(partition, Recovered(facts, NOTHING_APPLIED, ()), confirmed, self.now)
        self.checks.opened(self.name, partition, self.machine.replicas[partition])
        self._carry_out(asked, (partition,))

    def _discard(self, partition: PartitionId, action: actions.Discard) -> None:
        self.world.note(self.name, "discard", partition)
        self._wakes.pop(partition, None)
        self.checks.dropped(self.name, partition)
        self.disk.begin(contents.DiscardWrite(partition), True)

    def _send(self, partition: PartitionId | None, action: actions.Send) -> None:
        if isinstance(action.message, Replicated):
            self.checks.acknowledging(self.name, action.message)
        self._outbox.setdefault((action.to, action.bulk), []).append(action.message)

    def _send_all(self) -> None:
        """Sends one frame to each node of what was gathered; what has no connection is lost."""
        network = self.world.network
        for (to, bulk), messages in self._outbox.items():
            incarnation = network.reaches(self.name, to)
            if incarnation:
                envelope = Envelope(self.name, self.incarnation, to, incarnation, tuple(messages))
                network.carry(self.name, to, encode_frame(envelope), bulk)
        self._outbox.clear()

    def _answer(self, partition: PartitionId, action: actions.Answer) -> None:
        for request, results in action.answers:
            assert isinstance(request, ClientRequest)
            operation, result = request.operations[0], results[0]
            if isinstance(result, Written):
                confirmed = self.machine.replicas[partition].confirmed
                assert confirmed is not None
                self.checks.written(self.name, partition, result.version, confirmed.view)
            elif isinstance(result, ConditionFailed) and isinstance(operation, Put):
                self.checks.not_done(operation.value, "condition failed")
            request.tell(result)

    def refuse(self, partition: PartitionId, action: actions.Refuse) -> None:
        """Tells clients that there is no result."""
        for request in action.requests:
            assert isinstance(request, ClientRequest)
            operation = request.operations[0]
            if isinstance(action.error, NotDone | CallerFault) and isinstance(operation, Put):
                self.checks.not_done(operation.value, action.error.code)
            request.tell(action.error)

    def _wake_at(self, partition: PartitionId, action: actions.WakeAt) -> None:
        self._wakes[partition] = action.time
        self.schedule.at(self.clock.true_at(action.time), self.due, (self._wake, (partition, action.time)))

    def _wake(self, event: tuple[PartitionId, Milliseconds]) -> None:
        partition, at = event
        if self._wakes.get(partition) != at:
            return
        if self.now < at:
            # The clock has slowed down since.
            self.schedule.at(self.clock.true_at(at), self.due, (self._wake, event))
            return
        del self._wakes[partition]
        if partition in self.machine.replicas:
            self.handle(partition, events.Woken())

    def _step_down(self, partition: PartitionId, action: actions.StepDown) -> None:
        self.world.note(self.name, "step down", partition, action)

    def _halt(self, partition: PartitionId, action: actions.Halt) -> None:
        raise HaltError(f"p{partition} on {self.name} halts: {action.broken}")
