"""One bench from beginning to end: find the servers, write the keys, measure, remove the keys, tell.

Rule 1: what was loaded or inserted is removed again, also after an error or Ctrl-C, unless it is to be kept. Keys that
a run found (`load` false) are somebody's who wanted them kept: they stay.

Rule 2: what was measured is told before anything else is done that can fail or last: before the histogram is saved, and
before the keys are removed. Ctrl-C ends the load, or the loading; a second one ends the bench where it is.
"""

import asyncio
import secrets
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from corecache import __version__
from corecache.errors import CoreCacheError, NotDone
from corecache.loadgen import endpoints
from corecache.loadgen.crew import Crew
from corecache.loadgen.figures import Figures
from corecache.loadgen.filling import Filling
from corecache.loadgen.histograms import Ledger, figures
from corecache.loadgen.messages import Ended, Job
from corecache.loadgen.requests import RUNS, first_inserted
from corecache.loadgen.tally import Tick
from corecache.loadgen.targets import Protocol, Target
from corecache.loadgen.workloads import Distribution, Values

Phase = Literal["loading", "measuring", "removing"]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. It ends after `seconds`, or after so many `operations` if they are given."""

    endpoints: Sequence[str]
    protocol: Protocol
    workload: str
    distribution: Distribution
    keys: int
    value_bytes: tuple[int, int]
    connections: int
    pipeline: int
    processes: int
    warm_up_s: float
    seconds: float
    operations: int | None
    rate: float | None
    poisson: bool
    seed: int
    load: bool
    keep: bool
    histogram: Path | None


class Watcher:
    """Who is told how far it is: here, nobody."""

    def begins(self, phase: Phase, amount: float) -> None:
        """A phase begins, of so many keys, seconds or operations."""

    def advances(self, by: float) -> None:
        """It is further by so much."""

    def measured(self, figures: Figures) -> None:
        """The load is over, and this was measured. What it raises ends the bench, after the keys are removed."""

    def says(self, line: str) -> None:
        """Something that the user should know."""


class Interrupted(Exception):
    """Ctrl-C. What had been measured by then was told."""


async def run(wish: Wish, watcher: Watcher) -> None:
    """Runs the bench and tells the watcher what was measured.

    Raises: CoreCacheError if nothing succeeds, OSError if the histogram can't be written, Interrupted.
    """
    targets, silent = await endpoints.found(wish.endpoints, wish.protocol)
    for reason in silent:
        watcher.says(f"left out: {reason}")
    values = Values(*wish.value_bytes, f"{wish.seed} load")
    filling = Filling(targets, wish.protocol, values, wish.value_bytes[1])
    bench = _Bench(wish, targets, watcher)
    failed = ""
    with _interruptions(bench.interrupt):
        try:
            if wish.load:
                watcher.begins("loading", wish.keys)
                await bench.until_interrupted(filling.write(wish.keys, watcher.advances))
            if not bench.interrupted:
                await bench.measure()
        except CoreCacheError as error:
            failed = error.code
            raise
        finally:
            if not wish.keep:
                try:
                    await _remove(filling, bench.inserted, watcher)
                except CoreCacheError as error:
                    # What was measured, or what went wrong before this, matters more, and is not said twice.
                    if error.code != failed:
                        watcher.says(f"the keys were not removed: {error.message}")
    if bench.interrupted:
        raise Interrupted


async def _remove(filling: Filling, inserted: range, watcher: Watcher) -> None:
    """Removes what was loaded, and what was inserted."""
    watcher.begins("removing", filling.begun + len(inserted))
    await filling.remove(0, filling.begun, watcher.advances)
    await filling.remove(inserted.start, inserted.stop, watcher.advances)


class _Bench:
    def __init__(self, wish: Wish, targets: Sequence[Target], watcher: Watcher) -> None:
        self.interrupted = False
        first = first_inserted(1 + secrets.randbelow(RUNS - 1))
        self.inserted = range(first, first)
        self._wish = wish
        self._targets = list(targets)
        self._watcher = watcher
        self._crew: Crew | None = None
        self._loading: asyncio.Task[None] | None = None
        self._main = asyncio.current_task()

    def interrupt(self) -> None:
        """Ends what is under way; asked again, everything."""
        if self.interrupted:
            assert self._main is not None
            self._main.cancel()
            return
        self.interrupted = True
        if self._loading is not None:
            self._loading.cancel()
        if self._crew is not None:
            self._crew.stop()

    async def until_interrupted(self, loading: Coroutine[None, None, None]) -> None:
        """Waits until the keys are written, or Ctrl-C."""
        self._loading = asyncio.ensure_future(loading)
        await asyncio.wait((self._loading,))
        if not self._loading.cancelled():
            self._loading.result()

    async def measure(self) -> None:
        """Lets the workers measure, and tells. Raises: NotDone if nothing succeeded, OSError."""
        wish = self._wish
        async with Crew() as crew:
            await crew.start(_jobs(wish, self._targets, self.inserted.start))
            ledger = Ledger(wish.processes, wish.histogram is not None and wish.histogram.suffix == ".hlog")
            self._watcher.begins("measuring", wish.operations or wish.seconds)

            def ticked(worker: int, tick: Tick) -> None:
                ledger.add(worker, tick)
                done = sum(sum(counts.values()) for counts in tick.latencies.values())
                self._watcher.advances(done if wish.operations else 1 / wish.processes)

            self._crew = crew
            if self.interrupted:
                return
            ended = await crew.measure(ticked)
        self._crew = None
        ledger.end()
        first, each_inserted = self.inserted.start, max(each.inserted for each in ended)
        self.inserted = range(first, first + each_inserted * wish.processes)
        told = _figures(wish, self._targets, ledger, ended, self.interrupted)
        if not told.done and not self.interrupted:
            raise NotDone("nothing_done", f"no operation succeeded: {failures_in_words(told) or 'none was begun'}")
        try:
            self._watcher.measured(told)
        finally:
            if wish.histogram is not None:
                ledger.save(wish.histogram)


def failures_in_words(told: Figures) -> str:
    """Returns the failures by code, the most frequent first, as a line."""
    ordered = sorted(told.failures.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{code} {count:,}" for code, count in ordered)


def _jobs(wish: Wish, targets: list[Target], first_inserted: int) -> list[Job]:
    """Returns each process's share. A process has a connection at least."""
    jobs = []
    first = 0
    for worker in range(wish.processes):
        connections = _share(wish.connections, worker, wish.processes)
        jobs.append(
            Job(
                targets=targets,
                protocol=wish.protocol,
                first_target=first % len(targets),
                connections=connections,
                depth=wish.pipeline,
                workload=wish.workload,
                distribution=wish.distribution,
                keys=wish.keys,
                first_inserted=first_inserted,
                value_bytes_min=wish.value_bytes[0],
                value_bytes_max=wish.value_bytes[1],
                seed=wish.seed,
                worker=worker,
                workers=wish.processes,
                warm_up_s=wish.warm_up_s,
                seconds=wish.seconds,
                operations=None if wish.operations is None else _share(wish.operations, worker, wish.processes),
                rate=None if wish.rate is None else wish.rate / wish.processes,
                poisson=wish.poisson,
            )
        )
        first += connections
    return jobs


def _share(amount: int, worker: int, workers: int) -> int:
    return amount // workers + (worker < amount % workers)


def _figures(
    wish: Wish, targets: Sequence[Target], ledger: Ledger, ended: Sequence[Ended], interrupted: bool
) -> Figures:
    seconds = max(each.took_s for each in ended)
    total = figures("all", ledger.total, seconds)
    return Figures(
        workload=wish.workload,
        distribution=wish.distribution,
        protocol=wish.protocol,
        targets=[str(target) for target in targets],
        connections=wish.connections,
        pipeline=wish.pipeline,
        processes=wish.processes,
        keys=wish.keys,
        value_bytes=wish.value_bytes,
        rate=wish.rate,
        poisson=wish.poisson,
        seed=wish.seed,
        interrupted=interrupted,
        seconds=round(seconds, 3),
        done=total.done,
        failed=sum(ledger.failures.values()),
        absent=ledger.absent,
        per_second=total.per_second,
        busy=round(max(each.busy for each in ended), 3),
        failures=dict(sorted(ledger.failures.items())),
        total=total,
        operations=ledger.kinds(seconds),
        timeline=ledger.timeline,
        version=__version__,
    )


@contextmanager
def _interruptions(call: Callable[[], None]) -> Iterator[None]:
    """Has Ctrl-C call, instead of ending the program."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
