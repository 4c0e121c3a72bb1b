"""A small model of a cluster that carries a plan out: primaries that let members join, drop them, and hand over.

It follows R9, R11, R12 and R13 as far as placement is concerned, one deed of one primary at a time, and asserts at each
that a move never costs a copy. There is no data, and no time: whoever drives it decides what comes next.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from corecache.identity import Epoch, Incarnation, Lineage, Member, NodeId, PartitionId, ReplicaId
from corecache.placement import controller
from corecache.placement.controller import Plan
from corecache.placement.eligibility import Eligibility
from corecache.placement.partition_map import ClusterFacts, NodeEntry, Orders
from corecache.placement.rebalance import Step
from corecache.placement.view import VersionedView, View


def names(count: int) -> list[NodeId]:
    """Returns names of nodes, sorted."""
    return [NodeId(f"n{number:03}") for number in range(count)]


def member(node: NodeId) -> Member:
    """Returns a node's replica; the model does not tell two of the same node apart."""
    return Member(node, ReplicaId(f"r-{node}"))


def view_of(nodes: Sequence[NodeId], min_in_sync: int = 1) -> View:
    """Returns a view with all that is wanted in sync, and the preferred primary leading."""
    in_sync = tuple(map(member, nodes))
    return View(Lineage(1), Epoch(1), in_sync[0], Incarnation(1), in_sync, tuple(nodes), min_in_sync)


class Model:
    """The views, who is alive and gone, and the orders: all that a controller sees."""

    def __init__(
        self, zones: Mapping[NodeId, str], placements: Iterable[Sequence[NodeId]], replication_factor: int = 3
    ) -> None:
        self.entries = {node: NodeEntry(node, Incarnation(1), zone=zone) for node, zone in zones.items()}
        self.alive = dict(self.entries)
        self.gone: tuple[NodeId, ...] = ()
        self.orders = Orders()
        self.views = {PartitionId(number): VersionedView(view_of(nodes), 0) for number, nodes in enumerate(placements)}
        self.facts = ClusterFacts("test", len(self.views), replication_factor)

    # The controller.

    def plan(self, moves_max: int = 4) -> Plan:
        """Plans by the newest views."""
        return controller.plan(self.facts, self.views, self.judged(), self.orders, moves_max)

    def preview(self) -> tuple[Step, ...]:
        """Previews by the newest views."""
        return controller.preview(self.facts, self.views, self.judged(), self.orders)

    def judged(self) -> Eligibility:
        """Returns who may hold what."""
        return Eligibility.judged(self.alive, self.gone, self.orders, self.entries)

    def propose(self, partition: PartitionId, view: View, expected: int) -> bool:
        """Compares and sets."""
        if self.views[partition].version != expected:
            return False
        self.views[partition] = VersionedView(view, expected + 1)
        return True

    def carry_out(self, plan: Plan) -> None:
        """Makes the proposals of a plan, up to the first one that is refused."""
        for proposal in plan.proposals:
            before = self.views[proposal.partition]
            if not self.propose(proposal.partition, proposal.view, proposal.expected):
                break
            after = self.views[proposal.partition].view
            allowed = msgspec.structs.replace(before.view, replicas=after.replicas, min_in_sync=after.min_in_sync)
            assert after == allowed, "the controller changes replicas and min_in_sync, nothing else"
            assert after.replicas
            assert len(set(after.replicas)) == len(after.replicas)
            assert proposal.reason

    # The primaries.

    def deed(self, partition: PartitionId) -> bool:
        """Has the primary of a partition do the next thing that is due; says whether anything was."""
        view = self.views[partition].view
        if view.primary.node not in self.alive:
            return self._fail_over(partition, view)
        dead = [each for each in view.in_sync if each.node not in self.alive]
        if dead:
            return self._change(partition, in_sync=tuple([each for each in view.in_sync if each not in dead]))
        for node in view.replicas:
            if node in self.alive and member(node) not in view.in_sync:
                return self._change(partition, in_sync=(*view.in_sync, member(node)))
        extra = [each for each in view.in_sync if each.node not in view.replicas and each != view.primary]
        if extra and len(view.in_sync) > max(len(view.replicas), view.min_in_sync):
            return self._change(partition, in_sync=tuple([each for each in view.in_sync if each != extra[-1]]))
        return self._hand_over(partition, view)

    def _fail_over(self, partition: PartitionId, view: View) -> bool:
        able = [each for each in view.in_sync if each.node in self.alive]
        if not able:
            return False
        in_sync = tuple([each for each in view.in_sync if each != view.primary])
        return self._change(partition, primary=able[0], in_sync=in_sync, epoch=Epoch(view.epoch + 1))

    def _hand_over(self, partition: PartitionId, view: View) -> bool:
        primary = view.primary.node
        able = [node for node in view.replicas if node in self.alive and node != primary]
        if primary == view.replicas[0] or not able or (primary in view.replicas and able[0] != view.replicas[0]):
            return False
        return self._change(partition, primary=member(able[0]), epoch=Epoch(view.epoch + 1))

    def _change(self, partition: PartitionId, **fields: object) -> bool:
        before = self.views[partition]
        view = msgspec.structs.replace(before.view, **fields)
        assert view.primary in view.in_sync
        assert self.propose(partition, view, before.version)
        return True

    def kill(self, node: NodeId) -> None:
        """Takes a node off the living."""
        del self.alive[node]

    def revive(self, node: NodeId) -> None:
        """Brings a node back."""
        self.alive[node] = self.entries[node]
        self.gone = tuple([each for each in self.gone if each != node])

    # To the end.

    def copying(self) -> int:
        """Counts the partitions with a copy under way."""
        return sum(
            held.view.primary.node in self.alive
            and any(node in self.alive and member(node) not in held.view.in_sync for node in held.view.replicas)
            for held in self.views.values()
        )

    def work(self, dice: random.Random) -> None:
        """Has some primaries do something: none of them, or several deeds of many."""
        partitions = list(self.views)
        dice.shuffle(partitions)
        for partition in partitions[: dice.randint(0, len(partitions))]:
            for _ in range(dice.randint(1, 3)):
                self.deed(partition)

    def settle(self, dice: random.Random, moves_max: int = 4, rounds_max: int = 2000) -> None:
        """Plans and works until all is settled."""
        for _ in range(rounds_max):
            before = self.copying()
            plan = self.plan(moves_max)
            self.carry_out(plan)
            assert self.copying() <= max(moves_max, before), "throttled"
            if not plan.proposals and not plan.left and not any(map(self.deed, self.views)):
                return
            self.work(dice)
        raise AssertionError(f"not settled after {rounds_max} rounds: {self.plan(moves_max)}")

    def copies(self) -> Counter[NodeId]:
        """Counts the wanted copies of each node."""
        return Counter(node for held in self.views.values() for node in held.view.replicas)

    def primaries(self) -> Counter[NodeId]:
        """Counts the primaries of each node, as they are."""
        return Counter(held.view.primary.node for held in self.views.values())
