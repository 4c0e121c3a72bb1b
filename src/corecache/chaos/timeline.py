"""What the clients' calls look like over time: how many were answered each second, how fast, and where nobody was.

A timeline is fed one call after the other, about in order of their end, and keeps little: the latencies of the last
seconds only, and of what stood still no more than 20 entries a second, however many calls there are.

Rule 1: *done* and *failed* are answers, and count as service. *not_done* and *unknown* are none: someone asked in vain.
Rule 2: a partition is unavailable from when it is first asked after its last answer until its next answer. Where nobody
asked for a second, nobody was refused: that time is counted to nobody's harm, and ends a stretch of asking in vain.
Rule 3: a call that hangs while others come and go says afterwards, when it ends, that someone had been asking all the
time: silences that are over are kept for a while, to be judged anew.
Rule 4: stretches below 50 ms are not kept, and where several begin within the same 50 ms they count as one. So an
answer may be too long by up to 50 ms, never too short, as long as calls come in order of their end.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final, get_args

from corecache.chaos.history import Call, Outcome
from corecache.chaos.report import Second

TICK_NS: Final = 50_000_000
"""Stretches without service that are shorter are not kept; beginnings are told apart by this much."""

PAUSE_NS: Final = 1_000_000_000
"""So long may nobody ask within one stretch without service: clients wait a little before they try again."""

OPEN_SECONDS: Final = 15
"""So long after a second's end its latencies are kept; a call that comes later still is counted."""

SILENCES_KEPT: Final = 64
"""So many silences of a partition can still be judged anew by a call that ends late."""

_SECOND_NS: Final = 1_000_000_000
_OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


class Timeline:
    """Calls over time. `partition_of` tells the partition of a key, by whose silence unavailability is measured."""

    def __init__(self, partition_of: Callable[[str], int]) -> None:
        self._partition_of = partition_of
        self._outcomes: Counter[str] = Counter()
        self._protocols: Counter[str] = Counter()
        self._seconds: dict[int, _Tally] = {}
        self._newest_s = -1
        self._sealed_below_s = 0
        self._silences: dict[int, deque[_Silence]] = {}
        # By the tick in which it begins, a stretch without service of any partition: begin and end in ns.
        self._stretches: dict[int, tuple[int, int]] = {}

    def add(self, call: Call) -> None:
        """Counts a call that has ended."""
        self._outcomes[call.outcome] += 1
        self._protocols[call.protocol] += 1
        at_s = call.end_ns // _SECOND_NS
        if at_s > self._newest_s:
            self._newest_s = at_s
            self._seal(at_s - OPEN_SECONDS)
        tally = self._seconds.get(at_s)
        if tally is None:
            tally = self._seconds[at_s] = _Tally()
        tally.add(call)
        self._listen(call)

    def counts(self) -> dict[str, int]:
        """Returns how many calls had each outcome, all four of them."""
        return {outcome: self._outcomes[outcome] for outcome in _OUTCOMES}

    def protocols(self) -> dict[str, int]:
        """Returns how many calls were made by each protocol that was used."""
        return dict(sorted(self._protocols.items()))

    def seconds(self) -> list[Second]:
        """Returns every second from the campaign's start to the last answer, also those in which nobody was answered.

        Latencies are those of calls that were answered: of gets, and of everything else.
        """
        nothing = _Tally()
        return [self._seconds.get(at_s, nothing).second(at_s) for at_s in range(self._newest_s + 1)]

    def unavailable_s(self, began_s: float, ended_s: float) -> float:
        """Returns for how many seconds, at the longest, some partition was asked and answered nobody.

        What counts began between these two times, in seconds from the campaign's start, or was going on then: all of
        it until service was back, also after `ended_s`, but nothing from before `began_s`.
        """
        began_ns, ended_ns = round(began_s * _SECOND_NS), round(ended_s * _SECOND_NS)
        longest_ns = 0
        for since_ns, until_ns in self._stretches.values():
            if since_ns <= ended_ns:
                longest_ns = max(longest_ns, until_ns - max(since_ns, began_ns))
        return longest_ns / _SECOND_NS

    def _seal(self, below_s: int) -> None:
        """Lets go of the latencies of the seconds below."""
        for at_s in range(self._sealed_below_s, below_s):
            if at_s in self._seconds:
                self._seconds[at_s].seal()
        self._sealed_below_s = max(self._sealed_below_s, below_s)

    def _listen(self, call: Call) -> None:
        """Notes what the call tells of its partition: that it was asked, and perhaps that it has answered."""
        partition = self._partition_of(call.key)
        silences = self._silences.get(partition)
        if silences is None:
            silences = self._silences[partition] = deque((_Silence(0),), maxlen=SILENCES_KEPT)
        for silence in reversed(silences):
            until_ns = call.end_ns if silence.until_ns is None else min(call.end_ns, silence.until_ns)
            # A call that only touches a silence's begin or end did not ask within it.
            if silence.since_ns < call.end_ns and (silence.until_ns is None or call.begin_ns < silence.until_ns):
                self._keep(*silence.asked(max(call.begin_ns, silence.since_ns), until_ns))
            if silence.since_ns <= call.begin_ns:
                break  # What came before was over when the call was made.
        if call.outcome in ("done", "failed"):
            present = silences[-1]
            if call.end_ns - present.since_ns < TICK_NS:
                silences.pop()
            present.until_ns = call.end_ns
            silences.append(_Silence(max(call.end_ns, present.since_ns)))

    def _keep(self, since_ns: int, until_ns: int) -> None:
        if until_ns - since_ns >= TICK_NS:
            tick = since_ns // TICK_NS
            # Across partitions: what is asked is the longest of any, and this holds the same, to a tick.
            first_ns, last_ns = self._stretches.get(tick, (since_ns, until_ns))
            self._stretches[tick] = min(first_ns, since_ns), max(last_ns, until_ns)


class _Silence:
    """Between two answers of a partition, or since the last: the stretches of time in which it was asked in vain."""

    __slots__ = ("since_ns", "stretches", "until_ns")

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.until_ns: int | None = None
        self.stretches: list[tuple[int, int]] = []

    def asked(self, since_ns: int, until_ns: int) -> tuple[int, int]:
        """Notes that someone was asking; returns the stretch that this is part of, begin and end."""
        apart: list[tuple[int, int]] = []
        for first_ns, last_ns in self.stretches:
            if last_ns + PAUSE_NS < since_ns or until_ns + PAUSE_NS < first_ns:
                apart.append((first_ns, last_ns))
            else:
                since_ns, until_ns = min(since_ns, first_ns), max(until_ns, last_ns)
        apart.append((since_ns, until_ns))
        self.stretches = apart
        return since_ns, until_ns


class _Tally:
    """What was answered in one second. Once sealed it keeps of its latencies their percentiles, not each of them."""

    __slots__ = ("_percentiles", "_reads_ns", "_writes_ns", "done", "not_done", "unknown")

    def __init__(self) -> None:
        self.done = 0
        self.not_done = 0
        self.unknown = 0
        self._reads_ns: list[int] = []
        self._writes_ns: list[int] = []
        self._percentiles: tuple[float, float, float, float] | None = None

    def add(self, call: Call) -> None:
        if call.outcome == "not_done":
            self.not_done += 1
        elif call.outcome == "unknown":
            self.unknown += 1
        else:
            self.done += 1
            if self._percentiles is None:
                latencies_ns = self._reads_ns if call.kind == "get" else self._writes_ns
                latencies_ns.append(call.end_ns - call.begin_ns)

    def seal(self) -> None:
        self._percentiles = self._measured()
        self._reads_ns.clear()
        self._writes_ns.clear()

    def second(self, at_s: int) -> Second:
        return Second(at_s, self.done, self.not_done, self.unknown, *(self._percentiles or self._measured()))

    def _measured(self) -> tuple[float, float, float, float]:
        return (*_percentiles_ms(self._reads_ns), *_percentiles_ms(self._writes_ns))


def _percentiles_ms(latencies_ns: Iterable[int]) -> tuple[float, float]:
    """Returns the least latencies that half, and 99 in 100, of the calls did not exceed; 0 if there are no calls."""
    ordered = sorted(latencies_ns)
    if not ordered:
        return 0.0, 0.0
    median, high = (ordered[math.ceil(len(ordered) * part) - 1] for part in (0.5, 0.99))
    return median / 1e6, high / 1e6
