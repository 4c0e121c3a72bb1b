"""The latency of PUTs while memtables are flushed again and again, beside that without: a flush must not stop writes.

Quiet runs and runs with flushes take turns on one node. During the latter a side client asks for a flush
(`POST /v1/storage/flush`), waits for the answer, pauses for a moment in which the memtable fills, and asks again. So
many small flushes soon start compactions too, which are part of what is measured.
"""

import http.client
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import servers, wrk
from benchmarks.filling import fill
from benchmarks.report import Flushes, Settings
from benchmarks.wrk import Load, LoadError

PAUSE_SECONDS = 0.1
FLUSH_SECONDS_MAX = 60


def measure(directory: Path, settings: Settings, say: Callable[[str], None]) -> Flushes:
    """Starts a node with its files below the directory, measures, and stops it."""
    load = Load("PUT", settings.keys, settings.value_bytes, settings.connections)
    with servers.node(directory, settings.memory_bytes) as node:
        fill(node.port, load)
        wrk.drive(node.port, load, wrk.WARM_SECONDS)
        quiet, flushing, flush_ms = [], [], []
        for number in range(1, settings.pairs + 1):
            quiet.append(wrk.drive(node.port, load, settings.seconds))
            flusher = Flusher(node.port)
            flusher.start()
            try:
                flushing.append(wrk.drive(node.port, load, settings.seconds))
            finally:
                flush_ms += flusher.finish()
            say(
                f"flushes, pair {number} of {settings.pairs}: PUT p99 {quiet[-1].p99_ms:.1f} ms without, "
                f"{flushing[-1].p99_ms:.1f} ms with"
            )
    return Flushes(
        quiet=wrk.summary(quiet),
        flushing=wrk.summary(flushing),
        flushes=len(flush_ms),
        flush_ms=median(flush_ms),
        quiet_runs=quiet,
        flushing_runs=flushing,
    )


class Flusher(threading.Thread):
    """The side client, from `start` to `finish`."""

    def __init__(self, port: int) -> None:
        super().__init__(name="flusher")
        self._port = port
        self._over = threading.Event()
        self._times_ms: list[float] = []
        self._failure: str | None = None

    def run(self) -> None:
        """Flushes at least once, and until it is over."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=FLUSH_SECONDS_MAX)
        try:
            while True:
                begun = time.perf_counter()
                connection.request("POST", "/v1/storage/flush")
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != 200:
                    self._failure = f"a flush was answered {answer.status}: {said.decode(errors='replace')}"
                    return
                self._times_ms.append((time.perf_counter() - begun) * 1000)
                if self._over.wait(PAUSE_SECONDS):
                    return
        except (OSError, http.client.HTTPException) as error:
            self._failure = f"a flush was not answered: {error!r}"
        finally:
            connection.close()

    def finish(self) -> list[float]:
        """Waits for the flush under way, and returns the milliseconds that each took. Raises: LoadError."""
        self._over.set()
        self.join()
        if self._failure is not None:
            raise LoadError(self._failure)
        return self._times_ms
