"""One node that grows tenfold step by step: what its rates, memory, disk and recovery are with ever more keys.

The node is the same from the first key to the last, with the memory budget of the other parts, which the largest steps
are well over. At each step the missing keys are loaded by batch, and the flushes and compactions that this caused are
waited for: they would be counted to whatever comes next. Then reads, then writes, and in the end SIGKILLs.

Reads *in memory* ask for the same number of keys at each step, spread evenly over all there are, so that each lies in
a block of its own. A second node that never gets any other keys is asked for them in turns: what the machine does in
the minutes between two steps slows down both, and their ratio tells what the keys do.
"""

import http.client
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec

from benchmarks import closed_loop, servers, wrk
from benchmarks.growth_report import AtKeys, Recovery
from benchmarks.loading import BATCH_RECORDS, Loader
from benchmarks.memory import resident_bytes
from benchmarks.report import Settings
from benchmarks.servers import Server
from benchmarks.systems.dialects import of_http
from benchmarks.wrk import Load, LoadError, Run
from corecache.reports import StorageReport

HOT_KEYS = 10_000
KEY_BYTES = 12
RECOVERIES = 3
OVERWRITTEN = 200_000
"""Records written anew before each SIGKILL, so that there is a log to replay."""
QUIET_LOOKS = 5
LOOK_SECONDS = 0.2
QUIET_SECONDS_MAX = 300.0


def measure(directory: Path, settings: Settings, rounds: int, say: Callable[[str], None]) -> list[AtKeys]:
    """Starts the node and the one beside it, with their files below the directory, grows it, and stops both."""
    with (
        servers.node(directory / "reference", settings.memory_bytes) as reference,
        servers.node(directory / "growing", settings.memory_bytes) as node,
    ):
        _Growing(reference, 0, min(HOT_KEYS, settings.keys_max), settings.value_bytes, say).run()
        _rest(reference.port)
        found = []
        before = 0
        for keys in steps(settings.keys_max):
            found.append(_step(node, reference, before, keys, settings, rounds, say))
            before = keys
        return found


def steps(keys_max: int) -> list[int]:
    """Returns the numbers of keys: each tenfold from `HOT_KEYS` on, and the highest."""
    tenfold = itertools.takewhile(lambda keys: keys < keys_max, (HOT_KEYS * 10**power for power in range(10)))
    return [*tenfold, keys_max]


def overwritten(pid: int, port: int, load: Load, seconds: int, rounds: int) -> tuple[Run, int]:
    """Writes at random over all keys; returns the runs as one, and the bytes that they had written to the disk.

    What the warm-up leaves in memory is flushed before the first run: later it would count as theirs.
    """
    wrk.drive(port, load, wrk.WARM_SECONDS)
    _rest(port)
    written_before = written_bytes(pid)
    runs = [wrk.drive(port, load, seconds) for _ in range(rounds)]
    _rest(port)
    return wrk.summary(runs), written_bytes(pid) - written_before


def _step(
    node: Server, reference: Server, before: int, keys: int, settings: Settings, rounds: int, say: Callable[[str], None]
) -> AtKeys:
    record_bytes = KEY_BYTES + settings.value_bytes
    written_before = written_bytes(node.pid)
    begun = time.perf_counter()
    _Growing(node, before, keys, settings.value_bytes, say).run()
    load_seconds = time.perf_counter() - begun
    _rest(node.port)
    loaded_bytes = written_bytes(node.pid) - written_before
    say(f"{keys:,} keys, loaded in {load_seconds:.0f} s")
    hot, beside = _hot(node, reference, keys, settings, rounds)
    read = Load("GET", keys, settings.value_bytes, settings.connections)
    wrk.drive(node.port, read, wrk.WARM_SECONDS)
    spread = wrk.summary([wrk.drive(node.port, read, settings.seconds) for _ in range(rounds)])
    write = msgspec.structs.replace(read, method="PUT")
    writes, by_writes = overwritten(node.pid, node.port, write, settings.seconds, rounds)
    rss_bytes = resident_bytes(node.pid, "VmHWM")
    disk_bytes = _storage("GET", node.port, "/v1/storage").disk_used_bytes
    recoveries = [_recovered(node, keys, settings, say) for _ in range(RECOVERIES)]
    ratio = median(mine.per_second / other.per_second for mine, other in zip(hot, beside, strict=True))
    say(
        f"{keys:,} keys: in memory {wrk.summary(hot).per_second:,.0f}/s ({ratio:.2f} of few keys), at random "
        f"{spread.per_second:,.0f}/s, writes {writes.per_second:,.0f}/s"
    )
    return AtKeys(
        keys=keys,
        accepted_bytes=keys * record_bytes,
        load_seconds=load_seconds,
        hot=wrk.summary(hot),
        reference=wrk.summary(beside),
        ratio=ratio,
        spread=spread,
        writes=writes,
        rss_bytes=rss_bytes,
        disk_bytes=disk_bytes,
        load_amplification=loaded_bytes / ((keys - before) * record_bytes),
        writes_amplification=by_writes / (writes.requests * record_bytes),
        recoveries=recoveries,
    )


def _hot(node: Server, reference: Server, keys: int, settings: Settings, rounds: int) -> tuple[list[Run], list[Run]]:
    """Reads the hot set on both nodes, in turns."""
    hot_keys = min(HOT_KEYS, settings.keys_max)
    loads = []
    for server, stride in ((node, keys // hot_keys), (reference, 1)):
        requests = [
            b"GET /v1/kv/%012d HTTP/1.1\r\nHost: localhost\r\n\r\n" % (number * stride) for number in range(hot_keys)
        ]
        closed_loop.send_each(server.port, requests, of_http(b""))
        loads.append(closed_loop.Load({server.port: requests}, of_http(b""), settings.connections))
    mine, other = loads
    runs: tuple[list[Run], list[Run]] = ([], [])
    for _ in range(rounds):
        runs[0].append(mine.drive(settings.seconds, wrk.WARM_SECONDS))
        runs[1].append(other.drive(settings.seconds, wrk.WARM_SECONDS))
    return runs


def _recovered(node: Server, keys: int, settings: Settings, say: Callable[[str], None]) -> Recovery:
    """Writes some keys anew, kills the node, and starts it again."""
    _Growing(node, 0, min(keys, OVERWRITTEN), settings.value_bytes, say).run()
    log_bytes = _storage("GET", node.port, "/v1/storage").log_bytes
    node.kill()
    return Recovery(log_bytes, node.start())


class _Growing(Loader):
    """Loads the keys from one number, a multiple of a batch's, to below another."""

    def __init__(self, node: Server, first: int, end: int, value_bytes: int, say: Callable[[str], None]) -> None:
        assert first % BATCH_RECORDS == 0
        super().__init__(node.port, end, value_bytes, say)
        self._batches = itertools.count(first // BATCH_RECORDS)


def _rest(port: int) -> None:
    """Flushes, and waits until no flush or compaction has been seen for a second. Raises: LoadError."""
    report = _storage("POST", port, "/v1/storage/flush")
    quiet, deadline = 0, time.perf_counter() + QUIET_SECONDS_MAX
    while quiet < QUIET_LOOKS:
        if time.perf_counter() > deadline:
            raise LoadError(f"flushes and compactions have not come to rest within {QUIET_SECONDS_MAX:.0f} s")
        time.sleep(LOOK_SECONDS)
        report = _storage("GET", port, "/v1/storage")
        quiet = 0 if report.running_flushes or report.running_compactions else quiet + 1


def _storage(method: str, port: int, path: str) -> StorageReport:
    """Asks a node for its storage report. Raises: LoadError, OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=QUIET_SECONDS_MAX)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        said = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise LoadError(f"{method} {path} was answered {answer.status}: {said[:300].decode(errors='replace')}")
    return msgspec.json.decode(said, type=StorageReport)


def written_bytes(pid: int) -> int:
    """Returns the bytes that a process has caused to be written to disks, in whole pages, as its kernel counts them."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes:")).split()[1])
