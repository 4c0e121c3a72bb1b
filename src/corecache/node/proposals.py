"""Brings proposals of new views to the coordinator, and its answers back to the replicas.

Rule 1: a proposal is sent once. If its answer is lost the view is read, and the replica is told of what stands there:
it settles the matter by a proposal of its own (R18 of `docs/protocol.md`). If what stands there makes no sense, that
waits until somebody has mended it.
Rule 2: what failed is not tried again at once. A proposal goes on until it is known what became of it; reading a view
that nobody has proposed may fail, for whoever needs it asks again.
Rule 3: after a death many partitions need a new view: they go out some at a time.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from corecache.errors import CoreCacheError
from corecache.identity import PartitionId
from corecache.placement.view import VersionedView
from corecache.ports import Coordinator
from corecache.replication.actions import ProposeView
from corecache.replication.events import ViewChanged, ViewRefused

_RETRY_SECONDS = 0.5
_WINDOW = 32

log = structlog.get_logger("corecache.node")


class Proposals:
    """The proposals and readings of views that are under way."""

    def __init__(
        self,
        coordinator: Coordinator,
        told: Callable[[PartitionId, ViewChanged | ViewRefused], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`told` takes what the coordinator says, `spawn` begins a task."""
        self._coordinator = coordinator
        self._told = told
        self._spawn = spawn
        self._window = asyncio.Semaphore(_WINDOW)
        self._reading: set[PartitionId] = set()
        self._unread: dict[PartitionId, str] = {}

    def propose(self, partition: PartitionId, action: ProposeView) -> None:
        """Begins a proposal."""
        view = action.view
        log.info(
            "proposing a view",
            partition=partition,
            epoch=view.epoch,
            primary=view.primary.node,
            in_sync=[member.node for member in view.in_sync],
            expected=action.expected,
        )
        self._spawn(self._propose(partition, action))

    def read(self, partition: PartitionId) -> None:
        """Begins to read a view, if that is not under way."""
        if partition not in self._reading:
            self._reading.add(partition)
            self._spawn(self._read(partition))

    async def _propose(self, partition: PartitionId, action: ProposeView) -> None:
        async with self._window:
            try:
                accepted = await self._coordinator.propose(partition, action.view, action.expected)
            except CoreCacheError as error:
                # Its own success is possible too: only reading can tell. Not at once: what failed needs a moment.
                log.warning("a view change is not settled", partition=partition, reason=error.message)
                await asyncio.sleep(_RETRY_SECONDS)
                accepted = None
            current = accepted if accepted is not None else await self._until_read(partition)
        self._told(partition, ViewChanged(current) if accepted is not None else ViewRefused(current))

    async def _until_read(self, partition: PartitionId) -> VersionedView:
        while True:
            try:
                return await self._read_one(partition)
            except CoreCacheError:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _read_one(self, partition: PartitionId) -> VersionedView:
        """Reads a view. Raises: NotDone; Broken if it makes no sense; the log says why, once as long as it is so."""
        try:
            current = await self._coordinator.view(partition)
        except CoreCacheError as error:
            if self._unread.get(partition) != error.message:
                self._unread[partition] = error.message
                log.warning("a view can't be read; trying again", partition=partition, reason=error.message)
            raise
        self._unread.pop(partition, None)
        return current

    async def _read(self, partition: PartitionId) -> None:
        try:
            async with self._window:
                current = await self._read_one(partition)
        except CoreCacheError:
            return
        finally:
            self._reading.discard(partition)
        self._told(partition, ViewChanged(current))
