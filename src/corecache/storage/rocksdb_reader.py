"""The one way by which bytes come out of RocksDB's files: on reader threads, with failures in our own words.

Rule 1: whatever may have to read a file runs here, so that the event loop does not wait for a disk.
Rule 2: what RocksDB says in its own words never leaves this folder: it becomes an error of `errors.py`, with the
directory, what has happened, and the cure.

There are few threads, and a call keeps one for its whole length: long work comes as many short calls, so that a reader
of one key waits for a step of it, never for the whole.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from corecache.errors import Broken, CoreCacheError
from corecache.storage.directory import DataDirectory
from corecache.storage.keyspace import KeyspaceError
from corecache.storage.threads import Threads

T = TypeVar("T")

_READERS: Final = 2


class Reader:
    """Reads for everybody, until it is closed."""

    def __init__(self, directory: DataDirectory) -> None:
        """Starts the threads. Takes the data directory, for the sentences. Requires: a running event loop."""
        self.closed = False
        self._directory = directory
        self._threads = Threads("corecache-read", _READERS)

    async def read(self, call: Callable[[], T]) -> T:
        """Returns what `call` returns, run on a thread. Raises: Broken."""
        self.refuse_if_closed()
        try:
            return await self._threads.run(call)
        except CoreCacheError:
            raise
        except Exception as error:
            raise self.unreadable(error) from error

    def refuse_if_closed(self) -> None:
        """Raises Broken after closing."""
        if self.closed:
            raise Broken("storage_closed", "The store is closed.")

    def unreadable(self, error: Exception) -> Broken:
        """Returns our error for what a read has met."""
        if isinstance(error, KeyspaceError):
            return Broken("storage_corrupt", f"{self._directory.database} holds what no CoreCache wrote: {error}.")
        return Broken(
            "storage_unreadable",
            f"A read of the data directory {self._directory.path} failed: {error}. "
            "Check the disk; if a file is damaged, restore the directory from a copy.",
        )

    def stop(self) -> None:
        """Ends the threads when all calls handed over have run. Blocks."""
        self._threads.stop()
