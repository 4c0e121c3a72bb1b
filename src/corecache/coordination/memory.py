"""The coordinator that forgets: a ledger in memory. It defines what is right for all the others.

Every other implementation of `ports.Coordinator` passes the same contract suite and can differ in one thing only, that
it outlives its process. This one is for tests and for a node whose views may die with it.

Rule: a change is in the ledger before its caller is answered, and watchers hear of it in a later turn of the event
loop, never from inside `propose`. So a caller needs no guard against being called back while it is calling.
"""

import asyncio
from collections.abc import Callable, Mapping

from corecache.coordination.ledger import Ledger
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.placement.view import VersionedView, View


class MemoryCoordinator:
    """A coordinator in memory; see `ports.Coordinator` for what its methods promise."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._watchers: list[Callable[[PartitionId, VersionedView], None]] = []

    async def register(self, node: NodeId, incarnation: Incarnation, addresses: Mapping[str, str]) -> Incarnation:
        """Announces a node; returns the highest incarnation ever registered for it. Addresses are not kept."""
        return self._ledger.register(node, incarnation)

    async def create(self, cluster: str, partitions: int, views: Mapping[PartitionId, View]) -> None:
        """Creates the cluster, or finds it there. Raises: CallerFault if it exists with other facts."""
        self._ledger.create(cluster, partitions, views)

    async def views(self) -> dict[PartitionId, VersionedView]:
        """Returns every partition's view; empty before `create`."""
        return dict(self._ledger.views)

    async def propose(self, partition: PartitionId, view: View, expected: int) -> VersionedView | None:
        """Replaces the view if its version is still `expected`. Returns the new one, None if another came first."""
        confirmed = self._ledger.propose(partition, view, expected)
        if confirmed is not None:
            loop = asyncio.get_running_loop()
            for changed in self._watchers:
                loop.call_soon(changed, partition, confirmed)
        return confirmed

    def watch(self, changed: Callable[[PartitionId, VersionedView], None]) -> None:
        """Calls `changed`, on the event loop, for every view that changes from now on."""
        self._watchers.append(changed)

    async def close(self) -> None:
        """Ends: nobody is called any more."""
        self._watchers.clear()
