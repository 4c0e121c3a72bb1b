"""Work that a coordinator begins by itself: to read what a watch pointed at, to stand for election, to sweep.

Rule 1: nobody waits for an errand, so it ends in silence when ZooKeeper was away: the next connection or sweep begins
it anew. What makes no sense (Broken) is said in the log, each line once, and so are our own defects.
Rule 2: an errand that ends badly ends alone.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import structlog

from corecache.errors import CoreCacheError, NotDone, OutcomeUnknown

log = structlog.get_logger()

Item = TypeVar("Item")

COMPLAINTS_MAX = 1000
"""Lines that are remembered so as not to be said again; beyond it the oldest are forgotten."""


class Errands:
    """The errands of one coordinator that are under way, and what was said of those that failed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._said: dict[str, None] = {}
        self._ended = False

    def begin(self, errand: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        """Begins an errand; nothing, after `end`."""
        if not self._ended:
            task = asyncio.create_task(self.run(errand, *arguments))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def run(self, errand: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        """Runs an errand to its end, whatever that is."""
        try:
            await errand(*arguments)
        except (NotDone, OutcomeUnknown) as error:
            log.debug("coordination put off", reason=error.message)
        except CoreCacheError as error:
            self.complain(error)
        except Exception as error:
            log.exception("coordination errand failed", error=repr(error))

    def complain(self, error: CoreCacheError) -> None:
        """Says in the log what makes no sense, once."""
        if error.message not in self._said:
            if len(self._said) >= COMPLAINTS_MAX:
                del self._said[next(iter(self._said))]
            self._said[error.message] = None
            log.error(error.code, message=error.message)

    def soon(self, callback: Callable[[], None]) -> None:
        """Calls something in a later turn of the event loop, unless this has ended by then."""
        asyncio.get_running_loop().call_soon(self._call, callback)

    def _call(self, callback: Callable[[], None]) -> None:
        if not self._ended:
            callback()

    async def end(self) -> None:
        """Gives up what is under way."""
        self._ended = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def windowed(act: Callable[[Item], Coroutine[Any, Any, None]], items: Iterable[Item], window: int) -> None:
    """Does something with every item, with so many at a time. Raises: what the first that fails raises."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await act(item)

    workers = [asyncio.create_task(work()) for _ in range(window)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
