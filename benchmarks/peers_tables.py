"""CoreCache beside its peers, as people read it: what each promises, ratios, then the numbers by themselves.

A ratio is CoreCache's rate by the peer's, of as many members: above 1 CoreCache does more. It speaks HTTP where the
peer does, or has neither protocol, and Redis's protocol beside Redis.
"""

from collections.abc import Iterator
from itertools import product

from benchmarks.clusters import ETCD_BYTES_MAX
from benchmarks.peers import OPERATIONS, cell_of, cell_run, ratio
from benchmarks.peers_report import PeersSpeed

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Its head and its rows."""

BESIDE = (
    ("etcd3", "corecache3-http"),
    ("redis3", "corecache3-resp"),
    ("zookeeper3", "corecache3-http"),
    ("pysyncobj3", "corecache3-http"),
    ("etcd1", "corecache1-http"),
    ("redis1", "corecache1-resp"),
)
"""Each peer, and whom it is compared with."""
BUSY, BUSY_SHARE = " ▲", 0.9
"""The mark of a cell in which the load generator, one thread, had hardly time to wait; and what that means."""


def all_of(speed: PeersSpeed) -> list[Table]:
    """Returns all tables."""
    ratios = [_ratios(speed, operation) for operation in OPERATIONS]
    return [
        _promises(speed),
        *(table for table in ratios if table[1]),
        *(_numbers(speed, operation, size) for operation, size in product(OPERATIONS, speed.sizes)),
    ]


def opening(speed: PeersSpeed) -> str:
    """Returns what has to be said before the tables, and the chart."""
    return (
        f"![Rates by clients, a line for each system](peers.svg)\n\nMedians of {speed.rounds} rounds of "
        f"{speed.seconds} s a cell, {speed.keys:,} keys of each size. Before the rounds, while all systems ran and "
        f"nobody asked, {min(speed.idle_cores):.2f} to {max(speed.idle_cores):.2f} cores computed. etcd may "
        f"fill {ETCD_BYTES_MAX // 10**9} GB, and is not compacted meanwhile.\n\n{BUSY.strip()} marks a cell in which "
        f"the load generator computed {BUSY_SHARE:.0%} or more of the time of a core: the system might have done more."
    )


def size_words(value_bytes: int) -> str:
    """Returns a size as people write it."""
    return f"{value_bytes // 1024} KiB" if value_bytes % 1024 == 0 else f"{value_bytes} B"


def _promises(speed: PeersSpeed) -> Table:
    rows: list[tuple[str, ...]] = [
        (each.title, each.writes, each.reads, _busiest(speed, each.name)) for each in speed.systems
    ]
    return ("System", "An answered write is", "Reads are", "Load generator busy, at most"), rows


def _busiest(speed: PeersSpeed, system: str) -> str:
    return f"{max(cell.load_busy for cell in speed.cells if cell.system == system):.0%}"


def _ratios(speed: PeersSpeed, operation: str) -> Table:
    settings = list(product(speed.sizes, speed.clients))
    titles = {each.name: each.title for each in speed.systems}
    rows = []
    for peer, ours in BESIDE:
        if peer in titles and ours in titles:
            found = [ratio(speed, ours, peer, operation, *setting) for setting in settings]
            by = titles[ours].removeprefix("CoreCache, ")
            rows.append((f"{titles[peer]}", by, *("-" if each is None else f"{each:.2f}" for each in found)))
    head = (f"{size_words(size)}, {clients}" for size, clients in settings)
    return (f"{operation.capitalize()}s by the peer's, value size and clients", "CoreCache is", *head), rows


def _numbers(speed: PeersSpeed, operation: str, value_bytes: int) -> Table:
    rows = [(each.title, *_row(speed, each.name, operation, value_bytes)) for each in speed.systems]
    columns = (f"{clients} client{'s' if clients > 1 else ''}" for clients in speed.clients)
    return (f"{operation.capitalize()}s of {size_words(value_bytes)}: a second · p50 · p99", *columns), rows


def _row(speed: PeersSpeed, system: str, operation: str, value_bytes: int) -> Iterator[str]:
    for clients in speed.clients:
        run = cell_run(speed, system, operation, value_bytes, clients)
        cell = cell_of(speed, system, operation, value_bytes, clients)
        failed = len(cell.failures) if cell is not None else 0
        if run is None:
            yield "failed"
        else:
            told = f"{run.per_second:,.0f} · {run.p50_ms:.2f} · {run.p99_ms:.2f} ms"
            told += BUSY if cell is not None and cell.load_busy >= BUSY_SHARE else ""
            yield told + (f" ({failed} of {speed.rounds} failed)" if failed else "")
