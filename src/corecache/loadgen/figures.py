"""What a load took, as values: the JSON of `corecache bench`, and the ground of its table and picture.

Latencies are milliseconds, from when an operation counts (`pace`) to its answer, of operations that succeeded. Rates
are successes a second. Nothing is judged here.
"""

import msgspec


class OperationFigures(msgspec.Struct, frozen=True):
    """One kind of operation, or all. `percentiles`: pairs of a percentile and the latency that so many had at most."""

    operation: str
    done: int
    per_second: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    percentiles: list[tuple[float, float]]


class Second(msgspec.Struct, frozen=True):
    """What was answered in one second of the measurement; latencies in ms, 0 if nothing was."""

    at_s: int
    done: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A whole measurement.

    `rate` is what was asked for in an open loop, None in a closed one. `seconds` is from the end of the warm-up to the
    end, or to the last answer if that came later. `failures` counts by code: those of the errors, and `not_sent` (due
    in an open loop and never begun), `unanswered`, `connection_lost`, `bad_answer`. `absent` counts reads that found no
    record. `busy` is the share of its time that the busiest process of the load computed: near 1 the figures are the
    generator's, not the server's.
    """

    workload: str
    distribution: str
    protocol: str
    targets: list[str]
    connections: int
    pipeline: int
    processes: int
    keys: int
    value_bytes: tuple[int, int]
    rate: float | None
    poisson: bool
    seed: int
    interrupted: bool
    seconds: float
    done: int
    failed: int
    absent: int
    per_second: float
    busy: float
    failures: dict[str, int]
    total: OperationFigures
    operations: list[OperationFigures]
    timeline: list[Second]
    version: str
