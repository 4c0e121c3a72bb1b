"""The figures of a bench as a picture: latency by percentile, and throughput and latency over time.

Percentiles stand on a scale on which each nine takes as much room as the one before, since it is the last ones that
users feel. Time is in seconds of the measurement. Matplotlib is an extra: without it one line says how to get it.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corecache.errors import CallerFault
from corecache.loadgen.figures import Figures, OperationFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#1f6fb4", "#d1661a", "#2e8b57", "#8a4fa3", "#a33b3b")
_GREY = "#707070"
_TICKS = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
_FORMATS = frozenset((".svg", ".png", ".pdf"))
NOTHING = "No operation succeeded."


def check(path: Path) -> None:
    """Raises: CallerFault if no picture can be drawn to this file, before a long measurement is made for it."""
    if path.suffix.lower() not in _FORMATS:
        raise CallerFault("bad_file", f"{path}: a picture is FILE.svg, FILE.png or FILE.pdf")
    try:
        import matplotlib  # noqa: F401 only to see that it is there
    except ImportError:
        raise CallerFault("no_matplotlib", "--plot needs Matplotlib: pip install 'corecache[plots]'") from None


def draw(figures: Figures, path: Path) -> None:
    """Draws to a file of the format that its name says. Raises: CallerFault, OSError."""
    check(path)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 5.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplot_mosaic([["percentiles", "rate"], ["percentiles", "latency"]])
        figure.suptitle(_title(figures), x=0.01, ha="left", fontsize=10)
        _percentiles(axes["percentiles"], figures.operations)
        _rate(axes["rate"], figures)
        _latency(axes["latency"], figures)
        figure.savefig(path, dpi=120)


def _title(figures: Figures) -> str:
    least, most = figures.value_bytes
    size = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    pace = "closed loop" if figures.rate is None else f"{figures.rate:,g} asked for a second"
    return (
        f"Workload {figures.workload} ({figures.protocol}): {figures.done:,} operations, {figures.per_second:,.0f}/s, "
        f"{figures.failed:,} failed\n{figures.keys:,} keys ({figures.distribution}), values of {size} bytes, "
        f"{figures.connections:,} connections x {figures.pipeline}, {pace}, CoreCache {figures.version}"
    )


def _percentiles(axes: "Axes", operations: list[OperationFigures]) -> None:
    axes.set_title("Latency by percentile", loc="left", fontsize=10)
    if not operations:
        _nothing(axes)
        return
    deepest = 90.0
    for colour, each in zip(_COLOURS, operations, strict=False):
        # Beyond what one operation makes out, all percentiles are the longest latency.
        points = [(percent, ms) for percent, ms in each.percentiles if percent < 100 * (1 - 0.5 / max(1, each.done))]
        deepest = max([deepest, *(percent for percent, _ in points)])
        axes.plot(
            [_depth(percent) for percent, _ in points], [ms for _, ms in points], color=colour, label=each.operation
        )
    ticks = [percent for percent in _TICKS if percent <= deepest]
    axes.set_xticks([_depth(percent) for percent in ticks], [f"{percent:g}%" for percent in ticks])
    axes.set_xscale("log")
    axes.set_xticks([_depth(percent) for percent in ticks], [f"{percent:g}%" for percent in ticks])
    axes.minorticks_off()
    axes.set_yscale("log")
    axes.set_xlabel("so many operations were answered within")
    axes.set_ylabel("ms")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.yaxis.set_major_formatter(lambda ms, _: f"{ms:g}")
    axes.legend(frameon=False, loc="upper left")


def _rate(axes: "Axes", figures: Figures) -> None:
    seconds = _whole_seconds(figures)
    axes.plot([each.at_s + 0.5 for each in seconds], [each.done for each in seconds], color=_COLOURS[0])
    if figures.rate is not None:
        axes.axhline(figures.rate, color=_GREY, linewidth=0.8, linestyle="--", label="asked for")
        axes.legend(frameon=False, loc="lower left")
    failed = [each for each in seconds if each.failed]
    if failed:
        axes.plot(
            [each.at_s + 0.5 for each in failed],
            [each.failed for each in failed],
            "x",
            color=_COLOURS[4],
            label="failed",
        )
        axes.legend(frameon=False, loc="lower left")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, max(1.0, figures.seconds))
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_title("Operations a second", loc="left", fontsize=10)


def _latency(axes: "Axes", figures: Figures) -> None:
    axes.set_title("Latency over time", loc="left", fontsize=10)
    if not figures.done:
        _nothing(axes)
        return
    seconds = _whole_seconds(figures)
    times = [each.at_s + 0.5 for each in seconds]
    lines = (("longest", "max_ms", "#bbbbbb"), ("p99", "p99_ms", _COLOURS[1]), ("p50", "p50_ms", _COLOURS[0]))
    for label, field, colour in lines:
        # A second without an answer has no latency: a gap, not a line across it.
        heights = [getattr(each, field) if each.done else math.nan for each in seconds]
        axes.plot(times, heights, color=colour, label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda ms, _: f"{ms:g}")
    axes.set_xlim(0, max(1.0, figures.seconds))
    axes.set_xlabel("seconds")
    axes.set_ylabel("ms")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=3)


def _nothing(axes: "Axes") -> None:
    """Says that there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, NOTHING, transform=axes.transAxes, ha="center", color=_GREY)


def _whole_seconds(figures: Figures) -> list[Any]:
    """Returns the seconds without a last one that is only a part: its count would look like a fall."""
    whole = [each for each in figures.timeline if each.at_s + 1 <= figures.seconds + 0.001]
    return whole or figures.timeline


def _depth(percent: float) -> float:
    """Returns the place of a percentile: 1 for 0, 10 for 90, 100 for 99, and so on."""
    return 100 / (100 - percent)
