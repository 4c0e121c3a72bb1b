"""The ground of a campaign: the cluster, the network under it, the power of its disks, and who has what in hand.

Rule 1: a fault has its node to itself. Two faults at once strike two nodes; where none is free, the second is skipped,
and said to be.
Rule 2: of what all nodes share (the network, ZooKeeper, the list of members) one fault at a time has each.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from corecache.chaos.cluster import ChaosCluster, ChaosNode
from corecache.chaos.network import Network
from corecache.chaos.power import PowerGrid

_POLL_SECONDS: Final = 0.05


class SkippedError(Exception):
    """The fault could not strike at this moment; the message says why."""


class MissedError(Exception):
    """The fault was aimed at a moment, and did not hit it: what it did was something else. The message says why."""


class Ground:
    """What faults strike."""

    def __init__(self, cluster: ChaosCluster, network: Network | None, grid: PowerGrid | None) -> None:
        """Takes a network and a grid where this machine can have them."""
        self.cluster = cluster
        self.network = network
        self.grid = grid
        self._held: set[str] = set()
        self._left: set[str] = set()

    @contextlib.contextmanager
    def hold(self, what: str) -> Iterator[None]:
        """Has a node, or something that all share, to itself. Raises: SkippedError if another fault has it."""
        if what in self._held:
            raise SkippedError(f"another fault has the {what}")
        self._held.add(what)
        try:
            yield
        finally:
            self._held.discard(what)

    @contextlib.contextmanager
    def take(self, roll: int) -> Iterator[ChaosNode]:
        """Gives a node that runs and that no other fault has. Raises: SkippedError if there is none."""
        free = [node for node in self.present if node.running and node.name not in self._held]
        if not free:
            raise SkippedError("every node has a fault already")
        node = free[roll % len(free)]
        with self.hold(node.name):
            yield node

    @contextlib.contextmanager
    def take_all(self) -> Iterator[list[ChaosNode]]:
        """Gives all nodes that run and that no other fault has. Raises: SkippedError if there is none."""
        free = [node for node in self.present if node.running and node.name not in self._held]
        if not free:
            raise SkippedError("every node has a fault already")
        with contextlib.ExitStack() as stack:
            for node in free:
                stack.enter_context(self.hold(node.name))
            yield free

    def is_undisturbed(self) -> bool:
        """Says whether no fault has anything in hand."""
        return not self._held

    @property
    def present(self) -> list[ChaosNode]:
        """The nodes that have not left, whether they run at the moment or not."""
        return [node for node in self.cluster.nodes if node.name not in self._left]

    @property
    def names(self) -> list[str]:
        """The names of the nodes that have not left."""
        return [node.name for node in self.present]

    @property
    def zookeepers(self) -> list[str]:
        """The names of the ZooKeeper servers."""
        return self.cluster.zookeepers.names

    def left(self, node: ChaosNode) -> None:
        """Takes that a node was drained and stopped, for good."""
        self._left.add(node.name)
        if self.network is not None:
            self.network.remove(node.name)
        if self.grid is not None:
            self.grid.remove(node.name)

    async def is_whole(self) -> bool:
        """Says whether every partition has all its copies, in sync, and is served."""
        return await asyncio.to_thread(self.cluster.is_whole)


async def until(
    true: Callable[[], Awaitable[bool]], seconds: float = math.inf, look_seconds: float = _POLL_SECONDS
) -> bool:
    """Waits until a condition holds; returns whether it came to that within the time. It looks again and again."""
    deadline = time.monotonic() + seconds
    while not await true():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(look_seconds)
    return True
