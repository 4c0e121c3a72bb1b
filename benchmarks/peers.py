"""CoreCache beside its peers: every system in every setting, in turns, in rounds; the medians of the rounds count.

All systems run at the same time, and one is asked at a time: what the others do meanwhile is to beat. In a round each
setting (writes or reads, a size of values, a number of clients) is measured on one system after the other, within a
minute, so that a machine that slows down for a while slows all of them; a ratio is that of one round. Each round begins
with another system: none is always the one that follows the same, while that still flushes and compacts.

A run that fails is told, and is missing in the report; a system that fails each time has no numbers there. What whole
rounds have measured is kept: `keep` is told after each, and Ctrl-C ends the part with what there is by then.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.peers_report import PeerCell, PeersSpeed
from benchmarks.report import Bound, Settings
from benchmarks.systems import catalog
from benchmarks.systems.wire import KEYS, Cell, Driver
from benchmarks.wrk import LoadError, Run, summary

WARM_SECONDS = 0.25
CHANGE_SECONDS = 0.1
"""What connecting, and making the requests, take for each run: for the estimate."""
START_SECONDS = 90.0
IDLE_SECONDS = 5.0
FILLS_MAX, FILL_PAUSE_SECONDS = 5, 2.0
OPERATIONS = ("write", "read")
WRITES_BY_ETCD, WRITES_BY_REDIS, READS_BY_ETCD, P50_BY_BEST = 3.0, 1.0, 4.0, 0.9
TARGET_CLIENTS, TARGET_BYTES = 64, 100


class Noted(msgspec.Struct):
    """What was measured of a cell so far."""

    runs: list[Run | None] = []
    busy: list[float] = []
    failures: list[str] = []


Notes = dict[tuple[Cell, str], Noted]


def measure(
    directory: Path, settings: Settings, say: Callable[[str], None], keep: Callable[[PeersSpeed], None]
) -> PeersSpeed:
    """Starts the systems with their files below the directory, measures, and stops them.

    Raises: ServerError, LoadError, OSError; KeyboardInterrupt if no round was whole by then.
    """
    cells = list(_cells(settings))
    runs = len(cells) * len(settings.systems)
    run_seconds = settings.seconds + WARM_SECONDS + CHANGE_SECONDS
    whole_seconds = START_SECONDS + runs * settings.pairs * run_seconds
    say(
        f"{len(settings.systems)} systems in {len(cells)} settings of {settings.seconds} s, {settings.pairs} rounds: "
        f"about {whole_seconds / 60:.0f} minutes"
    )
    notes: Notes = {(cell, system): Noted() for cell in cells for system in settings.systems}
    kept: list[PeersSpeed] = []
    try:
        with ExitStack() as stack:
            drivers = _started(directory, settings.systems, stack, say)
            for system, size in product(drivers, range(len(settings.sizes))):
                _fill(system, drivers[system], _cell(settings, OPERATIONS[0], size, 1), say)
            idle_cores: list[float] = []
            begun = time.monotonic()
            for number in range(settings.pairs):
                idle_cores.append(_computing_cores(IDLE_SECONDS))
                say(f"all systems run, nobody asks: {idle_cores[-1]:.2f} cores compute")
                for at, cell in enumerate(cells):
                    told = {
                        system: _noted(drivers[system], cell, settings, notes[cell, system])
                        for system in rotated([*drivers], number)
                    }
                    done = number * len(cells) + at + 1
                    left_s = (time.monotonic() - begun) / done * (len(cells) * settings.pairs - done)
                    rates = ", ".join(f"{system} {told[system]}" for system in drivers)
                    say(
                        f"round {number + 1} of {settings.pairs}, {cell.operation}, {cell.value_bytes} B, "
                        f"{cell.clients} clients: {rates} ({left_s / 60:.0f} min left)"
                    )
                kept.append(_speed(settings, number + 1, idle_cores, notes))
                keep(kept[-1])
    except KeyboardInterrupt:
        if not kept:
            raise
        say(f"interrupted: what follows is of {kept[-1].rounds} whole rounds of {settings.pairs}")
    return kept[-1]


def rotated(systems: Sequence[str], number: int) -> list[str]:
    """Returns the systems in the order of a round, whose number counts from 0."""
    first = number % len(systems)
    return [*systems[first:], *systems[:first]]


def bounds(speed: PeersSpeed) -> list[Bound]:
    """Holds the ratios of three nodes against what was asked, as far as they were measured."""
    found = []
    at = f"at {TARGET_CLIENTS} clients, {TARGET_BYTES} B"
    for operation, ours, theirs, by, asked in (
        ("write", "corecache3-http", "etcd3", "the rate of etcd's JSON gateway, HTTP", WRITES_BY_ETCD),
        ("write", "corecache3-resp", "redis3", "Redis's with WAIT 2, RESP", WRITES_BY_REDIS),
        ("read", "corecache3-http", "etcd3", "the rate of etcd's JSON gateway, HTTP", READS_BY_ETCD),
    ):
        measured = ratio(speed, ours, theirs, operation, TARGET_BYTES, TARGET_CLIENTS)
        if measured is not None:
            what = f"three nodes, {operation}s {at}, by {by}"
            found.append(Bound(what, measured, f"at least {asked}", measured >= asked))
    of_peers = [cell_run(speed, peer, "write", TARGET_BYTES, 1) for peer in ("etcd3", "redis3")]
    best_ms = min((run.p50_ms for run in of_peers if run is not None), default=None)
    for ours, how in (("corecache3-http", "HTTP"), ("corecache3-resp", "RESP")):
        run = cell_run(speed, ours, "write", TARGET_BYTES, 1)
        if run is not None and best_ms is not None and None not in of_peers:
            by_best = run.p50_ms / best_ms
            what = f"three nodes, one client's write, {how}, p50 by the better of etcd's and Redis's ({best_ms:.2f} ms)"
            found.append(Bound(what, by_best, f"at most {P50_BY_BEST}", by_best <= P50_BY_BEST))
    return found


def cell_of(speed: PeersSpeed, system: str, operation: str, value_bytes: int, clients: int) -> PeerCell | None:
    """Returns the cell, None if it was not measured."""
    wanted = (system, operation, value_bytes, clients)
    found = (cell for cell in speed.cells if (cell.system, cell.operation, cell.value_bytes, cell.clients) == wanted)
    return next(found, None)


def cell_run(speed: PeersSpeed, system: str, operation: str, value_bytes: int, clients: int) -> Run | None:
    """Returns the rounds of a cell as one run, None if none succeeded."""
    cell = cell_of(speed, system, operation, value_bytes, clients)
    runs = [run for run in cell.runs if run is not None] if cell is not None else []
    return summary(runs) if runs else None


def ratio(speed: PeersSpeed, ours: str, theirs: str, operation: str, value_bytes: int, clients: int) -> float | None:
    """Returns the median of the rounds' ratios of two rates, None where no round has both."""
    mine, other = (cell_of(speed, system, operation, value_bytes, clients) for system in (ours, theirs))
    if mine is None or other is None:
        return None
    pairs = zip(mine.runs, other.runs, strict=True)
    ratios = [a.per_second / b.per_second for a, b in pairs if a is not None and b is not None]
    return median(ratios) if ratios else None


def _cells(settings: Settings) -> Iterator[Cell]:
    for size, clients, operation in product(range(len(settings.sizes)), settings.clients, OPERATIONS):
        yield _cell(settings, operation, size, clients)


def _cell(settings: Settings, operation: str, size: int, clients: int) -> Cell:
    return Cell(operation, settings.sizes[size], clients, size * KEYS)


def _started(
    directory: Path, systems: Sequence[str], stack: ExitStack, say: Callable[[str], None]
) -> dict[str, Driver]:
    """Starts the families that are wanted, and returns who asks each system, in the catalog's order."""
    drivers: dict[str, Driver] = {}
    for family in catalog.FAMILIES:
        wanted = [system for system in family.systems if system in systems]
        if wanted:
            say(f"start {', '.join(wanted)}")
            made = stack.enter_context(family.running(directory / wanted[0]))
            drivers |= {system: made[system] for system in wanted}
    return drivers


def _fill(system: str, driver: Driver, cell: Cell, say: Callable[[str], None]) -> None:
    """Writes all keys of a size; once more if a system could not take them, as in the middle of an election."""
    for attempt in range(FILLS_MAX):
        try:
            driver.fill(cell)
            return
        except LoadError as error:
            if attempt == FILLS_MAX - 1:
                raise
            say(f"{system} is filled once more: {error}")
            time.sleep(FILL_PAUSE_SECONDS)


def _noted(driver: Driver, cell: Cell, settings: Settings, noted: Noted) -> str:
    """Measures a cell once, and returns the rate as people read it."""
    try:
        run, busy = driver.drive(cell, settings.seconds, WARM_SECONDS)
    except (LoadError, OSError) as error:
        noted.runs.append(None)
        noted.failures.append(str(error))
        return f"failed ({error})"
    noted.runs.append(run)
    noted.busy.append(busy)
    return f"{run.per_second:,.0f}/s"


def _computing_cores(seconds: float) -> float:
    """Returns how many of the machine's cores computed something, on average over so many seconds."""
    before = _computed_seconds()
    time.sleep(seconds)
    return (_computed_seconds() - before) / seconds


def _computed_seconds() -> float:
    user, nice, system, _, _, interrupts, soft_interrupts, *_ = Path("/proc/stat").read_text().split()[1:]
    ticks = sum(map(int, (user, nice, system, interrupts, soft_interrupts)))
    return ticks / os.sysconf("SC_CLK_TCK")


def _speed(settings: Settings, rounds: int, idle_cores: list[float], notes: Notes) -> PeersSpeed:
    return PeersSpeed(
        rounds=rounds,
        seconds=settings.seconds,
        keys=KEYS,
        versions=catalog.versions(),
        idle_cores=[*idle_cores],
        systems=[each for name, each in catalog.SYSTEMS.items() if name in settings.systems],
        clients=settings.clients,
        sizes=settings.sizes,
        cells=[
            PeerCell(
                system=system,
                operation=cell.operation,
                value_bytes=cell.value_bytes,
                clients=cell.clients,
                runs=list(noted.runs),
                load_busy=median(noted.busy) if noted.busy else 0.0,
                failures=list(noted.failures),
            )
            for (cell, system), noted in notes.items()
        ],
    )
