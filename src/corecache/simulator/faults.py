"""What goes wrong in a run, and when: drawn from the seed, several things at once if it so happens.

Each kind of fault that is on comes again and again, at random times, frenzied ones ten times as often as rare ones, and
goes away by itself. What a fault may not do is to destroy what nobody could have kept: a disk is wiped, or put back to
an old copy, only where another member of every view that trusts it, or may yet, is whole.

`docs/simulator.md` describes each kind.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from corecache.identity import Member, NodeId, PartitionId
from corecache.simulator.ambushes import Ambushes
from corecache.simulator.cluster import Cluster
from corecache.simulator.contents import Contents
from corecache.simulator.node import SimulatedNode
from corecache.simulator.options import FRENZIED, OFF

_RARE_LEASES: Final = 12
_FRENZIED_LEASES: Final = 2


class Faults:
    """All that goes wrong."""

    def __init__(self, cluster: Cluster) -> None:
        self.counts: dict[str, int] = {}
        """How often each kind has struck."""
        self._cluster = cluster
        self._world = cluster.world
        self._schedule = cluster.world.schedule
        self._lease_ms = cluster.world.options.lease_ms
        self._stopped = False
        self._copies: dict[NodeId, Contents] = {}
        self._makers: dict[str, Callable[[Random], None]] = {
            "kill": self._kill,
            "power": self._power,
            "pause": self._pause,
            "cut": self._cut,
            "one_way": self._one_way,
            "isolate": self._isolate,
            "loss": self._loss,
            "doubling": self._doubling,
            "reordering": self._reordering,
            "late": self._late,
            "reset": self._reset,
            "refusing": self._refusing,
            "slow_disk": self._slow_disk,
            "failing_disk": self._failing_disk,
            "wipe": self._wipe,
            "restored": self._restored,
            "suspended": self._suspended,
            "expired": self._expired,
            "outage": self._outage,
            "watches": self._watches,
            "drift": self._drift,
            "leave": self._leave,
            "moves": lambda dice: cluster.move(),
            "handover": lambda dice: cluster.reorder(),
            "min_in_sync": lambda dice: cluster.change_minimum(),
        }
        self._makers |= Ambushes(cluster).makers

    def begin(self) -> None:
        """Schedules the first of each kind that is on."""
        for kind, level in self._world.options.faults.items():
            if level != OFF:
                dice = self._world.dice(f"fault {kind}")
                mean = self._lease_ms * (_FRENZIED_LEASES if level == FRENZIED else _RARE_LEASES)
                # More nodes, more faults; but a large cluster is not to be down as a whole.
                mean = max(10, int(mean * 5 / (len(self._cluster.names) + 1)))
                self._schedule.after(int(dice.expovariate(1 / mean)), self._strike, (kind, dice, mean))

    def heal(self) -> None:
        """Stops all faults and mends what they left: every node runs, sees the others, and has a good disk."""
        self._stopped = True
        world = self._world
        world.network.heal()
        world.coordinator.heal()
        for node in self._cluster.nodes.values():
            node.disk.latency_ms = 2
            node.stutters = None
            node.resume(frames_first=True)
            if node.up and (node.disk.failing or node.leaving):
                node.stop(power=False)
            if not node.up:
                node.start()
            world.coordinator.sweep(node.name)

    def _strike(self, event: tuple[str, Random, int]) -> None:
        kind, dice, mean = event
        if not self._stopped:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self._world.note("fault", kind, None)
            self._makers[kind](dice)
            self._schedule.after(1 + int(dice.expovariate(1 / mean)), self._strike, event)

    def _for_a_while(self, dice: Random, leases: float, target: Callable[[object], None], event: object) -> None:
        """Ends a fault after a while, a few leases' time at most."""
        self._schedule.after(1 + int(dice.random() * dice.random() * leases * self._lease_ms), target, event)

    def _any(self, dice: Random) -> SimulatedNode:
        return self._cluster.nodes[dice.choice(self._cluster.names)]

    def _any_leading(self, dice: Random) -> SimulatedNode:
        """Returns a node, rather one that leads."""
        nodes = self._cluster.nodes
        leading = [name for name in self._cluster.names if nodes[name].up and nodes[name].leads()]
        return nodes[dice.choice(leading)] if leading and dice.random() < 0.6 else self._any(dice)

    # Nodes.

    def _stop(self, dice: Random, power: bool) -> None:
        node = self._any_leading(dice)
        if node.up:
            self._keep_copy(dice, node)
            node.stop(power)
            leases = 0.2 if dice.random() < 0.3 else 5
            self._for_a_while(dice, leases, self._restart, node)
            if dice.random() < 0.1:
                for other in self._cluster.nodes.values():
                    if other.up and dice.random() < 0.7:
                        other.stop(power)
                        self._for_a_while(dice, leases, self._restart, other)

    def _restart(self, node: object) -> None:
        assert isinstance(node, SimulatedNode)
        if not node.up:
            node.start()

    def _kill(self, dice: Random) -> None:
        self._stop(dice, power=False)

    def _power(self, dice: Random) -> None:
        self._stop(dice, power=True)

    def _pause(self, dice: Random) -> None:
        node = self._any_leading(dice)
        if node.up and not node.paused:
            node.pause()
            self._for_a_while(dice, 5, self._resume, (node, dice.random() < 0.7))

    def _resume(self, event: object) -> None:
        assert isinstance(event, tuple)
        node, frames_first = event
        node.resume(frames_first)

    def _leave(self, dice: Random) -> None:
        node = self._any_leading(dice)
        if node.up:
            node.leave()
            self._for_a_while(dice, 4, self._left, (node, node.life))

    def _left(self, event: object) -> None:
        assert isinstance(event, tuple)
        node, life = event
        if node.life == life and not self._stopped:
            node.stop(power=False)
            self._schedule.after(self._lease_ms // 2, self._restart, node)

    # The network.

    def _cut(self, dice: Random) -> None:
        one, other = dice.sample(self._cluster.names, 2)
        self._cut_for_a_while(dice, [(one, other), (other, one)])

    def _one_way(self, dice: Random) -> None:
        one, other = dice.sample(self._cluster.names, 2)
        self._cut_for_a_while(dice, [(one, other)])

    def _isolate(self, dice: Random) -> None:
        """Cuts some nodes off from all others, one way or both."""
        names = self._cluster.names
        inside = [self._any_leading(dice).name]
        inside += [name for name in names if name not in inside and dice.random() < 0.25]
        pairs = [(one, other) for one in inside for other in names if other not in inside]
        ways = dice.random()
        forth = pairs if ways < 0.8 else []
        back = [(other, one) for one, other in pairs] if ways < 0.6 or ways >= 0.8 else []
        self._cut_for_a_while(dice, forth + back)
        if dice.random() < 0.3:
            for name in inside:
                self._suspend_for_a_while(dice, name)

    def _cut_for_a_while(self, dice: Random, ways: list[tuple[NodeId, NodeId]]) -> None:
        for origin, target in ways:
            self._world.network.cut(origin, target, 1)
            if dice.random() < 0.2:
                self._world.network.reset(origin, target)
        self._for_a_while(dice, 8, self._mend, ways)

    def _mend(self, ways: object) -> None:
        assert isinstance(ways, list)
        if not self._stopped:
            for origin, target in ways:
                self._world.network.cut(origin, target, -1)

    def _weaken(self, dice: Random, quality: str, worst: float) -> None:
        """Makes the whole network worse for a while."""
        setattr(self._world.network, quality, dice.random() * worst)
        self._for_a_while(dice, 8, self._strengthen, quality)

    def _strengthen(self, quality: object) -> None:
        if not self._stopped:
            setattr(self._world.network, str(quality), 0.0)

    def _loss(self, dice: Random) -> None:
        self._weaken(dice, "loss", 0.4)

    def _doubling(self, dice: Random) -> None:
        self._weaken(dice, "doubling", 0.5)

    def _reordering(self, dice: Random) -> None:
        self._weaken(dice, "reordering", 0.5)

    def _late(self, dice: Random) -> None:
        self._weaken(dice, "lateness", 0.2)

    def _reset(self, dice: Random) -> None:
        one, other = dice.sample(self._cluster.names, 2)
        self._world.network.reset(one, other)
        if dice.random() < 0.5:
            self._world.network.reset(other, one)

    def _refusing(self, dice: Random) -> None:
        self._world.network.refusing = True
        self._for_a_while(dice, 8, self._accepting, None)

    def _accepting(self, event: object) -> None:
        self._world.network.refusing = False

    # Disks.

    def _slow_disk(self, dice: Random) -> None:
        node = self._any(dice)
        node.disk.latency_ms = int(dice.random() * self._lease_ms * 2)
        self._for_a_while(dice, 6, self._quicken, node)

    def _quicken(self, node: object) -> None:
        assert isinstance(node, SimulatedNode)
        node.disk.latency_ms = 2

    def _failing_disk(self, dice: Random) -> None:
        node = self._any(dice)
        if node.up:
            node.disk.failing = True
            self._for_a_while(dice, 6, self._replace, (node, node.life))

    def _replace(self, event: object) -> None:
        """Somebody looks after a disk that has failed: the process starts anew."""
        assert isinstance(event, tuple)
        node, life = event
        if node.life == life and not self._stopped:
            node.stop(power=False)
            self._schedule.after(self._lease_ms // 4, self._restart, node)

    def _wipe(self, dice: Random) -> None:
        node = self._any(dice)
        if self._may_lose(node):
            if node.up:
                node.stop(power=True)
                self._for_a_while(dice, 3, self._restart, node)
            self._world.checks.disk_lost(node.name)
            node.disk.replace(Contents())
            self._world.note(node.name, "wiped", None)

    def _keep_copy(self, dice: Random, node: SimulatedNode) -> None:
        """Keeps a copy of a disk whose process is about to end, as a backup of the directory would."""
        if self._world.options.faults["restored"] != OFF and dice.random() < 0.5 and node.disk.durable.node is not None:
            self._copies[node.name] = node.disk.durable.copy()

    def _restored(self, dice: Random) -> None:
        """Puts an old copy in a disk's place, older than the last start: a younger one can't be told from it."""
        node = self._any(dice)
        copy, now = self._copies.get(node.name), node.disk.durable.node
        if copy is None or copy.node is None or now is None or not self._may_lose(node):
            return
        if copy.node.incarnation < self._world.coordinator.highest[node.name]:
            if node.up:
                node.stop(power=True)
                self._for_a_while(dice, 3, self._restart, node)
            self._world.checks.disk_lost(node.name)
            node.disk.replace(copy.copy())
            self._world.note(node.name, "restored", None)

    def _may_lose(self, node: SimulatedNode) -> bool:
        """Says whether every view that trusts a node's disk, or may yet, trusts another that is whole."""
        coordinator = self._world.coordinator
        for partition in self._cluster.partitions:
            for view in [coordinator.views[partition].view, *coordinator.in_flight(partition)]:
                if any(member.node == node.name for member in view.in_sync) and not any(
                    self._is_whole(partition, member) for member in view.in_sync if member.node != node.name
                ):
                    return False
        return True

    def _is_whole(self, partition: PartitionId, member: Member) -> bool:
        disk = self._cluster.nodes[member.node].disk
        held = disk.durable.replicas.get(partition)
        return not disk.lost and held is not None and held.facts.replica == member.replica and not held.facts.installing

    # The coordinator and the clocks.

    def _suspended(self, dice: Random) -> None:
        self._suspend_for_a_while(dice, self._any_leading(dice).name)

    def _suspend_for_a_while(self, dice: Random, name: NodeId) -> None:
        self._world.coordinator.suspend(name)
        self._for_a_while(dice, 4 if dice.random() < 0.5 else 0.2, self._reconnect, name)

    def _reconnect(self, name: object) -> None:
        if not self._stopped:
            self._world.coordinator.restore(NodeId(str(name)))

    def _expired(self, dice: Random) -> None:
        name = self._any(dice).name
        self._world.coordinator.expire(name)
        self._suspend_for_a_while(dice, name)

    def _outage(self, dice: Random) -> None:
        if not self._world.coordinator.out:
            self._world.coordinator.go_out()
            self._for_a_while(dice, 10, self._return, None)

    def _return(self, event: object) -> None:
        if not self._stopped:
            self._world.coordinator.come_back()

    def _watches(self, dice: Random) -> None:
        coordinator = self._world.coordinator
        coordinator.watch_loss = dice.random()
        coordinator.watch_delay_ms = 5 + int(dice.random() * 3 * self._lease_ms)
        coordinator.delay_ms = 4 + int(dice.random() * self._lease_ms)
        self._for_a_while(dice, 8, self._mend_watches, None)

    def _mend_watches(self, event: object) -> None:
        coordinator = self._world.coordinator
        coordinator.watch_delay_ms, coordinator.watch_loss, coordinator.delay_ms = 5, 0.0, 4

    def _drift(self, dice: Random) -> None:
        clock = self._any(dice).clock
        worst = self._world.options.drift_ppm_max
        clock.set_rate(self._schedule.now, dice.choice((-worst, worst, int((dice.random() * 2 - 1) * worst))))
        if dice.random() < 0.3:
            clock.set_wall_offset(int((dice.random() - 0.5) * 1_200_000))
