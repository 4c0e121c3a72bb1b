"""A report as people read it: Markdown tables, the same in the terminal, in `docs/benchmarks.md` and in the README.

The README's table has a row for each kind of request; what a row's operation and configuration mean is said there.
Numbers are rounded to what two runs on one machine agree in.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import failover_tables, growth_tables, peers_tables, profile_tables, resp_tables
from benchmarks.report import CatchUp, ClusterSpeed, Flushes, Memory, Report, Speed
from benchmarks.wrk import Run

MIB = 1024 * 1024
BEGIN = "<!-- results: begin -->"
END = "<!-- results: end -->"

COLUMNS = (
    "Date",
    "Version",
    "Nodes",
    "Configuration",
    "Operation",
    "Total requests",
    "Throughput",
    "Average latency",
    "p95",
    "Command",
)


def markdown(report: Report) -> str:
    """Returns all of a report: the README's rows, the parts' own tables, the bounds, the machine."""
    measured = (report.speed, report.flushes, report.memory, report.cluster, report.resp)
    parts = [rows(report)] if any(each is not None for each in measured) else []
    if report.speed is not None:
        parts.append(_speed(report.speed))
    if report.flushes is not None:
        parts.append(_flushes(report.flushes))
    if report.memory is not None:
        parts.append(_memory(report.memory))
    if report.cluster is not None:
        parts.append(_cluster(report.cluster))
    if report.catch_up is not None:
        parts.append(_catch_up(report.catch_up))
    if report.failovers is not None:
        parts += [
            _table(*failover_tables.spread(report.failovers)),
            _table(*failover_tables.each_kill(report.failovers)),
        ]
    if report.resp is not None:
        parts += [
            _table(*resp_tables.one_node(report.resp)),
            _table(*resp_tables.three_nodes(report.resp)),
            _table(*resp_tables.generator(report.resp)),
        ]
    if report.peers is not None:
        parts.append(peers_tables.opening(report.peers))
        parts += [_table(*each) for each in peers_tables.all_of(report.peers)]
    if report.growth is not None:
        parts += [_table(*each) for each in growth_tables.all_tables(report.growth)]
    if report.profile is not None:
        parts.append(_table(*profile_tables.by_layer(report.profile)))
    bounds = [(each.what, f"{each.value:.2f}", each.asked, "met" if each.met else "not met") for each in report.bounds]
    if bounds:
        parts.append(_table(("Bound", "Measured", "Asked", ""), bounds))
    return "\n\n".join([*parts, _machine(report)])


def rows(report: Report) -> str:
    """Returns the README's table."""
    settings = report.settings
    budget = f"memory {settings.memory_bytes // MIB} MiB"
    load = f"{settings.connections} connections, {settings.value_bytes}-byte values"
    fsync = f"fsync, {load}, {settings.keys:,} keys, {budget}"
    measured_alone: list[tuple[str, str, Run]] = []
    if report.speed is not None:
        measured_alone += [(fsync, "PUT", report.speed.put.node), (fsync, "GET", report.speed.get.node)]
    if report.flushes is not None:
        measured_alone.append((fsync, "PUT during flushes", report.flushes.flushing))
    if report.memory is not None:
        many = f"{load}, {report.memory.records:,} keys, {budget}"
        measured_alone.append((many, "GET, at random over all", report.memory.reads))
    in_redis_protocol = f"Redis's protocol, fsync, {settings.value_bytes}-byte values, 10,000 keys, {budget}"
    if report.resp is not None:
        with_load = f"{in_redis_protocol}, {settings.connections} connections"
        measured_alone += [(with_load, each.what, each.corecache.run) for each in report.resp.one_node]
    measured = [("1", *each) for each in measured_alone]
    if report.cluster is not None:
        three = f"fsync, {load}, 10,000 keys, 8 partitions, {budget}"
        measured += [("3", three, each.what, each.corecache) for each in report.cluster.compared]
    if report.resp is not None:
        three = f"{in_redis_protocol}, 8 partitions"
        measured += [("3", three, each.what, each.corecache.run) for each in report.resp.three_nodes]
    return _table(
        COLUMNS,
        [
            (
                report.date[:10],
                report.version,
                nodes,
                configuration,
                operation,
                f"{run.requests:,}",
                f"{run.per_second:,.0f}/s",
                f"{run.mean_ms:.2f} ms",
                f"{run.p95_ms:.2f} ms",
                f"`{settings.command}`",
            )
            for nodes, configuration, operation, run in measured
        ],
    )


def write_between_marks(page: Path, text: str, part: str | None = None) -> None:
    """Replaces what stands between a page's two marks; those of a part by itself, if it has any on the page.

    Raises: ValueError if the marks are not there.
    """
    whole = page.read_text()
    of_part = tuple(mark.replace("results:", f"results of {part}:") for mark in (BEGIN, END))
    begin, end = of_part if of_part[0] in whole else (BEGIN, END)
    before, begun, rest = whole.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"{page} has no lines {begin!r} and {end!r}: put them where the results belong")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def _speed(speed: Speed) -> str:
    lines = []
    for name, compared in (("PUT", speed.put), ("GET", speed.get)):
        for who, run, cpu_us in (
            ("node", compared.node, compared.node_cpu_us),
            ("ceiling", compared.ceiling, compared.ceiling_cpu_us),
        ):
            ratio = f"{compared.ratio:.2f}" if who == "node" else ""
            lines.append((name, who, *_latencies(run), f"{cpu_us:.0f} µs", ratio))
    return _table(("", "", *_LATENCY_COLUMNS, "Processor time a request", "Ratio"), lines)


def _flushes(flushes: Flushes) -> str:
    during = f"PUT during {flushes.flushes:,} flushes of {flushes.flush_ms:.0f} ms"
    return _table(
        ("", *_LATENCY_COLUMNS),
        [("PUT without flushes", *_latencies(flushes.quiet)), (during, *_latencies(flushes.flushing))],
    )


def _memory(memory: Memory) -> str:
    reads = memory.reads
    return _table(
        (f"{memory.records:,} records, budget {memory.budget_bytes // MIB} MiB", ""),
        [
            ("loading", f"{memory.load_per_second:,.0f} records/s, {memory.load_seconds:.0f} s"),
            ("peak RSS after loading", f"{memory.after_load_rss_bytes / MIB:.0f} MiB"),
            ("peak RSS after reading", f"{memory.peak_rss_bytes / MIB:.0f} MiB"),
            ("reads at random", f"{reads.per_second:,.0f}/s, p50 {reads.p50_ms:.2f} ms, p99 {reads.p99_ms:.2f} ms"),
            ("on the disk", f"{memory.disk_bytes / MIB:,.0f} MiB"),
            ("ready after SIGKILL", f"{memory.ready_after_kill_seconds:.2f} s"),
            ("ready after a clean stop", f"{memory.ready_after_stop_seconds:.2f} s"),
        ],
    )


def _cluster(cluster: ClusterSpeed) -> str:
    lines = []
    for each in cluster.compared:
        for who, run, cpu_us in (
            ("CoreCache", each.corecache, each.corecache_cpu_us),
            ("etcd", each.etcd, each.etcd_cpu_us),
        ):
            ratio = f"{each.ratio:.2f}" if who == "CoreCache" else ""
            lines.append((each.what, who, *_latencies(run), f"{cpu_us:.0f} µs", ratio))
    title = f"Three nodes, {cluster.partitions} partitions, beside etcd {cluster.etcd_version}"
    beside = _table((title, "", *_LATENCY_COLUMNS, "Processor time a request", "Ratio"), lines)
    counted = [
        (f"{each.partitions}", *(f"{run.per_second:,.0f}/s, p99 {run.p99_ms:.1f} ms" for run in (each.put, each.get)))
        for each in cluster.by_partitions
    ]
    return beside + "\n\n" + _table(("Partitions", "PUT", "GET"), counted)


def _catch_up(caught_up: CatchUp) -> str:
    rate = f"{caught_up.bytes_per_second / 1e6:,.0f} MB/s"
    head = (f"A node that lost {caught_up.size_bytes / 1e6:,.0f} MB, filled in {caught_up.seconds:.0f} s ({rate})",)
    lines = [("PUT before", *_latencies(caught_up.quiet)), ("PUT meanwhile", *_latencies(caught_up.filling))]
    return _table((*head, *_LATENCY_COLUMNS), lines)


_LATENCY_COLUMNS = ("Throughput", "p50", "p95", "p99", "Longest")


def _latencies(run: Run) -> tuple[str, ...]:
    times = (run.p50_ms, run.p95_ms, run.p99_ms, run.max_ms)
    return f"{run.per_second:,.0f}/s", *(f"{time:.2f} ms" for time in times)


def _machine(report: Report) -> str:
    machine = report.machine
    peers = {} if report.peers is None else report.peers.versions
    versions = ", ".join(f"{name} {version}" for name, version in sorted((machine.versions | peers).items()))
    return (
        f"{report.date}, CoreCache {report.version}, on {machine.processor}, {machine.cores} cores, "
        f"{machine.memory_bytes / 1024**3:.0f} GiB of memory, {machine.kernel}, {machine.python}, {versions}. "
        f"Files on {machine.file_system}: a sync of 4 KiB takes {machine.sync_p50_ms:.2f} ms (p50), "
        f"{machine.sync_p99_ms:.2f} ms (p99)."
    )


def _table(columns: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (columns, ("---",) * len(columns), *lines))
