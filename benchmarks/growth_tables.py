"""How cost grows, as people read it: a table for each section that was measured."""

from itertools import groupby
from statistics import median

from benchmarks.growth_report import AtKeys, AtSize, Growth, Takeover
from benchmarks.wrk import Run

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Its head and its rows."""

MIB = 1024 * 1024


def all_tables(growth: Growth) -> list[Table]:
    """Returns the tables of the sections that were measured."""
    tables = []
    if growth.keys:
        tables += [_rates(growth), _storage(growth)]
    if growth.partitions:
        tables.append(_sizes("Partitions, three nodes", [(each.partitions, each) for each in growth.partitions]))
    if growth.nodes:
        partitions = growth.nodes[0].partitions
        tables.append(_sizes(f"Nodes, {partitions} partitions", [(each.nodes, each) for each in growth.nodes]))
    if growth.takeovers:
        tables.append(_takeovers(growth.takeovers))
    return tables


def longest_recovery(at: AtKeys) -> float:
    """Returns the seconds of the longest."""
    return max(each.seconds for each in at.recoveries)


def by_partitions(takeovers: list[Takeover]) -> list[tuple[int, list[Takeover]]]:
    """Returns the kills, those of one number of partitions together."""
    return [(count, list(some)) for count, some in groupby(takeovers, lambda each: each.partitions)]


def pauses(takeovers: list[Takeover], led: bool) -> list[float]:
    """Returns the pauses of all partitions that the dead led, or of all others, in ms; 0 if there were none."""
    return [pause for each in takeovers for pause in (each.led_ms if led else each.other_ms)] or [0.0]


def _rates(growth: Growth) -> Table:
    head = ("Keys", "Loaded by batch", f"Reads of {growth.hot_keys:,} keys", "By those of a small node")
    rows: list[tuple[str, ...]] = []
    before = 0
    for each in growth.keys:
        loaded = f"{(each.keys - before) / each.load_seconds:,.0f}/s"
        rows.append(
            (f"{each.keys:,}", loaded, _run(each.hot), f"{each.ratio:.2f}", _run(each.spread), _run(each.writes))
        )
        before = each.keys
    return (*head, "Reads of all keys", "Writes of all keys"), rows


def _storage(growth: Growth) -> Table:
    head = (
        "Keys",
        "Bytes accepted",
        "On the disk",
        f"Peak RSS, budget {growth.budget_bytes // MIB} MiB",
        "Written a byte loaded",
        "Written a byte of single writes",
        "Ready after SIGKILL",
        "With a log of",
    )
    rows: list[tuple[str, ...]] = []
    for each in growth.keys:
        longest = max(each.recoveries, key=lambda recovery: recovery.seconds)
        rows.append(
            (
                f"{each.keys:,}",
                f"{each.accepted_bytes / MIB:,.0f} MiB",
                f"{each.disk_bytes / MIB:,.0f} MiB",
                f"{each.rss_bytes / MIB:,.0f} MiB",
                f"{each.load_amplification:.1f}",
                f"{each.writes_amplification:.1f}",
                f"{longest.seconds:.2f} s",
                f"{longest.log_bytes / MIB:,.0f} MiB",
            )
        )
    return head, rows


def _sizes(title: str, sizes: list[tuple[int, AtSize]]) -> Table:
    head = (title, "Writes", "Processor time a write", "Reads", "Processor time a read", "Peak RSS of a node")
    rows: list[tuple[str, ...]] = [
        (
            f"{count}",
            _run(each.put),
            f"{each.put_cpu_us:.0f} µs",
            _run(each.get),
            f"{each.get_cpu_us:.0f} µs",
            f"{each.rss_bytes / MIB:,.0f} MiB",
        )
        for count, each in sizes
    ]
    return head, rows


def _takeovers(takeovers: list[Takeover]) -> Table:
    head = (
        "Partitions, three nodes",
        "Kills",
        "Partitions led by the killed: median",
        "longest",
        "The others: longest",
    )
    rows: list[tuple[str, ...]] = []
    for count, some in by_partitions(takeovers):
        led, others = pauses(some, led=True), pauses(some, led=False)
        rows.append(
            (f"{count}", f"{len(some)}", f"{median(led):.0f} ms", f"{max(led):.0f} ms", f"{max(others):.0f} ms")
        )
    return head, rows


def _run(run: Run) -> str:
    return f"{run.per_second:,.0f}/s, p99 {run.p99_ms:.1f} ms"
