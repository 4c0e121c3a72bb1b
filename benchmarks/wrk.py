"""Runs wrk, the load generator, and reads what it measured.

wrk keeps a fixed number of connections busy, each with one request at a time (a closed loop), from one thread a server:
on a machine with two cores a second thread of wrk takes from the server more than it gives. What is sent,
`requests.lua` says. With several servers, each has its thread and the same number of connections.

A run in which requests failed is no measurement: `drive` raises instead of returning it, and the benchmark ends.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec

SCRIPT = Path(__file__).with_name("requests.lua")
WARM_SECONDS = 1
"""A run of this length before the first that counts."""


class Load(msgspec.Struct, frozen=True):
    """What wrk sends: a method, the number of different keys, and the bytes of a value (PUT only).

    All keys begin with `prefix`, which has a multiple of three bytes. `connections` are those of all servers together,
    and are rounded up to a multiple of their number.
    """

    method: Literal["GET", "PUT"]
    records: int
    value_bytes: int
    connections: int
    dialect: Literal["corecache", "etcd"] = "corecache"
    prefix: str = ""


class Run(msgspec.Struct, frozen=True):
    """What wrk, or another load generator, measured. Every request counted here was answered with success."""

    requests: int
    seconds: float
    per_second: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class _Printed(msgspec.Struct):
    """The script's line. `refused`: answers of status 400 and above; `broken`: connections lost, requests timed out."""

    requests: int
    duration_us: int
    mean_us: int
    p50_us: int
    p95_us: int
    p99_us: int
    max_us: int
    refused: int
    broken: int


class LoadError(Exception):
    """A load generator could not be run, or what it measured was not success."""


def drive(ports: int | Sequence[int], load: Load, seconds: int) -> Run:
    """Runs wrk against one or more servers of this machine at once and returns what it measured.

    Raises: LoadError if wrk fails, or any request did.
    """
    each = [ports] if isinstance(ports, int) else list(ports)
    command = [
        "wrk",
        f"--threads={len(each)}",
        f"--connections={-(-load.connections // len(each)) * len(each)}",
        f"--duration={seconds}s",
        "--timeout=30s",
        f"--script={SCRIPT}",
        f"http://127.0.0.1:{each[0]}",
        "--",
        load.method,
        str(load.records),
        str(load.value_bytes),
        load.dialect,
        load.prefix,
    ]
    environ = os.environ | {"PORTS": " ".join(map(str, each))}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
    if ended.returncode or not lines:
        raise LoadError(f"wrk ended with {ended.returncode}: {(ended.stderr or ended.stdout).strip()[-500:]}")
    printed = msgspec.json.decode(lines[-1].removeprefix("RESULT "), type=_Printed)
    if printed.refused or printed.broken:
        raise LoadError(
            f"of {printed.requests} {load.method} requests {printed.refused} were answered with an error "
            f"and {printed.broken} not at all: see the server's log"
        )
    return _run(printed)


def summary(runs: list[Run]) -> Run:
    """Returns several runs as one: requests and seconds added up, the largest maximum, the median of all else."""
    return Run(
        requests=sum(run.requests for run in runs),
        seconds=sum(run.seconds for run in runs),
        per_second=median(run.per_second for run in runs),
        mean_ms=median(run.mean_ms for run in runs),
        p50_ms=median(run.p50_ms for run in runs),
        p95_ms=median(run.p95_ms for run in runs),
        p99_ms=median(run.p99_ms for run in runs),
        max_ms=max(run.max_ms for run in runs),
    )


def _run(printed: _Printed) -> Run:
    seconds = printed.duration_us / 1e6
    return Run(
        requests=printed.requests,
        seconds=seconds,
        per_second=printed.requests / seconds,
        mean_ms=printed.mean_us / 1000,
        p50_ms=printed.p50_us / 1000,
        p95_ms=printed.p95_us / 1000,
        p99_ms=printed.p99_us / 1000,
        max_ms=printed.max_us / 1000,
    )
