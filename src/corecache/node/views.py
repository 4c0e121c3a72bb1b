"""What a node knows of who leads which partition: the newest view of each that it has seen, wherever from.

It routes requests, and nothing more: a replica goes by its own view, which it has from the coordinator. A view that is
out of date costs a request a way round, because the node that it leads to answers with a newer one.

Here also is told what a failover took, for operators and tests: when this node was named primary, and when it served.
"""

import asyncio
from collections.abc import Mapping

import structlog

from corecache.identity import Incarnation, Milliseconds, NodeId, PartitionId
from corecache.placement.view import VersionedView
from corecache.ports import Clock
from corecache.replication.replica import Replica

log = structlog.get_logger("corecache.node")


class Views:
    """The newest views known. `changes` and `failovers` count since the start."""

    def __init__(self, node: NodeId, incarnation: Incarnation, clock: Clock) -> None:
        """Knows none yet."""
        self.changes = 0
        self.failovers = 0
        self.activating: dict[PartitionId, tuple[Milliseconds, bool]] = {}
        """Partitions that this node is named primary of and does not serve yet: since when, whether from another."""
        self._node = node
        self._incarnation = incarnation
        self._clock = clock
        self._known: dict[PartitionId, VersionedView] = {}
        self._waiting: dict[PartitionId, list[asyncio.Future[None]]] = {}

    def get(self, partition: PartitionId) -> VersionedView | None:
        """Returns the newest view known of a partition."""
        return self._known.get(partition)

    def all(self) -> Mapping[PartitionId, VersionedView]:
        """Returns the newest views known."""
        return self._known

    def note(self, partition: PartitionId, confirmed: VersionedView) -> None:
        """Takes a view, if it is newer than the one known."""
        known = self._known.get(partition)
        if known is not None and confirmed.version <= known.version:
            return
        self._known[partition] = confirmed
        self.changes += 1
        view = confirmed.view
        if known is None or view.epoch != known.view.epoch:
            # What a node finds at its start is no news to anybody.
            say = log.debug if known is None else log.info
            say(
                "view changed",
                partition=partition,
                epoch=view.epoch,
                primary=view.primary.node,
                in_sync=[member.node for member in view.in_sync],
                version=confirmed.version,
            )
            self.activating.pop(partition, None)
            if view.primary.node == self._node and view.incarnation == self._incarnation:
                other = known is not None and known.view.primary.node != self._node
                self.activating[partition] = (self._clock.now(), other)
        self._wake(partition)

    def look(self, replicas: Mapping[PartitionId, Replica]) -> None:
        """Looks which partitions are served by now, and says so."""
        now = self._clock.now()
        for partition, (since, other) in list(self.activating.items()):
            replica = replicas.get(partition)
            primary = replica.primary if replica is not None else None
            if primary is not None and primary.activated:
                del self.activating[partition]
                self.failovers += other
                say = log.info if other else log.debug
                say("activated", partition=partition, epoch=primary.epoch, took_ms=now - since, from_other=other)
                self._wake(partition)

    async def news(self, partition: PartitionId, timeout_seconds: float) -> None:
        """Returns when something about a partition has changed, or after a time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(partition, [])
        waiting.append(future)
        timer = asyncio.get_running_loop().call_later(timeout_seconds, _settle, future)
        try:
            await future
        finally:
            timer.cancel()
            if future in waiting:
                waiting.remove(future)

    def _wake(self, partition: PartitionId) -> None:
        for future in self._waiting.pop(partition, ()):
            _settle(future)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
