"""The simulated coordinator: views by compare-and-set, seen by nodes through a session that may fail them.

The service itself is consistent and never forgets, as ZooKeeper is. What lies between it and a node is not:

* requests and answers take time; watches are late, or lost, until a slow sweep reads again;
* a session may be *suspended*: what the node has asked for and not been answered may have happened, may never happen,
  or may happen later still, even after the node has read the view again (R18). The driver's contract is kept: such a
  proposal comes back as `ViewRefused` with a view that was read after the session was restored;
* a session may *expire*: the node is no longer listed as alive, until it is connected again;
* all of it may be out, for everybody.

What it stands for in production are `coordination/zookeeper.py` and what `node/` does with its errors.
"""

from collections.abc import Callable
from random import Random
from typing import Protocol

import msgspec

from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.placement.view import VersionedView, View
from corecache.replication.events import Event, ViewChanged, ViewRefused
from corecache.simulator.clock import Schedule
from corecache.simulator.options import Options


class Subscriber(Protocol):
    """A node, as its session sees it. Whatever is told to it is for the process that asked."""

    name: NodeId
    life: int
    """Counts its processes."""

    def viewed(self, life: int, partition: PartitionId, event: Event) -> None:
        """Hears of a view."""

    def session(self, life: int, connected: bool) -> None:
        """Hears that its session is connected, or not."""

    def follows(self) -> list[PartitionId]:
        """Returns the partitions whose views it watches."""


class Proposal(msgspec.Struct, eq=False):
    """A compare-and-set that a node has asked for."""

    node: NodeId
    life: int
    partition: PartitionId
    view: View
    expected: int
    turn: int = 0
    """Counts when it was put off, so that what was scheduled before is void."""


class Coordinator:
    """The views, and every node's session."""

    def __init__(self, schedule: Schedule, dice: Random, options: Options, accepted: Callable[..., None]) -> None:
        """Calls `accepted(partition, confirmed, proposer)` for every view that is accepted."""
        self.views: dict[PartitionId, VersionedView] = {}
        self.highest: dict[NodeId, Incarnation] = {}
        self.alive: dict[NodeId, Incarnation] = {}
        self.out = False
        self.watch_delay_ms = 5
        self.watch_loss = 0.0
        self.delay_ms = 4
        self.ambush = 0.0
        """How likely it is that the session is lost as soon as something is proposed."""
        self.on_handover: Callable[[NodeId, NodeId], None] | None = None
        """Called with the proposer and the target when somebody proposes another as primary."""
        self._subscribers: dict[NodeId, Subscriber] = {}
        self._suspended: dict[NodeId, int] = {}
        self._awaited: dict[NodeId, list[Proposal]] = {}
        self._travelling: list[Proposal] = []
        self._schedule = schedule
        self._dice = dice
        self._lease_ms = options.lease_ms
        self._accepted = accepted

    def in_flight(self, partition: PartitionId) -> list[View]:
        """Returns the views of a partition that may yet be accepted."""
        return [proposal.view for proposal in self._travelling if proposal.partition == partition]

    # What nodes ask.

    def register(self, subscriber: Subscriber, incarnation: Incarnation) -> Incarnation | None:
        """Lists a node as alive and returns the highest incarnation ever registered for it; None: try again."""
        if self.out:
            return None
        self._subscribers[subscriber.name] = subscriber
        self._suspended.pop(subscriber.name, None)
        known = self.highest.get(subscriber.name, incarnation)
        if incarnation >= known:
            self.highest[subscriber.name] = self.alive[subscriber.name] = incarnation
        return max(known, incarnation)

    def left(self, node: NodeId) -> None:
        """Notes that a node's process has ended: what it asked for may happen nevertheless."""
        self._subscribers.pop(node, None)
        self._suspended.pop(node, None)
        for proposal in self._awaited.pop(node, []):
            self._drop_or_delay(proposal)

    def propose(self, node: NodeId, life: int, partition: PartitionId, view: View, expected: int) -> None:
        """Takes a proposal on its way."""
        proposal = Proposal(node, life, partition, view, expected)
        self._awaited.setdefault(node, []).append(proposal)
        if node in self._suspended or self.out:
            # The session has just been lost, and the machine has not heard: nothing is sent.
            return
        self._travelling.append(proposal)
        self._schedule.after(1 + self._delay(), self._carry_out, (proposal, 0))
        if self.ambush and self._dice.random() < self.ambush:
            self._schedule.after(1 + self._delay(), self._lose_session, node)
        if self.on_handover is not None and view.primary.node != node:
            self.on_handover(node, view.primary.node)

    def _lose_session(self, node: NodeId) -> None:
        """Loses a session while the answer to a proposal is on its way, for a moment or for some leases' time."""
        if self.ambush and node in self._subscribers:
            self.suspend(node)
            leases = 4 if self._dice.random() < 0.7 else 0.2
            self._schedule.after(1 + int(self._dice.random() * leases * self._lease_ms), self.restore, node)

    def read(self, node: NodeId, life: int, partition: PartitionId) -> None:
        """Takes a question for a view on its way."""
        self._schedule.after(1 + self._delay(), self._answer_read, (node, life, partition))

    # How it works.

    def _delay(self) -> int:
        return int(self._dice.random() * self.delay_ms)

    def _carry_out(self, event: tuple[Proposal, int]) -> None:
        proposal, turn = event
        if proposal.turn != turn:
            return
        self._travelling.remove(proposal)
        proposer = f"{proposal.node} (late)" if turn else proposal.node
        confirmed = self.change(proposal.partition, proposal.view, proposal.expected, proposer)
        self._schedule.after(1 + self._delay(), self._answer, (proposal, confirmed))

    def change(self, partition: PartitionId, view: View, expected: int, proposer: str) -> VersionedView | None:
        """Replaces a view if its version is `expected`; returns the new one, or None."""
        if self.views[partition].version != expected:
            return None
        confirmed = VersionedView(view, expected + 1)
        self.views[partition] = confirmed
        self._accepted(partition, confirmed, proposer)
        for name in list(self._subscribers):
            if partition in self._subscribers[name].follows() and self._dice.random() >= self.watch_loss:
                late = int(self._dice.random() * self.watch_delay_ms)
                self._schedule.after(1 + late, self._notify, (name, self._subscribers[name].life, partition))
        return confirmed

    def _notify(self, event: tuple[NodeId, int, PartitionId]) -> None:
        """Reads the view for a watch that has fired: it shows the newest."""
        node, life, partition = event
        subscriber = self._subscribers.get(node)
        if subscriber is not None and node not in self._suspended and not self.out:
            subscriber.viewed(life, partition, ViewChanged(self.views[partition]))

    def _answer(self, event: tuple[Proposal, VersionedView | None]) -> None:
        proposal, confirmed = event
        waiting = self._awaited.get(proposal.node, [])
        if proposal not in waiting or proposal.node in self._suspended or self.out:
            return
        waiting.remove(proposal)
        subscriber = self._subscribers.get(proposal.node)
        if subscriber is not None and confirmed is not None:
            subscriber.viewed(proposal.life, proposal.partition, ViewChanged(confirmed))
        elif subscriber is not None:
            current = self.views[proposal.partition]
            subscriber.viewed(proposal.life, proposal.partition, ViewRefused(current))

    def _answer_read(self, event: tuple[NodeId, int, PartitionId]) -> None:
        node, life, partition = event
        subscriber = self._subscribers.get(node)
        if subscriber is None or subscriber.life != life:
            return
        if node in self._suspended or self.out:
            self._schedule.after(self._lease_ms // 4, self._answer_read, event)
            return
        subscriber.viewed(life, partition, ViewChanged(self.views[partition]))

    # What goes wrong.

    def suspend(self, node: NodeId) -> None:
        """Loses a node's connection: what was not answered is lost, and may have happened."""
        subscriber = self._subscribers.get(node)
        if subscriber is None:
            return
        self._suspended[node] = self._suspended.get(node, 0) + 1
        for proposal in self._awaited.get(node, []):
            self._drop_or_delay(proposal)
        subscriber.session(subscriber.life, False)

    def expire(self, node: NodeId) -> None:
        """Ends a node's session: it is no longer listed as alive."""
        self.alive.pop(node, None)

    def restore(self, node: NodeId) -> None:
        """Connects a node again: it is listed, hears of its lost proposals, and reads what it follows."""
        subscriber = self._subscribers.get(node)
        if subscriber is None or node not in self._suspended:
            return
        self._suspended[node] -= 1
        if self._suspended[node] or self.out:
            return
        del self._suspended[node]
        self.alive[node] = self.highest[node]
        subscriber.session(subscriber.life, True)
        for proposal in self._awaited.pop(node, []):
            self._schedule.after(2 + self._delay(), self._tell_lost, (proposal, subscriber))
        self.sweep(node)

    def go_out(self) -> None:
        """Nobody reaches the service any more."""
        self.out = True
        for node in list(self._subscribers):
            self.suspend(node)

    def come_back(self) -> None:
        """Everybody reaches it again."""
        self.out = False
        for node in list(self._suspended):
            self.restore(node)

    def heal(self) -> None:
        """Restores every session, and lets nothing go wrong any more."""
        self.watch_delay_ms, self.watch_loss, self.delay_ms = 5, 0.0, 4
        self.ambush = 0.0
        self.on_handover = None
        self.out = False
        for node in list(self._suspended):
            self._suspended[node] = 1
            self.restore(node)

    def sweep(self, node: NodeId) -> None:
        """Reads all the views that a node follows, for what its watches have missed."""
        subscriber = self._subscribers.get(node)
        if subscriber is not None and node not in self._suspended and not self.out:
            for partition in subscriber.follows():
                self._schedule.after(1 + self._delay(), self._notify, (node, subscriber.life, partition))

    def _drop_or_delay(self, proposal: Proposal) -> None:
        """Decides what becomes of a proposal whose answer will not be heard."""
        if proposal not in self._travelling or proposal.turn:
            return
        fate = self._dice.random()
        if fate < 0.3:
            proposal.turn += 1
            self._travelling.remove(proposal)
        elif fate < 0.7:
            proposal.turn += 1
            late = int(self._dice.random() * 3 * self._lease_ms)
            self._schedule.after(late, self._carry_out, (proposal, proposal.turn))

    def _tell_lost(self, event: tuple[Proposal, Subscriber]) -> None:
        proposal, subscriber = event
        if proposal.node in self._suspended or self.out:
            self._schedule.after(self._lease_ms // 4, self._tell_lost, event)
            return
        subscriber.viewed(proposal.life, proposal.partition, ViewRefused(self.views[proposal.partition]))
