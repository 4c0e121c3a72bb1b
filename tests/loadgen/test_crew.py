"""Workers as real processes, on real connections."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from corecache.errors import Broken, NotDone
from corecache.loadgen.crew import Crew
from corecache.loadgen.tally import Tick
from loadgen.jobs import job
from loadgen.resp_server import PATIENCE_S, resp_server


def children() -> set[int]:
    """Returns the processes that this one has started and that are there."""
    text = "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return set(map(int, text.split()))


def run(scene: Coroutine[Any, Any, None]) -> None:
    """Runs a scene, after which no process is left that was not there before."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scene

    before = children()
    asyncio.run(patiently())
    assert children() == before


def ignored(worker: int, tick: Tick) -> None:
    """Nobody wants to know."""


def test_workers_do_their_shares_and_tell() -> None:
    """Two processes: each ticks, both together did what was asked for, and each tells what it inserted."""

    async def scene() -> None:
        done = [0, 0]

        def ticked(worker: int, tick: Tick) -> None:
            done[worker] += sum(sum(counts.values()) for counts in tick.latencies.values())

        async with resp_server() as (server, target), Crew() as crew:
            shares = [
                job(target, workload="d", worker=worker, workers=2, operations=operations, connections=3)
                for worker, operations in enumerate((70, 50))
            ]
            await crew.start(shares)
            assert len(server.connections) == 6
            ended = await crew.measure(ticked)
            assert done == [70, 50]
            assert sum(each.inserted for each in ended) == [words[0] for words in server.commands].count(b"SET") > 0
            assert all(each.took_s > 0 and 0 <= each.busy <= 1 for each in ended)

    run(scene())


def test_stopped_before_the_begin_they_end_without_having_asked() -> None:
    """They have been told when to begin, and it has not come yet."""

    async def scene() -> None:
        async with resp_server() as (_, target), Crew() as crew:
            await crew.start([job(target, worker=worker, workers=2) for worker in range(2)])
            measuring = asyncio.ensure_future(crew.measure(ignored))
            await asyncio.sleep(0)
            crew.stop()
            ended = await measuring
            assert [each.inserted for each in ended] == [0, 0]

    run(scene())


def test_stopped_under_way_they_tell_what_was_measured() -> None:
    """The rest of ten minutes is not waited for."""

    async def scene() -> None:
        ticks: list[Tick] = []
        async with resp_server() as (server, target), Crew() as crew:
            await crew.start([job(target)])
            measuring = asyncio.ensure_future(crew.measure(lambda _, tick: ticks.append(tick)))
            await server.until(20)
            crew.stop()
            (ended,) = await measuring
            assert 0 < ended.took_s < 600
            assert (
                sum(tick.latencies["update"][latency] for tick in ticks for latency in tick.latencies["update"]) >= 20
            )

    run(scene())


def test_a_worker_that_can_not_connect() -> None:
    """The user is told where nobody answers."""

    async def scene() -> None:
        async with resp_server() as (_, target):
            pass
        async with Crew() as crew:
            with pytest.raises(NotDone, match=f"no connection to {target}: "):
                await crew.start([job(target)])

    run(scene())


def test_a_worker_that_dies() -> None:
    """It ends the measurement; the other is not left behind."""

    async def scene() -> None:
        before = children()
        async with resp_server() as (server, target), Crew() as crew:
            await crew.start([job(target, worker=worker, workers=2) for worker in range(2)])
            measuring = asyncio.ensure_future(crew.measure(ignored))
            await server.until(1)
            os.kill(min(children() - before), signal.SIGKILL)
            with pytest.raises(Broken, match="ended by itself"):
                await measuring

    run(scene())
