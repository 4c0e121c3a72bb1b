"""What `corecache bench` shows: a progress bar while it works, the figures as a table or as JSON afterwards."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from corecache.cli.exits import complain
from corecache.cli.octets import flush_out, say
from corecache.cli.tables import print_json, print_table
from corecache.loadgen.bench import Phase, Watcher, failures_in_words

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from corecache.loadgen.figures import Figures, OperationFigures

_BUSY_MAX = 0.9
_COLUMNS = ("operation", "done", "per second", "mean ms", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms")


class _Silent(Watcher):
    """Nobody looks: only the figures are told, and what the user should know."""

    def __init__(self, told: Callable[["Figures"], None]) -> None:
        self._told = told

    def measured(self, figures: "Figures") -> None:
        self._told(figures)

    def says(self, line: str) -> None:
        complain(line)


class _Bar(_Silent):
    """A bar on a terminal, one for each phase."""

    def __init__(self, told: Callable[["Figures"], None], progress: "Progress") -> None:
        super().__init__(told)
        self._progress = progress
        self._task: TaskID | None = None

    def begins(self, phase: Phase, amount: float) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(phase, total=amount)

    def advances(self, by: float) -> None:
        if self._task is not None:
            self._progress.advance(self._task, by)

    def measured(self, figures: "Figures") -> None:
        # While the bar is there, Rich turns all that is printed to its terminal, also what is meant for a file.
        self._progress.stop()
        try:
            super().measured(figures)
        finally:
            self._progress.start()


@contextmanager
def watcher(told: Callable[["Figures"], None]) -> Iterator[Watcher]:
    """Gives who is told how far it is, and tells the figures: a bar if standard error is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield _Silent(told)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(told, progress)


def tell(figures: "Figures", as_json: bool) -> None:
    """Prints the figures, and on standard error what makes them less than they seem."""
    if as_json:
        print_json(figures)
    else:
        rows = figures.operations if len(figures.operations) < 2 else [*figures.operations, figures.total]
        print_table(_title(figures), _COLUMNS, map(_row, rows), numbers=_COLUMNS[1:])
        counts = f"{figures.done:,} done, {figures.failed:,} failed"
        say(f"{counts} in {figures.seconds:.1f} s; the generator was busy {figures.busy:.0%} of the time")
    flush_out()
    if figures.failed:
        complain(f"{figures.failed:,} operations failed: {failures_in_words(figures)}")
    if figures.absent:
        complain(f"{figures.absent:,} reads found no record: with --no-load the keys have to be there (--keep)")
    if figures.busy > _BUSY_MAX:
        complain("the generator was busy nearly all of the time, the server may be faster: give it more --processes")


def _title(figures: "Figures") -> str:
    least, most = figures.value_bytes
    size = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    pipeline = f" x {figures.pipeline}" if figures.pipeline > 1 else ""
    pace = "" if figures.rate is None else f", {figures.rate:,g} a second asked for"
    return (
        f"workload {figures.workload}, {figures.protocol}, {figures.connections:,}{pipeline} connections, "
        f"{figures.keys:,} keys ({figures.distribution}), values of {size} bytes{pace}"
    )


def _row(each: "OperationFigures") -> tuple[str, ...]:
    latencies = (each.mean_ms, each.p50_ms, each.p90_ms, each.p95_ms, each.p99_ms, each.p999_ms, each.max_ms)
    return each.operation, f"{each.done:,}", f"{each.per_second:,.0f}", *(f"{ms:,.3f}" for ms in latencies)
