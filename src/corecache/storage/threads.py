"""The threads that wait for the disk, so that the event loop does not.

`Threads` runs any blocking call; `Syncer` runs one, the sync, for everybody who waits: all that ask while one sync is
under way share the next. That sharing is the group commit.

Rule 1: results come back on the event loop, through `call_soon_threadsafe`; nobody else's state is touched by a thread.
Rule 2: after a failed sync none is tried again. A second one may succeed although the pages of the first are lost, so
everyone who asks later is given the first one's error.

`concurrent.futures` is not used because handing a call over takes it several times as long, and this is done for every
batch of writes.
"""

import asyncio
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """A fixed number of threads that run blocking calls in the order in which they were handed over."""

    def __init__(self, name: str, threads: int) -> None:
        """Starts the threads. Requires: a running event loop, on which `run` is called."""
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    async def run(self, call: Callable[[], T]) -> T:
        """Returns what `call` returns, or raises what it raises, when a thread has run it."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((future, call))
        return await future

    def stop(self) -> None:
        """Returns when every call handed over has run and the threads have ended. Blocks."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (task := self._calls.get()) is not None:
            future, call = task
            result, error = None, None
            try:
                result = call()
            except Exception as caught:
                error = caught
            self._loop.call_soon_threadsafe(_settle, [future], result, error)


class Syncer:
    """One thread that syncs for all who wait."""

    def __init__(self, sync: Callable[[], None]) -> None:
        """Starts the thread. Requires: a running event loop, on which `begin` is called."""
        self._loop = asyncio.get_running_loop()
        self._sync = sync
        self._waiting: SimpleQueue[asyncio.Future[None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="corecache-sync", daemon=True)
        self._thread.start()

    def begin(self) -> asyncio.Future[None]:
        """Returns the completion of a sync that covers all that was written before this call."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.put(future)
        return future

    def stop(self) -> None:
        """Returns when every sync asked for is done and the thread has ended. Blocks."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        error: Exception | None = None
        stopping = False
        while not stopping:
            arrived = [self._waiting.get()]
            try:
                while True:
                    arrived.append(self._waiting.get_nowait())
            except Empty:
                pass
            futures = [future for future in arrived if future is not None]
            stopping = len(futures) < len(arrived)
            if futures and error is None:
                try:
                    self._sync()
                except Exception as caught:
                    error = caught
            if futures:
                self._loop.call_soon_threadsafe(_settle, futures, None, error)


def _settle(futures: list[asyncio.Future[Any]], result: Any, error: Exception | None) -> None:
    """Completes the futures that are still awaited; runs on the event loop."""
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
