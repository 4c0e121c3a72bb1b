"""The real clocks, behind the `Clock` port.

Steady time is `CLOCK_BOOTTIME`, because a lease must run out while the machine sleeps; `CLOCK_MONOTONIC` stands still
then. Dates are the wall clock's and may jump: nothing but timestamps and expiry is ever taken from them.
"""

import time

from corecache.identity import Milliseconds, Timestamp


class SystemClock:
    """Reads the machine's clocks."""

    def now(self) -> Milliseconds:
        """Returns the milliseconds since the machine was started, time asleep included."""
        return Milliseconds(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000)

    def today(self) -> Timestamp:
        """Returns the milliseconds since 1970-01-01 UTC."""
        return Timestamp(time.time_ns() // 1_000_000)
