"""Reads that need the disk, gathered: one call to the store for all that arrived while the last ones were under way.

A read that finds its record in memory never comes here. One that does not must not hold up those that do, so it goes to
the store's readers; and because a store looks up many keys in one call for little more than the price of one, the
misses of a loop turn go together. The queue needs no limit of its own: each read belongs to a connection, and those are
limited.
"""

import asyncio

from corecache.errors import CoreCacheError
from corecache.identity import PartitionId
from corecache.operations import Record
from corecache.ports import Store

_CALLS_MAX = 2
"""Calls to the store at once: as many as it has readers. While they run, the next one fills up."""

_KEYS_MAX = 64
"""Keys in one call, so that the first key does not wait long for the last."""


class ColdReads:
    """Gathers reads for the store."""

    def __init__(self, store: Store) -> None:
        """Reads from `store`."""
        self._store = store
        self._queue: list[tuple[PartitionId, bytes]] = []
        self._waiting: list[asyncio.Future[Record | None]] = []
        self._calls = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, partition: PartitionId, key: bytes) -> Record | None:
        """Returns the applied record of a key, None if there is none. Raises: Broken if a file can't be read."""
        future: asyncio.Future[Record | None] = asyncio.get_running_loop().create_future()
        self._queue.append((partition, key))
        self._waiting.append(future)
        if self._calls < _CALLS_MAX:
            self._calls += 1
            task = asyncio.get_running_loop().create_task(self._call())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _call(self) -> None:
        while self._queue:
            keys, self._queue = self._queue[:_KEYS_MAX], self._queue[_KEYS_MAX:]
            waiting, self._waiting = self._waiting[:_KEYS_MAX], self._waiting[_KEYS_MAX:]
            try:
                records = await self._store.get(keys)
            except CoreCacheError as error:
                for future in waiting:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future, record in zip(waiting, records, strict=True):
                    if not future.done():
                        future.set_result(record)
        # In the same breath as the last look at the queue: whoever comes after it begins a call of its own.
        self._calls -= 1
