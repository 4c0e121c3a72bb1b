"""The latencies of a load, put together: HDR histograms by kind of operation, and a timeline of seconds.

Rule 1: histograms go from 1 µs to 60 s with three digits. Everything in them is in µs, everything told of them in ms.

Rule 2: a second is complete when all workers have told of it or have ended; then it is summed up and dropped, so that
a long load needs no more memory than a short one.

Files are those of HdrHistogram, which its tools read: `NAME.hlog` is a log of intervals, one second and one kind of
operation a line; any other name gets the percentiles of all operations together, in µs (`.hgrm`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hdrh.histogram import HdrHistogram

from corecache.loadgen.figures import OperationFigures, Second
from corecache.loadgen.tally import LATENCY_US_MAX, Tick

PERCENTILES: Final = tuple(
    sorted(
        {percent / 2 for percent in range(200)}
        | {100 - 10.0**-nines * part for nines in range(6) for part in (1, 2, 5)}
    )
)
_DIGITS: Final = 3


class Ledger:
    """Takes ticks, gives figures."""

    def __init__(self, workers: int, log: bool) -> None:
        """Takes how many workers tell, and whether the intervals are to be kept for a file."""
        self.timeline: list[Second] = []
        self.failures: dict[str, int] = {}
        self.absent = 0
        self.total = _empty()
        self._by_kind: dict[str, HdrHistogram] = {}
        self._told = [-1] * workers
        self._open: dict[int, list[Tick]] = {}
        self._log: list[str] | None = [] if log else None

    def add(self, worker: int, tick: Tick) -> None:
        """Takes what a worker counted in a second. Each tells its seconds in order."""
        self._told[worker] = tick.second
        self._open.setdefault(tick.second, []).append(tick)
        for second in sorted(self._open):
            if second > min(self._told):
                break
            self._sum_up(second, self._open.pop(second))

    def end(self) -> None:
        """Sums up what is left: all workers have ended."""
        for second in sorted(self._open):
            self._sum_up(second, self._open.pop(second))

    def kinds(self, seconds: float) -> list[OperationFigures]:
        """Returns the figures of each kind of operation, over so many seconds."""
        return [figures(kind, self._by_kind[kind], seconds) for kind in sorted(self._by_kind)]

    def save(self, path: Path) -> None:
        """Writes the file that its name asks for. Raises: OSError."""
        if self._log is not None:
            legend = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
            head = ["#[Histogram log format version 1.3]", "#latencies in microseconds", legend]
            path.write_text("\n".join([*head, *self._log]) + "\n")
            return
        with path.open("wb") as file:
            self.total.output_percentile_distribution(file, 1.0)

    def _sum_up(self, second: int, ticks: list[Tick]) -> None:
        merged: dict[int, int] = {}
        for kind, counts in _merged(ticks).items():
            interval = _empty() if self._log is not None else None
            whole = self._by_kind.setdefault(kind, _empty())
            for latency_us, count in counts.items():
                merged[latency_us] = merged.get(latency_us, 0) + count
                whole.record_value(latency_us, count)
                if interval is not None:
                    interval.record_value(latency_us, count)
            if interval is not None and self._log is not None:
                longest = interval.get_max_value()
                self._log.append(f"Tag={kind},{second:.3f},1.000,{longest:.3f},{interval.encode().decode()}")
        for latency_us, count in merged.items():
            self.total.record_value(latency_us, count)
        failed = 0
        for tick in ticks:
            self.absent += tick.absent
            for code, count in tick.failures.items():
                self.failures[code] = self.failures.get(code, 0) + count
                failed += count
        self.timeline.append(_second(second, merged, failed))


def figures(operation: str, histogram: HdrHistogram, seconds: float) -> OperationFigures:
    """Returns what a histogram says of operations that took so many seconds together."""
    done = histogram.get_total_count()

    def at(percent: float) -> float:
        return float(histogram.get_value_at_percentile(percent)) / 1000

    longest_ms = float(histogram.get_max_value()) / 1000
    return OperationFigures(
        operation=operation,
        done=done,
        per_second=round(done / seconds, 1) if seconds > 0 else 0.0,
        mean_ms=round(float(histogram.get_mean_value()) / 1000, 3) if done else 0.0,
        p50_ms=at(50),
        p90_ms=at(90),
        p95_ms=at(95),
        p99_ms=at(99),
        p999_ms=at(99.9),
        max_ms=longest_ms,
        percentiles=[(percent, at(percent)) for percent in PERCENTILES] if done else [],
    )


def _empty() -> HdrHistogram:
    return HdrHistogram(1, LATENCY_US_MAX, _DIGITS)


def _merged(ticks: list[Tick]) -> dict[str, dict[int, int]]:
    merged: dict[str, dict[int, int]] = {}
    for tick in ticks:
        for kind, counts in tick.latencies.items():
            into = merged.setdefault(kind, {})
            for latency_us, count in counts.items():
                into[latency_us] = into.get(latency_us, 0) + count
    return merged


def _second(second: int, counts: Mapping[int, int], failed: int) -> Second:
    ordered = sorted(counts.items())
    done = sum(counts.values())
    if not done:
        return Second(second, 0, failed, 0.0, 0.0, 0.0)

    def at(share: float) -> float:
        left = share * done
        for latency_us, count in ordered:
            left -= count
            if left <= 0:
                return latency_us / 1000
        return ordered[-1][0] / 1000

    return Second(second, done, failed, at(0.5), at(0.99), ordered[-1][0] / 1000)
