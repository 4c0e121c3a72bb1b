"""The benchmark's command line: runs the parts, prints the tables, writes the JSON.

`docs/benchmarks.md` says what each part measures. Progress goes to standard error, the tables to standard output.
The exit code says whether the benchmark ran: 0 yes, 1 no (and one line why), 2 wrong usage, 130 interrupted before
there was a result. Whether a bound was met is printed and stands in the JSON, and changes nothing: it depends on what
else the machine does.

Files are made below a directory of the system's choice (TMPDIR moves it) and removed at the end. It has to be on a
real disk, for durable writes are measured.
"""

import argparse
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks import (
    catching_up,
    comparison,
    failover,
    flushes,
    growth,
    growth_plots,
    machine,
    memory,
    peers,
    peers_chart,
    profile_paths,
    resp,
    speed,
    tables,
)
from benchmarks.peers_report import PeersSpeed
from benchmarks.report import Report, Settings
from benchmarks.servers import ROOT, ServerError
from benchmarks.systems import catalog
from benchmarks.wrk import LoadError
from corecache import __version__

PARTS = ("speed", "flush", "memory", "cluster", "catch-up", "failover", "resp")
BY_NAME_ALONE = ("peers", "growth", "profile")
"""Parts that run only when they are named: each takes long by itself, or needs more than the others."""
SECONDS, PEERS_SECONDS = 8, 2
KEYS_MAX = 100_000
MEMORY_BYTES = 256 * 1024 * 1024
PAGE = ROOT / "docs" / "benchmarks.md"
CHART = ROOT / "docs" / "peers.svg"
GROWTH = ROOT / "docs" / "growth.svg"


def main(arguments: Sequence[str]) -> int:
    """Runs what the arguments ask for and returns the exit code."""
    chosen = _chosen(arguments)
    if shutil.which("wrk") is None:
        _say("wrk is not installed: run scripts/bench.sh as root, or install Debian's package wrk")
        return 1
    settings = Settings(
        seconds=chosen.seconds or (PEERS_SECONDS if chosen.only == "peers" else SECONDS),
        connections=chosen.connections,
        value_bytes=chosen.value_bytes,
        records=chosen.records,
        keys=min(chosen.records, KEYS_MAX),
        pairs=chosen.pairs,
        memory_bytes=MEMORY_BYTES,
        catch_up_bytes=chosen.catch_up_bytes,
        kills=chosen.kills,
        command=_command(chosen),
        systems=chosen.systems,
        clients=chosen.clients,
        sizes=chosen.sizes,
        keys_max=chosen.keys_max,
        sections=chosen.sections,
    )
    # Ended from outside, too, it stops its servers and removes its files.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        if chosen.only == "peers" and chosen.write_docs:
            peers_chart.check()
        if chosen.only == "growth" and chosen.write_docs:
            growth_plots.check()
        report = measure(settings, [chosen.only] if chosen.only else PARTS, lambda so_far: _keep(so_far, chosen.json))
    except (ServerError, LoadError, OSError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("interrupted before there was a result")
        return 130
    text = tables.markdown(report)
    print(text)
    _keep(report, chosen.json)
    if chosen.write_docs:
        tables.write_between_marks(PAGE, text, chosen.only)
        if report.peers is not None:
            peers_chart.draw(report.peers, CHART)
        if report.growth is not None:
            growth_plots.draw(report.growth, GROWTH)
        if report.profile is not None:
            profile_paths.draw(report.profile, PAGE.parent)
    return 0


def measure(settings: Settings, parts: Sequence[str], keep: Callable[[Report], None]) -> Report:
    """Runs some of the parts, each on fresh servers; `keep` is told what a long one has so far.

    Raises: ServerError, LoadError, OSError.
    """
    with tempfile.TemporaryDirectory(prefix="corecache-bench-") as name:
        scratch = Path(name)
        described = machine.describe(scratch)
        if "peers" in parts:
            return _of_peers(scratch, settings, described, keep)
        compared = speed.measure(scratch / "speed", settings, _say) if "speed" in parts else None
        flushed = flushes.measure(scratch / "flush", settings, _say) if "flush" in parts else None
        filled = memory.measure(scratch / "memory", settings, _say) if "memory" in parts else None
        clustered = comparison.measure(scratch / "cluster", settings, _say) if "cluster" in parts else None
        caught_up = catching_up.measure(scratch / "catch-up", settings, _say) if "catch-up" in parts else None
        killed = failover.measure(scratch / "failover", settings, _say) if "failover" in parts else None
        spoken = resp.measure(scratch / "resp", settings, _say) if "resp" in parts else None
        grown = growth.measure(scratch / "growth", settings, _say) if "growth" in parts else None
        profiled = profile_paths.measure(scratch / "profile", settings, _say) if "profile" in parts else None
    bounds = [] if compared is None else speed.bounds(compared)
    bounds += [] if filled is None else memory.bounds(filled)
    bounds += [] if clustered is None else comparison.bounds(clustered)
    bounds += [] if killed is None else failover.bounds(killed)
    bounds += [] if spoken is None else resp.bounds(spoken)
    bounds += [] if grown is None else growth.bounds(grown)
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
        growth=grown,
        profile=profiled,
        bounds=bounds,
    )


def _of_peers(scratch: Path, settings: Settings, described: machine.Machine, keep: Callable[[Report], None]) -> Report:
    def report(measured: PeersSpeed) -> Report:
        return Report(
            date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            version=__version__,
            settings=settings,
            machine=described,
            peers=measured,
            bounds=peers.bounds(measured),
        )

    return report(peers.measure(scratch / "peers", settings, _say, lambda so_far: keep(report(so_far))))


def _keep(report: Report, path: Path | None) -> None:
    """Writes the JSON, if it is wanted; what is there by then is replaced as a whole."""
    if path is not None:
        part = path.with_name(path.name + ".part")
        part.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        part.replace(path)


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
            words += [
                "--" + name.replace("_", "-"),
                ",".join(map(str, value)) if isinstance(value, list) else str(value),
            ]
    return shlex.join(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description="Measures CoreCache: docs/benchmarks.md.")
    parser.add_argument("part", nargs="?", choices=PARTS + BY_NAME_ALONE, help="one part, as with --only")
    parser.add_argument("--seconds", type=_positive, help=f"of each run ({SECONDS}; {PEERS_SECONDS} for peers)")
    parser.add_argument("--connections", type=_positive, default=64, help="busy at once (%(default)s)")
    parser.add_argument("--value-bytes", type=_positive, default=100, help="of each value (%(default)s)")
    parser.add_argument("--records", type=_positive, default=5_000_000, help="of the memory part (%(default)s)")
    parser.add_argument("--pairs", type=_positive, default=5, help="of runs, in turns (%(default)s)")
    parser.add_argument(
        "--catch-up-bytes", type=_positive, default=1_000_000_000, help="of the catch-up part (%(default)s)"
    )
    parser.add_argument("--kills", type=_positive, default=20, help="of the failover part (%(default)s)")
    for name, default in (("clients", [1, 16, 64, 256]), ("sizes", [100, 1024, 16_384])):
        parser.add_argument(f"--{name}", type=_positives, default=default, help="of the peers part: numbers, by commas")
    parser.add_argument(
        "--systems", type=_systems, default=[*catalog.SYSTEMS], help="of the peers part: names, by commas"
    )
    parser.add_argument(
        "--keys-max", type=_thousands, default=10_000_000, help="of the growth part, in thousands (%(default)s)"
    )
    parser.add_argument(
        "--sections", type=_sections, default=[*growth.SECTIONS], help="of the growth part: names, by commas"
    )
    parser.add_argument("--only", choices=PARTS + BY_NAME_ALONE, help="one part")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _positives(text: str) -> list[int]:
    return sorted({_positive(each) for each in text.split(",")})


def _thousands(text: str) -> int:
    number = _positive(text)
    if number % 1000:
        raise argparse.ArgumentTypeError(f"{number} is not a number of whole thousands")
    return number


def _sections(text: str) -> list[str]:
    wanted = text.split(",")
    unknown = [name for name in wanted if name not in growth.SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}: there are {', '.join(growth.SECTIONS)}")
    return [name for name in growth.SECTIONS if name in wanted]


def _systems(text: str) -> list[str]:
    wanted = text.split(",")
    unknown = [name for name in wanted if name not in catalog.SYSTEMS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no system {', '.join(unknown)}: there are {', '.join(catalog.SYSTEMS)}")
    return [name for name in catalog.SYSTEMS if name in wanted]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
