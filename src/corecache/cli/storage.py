"""`corecache storage`: the log-structured merge tree of a node, made visible and steerable.

`show` (also without a word) reads, `flush` and `compact` do it now, wait until it is done, and show the tree as it then
stands. The figures are those of `/v1/storage`, in its words.
"""

import typer

from corecache.cli.node import AsJson, Endpoints, connect
from corecache.cli.tables import print_json, print_table
from corecache.reports import StorageReport


def add_to(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(help="Show or steer the storage: memtables, SSTables, bytes.", rich_markup_mode=None)
    group.callback(invoke_without_command=True)(storage)
    for command in (show, flush, compact):
        group.command()(command)
    app.add_typer(group, name="storage")


def storage(context: typer.Context, as_json: AsJson = False, endpoint: Endpoints = None) -> None:
    """Show or steer the storage: memtables, SSTables, bytes.

    Without a command it shows.
    """
    root = context.find_root()
    root.obj = endpoint or root.obj
    context.obj = as_json
    if context.invoked_subcommand is None:
        show(context, as_json)


def show(context: typer.Context, as_json: AsJson = False, endpoint: Endpoints = None) -> None:
    """Show the tree as it stands."""
    with connect(context, endpoint) as client:
        _print(client.storage(), as_json or context.obj is True)


def flush(context: typer.Context, as_json: AsJson = False, endpoint: Endpoints = None) -> None:
    """Write all memtables to SSTables, now, and show the tree."""
    with connect(context, endpoint) as client:
        _print(client.flush(), as_json or context.obj is True)


def compact(context: typer.Context, as_json: AsJson = False, endpoint: Endpoints = None) -> None:
    """Merge all SSTables, now, and show the tree.

    Overwritten and deleted records leave the disk.
    """
    with connect(context, endpoint) as client:
        _print(client.compact(), as_json or context.obj is True)


def _print(report: StorageReport, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    levels = [
        (str(level.level), f"{level.sstables:,}", _bytes(level.bytes), f"{level.entries:,}", f"{level.tombstones:,}")
        for level in report.levels
    ]
    columns = ("level", "SSTables", "bytes", "entries", "tombstones")
    print_table("Levels", columns, levels, numbers=columns)
    print_table("Storage", ("what", "how much"), _figures(report), numbers=("how much",))


def _figures(report: StorageReport) -> list[tuple[str, str]]:
    looked_up = report.cache_hits + report.cache_misses
    return [
        ("memtables", f"{report.memtables:,}"),
        ("memtable bytes", _bytes(report.memtable_bytes)),
        ("memtable entries", f"{report.memtable_entries:,}"),
        ("memtable tombstones", f"{report.memtable_tombstones:,}"),
        ("SSTable bytes", _bytes(report.sstable_bytes)),
        ("tombstones", f"{report.tombstones:,}"),
        ("write-ahead log bytes", _bytes(report.log_bytes)),
        ("pending compaction bytes", _bytes(report.pending_compaction_bytes)),
        ("running flushes", f"{report.running_flushes:,}"),
        ("running compactions", f"{report.running_compactions:,}"),
        ("writes", _writes(report)),
        ("stalled so far", f"{report.stall_ms:,} ms"),
        ("cache bytes", _bytes(report.cache_bytes)),
        ("cache hits", f"{report.cache_hits / looked_up:.1%} of {looked_up:,}" if looked_up else "none yet"),
        ("file reads spared by Bloom filters", f"{report.filter_useful:,}"),
        ("memory budget", _bytes(report.memory_budget_bytes)),
        ("disk used", _bytes(report.disk_used_bytes)),
        ("disk budget", _bytes(report.disk_budget_bytes) if report.disk_budget_bytes else "the file system"),
        ("disk free", _bytes(report.disk_free_bytes)),
        ("accepts puts", "yes" if report.accepts_puts else "no: the disk budget is reached"),
    ]


def _writes(report: StorageReport) -> str:
    if report.writes_stopped:
        return "held back"
    slowed = report.writes_slowed_bytes_per_second
    return f"slowed to {_bytes(slowed)} a second" if slowed else "not slowed"


def _bytes(count: int) -> str:
    """Returns a size with three digits or so and its unit."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count:,} B" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
