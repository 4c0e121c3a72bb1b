"""Many records under a small memory budget: what the process takes, how reads over all of them go, how fast it starts.

The budget is `storage.memory_bytes`; the resident set of the process is more (the interpreter, the libraries, buffers),
and bounded too. The kernel's own high-water mark is taken, so no peak between two samples is missed; the samples
only show the course.

The node is started again twice: after SIGKILL (it has to replay its write-ahead log) and after a clean stop.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import servers, wrk
from benchmarks.loading import Loader
from benchmarks.report import Bound, Memory, Settings
from benchmarks.servers import ServerError
from benchmarks.wrk import Load

MIB = 1024 * 1024
RSS_MIB_ASKED = 450
READY_SECONDS_ASKED = 2.0
SAMPLE_SECONDS = 0.25


def measure(directory: Path, settings: Settings, say: Callable[[str], None]) -> Memory:
    """Starts a node with its files below the directory, loads it, reads, and restarts it twice."""
    node = servers.node(directory, settings.memory_bytes)
    with node:
        watch = Watch(node.pid)
        watch.start()
        try:
            begun = time.perf_counter()
            retries = Loader(node.port, settings.records, settings.value_bytes, say).run()
            load_seconds = time.perf_counter() - begun
            after_load = resident_bytes(node.pid, "VmHWM")
            say(f"loaded in {load_seconds:.0f} s, peak RSS {after_load / MIB:.0f} MiB; reads at random")
            load = Load("GET", settings.records, settings.value_bytes, settings.connections)
            reads = wrk.drive(node.port, load, settings.seconds)
            peak = resident_bytes(node.pid, "VmHWM")
        finally:
            samples = watch.finish()
        node.kill()
        after_kill = node.start()
        node.stop()
        after_stop = node.start()
        say(f"ready {after_kill:.2f} s after SIGKILL, {after_stop:.2f} s after a clean stop")
    return Memory(
        budget_bytes=settings.memory_bytes,
        records=settings.records,
        load_seconds=load_seconds,
        load_per_second=settings.records / load_seconds,
        load_retries=retries,
        after_load_rss_bytes=after_load,
        peak_rss_bytes=peak,
        samples=samples,
        reads=reads,
        disk_bytes=sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()),
        ready_after_kill_seconds=after_kill,
        ready_after_stop_seconds=after_stop,
    )


def bounds(memory: Memory) -> list[Bound]:
    """Holds the peak and the starts against what was promised."""
    peak_mib = memory.peak_rss_bytes / MIB
    starts = (("SIGKILL", memory.ready_after_kill_seconds), ("a clean stop", memory.ready_after_stop_seconds))
    return [
        Bound("peak RSS, MiB", peak_mib, f"below {RSS_MIB_ASKED}", peak_mib < RSS_MIB_ASKED),
        *(
            Bound(f"ready after {what}, s", seconds, f"below {READY_SECONDS_ASKED:.0f}", seconds < READY_SECONDS_ASKED)
            for what, seconds in starts
        ),
    ]


def resident_bytes(pid: int, field: str) -> int:
    """Returns a size in /proc/PID/status: "VmRSS", what is resident now, or "VmHWM", the most that ever was.

    Raises: ServerError if the process has ended.
    """
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise ServerError(f"process {pid} has ended")
    return int(found[1]) * 1024


class Watch(threading.Thread):
    """Samples a living process's resident set, from `start` to `finish`."""

    def __init__(self, pid: int) -> None:
        super().__init__(name="watch")
        self._pid = pid
        self._over = threading.Event()
        self._samples: list[tuple[float, int]] = []

    def run(self) -> None:
        """Takes a sample at each interval."""
        begun = time.perf_counter()
        # A process that ended is reported by whoever sends it requests.
        with contextlib.suppress(ServerError):
            while not self._over.wait(SAMPLE_SECONDS):
                self._samples.append((round(time.perf_counter() - begun, 2), resident_bytes(self._pid, "VmRSS")))

    def finish(self) -> list[tuple[float, int]]:
        """Ends and returns the samples: seconds since the start, bytes."""
        self._over.set()
        self.join()
        return self._samples
