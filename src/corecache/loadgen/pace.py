"""When operations begin: as soon as there is room (a closed loop), or at times that are fixed before (an open loop).

Rule 1: `due` says from when an operation that begins now is counted. In a closed loop that is now. In an open loop it
is the time at which it was meant to begin, however long it has waited for a connection: a server that stalls is charged
with all whom it made wait, and not only with those that it had accepted (coordinated omission).

Rule 2: what was due and could not begin before the end is told (`unsent`), since its latency is missing.

Pure: nanoseconds are handed in.
"""

import math
import random


class ClosedPace:
    """An operation begins whenever there is room, until the end, or until so many have been begun."""

    def __init__(self, measured_from_ns: int, end_ns: int | None, operations: int | None) -> None:
        """Takes when the warm-up ends, when the measurement does, or how many operations it has."""
        self._measured_from_ns = measured_from_ns
        self.end_ns = end_ns
        self._left = operations

    def due(self, now_ns: int) -> int | None:
        """Returns from when an operation counts that begins now, None if none may begin."""
        if self.end_ns is not None and now_ns >= self.end_ns:
            return None
        if self._left is not None and now_ns >= self._measured_from_ns:
            if self._left == 0:
                return None
            self._left -= 1
        return now_ns

    def next_ns(self) -> int | None:
        """Returns None: nothing has to be waited for but room."""
        return None

    def stop(self, now_ns: int) -> None:
        """Lets nothing more begin."""
        self.end_ns = now_ns

    def over(self, now_ns: int) -> bool:
        """Says whether nothing begins any more."""
        return self._left == 0 or (self.end_ns is not None and now_ns >= self.end_ns)

    def unsent(self, now_ns: int) -> int:
        """Returns 0: nothing was meant to begin at any time."""
        return 0


class OpenPace:
    """An operation is due each 1/rate seconds, or after pauses of that length on average, drawn exponentially."""

    def __init__(
        self,
        begin_ns: int,
        measured_from_ns: int,
        end_ns: int | None,
        operations: int | None,
        rate: float,
        dice: random.Random | None,
    ) -> None:
        """Takes what `ClosedPace` takes, the first time, the rate a second, and a die if the pauses are drawn."""
        assert rate > 0
        self._begin_ns = begin_ns
        self._measured_from_ns = measured_from_ns
        self.end_ns = end_ns
        self._left = operations
        self._step_ns = 1e9 / rate
        self._dice = dice
        self._count = 0
        self._passed_ns = 0.0
        self._due_ns = begin_ns
        if dice is not None:
            self._advance()

    def due(self, now_ns: int) -> int | None:
        """Returns when the next operation was meant to begin, None if it is not due yet or none is left."""
        if self._due_ns < self._measured_from_ns <= now_ns:
            self._leave_warm_up()
        due_ns = self._due_ns
        if due_ns > now_ns or self.over(now_ns):
            return None
        if self._left is not None and due_ns >= self._measured_from_ns:
            self._left -= 1
        self._advance()
        return due_ns

    def next_ns(self) -> int | None:
        """Returns when the next operation is due, None if there is none."""
        return None if self._left == 0 or (self.end_ns is not None and self._due_ns >= self.end_ns) else self._due_ns

    def stop(self, now_ns: int) -> None:
        """Lets nothing more begin."""
        self.end_ns = now_ns

    def over(self, now_ns: int) -> bool:
        """Says whether nothing begins any more."""
        return self._left == 0 or (self.end_ns is not None and now_ns >= self.end_ns)

    def unsent(self, now_ns: int) -> int:
        """Returns how many of the measured operations were due until the end and have not begun. They never will."""
        end_ns = now_ns if self.end_ns is None else min(now_ns, self.end_ns)
        if self._due_ns < self._measured_from_ns:
            self._leave_warm_up()
        if self._dice is None:
            missed = max(0, self._even(end_ns) - self._count)
            missed = missed if self._left is None else min(missed, self._left)
            self._count += missed - 1
            self._advance()
        else:
            missed = 0
            while self._due_ns < end_ns and missed != self._left:
                missed += 1
                self._advance()
        if self._left is not None:
            self._left -= missed
        return missed

    def _leave_warm_up(self) -> None:
        """Forgets what was due in the warm-up and has not begun: it would take the time of what is measured."""
        if self._dice is None:
            self._count = self._even(self._measured_from_ns) - 1
        else:
            # Pauses drawn like this have no memory: they may begin anew anywhere.
            self._passed_ns = float(self._measured_from_ns - self._begin_ns)
        self._advance()

    def _even(self, at_ns: int) -> int:
        """Returns how many evenly spaced operations are due before a time."""
        return max(0, math.ceil((at_ns - self._begin_ns) / self._step_ns))

    def _advance(self) -> None:
        # From the begin on, not from the last: a million roundings would shift the times.
        self._count += 1
        if self._dice is None:
            self._due_ns = self._begin_ns + int(self._count * self._step_ns)
        else:
            self._passed_ns += self._dice.expovariate(1) * self._step_ns
            self._due_ns = self._begin_ns + int(self._passed_ns)


Pace = ClosedPace | OpenPace
