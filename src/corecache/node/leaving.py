"""How a node takes its leave: what it has to see before its process may end.

It hands over all that it leads, while requests still come in and go the new way. And it stays as long as a write needs
the copy that is here: where nodes are started again one after another, the one before is just catching up, and until
it is in sync too few may be without this one.

Nobody is waited for who is not there: who is known to have ended, is leaving too, or is not listed as alive.
"""

import asyncio
import contextlib

from corecache.errors import CoreCacheError
from corecache.identity import NodeId
from corecache.node.driver import Driver
from corecache.node.neighbours import Neighbours
from corecache.replication.replica import Replica

_LOOK_SECONDS = 0.01


class Leaving:
    """One node's leave. It is taken once."""

    def __init__(self, driver: Driver, neighbours: Neighbours) -> None:
        """Takes who hands over, and who knows the living."""
        self._driver = driver
        self._neighbours = neighbours

    async def take(self, timeout_ms: int) -> None:
        """Returns when nobody needs this node any more, or the time is over. Requires: `Driver.leave` was called."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                # Who has just been started again may not have been heard of yet.
                with contextlib.suppress(CoreCacheError):
                    await self._neighbours.look()
                # Once in a process: not worth a signal from each replica.
                while any(self._is_needed(each) for each in self._driver.machine.replicas.values()):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SECONDS)

    def _is_needed(self, replica: Replica) -> bool:
        """Says whether somebody in sync could lead instead, or somebody who may soon be in sync is needed to be."""
        if replica.confirmed is None or replica.member not in replica.confirmed.view.in_sync:
            return False
        view, peers = replica.confirmed.view, self._driver.machine.knowledge
        others = [member.node for member in view.in_sync if member != replica.member]
        if replica.primary is not None and any(peers[node].linked and not peers[node].leaving for node in others):
            return True
        joining = [node for node in view.replicas if node not in others and node != replica.member.node]
        return len(others) < view.min_in_sync and any(self._may_join(node) for node in joining)

    def _may_join(self, node: NodeId) -> bool:
        entry, peer = self._neighbours.alive.get(node), self._driver.machine.knowledge[node]
        if entry is None:
            return False
        # What is known of an earlier start says nothing of this one.
        return entry.incarnation > peer.incarnation or not (peer.gone or peer.leaving)
