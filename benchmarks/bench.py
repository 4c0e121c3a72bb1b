"""The benchmark's command line: runs the parts, prints the tables, writes the JSON.

`docs/benchmarks.md` says what each part measures. Progress goes to standard error, the tables to standard output.
The exit code says whether the benchmark ran: 0 yes, 1 no (and one line why), 2 wrong usage. Whether a bound was met is
printed and stands in the JSON, and changes nothing: it depends on what else the machine does.

Files are made below a directory of the system's choice (TMPDIR moves it) and removed at the end. It has to be on a
real disk, for durable writes are measured.
"""

import argparse
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks import catching_up, comparison, failover, flushes, machine, memory, resp, speed, tables
from benchmarks.report import Report, Settings
from benchmarks.servers import ROOT, ServerError
from benchmarks.wrk import LoadError
from corecache import __version__

PARTS = ("speed", "flush", "memory", "cluster", "catch-up", "failover", "resp")
KEYS_MAX = 100_000
MEMORY_BYTES = 256 * 1024 * 1024
PAGE = ROOT / "docs" / "benchmarks.md"


def main(arguments: Sequence[str]) -> int:
    """Runs what the arguments ask for and returns the exit code."""
    chosen = _chosen(arguments)
    if shutil.which("wrk") is None:
        _say("wrk is not installed: run scripts/bench.sh as root, or install Debian's package wrk")
        return 1
    settings = Settings(
        seconds=chosen.seconds,
        connections=chosen.connections,
        value_bytes=chosen.value_bytes,
        records=chosen.records,
        keys=min(chosen.records, KEYS_MAX),
        pairs=chosen.pairs,
        memory_bytes=MEMORY_BYTES,
        catch_up_bytes=chosen.catch_up_bytes,
        kills=chosen.kills,
        command=_command(chosen),
    )
    # Ended from outside, too, it stops its servers and removes its files.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        report = measure(settings, [chosen.only] if chosen.only else PARTS)
    except (ServerError, LoadError, OSError) as error:
        _say(str(error))
        return 1
    text = tables.markdown(report)
    print(text)
    if chosen.json is not None:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if chosen.write_docs:
        tables.write_between_marks(PAGE, text, chosen.only)
    return 0


def measure(settings: Settings, parts: Sequence[str]) -> Report:
    """Runs some of the parts, each on fresh servers. Raises: ServerError, LoadError, OSError."""
    with tempfile.TemporaryDirectory(prefix="corecache-bench-") as name:
        scratch = Path(name)
        described = machine.describe(scratch)
        compared = speed.measure(scratch / "speed", settings, _say) if "speed" in parts else None
        flushed = flushes.measure(scratch / "flush", settings, _say) if "flush" in parts else None
        filled = memory.measure(scratch / "memory", settings, _say) if "memory" in parts else None
        clustered = comparison.measure(scratch / "cluster", settings, _say) if "cluster" in parts else None
        caught_up = catching_up.measure(scratch / "catch-up", settings, _say) if "catch-up" in parts else None
        killed = failover.measure(scratch / "failover", settings, _say) if "failover" in parts else None
        spoken = resp.measure(scratch / "resp", settings, _say) if "resp" in parts else None
    bounds = [] if compared is None else speed.bounds(compared)
    bounds += [] if filled is None else memory.bounds(filled)
    bounds += [] if clustered is None else comparison.bounds(clustered)
    bounds += [] if killed is None else failover.bounds(killed)
    bounds += [] if spoken is None else resp.bounds(spoken)
    return Report(
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        version=__version__,
        settings=settings,
        machine=described,
        speed=compared,
        flushes=flushed,
        memory=filled,
        cluster=clustered,
        catch_up=caught_up,
        failovers=killed,
        resp=spoken,
        bounds=bounds,
    )


def _chosen(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns what the arguments ask for; a part named by itself is one named with --only."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.part is not None:
        if chosen.only not in (None, chosen.part):
            parser.error(f"{chosen.part} and --only {chosen.only}: name one part, or none for all")
        chosen.only = chosen.part
    del chosen.part
    return chosen


def _command(chosen: argparse.Namespace) -> str:
    """Returns the command that measures the same again, without the options that say where results go."""
    words = ["scripts/bench.sh"]
    for name, value in vars(chosen).items():
        if name not in ("json", "write_docs") and value != _parser().get_default(name):
            words += ["--" + name.replace("_", "-"), str(value)]
    return shlex.join(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description="Measures CoreCache: docs/benchmarks.md.")
    parser.add_argument("part", nargs="?", choices=PARTS, help="one part, as with --only")
    parser.add_argument("--seconds", type=_positive, default=8, help="of each run (%(default)s)")
    parser.add_argument("--connections", type=_positive, default=64, help="busy at once (%(default)s)")
    parser.add_argument("--value-bytes", type=_positive, default=100, help="of each value (%(default)s)")
    parser.add_argument("--records", type=_positive, default=5_000_000, help="of the memory part (%(default)s)")
    parser.add_argument("--pairs", type=_positive, default=5, help="of runs, in turns (%(default)s)")
    parser.add_argument(
        "--catch-up-bytes", type=_positive, default=1_000_000_000, help="of the catch-up part (%(default)s)"
    )
    parser.add_argument("--kills", type=_positive, default=20, help="of the failover part (%(default)s)")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
