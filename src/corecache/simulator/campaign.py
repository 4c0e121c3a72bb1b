"""Many runs, one after another or in several processes, and what they came to together.

A run depends on its options alone, so runs share nothing and may go on anywhere. Seeds are handed out one by one, only
as many at a time as there are processes: so a campaign can end at any moment, when its time is up, when somebody ends
it, or when a run is what was looked for: one that fails, or, with a canary, one that fails by a broken safety.
"""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import nullcontext

import msgspec

from corecache.simulator.canaries import named
from corecache.simulator.options import draw
from corecache.simulator.run import Outcome, run

_LOOK_SECONDS = 0.2
"""How often it is looked whether somebody wants to end it."""


class Wish(msgspec.Struct, frozen=True):
    """What all runs of a campaign have in common; what is None each draws from its seed.

    `canary`: a rule to break, in the weather that goes with it.
    """

    nodes: int | None = None
    partitions: int | None = None
    duration_ms: int | None = None
    canary: str | None = None


class Totals(msgspec.Struct):
    """What the runs so far came to. `failed` are the outcomes with a violation. `interrupted`: somebody ended it."""

    seeds: int = 0
    events: int = 0
    faults: dict[str, int] = {}
    operations: int = 0
    succeeded: int = 0
    not_done: int = 0
    unknown: int = 0
    undecided: int = 0
    views: int = 0
    simulated_ms: int = 0
    seconds: float = 0.0
    failed: list[Outcome] = []
    interrupted: bool = False

    def add(self, outcome: Outcome) -> None:
        """Counts a run."""
        self.seeds += 1
        self.events += outcome.events
        for kind, count in outcome.faults.items():
            self.faults[kind] = self.faults.get(kind, 0) + count
        self.operations += outcome.operations
        self.succeeded += outcome.succeeded
        self.not_done += outcome.not_done
        self.unknown += outcome.unknown
        self.undecided += outcome.undecided
        self.views += outcome.views
        self.simulated_ms += outcome.simulated_ms
        if outcome.violation is not None:
            self.failed.append(outcome)


def one(seed: int, wish: Wish, show: Callable[[str], None] | None = None) -> Outcome:
    """Goes through the run of a seed; `show` is handed every line of its trace."""
    canary = named(wish.canary) if wish.canary is not None else None
    weather = canary.weather if canary is not None else None
    with canary.flying() if canary is not None else nullcontext():
        return run(draw(seed, wish.nodes, wish.partitions, wish.duration_ms, weather), show)


def campaign(
    seeds: Iterator[int],
    wish: Wish,
    jobs: int,
    seconds: float | None,
    progress: Callable[[Totals], None],
) -> Totals:
    """Runs seeds in `jobs` processes until there are none left, one has failed, or the time is up; returns the totals.

    A canary has to fail by a broken safety: whatever else fails counts, and it goes on. `progress` is told after each
    run. SIGINT ends it with the totals so far. Requires: the main thread.
    """
    totals, began = Totals(), time.monotonic()

    # KeyboardInterrupt is lost if it is raised where a process is being forked.
    def interrupt(*_: object) -> None:
        totals.interrupted = True

    before = signal.signal(signal.SIGINT, interrupt)
    found = False
    pool = ProcessPoolExecutor(jobs, initializer=_leave_interrupts_to_the_parent)
    under_way: set[Future[Outcome]] = set()
    try:
        while not totals.interrupted:
            while len(under_way) < jobs and not found and not _is_up(began, seconds):
                seed = next(seeds, None)
                if seed is None:
                    break
                under_way.add(pool.submit(one, seed, wish))
            if not under_way:
                break
            ended, under_way = wait(under_way, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for future in ended:
                outcome = future.result()
                totals.add(outcome)
                found = found or outcome.kind == "safety" or (outcome.kind is not None and wish.canary is None)
            totals.seconds = time.monotonic() - began
            if ended:
                progress(totals)
    finally:
        _end(pool)
        signal.signal(signal.SIGINT, before)
    totals.seconds = time.monotonic() - began
    return totals


def _is_up(began: float, seconds: float | None) -> bool:
    return seconds is not None and time.monotonic() - began >= seconds


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(pool: ProcessPoolExecutor) -> None:
    """Ends the processes, which may be in the middle of a run that nobody waits for any more."""
    for process in list((pool._processes or {}).values()):
        process.terminate()
    # Waits for the pool's thread: the interpreter's end would write to a pipe that it is just closing.
    pool.shutdown(cancel_futures=True)
