"""A node that lost its disk is filled again while clients write: at what rate, and what the clients feel of it.

Three nodes hold the records. One is killed, its data directory is removed, and it is started again: it comes back
empty, as a stranger, and every partition is sent to it as a snapshot and what follows. Meanwhile wrk writes through the
two others. It ends when every partition has three copies in sync again.
"""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import clusters, wrk
from benchmarks.comparison import PARTITIONS
from benchmarks.loading import Loader
from benchmarks.report import CatchUp, Settings
from benchmarks.wrk import Load, LoadError, Run

VALUE_BYTES = 1000
RUN_SECONDS = 3
CLIENTS = 16
"""Few enough that the machine is not busy with them alone: latency is measured, not the highest rate."""


def measure(directory: Path, settings: Settings, say: Callable[[str], None]) -> CatchUp:
    """Starts the cluster with its files below the directory, measures, and stops it."""
    records = max(1, settings.catch_up_bytes // VALUE_BYTES)
    load = Load("PUT", records, VALUE_BYTES, CLIENTS)
    with clusters.corecache(directory, PARTITIONS, settings.memory_bytes) as group:
        say(f"three nodes: load {records:,} records of {VALUE_BYTES:,} bytes")
        Loader(group.ports[0], records, VALUE_BYTES, say).run()
        victim, others = group.servers[2], group.ports[:2]
        quiet = wrk.drive(others, load, settings.seconds)
        victim.kill()
        shutil.rmtree(directory / "node2")
        begun = time.perf_counter()
        victim.launch()
        filled: list[float] = []
        wait = threading.Thread(target=lambda: filled.append(_until_whole(group, begun)))
        wait.start()
        runs: list[Run] = []
        while wait.is_alive():
            runs.append(wrk.drive(others, load, RUN_SECONDS))
        wait.join()
        if not filled:
            raise LoadError("the node was not filled again: see its log")
    size_bytes = records * VALUE_BYTES
    say(f"filled with {size_bytes / 1e6:,.0f} MB in {filled[0]:.1f} s")
    return CatchUp(size_bytes, filled[0], size_bytes / filled[0], quiet, wrk.summary(runs))


def _until_whole(group: clusters.Group, begun: float) -> float:
    group.servers[2].wait()
    clusters.await_whole(group, PARTITIONS)
    return time.perf_counter() - begun
