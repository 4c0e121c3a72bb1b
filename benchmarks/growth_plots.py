"""How cost grows, as a picture: one panel for each question, all in one SVG.

Counts stand on a logarithmic scale, since they grow by a factor from one step to the next; rates, times and sizes
begin at 0, so that a fall looks as deep as it is. Matplotlib is an extra: without it one line says how to get it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.growth_report import AtKeys, AtSize, Growth
from benchmarks.growth_tables import MIB, by_partitions, longest_recovery, pauses
from benchmarks.servers import ServerError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#1f6fb4", "#d1661a", "#2e8b57", "#8a4fa3")
_GREY = "#707070"

Line = tuple[str, Sequence[float], Sequence[float]]
"""What it shows, the counts, and the values there."""


def check() -> None:
    """Raises: ServerError if no picture can be drawn, before a long measurement is made for it."""
    try:
        import matplotlib  # noqa: F401 only to see that it is there
    except ImportError:
        raise ServerError("pictures need Matplotlib: pip install 'corecache[plots]'") from None


def draw(growth: Growth, path: Path) -> None:
    """Draws the panels of what was measured to a file, SVG. Raises: ServerError, OSError."""
    check()
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = _panels(growth)
    rows = -(-len(panels) // 3)
    with mpl.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "corecache"}
    ):
        figure = Figure(figsize=(12, 3.1 * rows), layout="constrained")
        FigureCanvasSVG(figure)
        for place, panel in enumerate(panels, 1):
            panel(figure.add_subplot(rows, 3, place))
        figure.savefig(path, metadata={"Date": None})


def _panels(growth: Growth) -> list[Callable[["Axes"], None]]:
    panels: list[Callable[[Axes], None]] = []
    if growth.keys:
        panels += _of_keys(growth)
    if growth.partitions:
        panels += _of_sizes(growth.partitions, "partitions, three nodes", lambda each: each.partitions)
    if growth.nodes:
        title = f"nodes, {growth.nodes[0].partitions} partitions, one machine"
        panels += _of_sizes(growth.nodes, title, lambda each: each.nodes)
    if growth.takeovers:
        panels.append(_of_takeovers(growth))
    return panels


def _of_keys(growth: Growth) -> list[Callable[["Axes"], None]]:
    steps = growth.keys
    keys = [each.keys for each in steps]
    runs = (
        (f"reads of {growth.hot_keys:,} keys", [each.hot for each in steps]),
        ("reads of all keys", [each.spread for each in steps]),
        ("writes of all keys", [each.writes for each in steps]),
    )

    def of(value: Callable[[AtKeys], float]) -> list[float]:
        return [value(each) for each in steps]

    def memory(axes: "Axes") -> None:
        _lines(axes, "Peak resident set", "MiB", "keys", [("", keys, of(lambda each: each.rss_bytes / MIB))])
        axes.axhline(growth.budget_bytes / MIB, color=_GREY, linestyle="--", linewidth=0.8)
        axes.annotate(
            "storage.memory_bytes", (keys[0], growth.budget_bytes / MIB), color=_GREY, va="bottom", fontsize=8
        )

    def rates(axes: "Axes") -> None:
        lines = [(name, keys, [run.per_second for run in some]) for name, some in runs]
        _lines(axes, "Rate of one node", "requests a second", "keys", lines)

    def latencies(axes: "Axes") -> None:
        lines = [(name, keys, [run.p99_ms for run in some]) for name, some in runs]
        _lines(axes, "p99 of one node", "ms", "keys", lines)

    def amplification(axes: "Axes") -> None:
        loaded, single = of(lambda each: each.load_amplification), of(lambda each: each.writes_amplification)
        lines = [("loaded by batch", keys, loaded), ("single writes", keys, single)]
        _lines(axes, "Bytes written to the disk a byte accepted", "", "keys", lines)

    def recovery(axes: "Axes") -> None:
        _lines(axes, "Ready after SIGKILL", "s", "keys", [("", keys, of(longest_recovery))])

    return [rates, latencies, memory, amplification, recovery]


def _of_sizes(sizes: Sequence[AtSize], what: str, count_of: Callable[[AtSize], int]) -> list[Callable[["Axes"], None]]:
    counts = [count_of(each) for each in sizes]
    counted = what.partition(",")[0]

    def of(put: Callable[[AtSize], float], get: Callable[[AtSize], float]) -> list[Line]:
        return [("writes", counts, [put(each) for each in sizes]), ("reads", counts, [get(each) for each in sizes])]

    def rates(axes: "Axes") -> None:
        lines = of(lambda each: each.put.per_second, lambda each: each.get.per_second)
        _lines(axes, f"Rate by {what}", "requests a second", counted, lines)

    def latencies(axes: "Axes") -> None:
        lines = of(lambda each: each.put.p99_ms, lambda each: each.get.p99_ms)
        _lines(axes, f"p99 by {what}", "ms", counted, lines)

    def costs(axes: "Axes") -> None:
        lines = of(lambda each: each.put_cpu_us, lambda each: each.get_cpu_us)
        _lines(axes, "Processor time a request, all nodes", "µs", counted, lines)

    def memory(axes: "Axes") -> None:
        lines = [("", counts, [each.rss_bytes / MIB for each in sizes])]
        _lines(axes, f"Peak resident set of a node by {counted}", "MiB", counted, lines)

    return [rates, latencies, memory, costs]


def _of_takeovers(growth: Growth) -> Callable[["Axes"], None]:
    grouped = by_partitions(growth.takeovers)
    counts = [count for count, _ in grouped]

    def panel(axes: "Axes") -> None:
        lines = [
            ("led by the killed, longest", counts, [max(pauses(some, led=True)) / 1000 for _, some in grouped]),
            ("led by the killed, median", counts, [median(pauses(some, led=True)) / 1000 for _, some in grouped]),
            ("the others, longest", counts, [max(pauses(some, led=False)) / 1000 for _, some in grouped]),
        ]
        _lines(axes, "From a kill to the first write", "s", "partitions, three nodes", lines)

    return panel


def _lines(axes: "Axes", title: str, unit: str, counted: str, lines: Sequence[Line]) -> None:
    for colour, (name, counts, values) in zip(_COLOURS, lines, strict=False):
        axes.plot(counts, values, marker="o", markersize=3.5, color=colour, label=name)
    axes.set_xscale("log")
    counts = lines[0][1]
    axes.set_xticks(counts, [f"{count:,.0f}" for count in counts])
    axes.minorticks_off()
    axes.set_ylim(0, 1.06 * max(value for _, _, values in lines for value in values))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_ylabel(unit)
    axes.set_xlabel(counted)
    axes.grid(True, color="#dddddd", linewidth=0.6)
    if lines[0][0]:
        axes.legend(frameon=False, fontsize=8)
