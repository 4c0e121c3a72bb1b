"""Simulated time: the one true time of a run, what happens when in it, and what each node believes the time to be.

The `Schedule` is a heap of `(time, order, target, event)`. What is scheduled for the same millisecond happens in the
order in which it was scheduled, so that a run depends on its seed alone. Nothing polls: time jumps to the next event.

A `NodeClock` goes a little wrong. Its rate may differ from true time by up to `drift_ppm_max` of a run's leases and may
change at any moment, but it never goes back and never jumps: it stands for CLOCK_BOOTTIME. How far two clocks may come
apart during one lease stays within the margin that the protocol takes off (R8). The date (`today`) is another matter:
it may be off by minutes, and nothing but expiry may depend on it (R17).
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, TypeAlias

from corecache.identity import Milliseconds, Timestamp

Target: TypeAlias = Callable[[Any], None]

_PPM = 1_000_000
_DATE_OF_ZERO = 1_700_000_000_000
"""The date at true time 0, so that dates look like dates."""


class Schedule:
    """The true time, and all that is still to happen."""

    __slots__ = ("_heap", "_order", "events", "events_max", "now")

    def __init__(self) -> None:
        self.events_max = 1 << 62
        """More events than this are a storm: something begets itself."""
        self.now = 0
        self.events = 0
        self._order = 0
        self._heap: list[tuple[int, int, Target, object]] = []

    def at(self, time: int, target: Target, event: object) -> None:
        """Calls `target(event)` at a time, now if it has passed."""
        self._order += 1
        heappush(self._heap, (max(self.now, time), self._order, target, event))

    def after(self, delay: int, target: Target, event: object) -> None:
        """Calls `target(event)` after a delay."""
        self._order += 1
        heappush(self._heap, (self.now + delay, self._order, target, event))

    def run_until(self, end: int) -> None:
        """Lets everything happen that is due up to and including a time."""
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, target, event = heappop(heap)
            self.events += 1
            if self.events > self.events_max:
                raise RuntimeError(f"a storm: more than {self.events_max} events by {self.now} ms")
            target(event)
        self.now = max(self.now, end)


class NodeClock:
    """What one node believes the time to be, whatever process of it asks."""

    __slots__ = ("_local_since", "_rate_ppm", "_true_since", "_wall_offset_ms")

    def __init__(self, started_at: int, rate_ppm: int, wall_offset_ms: int) -> None:
        """Starts at `started_at` at true time 0, goes wrong by `rate_ppm`, and its dates by `wall_offset_ms`."""
        self._true_since = 0
        self._local_since = started_at
        self._rate_ppm = _PPM + rate_ppm
        self._wall_offset_ms = wall_offset_ms

    def local(self, true: int) -> Milliseconds:
        """Returns the steady clock's time at a true time. Requires: it is not before the last `set_rate`."""
        return Milliseconds(self._local_since + (true - self._true_since) * self._rate_ppm // _PPM)

    def true_at(self, local: Milliseconds) -> int:
        """Returns the first true time at which the steady clock will show `local`, if its rate stays."""
        return self._true_since - (self._local_since - local) * _PPM // self._rate_ppm

    def set_rate(self, true: int, rate_ppm: int) -> None:
        """Goes wrong by another rate from now on."""
        self._local_since = self.local(true)
        self._true_since = true
        self._rate_ppm = _PPM + rate_ppm

    def set_wall_offset(self, wall_offset_ms: int) -> None:
        """Sets the date: it may jump either way."""
        self._wall_offset_ms = wall_offset_ms

    def today(self, true: int) -> Timestamp:
        """Returns the date by this node's wall clock."""
        return Timestamp(_DATE_OF_ZERO + true + self._wall_offset_ms)
