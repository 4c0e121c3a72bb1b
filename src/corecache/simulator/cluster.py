"""A simulated cluster: its nodes, how it begins, and the controller that gives it orders.

It begins in one of two ways: as one node that has everything, which the controller then spreads over the others, or
as a cluster that stood before, with all replicas in sync and empty.

The controller of a run is of the worst kind that the protocol must bear: it wants, at random, other nodes, another
order, another minimum, by compare-and-set as everybody. What it may not do is what an operator may not do either: ask
for more copies than there are nodes.
"""

from random import Random

import msgspec

from corecache.identity import Epoch, Incarnation, Lineage, Member, Milliseconds, NodeId, PartitionId
from corecache.placement.view import VersionedView, View
from corecache.replication.recovered import NodeFacts, ReplicaFacts
from corecache.simulator.contents import Contents, Held
from corecache.simulator.node import SimulatedNode
from corecache.simulator.world import World


class Cluster:
    """All nodes of a run."""

    def __init__(self, world: World) -> None:
        self.world = world
        options = world.options
        self.nodes = {name: SimulatedNode(name, world) for name in map(_named, range(1, options.nodes + 1))}
        self.names = list(self.nodes)
        self.partitions = [PartitionId(number) for number in range(options.partitions)]
        self._dice: Random = world.dice("controller")

    def begin(self) -> None:
        """Creates the cluster and starts its nodes."""
        world = self.world
        views = {partition: self._first_view(partition) for partition in self.partitions}
        for partition, view in views.items():
            world.coordinator.views[partition] = VersionedView(view, 0)
            world.checks.viewed(partition, VersionedView(view, 0))
        for name in self.names:
            self._format(name, views)
            self.nodes[name].start()

    def _first_view(self, partition: PartitionId) -> View:
        options, world = self.world.options, self.world
        if not options.spread:
            founder = Member(self.names[0], world.draw_id())
            # The first start after the disk was made has incarnation 2: the primary leads again under a new epoch.
            return View(Lineage(1), Epoch(1), founder, Incarnation(1), (founder,), (founder.node,), 1)
        first = partition * options.replication_factor
        nodes = [self.names[(first + rank) % len(self.names)] for rank in range(options.replication_factor)]
        members = tuple(Member(node, world.draw_id()) for node in nodes)
        return View(Lineage(1), Epoch(1), members[0], Incarnation(1), members, tuple(nodes), options.min_in_sync)

    def _format(self, name: NodeId, views: dict[PartitionId, View]) -> None:
        """Writes what a node's disk holds at the beginning."""
        world, lease_ms = self.world, Milliseconds(self.world.settings.lease_ms)
        held = {
            partition: Held(ReplicaFacts(member.replica, Epoch(1)))
            for partition, view in views.items()
            for member in view.in_sync
            if member.node == name
        }
        if not held:
            return

        def change(disk: Contents) -> None:
            disk.node = NodeFacts("simulated", world.options.partitions, name, Incarnation(1), lease_ms)
            disk.replicas = {partition: replica.copy() for partition, replica in held.items()}

        self.nodes[name].disk.write_now(change)
        world.coordinator.highest[name] = Incarnation(1)

    # The controller.

    def want(self, partition: PartitionId, nodes: list[NodeId], min_in_sync: int) -> None:
        """Asks for other replicas, by compare-and-set on the view of this moment."""
        current = self.world.coordinator.views[partition]
        view = msgspec.structs.replace(current.view, replicas=tuple(nodes), min_in_sync=min_in_sync)
        if view != current.view:
            self.world.coordinator.change(partition, view, current.version, "controller")

    def move(self) -> None:
        """Wants replicas of a partition on other nodes."""
        partition = self._dice.choice(self.partitions)
        view = self.world.coordinator.views[partition].view
        count = max(
            1, min(len(self.names), self.world.options.replication_factor + self._dice.choice((-1, 0, 0, 0, 1)))
        )
        kept = [node for node in view.replicas if self._dice.random() < 0.6][:count]
        others = [name for name in self.names if name not in kept]
        self._dice.shuffle(others)
        nodes = (kept + others)[:count]
        self._dice.shuffle(nodes)
        self.want(partition, nodes, min(view.min_in_sync, count))

    def reorder(self) -> None:
        """Wants another of a partition's nodes to be primary."""
        partition = self._dice.choice(self.partitions)
        view = self.world.coordinator.views[partition].view
        nodes = list(view.replicas)
        self._dice.shuffle(nodes)
        self.want(partition, nodes, view.min_in_sync)

    def change_minimum(self) -> None:
        """Wants more or fewer copies of each write: more only while there are as many, fewer as an operator may."""
        partition = self._dice.choice(self.partitions)
        view = self.world.coordinator.views[partition].view
        least = min(self._dice.choice((1, 2, 2, 3)), len(view.in_sync), len(view.replicas))
        self.want(partition, list(view.replicas), least)

    def settle(self) -> None:
        """Wants every partition on as many nodes as it should be, evenly: what the run ends with."""
        factor = self.world.options.replication_factor
        for partition in self.partitions:
            view = self.world.coordinator.views[partition].view
            first = partition * factor
            nodes = [self.names[(first + rank) % len(self.names)] for rank in range(factor)]
            self.want(partition, nodes, min(view.min_in_sync, factor))

    # How it stands.

    def unsettled(self) -> str | None:
        """Returns what is not yet as it should be at the end of a run, None if all is."""
        for partition in self.partitions:
            view = self.world.coordinator.views[partition].view
            in_sync = sorted(member.node for member in view.in_sync)
            if in_sync != sorted(view.replicas):
                return f"p{partition}: in sync are {in_sync}, wanted {sorted(view.replicas)}"
            if view.primary.node != view.replicas[0]:
                return f"p{partition}: primary is {view.primary.node}, wanted {view.replicas[0]}"
            driver = self.nodes[view.primary.node].driver
            replica = driver.machine.replicas.get(partition) if driver is not None else None
            if driver is None or replica is None or not replica.serving_epoch(driver.now):
                return f"p{partition}: {view.primary.node} does not serve"
            committed = len(self.world.checks.histories[partition].committed)
            for member in view.in_sync:
                held = self.nodes[member.node].disk.contents.replicas.get(partition)
                if held is None or held.applied.sequence != committed:
                    applied = held.applied.sequence if held is not None else "nothing"
                    return f"p{partition}: {member.node} has applied {applied} of {committed}"
        return self._left_over()

    def _left_over(self) -> str | None:
        for name in self.names:
            for partition in self.nodes[name].disk.contents.replicas:
                if name not in self.world.coordinator.views[partition].view.replicas:
                    return f"p{partition}: {name} still holds what nobody wants there"
        return None


def _named(number: int) -> NodeId:
    return NodeId(f"n{number}")
