"""A few machines on a table: disks, a network and a coordinator that do what a scenario's script says, step by step.

Whatever a machine asks for is put into one queue, in order. After each step of a script the lab lets everything in it
go, oldest first, until nothing is left: except what is held. One can hold what goes from one node to another
(`n1->n2`), a node's disk (`disk n2`), what the coordinator tells a node (`views n1`) and what a node proposes
(`proposals n1`). Nothing is random, and the clock stands still but for `advance`.

After every event the invariants of the protocol are checked that can be seen from here: those of each replica, that no
two replicas apply different entries under one sequence, that at most one may serve, and that equal applied points mean
equal records. How a script is read is in `scenario_script.py`.
"""

from collections.abc import Callable

import msgspec

from corecache.config import Replication
from corecache.identity import (
    Epoch,
    Incarnation,
    Lineage,
    Milliseconds,
    NodeId,
    PartitionId,
    Sequence,
    Timestamp,
    Version,
)
from corecache.operations import Record, Resolved
from corecache.placement.view import VersionedView, View
from corecache.replication import actions, events, invariants
from corecache.replication import messages as said
from corecache.replication.log import Entry
from corecache.replication.machine import Asked, Machine
from corecache.replication.recovered import Recovered, ReplicaFacts
from corecache.replication.replica import Replica
from replication.scenario_disk import Disk
from replication.scenario_words import (
    action_words,
    error_words,
    message_words,
    operation_words,
    result_words,
)

PARTITION = PartitionId(0)


class Node:
    """One node: its disk, and the process on it, None while it is down."""

    def __init__(self, name: NodeId) -> None:
        self.name = name
        self.disk = Disk(name)
        self.incarnation = Incarnation(1)
        self.machine: Machine | None = None
        self.wake_at: int | None = None
        self.connected = True
        self.paused = False
        self.fetched: tuple[bytes, Epoch, Record | None] | None = None

    @property
    def replica(self) -> Replica | None:
        """Returns the node's replica, None if it has none, or is down."""
        return self.machine.replicas.get(PARTITION) if self.machine is not None else None


class Waiting(msgspec.Struct):
    """Something that will happen when it is let go. `label` is what holds it; `at` is the node where it happens."""

    label: str
    at: Node
    run: Callable[[], None]
    proposal: actions.ProposeView | None = None


class Lab:
    """The table. `items` is the trace of the present step."""

    def __init__(self, settings: Replication) -> None:
        self.settings = settings
        self.nodes: dict[NodeId, Node] = {}
        self.confirmed: VersionedView | None = None
        self.now = Milliseconds(10_000)
        self.date = 1_000_000
        self.items: list[str] = []
        self.shows_beats = False
        self.held: dict[str, None] = {}
        self.queue: list[Waiting] = []
        self.late: list[actions.ProposeView] = []
        self.cuts: set[tuple[NodeId, NodeId]] = set()
        self._links: dict[tuple[NodeId, NodeId], Incarnation] = {}
        self._applied: dict[tuple[Lineage, Sequence], Entry] = {}
        self._records: dict[tuple[Lineage, Sequence], dict[bytes, Record]] = {}

    # The beginning.

    def begin(self, nodes: int, entries: int, view: View) -> None:
        """Begins with a cluster in which every member of the view holds the same applied entries."""
        self.nodes = {NodeId(f"n{number}"): Node(NodeId(f"n{number}")) for number in range(1, nodes + 1)}
        log = [
            Entry(
                view.epoch,
                Sequence(number),
                (Resolved(b"k%d" % number, Record(b"old", Version(number), self.wall)),),
            )
            for number in range(1, entries + 1)
        ]
        for member in view.in_sync:
            disk = self.nodes[member.node].disk
            assert disk.draw() == member.replica
            disk.begin(ReplicaFacts(member.replica, view.epoch, view.lineage), log)
        self.confirmed = VersionedView(view, 1)
        for node in self.nodes.values():
            node.machine = self._machine(node, 0)
        for node in self.nodes.values():
            self._connect_all(node)
        for node in self.nodes.values():
            self.tell(node)
        self.settle()
        self.advance(200)

    @property
    def wall(self) -> Timestamp:
        """Returns the date by the wall clock."""
        return Timestamp(self.date + self.now)

    def _machine(self, node: Node, grants_end: int) -> Machine:
        recovered: dict[PartitionId, Recovered] = {}
        facts = node.disk.facts
        if facts is not None:
            if facts.installing:
                node.disk.adopt(facts.lineage)
            recovered[PARTITION] = node.disk.recovered()
        return Machine(
            node.name, node.incarnation, self.settings, recovered, self.now, Milliseconds(grants_end), partitions=1
        )

    # The queue.

    def later(self, label: str, at: Node, run: Callable[[], None]) -> None:
        """Puts something into the queue; it is forgotten if the process at that node ends."""
        self.queue.append(Waiting(label, at, run))

    def settle(self) -> None:
        """Lets everything go that is not held, oldest first, until nothing is left."""
        for _ in range(100_000):
            waiting = next((each for each in self.queue if self._goes(each)), None)
            if waiting is None:
                return
            self.queue.remove(waiting)
            waiting.run()
        raise AssertionError("this never comes to an end")

    def _goes(self, waiting: Waiting) -> bool:
        return waiting.label not in self.held and not waiting.at.paused

    def deliver(self, label: str, count: int) -> None:
        """Lets the oldest of what is held go, in spite of it."""
        for waiting in [each for each in self.queue if each.label == label][:count]:
            self.queue.remove(waiting)
            waiting.run()

    def drop(self, label: str) -> None:
        """Loses all that is held under a label."""
        self.queue = [each for each in self.queue if each.label != label]

    # What the machines ask for.

    def perform(self, node: Node, asked: Asked) -> None:
        """Begins what a machine asks for, and checks what must be true."""
        for partition, action in asked:
            words = action_words(node.name, action)
            if words is not None:
                self.items.append(words)
            self._perform_one(node, partition, action)
        self._check()

    def _perform_one(self, node: Node, partition: PartitionId | None, action: actions.Action) -> None:  # noqa: C901 (one case for each kind)
        disk = node.disk
        match action:
            case actions.Send(to, message, _):
                self._send(node, to, message)
            case actions.Answer(answers):
                for request, results in answers:
                    for operation, result in zip(request.operations, results, strict=True):
                        self.items.append(f"{node.name} answers {operation_words(operation)}: {result_words(result)}")
            case actions.Refuse(requests, error):
                for request in requests:
                    asked_for = " and ".join(operation_words(operation) for operation in request.operations)
                    self.items.append(f"{node.name} answers {asked_for}: {error_words(error)}")
            case actions.WakeAt(time):
                node.wake_at = time
            case actions.ProposeView():
                label = f"proposals {node.name}"
                self.queue.append(Waiting(label, node, lambda: self._decide(node, action), action))
            case actions.ReadView():
                self.tell(node)
            case actions.Adopt(confirmed):
                self.later(f"disk {node.name}", node, lambda: self._adopt(node, confirmed))
            case actions.Discard():
                disk.crash()
                disk.wipe()
            case actions.Fetch() | actions.ReadLog() | actions.ReadSnapshot():
                self.later(f"disk {node.name}", node, lambda: self.feed(node, disk.read(action)))
            case actions.EndSnapshot(transfer):
                disk.end_snapshot(transfer)
            case actions.StepDown() | actions.Halt():
                pass
            case _:
                self._write(node, action)

    def _write(self, node: Node, action: actions.Action) -> None:
        before = len(node.disk.writes)
        node.disk.ask(action)
        if len(node.disk.writes) > before:
            self.later(f"disk {node.name}", node, lambda: self._written(node))

    def _written(self, node: Node) -> None:
        if not node.disk.failed and node.disk.writes:
            event = node.disk.write()
            if event is not None:
                self.feed(node, event)

    def feed(self, node: Node, event: events.Event) -> None:
        """Brings a node's replica an event."""
        if node.machine is not None:
            self.perform(node, node.machine.handle(PARTITION, event, self.now))

    # The coordinator.

    def tell(self, node: Node) -> None:
        """Lets the coordinator tell a node the view, as it is when the node hears of it."""

        def hear() -> None:
            if node.connected:
                assert self.confirmed is not None
                self.feed(node, events.ViewChanged(self.confirmed))

        self.later(f"views {node.name}", node, hear)

    def change(self, view: View) -> None:
        """Changes the view and lets its watchers know: whoever holds the partition."""
        assert self.confirmed is not None
        self.confirmed = VersionedView(view, self.confirmed.version + 1)
        for node in self.nodes.values():
            if node.replica is not None:
                self.tell(node)

    def _decide(self, node: Node, proposal: actions.ProposeView) -> None:
        if self.compare_and_set(proposal):
            assert self.confirmed is not None
            self.feed(node, events.ViewChanged(self.confirmed))
        else:
            self.items.append(f"{node.name} is refused")
            assert self.confirmed is not None
            self.feed(node, events.ViewRefused(self.confirmed))

    def compare_and_set(self, proposal: actions.ProposeView) -> bool:
        """Changes the view if it still has the version that the proposal expects."""
        assert self.confirmed is not None
        if proposal.expected != self.confirmed.version:
            return False
        self.items.append(f"the view is version {self.confirmed.version + 1} now")
        self.change(proposal.view)
        return True

    def lose(self, node: Node) -> None:
        """Reports the answer of a held proposal as lost, while the proposal is still on its way."""
        waiting = next(each for each in self.queue if each.at is node and each.proposal is not None)
        self._make_late(waiting)
        assert self.confirmed is not None
        self.feed(node, events.ViewRefused(self.confirmed))

    def _make_late(self, waiting: Waiting) -> None:
        self.queue.remove(waiting)
        assert waiting.proposal is not None
        self.late.append(waiting.proposal)

    def _adopt(self, node: Node, confirmed: VersionedView) -> None:
        node.disk.adopt(confirmed.view.lineage)
        assert node.machine is not None
        self.perform(node, node.machine.adopt(PARTITION, node.disk.recovered(), confirmed, self.now))

    # The network.

    def _connect_all(self, node: Node) -> None:
        for other in self.nodes.values():
            if other is not node:
                self.connect(node, other)

    def connect(self, one: Node, other: Node) -> None:
        """Connects two nodes both ways, if both are up and nothing cuts them."""
        for a, b in ((one, other), (other, one)):
            if a.machine is not None and b.machine is not None and (a.name, b.name) not in self.cuts:
                self._links[a.name, b.name] = b.incarnation
                self.perform(a, a.machine.connected(b.name, b.incarnation, self.now))

    def disconnect(self, one: Node, other: Node, refused: bool) -> None:
        """Ends the connection from one node to another; what was under way on it is lost."""
        self.drop(f"{one.name}->{other.name}")
        self._links.pop((one.name, other.name), None)
        if one.machine is not None:
            self.perform(one, one.machine.lost(other.name, refused, self.now))

    def silence(self, one: Node, other: Node) -> None:
        """Loses what one node sends to another from now on, without either noticing; what is under way too."""
        self.drop(f"{one.name}->{other.name}")

    def _send(self, node: Node, to: NodeId, message: said.Message) -> None:
        incarnation = self._links.get((node.name, to)) if (node.name, to) not in self.cuts else None
        if not isinstance(message, said.Beat | said.Grant) or self.shows_beats:
            lost = "" if incarnation is not None else " (lost)"
            self.items.append(f"{node.name} → {to} {message_words(message)}{lost}")
        if incarnation is None:
            return
        envelope = said.Envelope(node.name, node.incarnation, to, incarnation, (message,))
        receiver = self.nodes[to]

        def arrive() -> None:
            if receiver.machine is not None:
                self.perform(receiver, receiver.machine.received(envelope, self.now))

        self.later(f"{node.name}->{to}", receiver, arrive)

    # Processes.

    def crash(self, node: Node, refused: bool) -> None:
        """Ends a process. `refused`: the others find at once that nobody listens there any more."""
        node.machine, node.wake_at, node.fetched, node.paused = None, None, None, False
        node.disk.crash()
        for waiting in [each for each in self.queue if each.at is node and each.proposal is not None]:
            self._make_late(waiting)
        self.queue = [each for each in self.queue if each.at is not node]
        for other in self.nodes.values():
            if other is not node and other.machine is not None:
                self._links.pop((node.name, other.name), None)
                self.disconnect(other, node, refused)

    def start(self, node: Node) -> None:
        """Starts a process on what the disk holds, under a new incarnation, and shows it the view."""
        node.incarnation = Incarnation(node.incarnation + 1)
        node.connected = True
        node.machine = self._machine(node, self.now + self.settings.lease_ms)
        self._connect_all(node)
        self.tell(node)

    # Time.

    def advance(self, milliseconds: int) -> None:
        """Lets time pass: each node is woken when it asked to be, and ticks once a beat."""
        until = self.now + milliseconds
        beat_ms = self.settings.beat_ms
        while self.now < until:
            tick = (self.now // beat_ms + 1) * beat_ms
            wakes = [node.wake_at for node in self.nodes.values() if node.wake_at is not None and not node.paused]
            self.now = Milliseconds(min([until, tick, *[max(wake, self.now + 1) for wake in wakes]]))
            for node in self.nodes.values():
                if node.machine is None or node.paused:
                    continue
                if node.wake_at is not None and node.wake_at <= self.now:
                    node.wake_at = None
                    self.feed(node, events.Woken())
                if self.now == tick:
                    self.perform(node, node.machine.tick(self.now))
            self.settle()

    # What must be true.

    def _check(self) -> None:
        serving = []
        for node in self.nodes.values():
            replica = node.replica
            if replica is None:
                continue
            invariants.check(replica)
            if replica.serving_epoch(self.now):
                serving.append(node.name)
            self._check_content(node)
        assert len(serving) <= 1, f"{serving} serve reads at once"

    def _check_content(self, node: Node) -> None:
        disk = node.disk
        if disk.facts is None or disk.facts.installing:
            return
        for entry in disk.log:
            if entry.sequence <= disk.applied.sequence:
                known = self._applied.setdefault((disk.facts.lineage, entry.sequence), entry)
                assert known == entry, f"{node.name} has applied {entry}, another {known}"
        records = self._records.setdefault((disk.facts.lineage, disk.applied.sequence), dict(disk.records))
        assert records == disk.records, f"{node.name} holds other records as of {disk.applied.sequence} than another"
