"""Faults that wait for the worst moment, or make one: those of the sharp runs (see `options.py`).

* *unanswered*: for a while a session is likely to be lost as soon as something was proposed in it, so that the proposer
  does not hear what became of it (R18);
* *crossed*: for a while, whoever proposes to hand over loses its session at that moment, and the target is told that
  nobody listens at the proposer's, so that it takes over by itself (R13);
* *refused*: one node is told that nobody listens at another, while the process there lives and serves: a takeover
  without a silence before it (R9), which must wait for the leases that are out (R10);
* *stutter*: a process stands still just after it has sent its beats, loses its session by it, and finds the answers of
  long ago, and its clients' questions, when it goes on (R7, R8);
* *deaf*: a primary hears neither nodes nor the coordinator, while all hear it: it goes on appending (R1, R7);
* *echo*: a process that has lived for some leases, or all of them, ends and starts again at once, and the new one hears
  what the old one heard, each frame at its age; some leases later the primary goes deaf (R8);
* *relay*: a process ends, and when it has just come back, before it is in sync again, so does the primary (R10, R12).
"""

from collections.abc import Callable
from random import Random

from corecache.identity import NodeId
from corecache.simulator.cluster import Cluster
from corecache.simulator.node import SimulatedNode

_LIFE_LEASES = 6
_Ways = list[tuple[NodeId, NodeId]]


class Ambushes:
    """The makers of these faults, by their kind. What they begin ends by itself, or when everything is healed."""

    def __init__(self, cluster: Cluster) -> None:
        self.makers: dict[str, Callable[[Random], None]] = {
            "unanswered": self._unanswered,
            "crossed": self._crossed,
            "refused": self._refused,
            "stutter": self._stutter,
            "deaf": self._deaf,
            "echo": self._echo,
            "relay": self._relay,
        }
        self._cluster = cluster
        self._network = cluster.world.network
        self._coordinator = cluster.world.coordinator
        self._schedule = cluster.world.schedule
        self._lease_ms = cluster.world.options.lease_ms
        self._peace_until = 0
        self._next_echo = _LIFE_LEASES * self._lease_ms

    def _leases(self, dice: Random, least: float, most: float) -> int:
        return 1 + int((least + dice.random() * (most - least)) * self._lease_ms)

    def _leading(self, dice: Random) -> SimulatedNode | None:
        nodes = self._cluster.nodes
        leading = [name for name in self._cluster.names if nodes[name].up and nodes[name].leads()]
        return nodes[dice.choice(leading)] if leading else None

    def _others(self, name: NodeId) -> list[NodeId]:
        return [other for other in self._cluster.names if other != name]

    # Proposals.

    def _unanswered(self, dice: Random) -> None:
        self._coordinator.ambush = dice.random()
        self._schedule.after(self._leases(dice, 0, 6), self._answered, None)

    def _answered(self, event: object) -> None:
        self._coordinator.ambush = 0.0

    def _crossed(self, dice: Random) -> None:
        def cross(proposer: NodeId, target: NodeId) -> None:
            self._coordinator.on_handover = None
            self._coordinator.suspend(proposer)
            self._schedule.after(self._leases(dice, 1, 3), self._coordinator.restore, proposer)
            self._refuse_for_a_while(dice, [(target, proposer)])

        self._coordinator.on_handover = cross

    # Connections.

    def _refused(self, dice: Random) -> None:
        target = self._leading(dice)
        if target is not None:
            origin = dice.choice(self._others(target.name))
            both = dice.random() < 0.3
            self._refuse_for_a_while(dice, [(origin, target.name), *([(target.name, origin)] if both else [])])

    def _refuse_for_a_while(self, dice: Random, ways: _Ways) -> None:
        for origin, target in ways:
            self._network.refuse(origin, target, 1)
            self._network.reset(origin, target)
        self._schedule.after(self._leases(dice, 0, 3), self._accept, ways)

    def _accept(self, ways: _Ways) -> None:
        for origin, target in ways:
            self._network.refuse(origin, target, -1)

    def _deaf(self, dice: Random) -> None:
        node = self._leading(dice)
        if node is not None and self._schedule.now >= self._peace_until:
            deaf_ms = self._leases(dice, 2, 6)
            # In between a primary is to become one in earnest.
            self._peace_until = self._schedule.now + deaf_ms + 3 * self._lease_ms
            ways = [(other, node.name) for other in self._others(node.name)]
            for origin, target in ways:
                self._network.cut(origin, target, 1)
            self._coordinator.suspend(node.name)
            self._schedule.after(deaf_ms, self._hear, (node.name, ways))

    def _hear(self, event: tuple[NodeId, _Ways]) -> None:
        name, ways = event
        for origin, target in ways:
            self._network.cut(origin, target, -1)
        self._coordinator.restore(name)

    # Processes.

    def _stutter(self, dice: Random) -> None:
        node = self._leading(dice)
        if node is not None:
            life, frames_first, pause_ms = node.life, dice.random() < 0.7, self._leases(dice, 0, 5)

            def stand_still(event: object) -> None:
                if node.life == life and node.up and not node.paused:
                    node.pause()
                    self._coordinator.suspend(node.name)
                    self._schedule.after(pause_ms, go_on, None)
                    self._schedule.after(pause_ms + self._leases(dice, 0, 1), self._coordinator.restore, node.name)

            def go_on(event: object) -> None:
                if node.life == life:
                    node.resume(frames_first)

            node.stutters = stand_still

    def _echo(self, dice: Random) -> None:
        one = self._leading(dice)
        if one is None or self._schedule.now < self._next_echo:
            return
        self._next_echo = self._schedule.now + _LIFE_LEASES * self._lease_ms
        self._schedule.after(self._leases(dice, 2, 4), self._deaf, dice)
        for node in self._cluster.nodes.values() if dice.random() < 0.6 else [one]:
            if node.up:
                node.stop(power=False)
                node.echoes = True
                self._schedule.after(1 + int(dice.random() * self._lease_ms // 10), self._start, node)

    def _relay(self, dice: Random) -> None:
        node = self._cluster.nodes[dice.choice(self._cluster.names)]
        if node.up and not node.leads():
            node.stop(power=False)
            back_ms = self._leases(dice, 0, 3)
            self._schedule.after(back_ms, self._start, node)
            self._schedule.after(back_ms + self._leases(dice, 0, 0.3), self._end_leading, dice)

    def _end_leading(self, dice: Random) -> None:
        node = self._leading(dice)
        if node is not None:
            node.stop(power=False)
            self._schedule.after(self._leases(dice, 0, 5), self._start, node)

    def _start(self, node: SimulatedNode) -> None:
        if not node.up:
            node.start()
