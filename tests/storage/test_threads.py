"""The threads that wait for the disk: what comes back, in which order, and what one failed sync means for all."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from corecache.storage.threads import Syncer, Threads


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Runs a scene on a loop of its own."""

    async def staged() -> None:
        await scene()

    asyncio.run(staged())


def test_results_and_errors_come_back() -> None:
    """A call's result, or what it raised, reaches the caller on the loop; the thread is another one."""

    async def scene() -> None:
        threads = Threads("test", 2)
        assert await threads.run(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        assert await asyncio.gather(*(threads.run(lambda n=n: n) for n in range(50))) == list(range(50))  # type: ignore[misc]
        threads.stop()

    play(scene)


def test_a_cancelled_wait_harms_nobody() -> None:
    """A call whose caller has gone still runs, and the next one is answered."""

    async def scene() -> None:
        threads = Threads("test", 1)
        gate, ran = threading.Event(), threading.Event()
        waiting = asyncio.create_task(threads.run(gate.wait))
        gone = asyncio.create_task(threads.run(ran.set))
        await asyncio.sleep(0)
        gone.cancel()
        gate.set()
        assert await waiting
        assert await threads.run(ran.is_set)
        assert gone.cancelled()
        threads.stop()

    play(scene)


def test_all_who_ask_during_a_sync_share_the_next() -> None:
    """A hundred waiters that arrive while one sync runs cost one more, not a hundred."""

    async def scene() -> None:
        gate, begun, syncs = threading.Event(), threading.Event(), []

        def sync() -> None:
            syncs.append(1)
            begun.set()
            gate.wait()

        syncer = Syncer(sync)
        first = syncer.begin()
        await asyncio.to_thread(begun.wait)
        others = [syncer.begin() for _ in range(100)]
        assert not first.done()
        gate.set()
        await asyncio.gather(first, *others)
        assert len(syncs) == 2
        syncer.stop()

    play(scene)


def test_after_a_failed_sync_none_is_tried_again() -> None:
    """Whoever asks after a failure gets its error, though the disk would now say yes."""

    async def scene() -> None:
        calls = []

        def sync() -> None:
            calls.append(1)
            if len(calls) == 1:
                raise OSError("lost")

        syncer = Syncer(sync)
        for _ in range(3):
            with pytest.raises(OSError, match="lost"):
                await syncer.begin()
        assert len(calls) == 1
        syncer.stop()

    play(scene)
