"""How cost grows: with keys, with partitions, with nodes; and what a failover costs, with partitions.

Each section can be had by itself (`--sections`). The numbers of one section come from one run, so that their course
means something on a machine whose days differ; only reads in memory are held against a bound, and these as ratios to a
small node that is asked in turns (`growth_keys.py`). Clusters are in `growth_cluster.py`, tables and pictures in
`growth_tables.py` and `growth_plots.py`.
"""

from collections.abc import Callable
from pathlib import Path

from benchmarks import growth_cluster, growth_keys
from benchmarks.growth_report import Growth
from benchmarks.report import Bound, Settings

SECTIONS = ("keys", "partitions", "nodes", "failover")
PARTITION_COUNTS = (1, 4, 16, 64, 256)
NODE_COUNTS = (1, 3, 5, 7)
ROUNDS_MAX = 3
KILLS_MAX = 3
FLAT_FROM = 100_000
FLAT_ASKED = 0.75


def measure(directory: Path, settings: Settings, say: Callable[[str], None]) -> Growth:
    """Measures the sections that are asked for, each with its files below the directory.

    Raises: ServerError, LoadError, OSError.
    """
    rounds, kills = min(ROUNDS_MAX, settings.pairs), min(KILLS_MAX, settings.kills)
    wanted = settings.sections
    return Growth(
        hot_keys=min(growth_keys.HOT_KEYS, settings.keys_max),
        budget_bytes=settings.memory_bytes,
        keys=growth_keys.measure(directory / "keys", settings, rounds, say) if "keys" in wanted else [],
        partitions=[
            growth_cluster.at_size(directory / f"partitions{count}", growth_cluster.NODES, count, settings, rounds, say)
            for count in PARTITION_COUNTS
            if "partitions" in wanted
        ],
        nodes=[
            growth_cluster.at_size(directory / f"nodes{count}", count, growth_cluster.PARTITIONS, settings, rounds, say)
            for count in NODE_COUNTS
            if "nodes" in wanted
        ],
        takeovers=[
            each
            for count in PARTITION_COUNTS
            if "failover" in wanted
            for each in growth_cluster.takeovers(directory / f"failover{count}", count, kills, settings, say)
        ],
    )


def bounds(growth: Growth) -> list[Bound]:
    """Holds reads in memory against what was promised, if there are two steps to compare."""
    ratios = [each.ratio for each in growth.keys if each.keys >= FLAT_FROM]
    if len(ratios) < 2:
        return []
    flat = min(ratios) / max(ratios)
    what = f"reads in memory, {FLAT_FROM:,} keys and more, the slowest by the fastest"
    return [Bound(what, flat, f"at least {FLAT_ASKED}", flat >= FLAT_ASKED)]
