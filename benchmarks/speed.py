"""PUT and GET on the node and on the stack's ceiling, in turns, so that a busy machine is busy for both.

Both hold the same keys before the first measurement, and both are warmed up. A pair of runs, node then ceiling, gives
one ratio; the median of the ratios is the result. Comparing medians of rates instead would let a slow minute of the
machine fall upon one of the two.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Literal

from benchmarks import servers, wrk
from benchmarks.filling import fill
from benchmarks.report import Bound, Comparison, Pair, Settings, Speed
from benchmarks.servers import Server
from benchmarks.wrk import Load, Run

RATIO_ASKED = 0.7


def measure(directory: Path, settings: Settings, say: Callable[[str], None]) -> Speed:
    """Starts both servers with their files below the directory, measures, and stops them."""
    with servers.node(directory, settings.memory_bytes) as node, servers.ceiling(directory) as ceiling:
        load = Load("PUT", settings.keys, settings.value_bytes, settings.connections)
        for server in (node, ceiling):
            say(f"{server.name}: writes {settings.keys:,} keys")
            fill(server.port, load)
        put = _compare("PUT", node, ceiling, settings, say)
        return Speed(put=put, get=_compare("GET", node, ceiling, settings, say))


def bounds(speed: Speed) -> list[Bound]:
    """Holds the ratios against what was promised."""
    return [
        Bound(f"{name} by the ceiling's rate", ratio, f"at least {RATIO_ASKED}", ratio >= RATIO_ASKED)
        for name, ratio in (("PUT", speed.put.ratio), ("GET", speed.get.ratio))
    ]


def _compare(
    method: Literal["GET", "PUT"], node: Server, ceiling: Server, settings: Settings, say: Callable[[str], None]
) -> Comparison:
    load = Load(method, settings.keys, settings.value_bytes, settings.connections)
    for server in (node, ceiling):
        wrk.drive(server.port, load, wrk.WARM_SECONDS)
    pairs = []
    cpu_seconds = {node.pid: 0.0, ceiling.pid: 0.0}
    for number in range(1, settings.pairs + 1):
        mine = _timed(node, load, settings.seconds, cpu_seconds)
        highest = _timed(ceiling, load, settings.seconds, cpu_seconds)
        pairs.append(Pair(mine, highest, mine.per_second / highest.per_second))
        say(
            f"{method} pair {number} of {settings.pairs}: node {mine.per_second:,.0f}/s, "
            f"ceiling {highest.per_second:,.0f}/s, ratio {pairs[-1].ratio:.2f}"
        )
    of_node, of_ceiling = wrk.summary([pair.node for pair in pairs]), wrk.summary([pair.ceiling for pair in pairs])
    return Comparison(
        node=of_node,
        ceiling=of_ceiling,
        ratio=median(pair.ratio for pair in pairs),
        node_cpu_us=cpu_seconds[node.pid] / of_node.requests * 1e6,
        ceiling_cpu_us=cpu_seconds[ceiling.pid] / of_ceiling.requests * 1e6,
        pairs=pairs,
    )


def _timed(server: Server, load: Load, seconds: int, cpu_seconds: dict[int, float]) -> Run:
    before = servers.cpu_seconds(server.pid)
    run = wrk.drive(server.port, load, seconds)
    cpu_seconds[server.pid] += servers.cpu_seconds(server.pid) - before
    return run
