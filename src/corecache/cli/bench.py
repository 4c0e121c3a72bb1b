"""`corecache bench`: puts a load on a node, a cluster or a Redis and tells what it took. The load is `loadgen`'s.

Figures go to standard output, progress to standard error if that is a terminal. What failed is said in one line on
standard error beside the figures, which hold only what succeeded; if nothing did, there are none, and the exit code
says so.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from corecache.cli.exits import INTERRUPTED
from corecache.cli.node import AsJson, Endpoints, endpoints_of
from corecache.config import MIB

_VALUE_BYTES_MAX = 8 * MIB


class BenchProtocol(StrEnum):
    """How servers are spoken with."""

    HTTP = "http"
    RESP = "resp"


class BenchWorkload(StrEnum):
    """YCSB's workloads, and three plain ones."""

    A = "a"
    B = "b"
    C = "c"
    D = "d"
    E = "e"
    F = "f"
    PUT = "put"
    GET = "get"
    MIXED = "mixed"


class BenchDistribution(StrEnum):
    """How keys are drawn."""

    ZIPFIAN = "zipfian"
    LATEST = "latest"
    UNIFORM = "uniform"


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(bench)


def bench(
    context: typer.Context,
    workload: Annotated[
        BenchWorkload,
        typer.Option(
            case_sensitive=False,
            help="a, b: 50%, 95% reads, the rest updates. c: reads. d: 95% reads of the newest, 5% inserts. e: 95% "
            "scans, 5% inserts. f: 50% read-modify-writes. put, get, mixed: writes, reads, both.",
        ),
    ] = BenchWorkload.MIXED,
    distribution: Annotated[
        BenchDistribution | None,
        typer.Option(help="How keys are drawn. Else as the workload has it.", show_default=False),
    ] = None,
    protocol: Annotated[
        BenchProtocol, typer.Option(help="resp: Redis's protocol; an endpoint may be redis://HOST:PORT then.")
    ] = BenchProtocol.HTTP,
    keys: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="Different keys.")] = 10_000,
    value_bytes: Annotated[
        str, typer.Option(metavar="N|A-B", help="The size of a value, or any size between two.")
    ] = "100",
    connections: Annotated[int, typer.Option(min=1, max=10_000, help="Spread over the endpoints.")] = 16,
    pipeline: Annotated[int, typer.Option(min=1, max=1000, help="Operations under way on each connection (resp).")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="How long it measures.")] = 10.0,
    operations: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000_000_000, help="So many operations, instead of a time.", show_default=False),
    ] = None,
    warm_up: Annotated[float, typer.Option(min=0, max=3600, help="Seconds before that do not count.")] = 1.0,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=10_000_000,
            help="So many operations a second, each due at its time (open loop): its latency counts from then. "
            "Else as many as there is room for (closed loop).",
            show_default=False,
        ),
    ] = None,
    poisson: Annotated[bool, typer.Option("--poisson", help="With --rate: due at random times.")] = False,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that make the load.")] = 1,
    load: Annotated[
        bool,
        typer.Option("--load/--no-load", help="Write all keys before; or take, and leave, those of a run with --keep."),
    ] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the keys, do not remove them in the end.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The same seed asks for the same keys.")] = 0,
    histogram: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Write an HDR histogram: FILE.hgrm, or FILE.hlog by seconds.", show_default=False
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Draw latencies and throughput: FILE.svg, .png, .pdf.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    endpoint: Endpoints = None,
) -> int:
    """Measure a node, a cluster or a Redis with a load.

    Writes keys of its own, "corecache-bench/…", and removes them in the end. Ctrl-C ends it early and prints what was
    measured until then.
    """
    import asyncio

    from corecache.cli.bench_shown import tell, watcher
    from corecache.loadgen.bench import Interrupted, Wish, run
    from corecache.loadgen.figures import Figures
    from corecache.loadgen.workloads import SCAN, WORKLOADS, Distribution

    shares = WORKLOADS[workload.value]
    _check(protocol, pipeline, rate, poisson, connections, processes, operations)
    if protocol is BenchProtocol.RESP and any(kind == SCAN for kind, _ in shares.shares):
        raise typer.BadParameter(
            "e scans keys in their order, which Redis's protocol can't: take http.", param_hint="--workload"
        )
    for file in (histogram, plot):
        if file is not None and not file.absolute().parent.is_dir():
            raise typer.BadParameter(f"{file}: there is no such folder.")
    if plot is not None:
        from corecache.loadgen.picture import check

        check(plot)
    wish = Wish(
        endpoints=endpoints_of(context, endpoint),
        protocol=protocol.value,
        workload=workload.value,
        distribution=Distribution(distribution.value) if distribution else shares.distribution,
        keys=keys,
        value_bytes=_sizes(value_bytes),
        connections=connections,
        pipeline=pipeline,
        processes=processes,
        warm_up_s=warm_up,
        seconds=seconds,
        operations=operations,
        rate=rate,
        poisson=poisson,
        seed=seed,
        load=load,
        keep=keep,
        histogram=histogram,
    )

    def told(figures: Figures) -> None:
        tell(figures, as_json)
        if plot is not None:
            from corecache.loadgen.picture import draw

            draw(figures, plot)

    try:
        with watcher(told) as watching:
            asyncio.run(run(wish, watching))
    except (Interrupted, asyncio.CancelledError):
        return INTERRUPTED
    return 0


def _check(
    protocol: BenchProtocol,
    pipeline: int,
    rate: float | None,
    poisson: bool,
    connections: int,
    processes: int,
    operations: int | None,
) -> None:
    """Raises typer.BadParameter for options that do not go together."""
    if pipeline > 1 and protocol is not BenchProtocol.RESP:
        raise typer.BadParameter(
            "HTTP has one request at a time on a connection: take more --connections.", param_hint="--pipeline"
        )
    if poisson and rate is None:
        raise typer.BadParameter("random times are for a --rate.", param_hint="--poisson")
    if processes > connections:
        raise typer.BadParameter(
            f"{connections} connections can't be shared by {processes} processes.", param_hint="--processes"
        )
    if operations is not None and operations < processes:
        raise typer.BadParameter(
            f"{operations} operations can't be shared by {processes} processes.", param_hint="--processes"
        )


def _sizes(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not first.isdecimal() or not (last.isdecimal() if "-" in text else True):
        raise typer.BadParameter(f"{text!r} is neither a number of bytes nor a range A-B.", param_hint="--value-bytes")
    least, most = int(first), int(last or first)
    if not least <= most <= _VALUE_BYTES_MAX:
        raise typer.BadParameter(
            f"a value has 0 to {_VALUE_BYTES_MAX:,} bytes, and A-B begins with the lower.", param_hint="--value-bytes"
        )
    return least, most
