"""The cluster of a campaign: real nodes and ZooKeeper servers on this machine, and how it stands.

Nodes are `n1`, `n2`, … (`node.py`); the ZooKeeper servers are `zookeeper1`, … (`zookeeper.py`). With a network each is
a member of it, by its name.

Rule 1: how the cluster stands is said by its running nodes together: of each partition, whoever knows the newest view.
Rule 2: only what the campaign can't go on without is a `GroundError`, with what was wanted and what the nodes say.

Calls block, and may be made by several threads. What is done when is decided in `campaign.py`.
"""

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from corecache.chaos.network import Network
from corecache.chaos.node import PROGRAM, ChaosNode
from corecache.chaos.power import PowerGrid
from corecache.chaos.processes import GroundError
from corecache.chaos.zookeeper import Ensemble
from corecache.placement.view import View
from corecache.reports import DigestReport, PartitionReport

__all__ = ["ChaosCluster", "ChaosNode"]

SETTINGS: Final[Mapping[str, str | int]] = {
    "coordination.session_timeout_ms": 3000,
    "cluster.partitions": 8,
    "storage.flush_memtable_bytes": 256 * 1024,
    "storage.compact_level0_files": 2,
}
"""Of all nodes, unless the campaign says otherwise: short sessions, few partitions, small memtables: much happens."""

COPIES: Final = 3
WHOLE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05


class ChaosCluster:
    """Nodes and ZooKeeper. `nodes` are in the order of their names, those that have left too."""

    def __init__(
        self,
        directory: Path,
        nodes: int,
        zookeepers: int,
        network: Network | None = None,
        shim: Path | None = None,
        settings: Mapping[str, str | int] | None = None,
        program: Sequence[str] = PROGRAM,
        grid: PowerGrid | None = None,
    ) -> None:
        """Makes all and starts none. `shim` is the compiled library of `disk.py`; settings go before SETTINGS.

        With a grid each node's data is on a disk of it.

        Raises: GroundError if ZooKeeper is not installed.
        """
        self.settings = {**SETTINGS, **(settings or {})}
        self.zookeepers = Ensemble(directory, zookeepers, network)
        self.nodes: list[ChaosNode] = []
        self.drained: set[str] = set()
        self._directory = directory
        self._network = network
        self._shim = shim
        self._program = program
        self._grid = grid
        for _ in range(nodes):
            self.add_node()

    def add_node(self) -> ChaosNode:
        """Makes one more node, and does not start it."""
        name = f"n{len(self.nodes) + 1}"
        if self._grid is not None:
            self._grid.add(name)
        node = ChaosNode(
            name,
            self._directory / name,
            self.zookeepers.address,
            self.settings,
            self._program,
            self._network,
            self._shim,
            None if self._grid is None else self._grid.path(name),
        )
        self.nodes.append(node)
        return node

    def start(self) -> None:
        """Starts ZooKeeper and all nodes, and waits until all is whole. Raises: GroundError if it is not in time."""
        self.zookeepers.start()
        first, *others = self.nodes
        first.spawn()
        first.await_ready()
        for node in others:
            node.spawn()
        for node in others:
            node.await_ready()
        self.await_whole()

    def end(self) -> None:
        """Ends whatever is left."""
        for node in self.nodes:
            node.end()
        self.zookeepers.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    @property
    def members(self) -> list[ChaosNode]:
        """The nodes that run and are to hold copies."""
        return [node for node in self.nodes if node.running and node.name not in self.drained]

    def node(self, name: str) -> ChaosNode:
        """Returns the node of this name."""
        return next(node for node in self.nodes if node.name == name)

    def takes_drain(self, name: str) -> bool:
        """Orders that a node is to hold nothing any more; says whether a running node took the order."""
        body = msgspec.json.encode({"node": name, "cancel": False})
        running = [node for node in self.nodes if node.running]
        taken = any(node.ask("POST", "/v1/cluster/drain", body)[0] == 200 for node in running)
        if taken:
            self.drained.add(name)
        return taken

    def is_drained(self, name: str) -> bool:
        """Says whether a node that is drained holds nothing any more, so that it can be stopped."""
        for node in self.members:
            orders = node.orders()
            if orders is not None:
                return any(each.node == name and each.drained for each in orders.draining)
        return False

    def is_whole(self, copies: int | None = None) -> bool:
        """Says whether every partition has its copies, all in sync, on members, and is served by its primary.

        `copies`: three, or one for each member, if None.
        """
        return not self.lacking(copies)

    def lacking(self, copies: int | None = None) -> list[int]:
        """Returns the partitions that are not whole (see `is_whole`)."""
        members = {node.name for node in self.members}
        wanted = min(COPIES, len(members)) if copies is None else copies
        newest = self.partitions()
        return [
            number
            for number in range(int(self.settings["cluster.partitions"]))
            if number not in newest or not newest[number][1] or not _is_whole(newest[number][0], wanted, members)
        ]

    def await_whole(self, copies: int | None = None, seconds: float = WHOLE_SECONDS) -> None:
        """Waits until it is whole. Raises: GroundError if it is not in time, or a node ends by itself."""
        self._await(lambda: self.is_whole(copies), "all copies of every partition, in sync, and served", seconds)

    def partitions(self) -> dict[int, tuple[View, bool]]:
        """Returns of each partition the newest view that a running node knows, and whether its primary serves it."""
        newest: dict[int, PartitionReport] = {}
        serving: set[tuple[int, int, str]] = set()
        for node, partition in self._reported():
            if partition.role == "primary":
                serving.add((partition.id, partition.view_version, node.name))
            if partition.view is not None:
                known = newest.setdefault(partition.id, partition)
                if partition.view_version > known.view_version:
                    newest[partition.id] = partition
        return {
            number: (report.view, (number, report.view_version, report.view.primary.node) in serving)
            for number, report in sorted(newest.items())
            if report.view is not None
        }

    def digests(self, seconds: float = WHOLE_SECONDS) -> dict[int, dict[str, str]]:
        """Returns the checksum of each replica in sync, by partition and node, at one sequence within a partition.

        Requires: nobody writes. Raises: GroundError if the replicas of a partition don't come level in time.
        """
        return {number: self._digests(number, view, seconds) for number, (view, _) in self.partitions().items()}

    def lines_of(self, partitions: Container[int]) -> list[str]:
        """Returns what each running node says of some partitions, a line each."""
        lines = []
        for node, partition in self._reported():
            if partition.id not in partitions:
                continue
            view = partition.view
            seen = (
                f"epoch {view.epoch} primary {view.primary.node} in_sync {[each.node for each in view.in_sync]} "
                f"replicas {list(view.replicas)} min {view.min_in_sync}"
                if view
                else "no view"
            )
            lines.append(
                f"{node.name} partition {partition.id} {partition.role}: version {partition.view_version} {seen} "
                f"sequence {partition.last_sequence} commit {partition.commit_point} applied {partition.applied}"
            )
        return lines

    def _reported(self) -> Iterator[tuple[ChaosNode, PartitionReport]]:
        for node in self.nodes:
            report = node.report() if node.running else None
            for partition in report.partitions if report else ():
                yield node, partition

    def _digests(self, number: int, view: View, seconds: float) -> dict[str, str]:
        held: dict[str, DigestReport | None] = {}

        def level() -> bool:
            held.update((member.node, self.node(member.node).digest(number)) for member in view.in_sync)
            return None not in held.values() and len({each.applied for each in held.values() if each}) == 1

        self._await(level, f"one sequence applied by all replicas of partition {number}", seconds)
        return {name: each.digest for name, each in held.items() if each}

    def _await(self, true: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            for node in self.nodes:
                code = node.ended_by_itself()
                if code is not None:
                    raise GroundError(f"{node.name} ended by itself with {code}:\n{node.log_tail()}")
            if time.monotonic() > deadline:
                lines = "\n".join(self.lines_of(self.lacking()))
                raise GroundError(f"not within {seconds} s: {what}\n{lines}")
            time.sleep(_LOOK_SECONDS)


def _is_whole(view: View, copies: int, members: set[str]) -> bool:
    in_sync = {member.node for member in view.in_sync}
    return len(view.in_sync) == len(view.replicas) == copies and in_sync == set(view.replicas) <= members
