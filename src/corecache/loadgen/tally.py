"""What a worker counts: latencies by second and kind of operation, failures by their code. Pure: times are handed in.

Rule 1: a latency is counted in the second in which the answer came. It is a whole number of microseconds, from 1 to 60
seconds, cut to the precision of three digits that the histograms have (`coarse`); so a second has thousands of
different ones at most, however many operations, and putting them into histograms is left to the parent.

Rule 2: a failed operation has no latency. It is counted by why it failed.
"""

import msgspec

LATENCY_US_MAX = 60_000_000
_EXACT_BITS = 11


class Tick(msgspec.Struct, frozen=True, tag="tick"):
    """What a worker counted in one second of the measurement, numbered from 0.

    `latencies` has for each kind of operation how many had which latency in µs. `absent` counts reads that found no
    record.
    """

    second: int
    latencies: dict[str, dict[int, int]]
    failures: dict[str, int]
    absent: int


class Tally:
    """Counts, second by second."""

    def __init__(self) -> None:
        self.second = 0
        self._begin()

    def done(self, kind: str, latency_us: int) -> None:
        """Counts an operation that was answered with success."""
        if latency_us >= 1 << _EXACT_BITS:
            latency_us = coarse(latency_us)
        counts = self._latencies.get(kind)
        if counts is None:
            counts = self._latencies[kind] = {}
        counts[latency_us] = counts.get(latency_us, 0) + 1

    def found_none(self) -> None:
        """Counts a read that found no record; it is counted as done beside that."""
        self._absent += 1

    def failed(self, code: str, count: int = 1) -> None:
        """Counts operations that failed."""
        self._failures[code] = self._failures.get(code, 0) + count

    def take(self) -> Tick:
        """Returns what was counted in this second and begins the next."""
        tick = Tick(self.second, self._latencies, self._failures, self._absent)
        self.second += 1
        self._begin()
        return tick

    def _begin(self) -> None:
        self._latencies: dict[str, dict[int, int]] = {}
        self._failures: dict[str, int] = {}
        self._absent = 0


def coarse(latency_us: int) -> int:
    """Returns the least latency that a histogram of three digits can't tell from this one."""
    latency_us = min(latency_us, LATENCY_US_MAX)
    shift = max(0, latency_us.bit_length() - _EXACT_BITS)
    return latency_us >> shift << shift
