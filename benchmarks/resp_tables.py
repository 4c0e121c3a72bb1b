"""Redis's protocol beside Redis, as people read it: what each side did, and what its answer to a write promises."""

from benchmarks.report import AgainstRedis, Driven, RespSpeed

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Its head and its rows."""

COLUMNS = ("Throughput", "p50", "p95", "p99", "Longest", "Processor time a request", "Load generator busy")
SYNCED = "synced to its disk"
OF_THREE_NODES = "synced to the disks of all members in sync, before anyone can read it"
OF_THREE_REDIS = "synced to the primary's disk, before `+OK`; acknowledged by both replicas, before `WAIT` returns"


def one_node(speed: RespSpeed) -> Table:
    """Returns the table of one node and one Redis."""
    title = f"One node beside Redis {speed.redis_version}"
    return _head(title), [row for each in speed.one_node for row in _beside(each, SYNCED, SYNCED)]


def three_nodes(speed: RespSpeed) -> Table:
    """Returns the table of three nodes, and of Redis with two replicas."""
    title = f"Three nodes beside Redis {speed.redis_version} with two replicas and `WAIT 2`"
    return _head(title), [row for each in speed.three_nodes for row in _beside(each, OF_THREE_NODES, OF_THREE_REDIS)]


def generator(speed: RespSpeed) -> Table:
    """Returns the table of what the load generator of the three nodes can do."""
    rows = [(what, *_numbers(driven)) for what, driven in speed.generator.items()]
    return ("The load generator on the same Redis", *COLUMNS), rows


def _head(title: str) -> tuple[str, ...]:
    return title, "", *COLUMNS, "Ratio", "An answered write is"


def _beside(each: AgainstRedis, ours: str, theirs: str) -> list[tuple[str, ...]]:
    writes = each.what.startswith("SET")
    return [
        (each.what, "CoreCache", *_numbers(each.corecache), f"{each.ratio:.2f}", ours if writes else ""),
        (each.what, "Redis", *_numbers(each.redis), "", theirs if writes else ""),
    ]


def _numbers(driven: Driven) -> tuple[str, ...]:
    run = driven.run
    times = (f"{time:.2f} ms" for time in (run.p50_ms, run.p95_ms, run.p99_ms, run.max_ms))
    return f"{run.per_second:,.0f}/s", *times, f"{driven.cpu_us:.0f} µs", f"{driven.load_busy:.0%}"
