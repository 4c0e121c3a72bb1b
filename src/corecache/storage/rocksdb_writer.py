"""The one way by which bytes reach RocksDB: batch after batch, in order, then the sync that makes them durable.

Rule 1: batches are written in the order of the calls. While the tree is stalled, the first waits and all others wait
behind it. The loop never blocks: RocksDB is asked to refuse a write rather than to wait, and it is tried again.
Rule 2: after a failed write or sync nothing more is written or acknowledged. The first failure is the answer to all,
those under way included: a later sync that succeeds says nothing of what the failed one has lost.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from rocksdict import Rdict, WriteBatch, WriteOptions

from corecache.errors import Broken
from corecache.storage.threads import Syncer

_RETRY_FIRST_S: Final = 0.001
_RETRY_MAX_S: Final = 0.05
_DELAY_MAX_S: Final = 1.0


class Writer:
    """Writes to a database, until it fails or is closed. `written_bytes` counts what it has written since."""

    def __init__(self, database: Rdict, path: Path) -> None:
        """Takes an open database and the data directory's path, for the sentences."""
        self.turn = asyncio.Lock()
        self.failure: str | None = None
        self.closed = False
        self.written_bytes = 0
        self._database = database
        self._path = path
        self._syncer = Syncer(partial(database.flush_wal, True))
        self._options = WriteOptions()
        self._options.no_slowdown = True

    async def write(self, fill: Callable[[WriteBatch], None]) -> None:
        """Writes the batch that `fill` makes, as soon as the tree takes it. `fill` is called again for each attempt.

        Suspends only while the tree is stalled. Requires: the caller holds `turn`. Raises: Broken.
        """
        self.refuse_if_unusable()
        wait_s = _RETRY_FIRST_S
        while True:
            batch = WriteBatch(raw_mode=True)
            fill(batch)
            size_bytes = batch.size_in_bytes()
            try:
                self._database.write(batch, self._options)
            except Exception as error:
                if "Write stall" not in str(error):
                    raise self.failed("write", error) from error
            else:
                self.written_bytes += size_bytes
                return
            await asyncio.sleep(max(wait_s, self._delay_s(size_bytes)))
            wait_s = min(wait_s * 2, _RETRY_MAX_S)

    async def sync(self) -> None:
        """Returns when all that was written before is on the disk. Raises: Broken."""
        try:
            await self._syncer.begin()
        except Exception as error:
            raise self.failed("sync", error) from error
        if self.failure is not None:
            raise Broken("storage_failed", self.failure)

    async def close(self) -> None:
        """Refuses all that comes from now on."""
        async with self.turn:
            self.closed = True

    def stop(self) -> None:
        """Ends the sync thread when all syncs asked for are done. Blocks."""
        self._syncer.stop()

    def refuse_if_unusable(self) -> None:
        """Raises Broken after a failure or after closing."""
        if self.closed:
            raise Broken("storage_closed", "The store is closed.")
        if self.failure is not None:
            raise Broken("storage_failed", self.failure)

    def failed(self, what: str, error: Exception) -> Broken:
        """Notes a failure for good; returns the answer to everyone from now on."""
        if self.failure is None:
            self.failure = (
                f"A {what} in the data directory {self._path} failed: {error}. Nothing more is written. "
                "Free space or replace the disk, then start the node again."
            )
        return Broken("storage_failed", self.failure)

    def _delay_s(self, size_bytes: int) -> float:
        """Returns how long a slowed tree makes a batch of this size wait.

        At every attempt that comes too soon, RocksDB puts off by one such delay the date from which it takes the batch,
        so that a large one that is tried too often would never be taken.
        """
        slowed = self._database.property_int_value("rocksdb.actual-delayed-write-rate") or 0
        return min(2 * size_bytes / slowed, _DELAY_MAX_S) if slowed else 0.0
