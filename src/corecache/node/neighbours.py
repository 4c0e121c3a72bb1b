"""Who else is alive, and where: what the coordinator lists, kept at hand, and told to the link.

A node that vanished from the list keeps its connection as long as it is in a view of a partition held here: the list is
ZooKeeper's opinion, and nothing here depends on ZooKeeper from one moment to the next (R19).
"""

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from corecache.errors import CoreCacheError
from corecache.identity import NodeId
from corecache.placement.partition_map import NodeEntry
from corecache.ports import Coordinator, Link

_RETRY_SECONDS = 0.5
_INCOMPLETE_SECONDS = 0.1
_SWEEP_SECONDS = 15.0

log = structlog.get_logger("corecache.node")


class Neighbours:
    """The living nodes, this one included. `known` also has those that were alive once, as they were last."""

    def __init__(self, node: NodeId, coordinator: Coordinator, needed: Callable[[], set[NodeId]]) -> None:
        """`needed` says which nodes this one must be connected with, alive or not."""
        self.alive: dict[NodeId, NodeEntry] = {}
        self.known: dict[NodeId, NodeEntry] = {}
        self.link: Link | None = None
        self._node = node
        self._coordinator = coordinator
        self._needed = needed
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Takes note that somebody has come or gone."""
        self._changed.set()

    async def look(self) -> None:
        """Reads the list and tells the link. Raises: NotDone, OutcomeUnknown."""
        alive = await self._coordinator.nodes()
        for node in sorted(alive.keys() - self.alive.keys()):
            log.info("a node is alive", node=node, incarnation=alive[node].incarnation)
        for node in sorted(self.alive.keys() - alive.keys()):
            log.info("a node is no longer listed as alive", node=node)
        self.alive = alive
        self.known |= alive
        if self.link is not None:
            wanted = (alive.keys() | self._needed()) - {self._node}
            addresses = {node: self.known[node].addresses.get("peer", "") for node in wanted if node in self.known}
            self.link.meet({node: addresses[node] for node in sorted(addresses) if addresses[node]})

    async def keep(self) -> None:
        """Reads the list at each change, until it is cancelled."""
        while True:
            # A node that starts is listed before it knows its address, and no watch tells of the change.
            incomplete = any(not entry.addresses for entry in self.alive.values())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INCOMPLETE_SECONDS if incomplete else _SWEEP_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self.look()
            except CoreCacheError as error:
                log.info("the list of nodes can't be read; trying again", reason=error.message)
                await asyncio.sleep(_RETRY_SECONDS)
                self._changed.set()
