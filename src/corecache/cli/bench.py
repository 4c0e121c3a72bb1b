"""`corecache bench`: puts a small load on a node and prints what it took. The load itself is `load.py`."""

from enum import StrEnum
from typing import Annotated

import typer

from corecache.cli.node import AsJson, Endpoints, endpoints_of
from corecache.cli.tables import print_json, print_table


class BenchOperation(StrEnum):
    """What the load does: writes, reads, or half of each."""

    PUT = "put"
    GET = "get"
    MIXED = "mixed"


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(bench)


def bench(
    context: typer.Context,
    operation: Annotated[BenchOperation, typer.Option(help="What each request does.")] = BenchOperation.MIXED,
    connections: Annotated[int, typer.Option(min=1, max=1000, help="Requests under way at once.")] = 16,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long.")] = 5.0,
    requests: Annotated[
        int | None, typer.Option(min=1, help="So many requests, instead of a time.", show_default=False)
    ] = None,
    value_bytes: Annotated[int, typer.Option(min=0, max=8 * 1024 * 1024, help="The size of a value.")] = 100,
    as_json: AsJson = False,
    endpoint: Endpoints = None,
) -> None:
    """Measure a node with a small load.

    Writes 1,000 keys of its own, "corecache-bench/…", and removes them in the end.
    The figures include the Python client.
    """
    import asyncio

    from corecache.cli.load import Load, LoadRun

    load = Load(operation.value, connections, seconds, requests, value_bytes)
    figures = asyncio.run(LoadRun(load, endpoints_of(context, endpoint)).run())
    if as_json:
        print_json(figures)
        return
    print_table(
        f"{connections} connections, values of {value_bytes:,} bytes, {figures.seconds:.1f} s",
        ("operation", "total requests", "failed", "requests/s", "average ms", "p95 ms", "p99 ms"),
        [
            (
                figures.operation,
                f"{figures.total_requests:,}",
                f"{figures.failed_requests:,}",
                f"{figures.throughput_per_second:,.0f}",
                f"{figures.latency_average_ms:.2f}",
                f"{figures.latency_p95_ms:.2f}",
                f"{figures.latency_p99_ms:.2f}",
            )
        ],
        numbers=("total requests", "failed", "requests/s", "average ms", "p95 ms", "p99 ms"),
    )
