"""An alarm to the microsecond on an event loop, whose own timers go by whole milliseconds.

At 5,000 operations a second a timer of milliseconds would begin five at once, and charge the server with up to a
millisecond that was the generator's own. Linux has what is needed, a timer that is a file (`timerfd_create`); elsewhere
the loop's timer has to do.
"""

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1
_TFD_FLAGS: Final = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_NS: Final = 1_000_000_000


class _TimerSpec(ctypes.Structure):
    """`struct itimerspec`: an interval and a first time, each in seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns")]


class Alarm:
    """Calls once for each `set`. A new time replaces the one before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self._loop = loop
        self._call = call
        self._handle: asyncio.TimerHandle | None = None
        self._descriptor = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._descriptor >= 0:
            self._spec = _TimerSpec(0, 0, 0, 0)
            self._reference = ctypes.byref(self._spec)
            loop.add_reader(self._descriptor, self._fired)

    def set(self, at_ns: int) -> None:
        """Asks for a call at a time of the steady clock, at once if it has passed."""
        if self._descriptor >= 0:
            self._spec.value_s, self._spec.value_ns = divmod(max(1, at_ns), _NS)
            self._libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, self._reference, None)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0.0, (at_ns - time.monotonic_ns()) / 1e9), self._call)

    def close(self) -> None:
        """Calls no more."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        if self._handle is not None:
            self._handle.cancel()

    def _fired(self) -> None:
        # A time that was replaced meanwhile leaves nothing to read.
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)
            self._call()
