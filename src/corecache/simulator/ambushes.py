"""Faults that wait for the worst moment, or make one: those of the sharp runs (see `options.py`).

* *unanswered*: for a while a session is likely to be lost as soon as something was proposed in it: the proposer does
  not hear what became of it (R18);
* *refused*: one node is told by another's machine that nobody listens there, while the process lives and serves: a
  takeover without a silence before it (R9), which must wait for the leases that are out (R10);
* *stutter*: a process stands still just after it has sent its beats, and finds their answers when it goes on (R8);
* *replayed*: frames of long ago arrive again, one after the other, be it at a later process of their receiver (R8).
"""

from collections.abc import Callable
from random import Random

from corecache.identity import NodeId
from corecache.simulator.cluster import Cluster
from corecache.simulator.node import SimulatedNode


class Ambushes:
    """The makers of these faults, by their kind. What they began ends by itself, or with the network's healing."""

    def __init__(self, cluster: Cluster) -> None:
        self.makers: dict[str, Callable[[Random], None]] = {
            "unanswered": self._unanswered,
            "refused": self._refused,
            "stutter": self._stutter,
            "replayed": self._replayed,
        }
        self._cluster = cluster
        self._world = cluster.world
        self._schedule = cluster.world.schedule
        self._lease_ms = cluster.world.options.lease_ms

    def _leases(self, dice: Random, most: float) -> int:
        return 1 + int(dice.random() * most * self._lease_ms)

    def _leading(self, dice: Random) -> SimulatedNode | None:
        nodes = self._cluster.nodes
        leading = [name for name in self._cluster.names if nodes[name].up and nodes[name].leads()]
        return nodes[dice.choice(leading)] if leading else None

    def _unanswered(self, dice: Random) -> None:
        self._world.coordinator.ambush = dice.random()
        self._schedule.after(self._leases(dice, 6), self._answered, None)

    def _answered(self, event: object) -> None:
        self._world.coordinator.ambush = 0.0

    def _refused(self, dice: Random) -> None:
        target = self._leading(dice)
        if target is None:
            return
        origin = dice.choice([name for name in self._cluster.names if name != target.name])
        ways = [(origin, target.name)]
        if dice.random() < 0.3:
            ways.append((target.name, origin))
        for one, other in ways:
            self._world.network.refuse(one, other, 1)
            self._world.network.reset(one, other)
        self._schedule.after(self._leases(dice, 3), self._accepted, ways)

    def _accepted(self, ways: list[tuple[NodeId, NodeId]]) -> None:
        for one, other in ways:
            self._world.network.refuse(one, other, -1)

    def _stutter(self, dice: Random) -> None:
        node = self._leading(dice)
        if node is not None:
            life, frames_first, pause_ms = node.life, dice.random() < 0.7, self._leases(dice, 5)

            def stand_still(event: object) -> None:
                if node.life == life and node.up and not node.paused:
                    node.pause()
                    self._schedule.after(pause_ms, go_on, None)

            def go_on(event: object) -> None:
                if node.life == life:
                    node.resume(frames_first)

            node.stutters = stand_still

    def _replayed(self, dice: Random) -> None:
        end = self._schedule.now + self._leases(dice, 4)
        self._replay((dice, end))

    def _replay(self, event: tuple[Random, int]) -> None:
        dice, end = event
        if self._schedule.now < end:
            self._world.network.replay(int(dice.random() * 1_000_000))
            self._schedule.after(1 + int(dice.random() * self._lease_ms // 10), self._replay, event)
