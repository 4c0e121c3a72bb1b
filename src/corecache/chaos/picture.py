"""A campaign as a picture: calls and latencies over time, and below, on the same axis, what was done to the cluster.

From top to bottom: how many calls were answered each second, and how many not; latencies of reads and of writes, on
logarithmic axes; the faults, a lane for each kind. At a lane's right stand how often its kind struck and the longest
time for which some partition answered nobody. What was aimed at a moment and missed it has lanes of its own, its kind
in brackets. With few faults each is named by whom it struck, and shaded through all panels; with many the lanes alone
show them.

A picture has no more points than can be told apart: a long campaign's seconds are put together, and the picture says
so. The colours are Okabe and Ito's, which the colour-blind can tell apart too.

Matplotlib is imported here and nowhere else in the campaign, when a picture is drawn: it is an extra, and slow to load.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from math import ceil, floor, isnan, log10, nan
from pathlib import Path
from statistics import fmean, median
from textwrap import shorten
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from corecache.chaos.report import Fault, Report, Second
from corecache.errors import CallerFault

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS_MAX: Final = 900
_NAMED_MAX: Final = 30
"""Up to so many faults are named and shaded one by one."""

_WIDTH_INCHES: Final = 14.0
_PANELS_INCHES: Final = (2.3, 1.5, 1.5)
_LANE_INCHES: Final = 0.24
_MARGIN_INCHES: Final = 1.8

_GREEN, _ORANGE, _RED, _BLUE, _SKY, _PURPLE, _GREY = (
    "#009E73",
    "#E69F00",
    "#D55E00",
    "#0072B2",
    "#56B4E9",
    "#CC79A7",
    "#555555",
)
_LANE_COLOURS: Final = (_BLUE, _RED, _GREEN, _PURPLE, _ORANGE, _SKY)
_VERDICT_COLOURS: Final = {"passed": _GREEN, "violation": _RED, "void": _GREY}


class _Point(NamedTuple):
    """A stretch of seconds as one point: calls per second, latencies in ms (nan if there are none)."""

    at_s: int
    done: float
    not_done: float
    unknown: float
    read_p50_ms: float
    read_p99_ms: float
    write_p50_ms: float
    write_p99_ms: float


def draw(report: Report, path: Path) -> None:
    """Writes the picture of a campaign as PNG or SVG, whichever the path ends in.

    Raises CallerFault `no_matplotlib` if matplotlib is not installed, and OSError if the file can't be written.
    """
    if find_spec("matplotlib") is None:
        raise CallerFault("no_matplotlib", "A picture needs Matplotlib: pip install 'corecache[plots]'")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    missed = [msgspec.structs.replace(fault, kind=f"({fault.kind})") for fault in report.missed]
    lanes = _lanes([*report.faults, *missed])
    rows = [*_PANELS_INCHES, max(1, len(lanes)) * _LANE_INCHES]
    height = sum(rows) + _MARGIN_INCHES
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "corecache", "font.size": 9}):
        figure = Figure(figsize=(_WIDTH_INCHES, height))
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            4, 1, height_ratios=rows, left=0.115, right=0.865, top=1 - 1.0 / height, bottom=0.55 / height, hspace=0.12
        )
        throughput, reads, writes, faults = (figure.add_subplot(grid[row]) for row in range(4))
        step_s = max(1, ceil(len(report.timeline) / _POINTS_MAX))
        points = _points(report.timeline, step_s)
        _draw_throughput(throughput, points, step_s)
        _draw_latency(reads, "reads", [(point.read_p50_ms, point.read_p99_ms) for point in points], points, step_s)
        _draw_latency(writes, "writes", [(point.write_p50_ms, point.write_p99_ms) for point in points], points, step_s)
        _draw_faults(faults, lanes, report)
        _share_the_time((throughput, reads, writes, faults), report)
        _write_above(figure, report, step_s, height)
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _write_above(figure: "Figure", report: Report, step_s: int, height: float) -> None:
    """Writes the verdict, what was run, why the verdict is what it is, and how to run it again."""
    verdict = report.verdict
    figure.text(0.115, 1 - 0.3 / height, verdict.upper(), color=_VERDICT_COLOURS[verdict], size=14, weight="bold")
    for text, inches, size, colour in (
        (_title(report), 0.3, 11, "black"),
        (shorten(report.why, 150, placeholder=" …"), 0.54, 9, "black"),
        (report.replay + _grain(step_s), 0.75, 8, _GREY),
    ):
        figure.text(0.23, 1 - inches / height, text, size=size, color=colour, parse_math=False)


def _title(report: Report) -> str:
    return (
        f"seed {report.seed}    {report.nodes} nodes, {report.zookeepers} ZooKeeper    {report.seconds:,.0f} s    "
        f"{sum(report.operations.values()):,} calls    {len(report.faults):,} faults    CoreCache {report.version}"
    )


def _grain(step_s: int) -> str:
    if step_s == 1:
        return ""
    return f"    (a point is {step_s} s: of the rates the mean, of p50 the median, of p99 the worst)"


def _points(timeline: Sequence[Second], step_s: int) -> list[_Point]:
    """Puts the seconds together, so many to a point."""
    points = []
    for first in range(0, len(timeline), step_s):
        seconds = timeline[first : first + step_s]
        points.append(
            _Point(
                seconds[0].at_s,
                fmean(second.done for second in seconds),
                fmean(second.not_done for second in seconds),
                fmean(second.unknown for second in seconds),
                _of_those_there(median, [second.read_p50_ms for second in seconds]),
                _of_those_there(max, [second.read_p99_ms for second in seconds]),
                _of_those_there(median, [second.write_p50_ms for second in seconds]),
                _of_those_there(max, [second.write_p99_ms for second in seconds]),
            )
        )
    return points


def _of_those_there(choose: Callable[[list[float]], float], latencies_ms: list[float]) -> float:
    """A second without calls has no latency: it leaves a hole in the line."""
    there = [latency_ms for latency_ms in latencies_ms if latency_ms > 0]
    return choose(there) if there else nan


def _draw_throughput(axes: "Axes", points: Sequence[_Point], step_s: int) -> None:
    edges = [float(point.at_s) for point in points]
    if points:
        edges.append(edges[-1] + step_s)
    bottom = [0.0] * len(points)
    for name, colour, rates in (
        ("done or failed", _SKY, [point.done for point in points]),
        ("not done", _ORANGE, [point.not_done for point in points]),
        ("unknown", _RED, [point.unknown for point in points]),
    ):
        top = [below + rate for below, rate in zip(bottom, rates, strict=True)]
        # Each second is a step as wide as itself, so that one without answers is seen.
        axes.fill_between(
            edges, [*bottom, *bottom[-1:]], [*top, *top[-1:]], step="post", color=colour, linewidth=0, label=name
        )
        bottom = top
    axes.set_ylabel("calls per second")
    axes.set_ylim(0, max(bottom, default=0) * 1.08 or 1)
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.02), frameon=False)


def _draw_latency(
    axes: "Axes", name: str, latencies_ms: Sequence[tuple[float, float]], points: Sequence[_Point], step_s: int
) -> None:
    times = [point.at_s + step_s / 2 for point in points]
    axes.plot(times, [p99 for _, p99 in latencies_ms], color=_RED, linewidth=0.8, label="p99")
    axes.plot(times, [p50 for p50, _ in latencies_ms], color=_BLUE, linewidth=1.0, label="p50")
    axes.set_yscale("log")
    # From one power of ten to another, so that at least two of them are there to be named.
    known = [latency_ms for pair in latencies_ms for latency_ms in pair if not isnan(latency_ms)] or [1.0]
    lowest = floor(log10(min(known)))
    axes.set_ylim(10.0**lowest, 10.0 ** max(lowest + 1, ceil(log10(max(known)))))
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:,g}")
    axes.yaxis.set_minor_formatter(lambda _value, _position: "")
    axes.set_ylabel(f"{name}, ms")
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.02), frameon=False)


def _lanes(faults: Sequence[Fault]) -> dict[str, list[Fault]]:
    """Returns the faults by kind, in the order in which the kinds first struck; in a lane, in order of their begin."""
    lanes: dict[str, list[Fault]] = {}
    for fault in sorted(faults, key=lambda fault: fault.began_s):
        lanes.setdefault(fault.kind, []).append(fault)
    return lanes


def _draw_faults(axes: "Axes", lanes: dict[str, list[Fault]], report: Report) -> None:
    axes.set_ylim(max(1, len(lanes)) - 0.5, -0.5)
    axes.set_yticks(range(len(lanes)), list(lanes))
    axes.tick_params(axis="y", length=0)
    for edge in range(1, len(lanes)):
        axes.axhline(edge - 0.5, color="#dddddd", linewidth=0.5)
    # The least width that can be seen, and that of a letter.
    least_s, letter_s = report.seconds / 1_000, report.seconds / 190
    for lane, faults in enumerate(lanes.values()):
        colour = _LANE_COLOURS[lane % len(_LANE_COLOURS)]
        bars = [(fault.began_s, max(least_s, fault.ended_s - fault.began_s)) for fault in faults]
        axes.broken_barh(bars, (lane - 0.36, 0.72), color=colour, linewidth=0)
        _write_beside(axes, lane, f"{len(faults):,}", _in_seconds(max(fault.unavailable_s for fault in faults)))
        if len(report.faults) <= _NAMED_MAX:
            _name_targets(axes, lane, faults, letter_s, report.seconds)
    axes.set_xlabel("seconds from the campaign's start")
    if lanes:
        _write_beside(axes, -1, "struck", "longest outage")
    else:
        axes.text(0.5, 0.5, "no faults", transform=axes.transAxes, ha="center", va="center", color=_GREY)


def _write_beside(axes: "Axes", lane: int, count: str, longest: str) -> None:
    """Writes at a lane's right, or above them all, how often a kind struck and how long nobody was answered."""
    for text, place in ((count, 1.04), (longest, 1.14)):
        axes.annotate(text, (place, lane), xycoords=("axes fraction", "data"), va="center", ha="right", size=8)


def _in_seconds(unavailable_s: float) -> str:
    return f"{unavailable_s:.2f} s" if unavailable_s else "none"


def _name_targets(axes: "Axes", lane: int, faults: Sequence[Fault], letter_s: float, seconds: float) -> None:
    """Writes beside each bar whom the fault struck, if there is room before the next bar or after the last."""
    for index, fault in enumerate(faults):
        needs_s = (len(fault.target) + 2) * letter_s
        after_s = faults[index + 1].began_s if index + 1 < len(faults) else seconds
        before_s = faults[index - 1].ended_s + needs_s if index else 0.0
        if fault.ended_s + needs_s <= after_s:
            axes.text(fault.ended_s + letter_s / 2, lane, fault.target, va="center", size=7)
        elif fault.began_s - needs_s >= before_s:
            axes.text(fault.began_s - letter_s / 2, lane, fault.target, va="center", ha="right", size=7)


def _share_the_time(panels: Sequence["Axes"], report: Report) -> None:
    """Gives all panels one time axis, with the faults shaded through it if they are few."""
    end_s = max(report.seconds, *(fault.ended_s for fault in report.faults), len(report.timeline), 1)
    for axes in panels:
        axes.set_xlim(0, end_s)
        axes.grid(axis="x", linewidth=0.4, alpha=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[:-1]:
        axes.tick_params(axis="x", labelbottom=False)
        if len(report.faults) <= _NAMED_MAX:
            for fault in report.faults:
                axes.axvspan(fault.began_s, fault.ended_s, color=_GREY, alpha=0.13, linewidth=0)
