"""CoreCache beside its peers as a picture: rates by the number of clients, a row an operation, a column a size.

Both scales are logarithmic, since the systems are a thousand times apart; equal distances are equal ratios. A colour is
a system: solid with three members, dashed with one. Matplotlib is an extra: without it one line says how to get it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers import OPERATIONS, cell_run
from benchmarks.peers_report import PeersSpeed
from benchmarks.peers_tables import size_words
from benchmarks.wrk import LoadError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = {
    "corecache3-http": ("#0b5394", "o", "-"),
    "corecache3-resp": ("#3d9be9", "s", "-"),
    "etcd3": ("#d1661a", "^", "-"),
    "redis3": ("#c0273a", "D", "-"),
    "zookeeper3": ("#2e8b57", "v", "-"),
    "pysyncobj3": ("#8a4fa3", "P", "-"),
    "corecache1-http": ("#0b5394", "o", "--"),
    "corecache1-resp": ("#3d9be9", "s", "--"),
    "etcd1": ("#d1661a", "^", "--"),
    "redis1": ("#c0273a", "D", "--"),
}
_NOT_LINEARIZABLE = "ZooKeeper's and PySyncObj's reads may be stale"


def check() -> None:
    """Raises: LoadError if no picture can be drawn, before a long measurement is made for it."""
    try:
        import matplotlib  # noqa: F401 only to see that it is there
    except ImportError:
        raise LoadError("the chart needs Matplotlib: pip install 'corecache[plots]'") from None


def draw(speed: PeersSpeed, path: Path) -> None:
    """Draws to a file of the format that its name says. Raises: LoadError, OSError."""
    check()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    looks: dict[Any, Any] = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "peers",
    }
    with mpl.rc_context(looks):
        figure = Figure(figsize=(3.6 * len(speed.sizes) + 1.2, 7.6), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(OPERATIONS), len(speed.sizes), sharex=True, sharey="row", squeeze=False)
        for row, operation in zip(grid, OPERATIONS, strict=True):
            for axes, size in zip(row, speed.sizes, strict=True):
                _rates(axes, speed, operation, size)
            row[0].set_ylabel(f"{operation}s a second")
        for axes in grid[-1]:
            axes.set_xlabel("clients")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=2 if len(speed.sizes) == 1 else 4,
            frameon=False,
            handlelength=3.5,
        )
        title = f"Rates on one machine, in turns. Solid: three members; dashed: one.\n{_NOT_LINEARIZABLE}."
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=110, metadata=metadata)


def _rates(axes: "Axes", speed: PeersSpeed, operation: str, value_bytes: int) -> None:
    titles = {each.name: each.title.replace("`", "") for each in speed.systems}
    for name, title in titles.items():
        colour, marker, line = _LOOKS[name]
        runs = [(clients, cell_run(speed, name, operation, value_bytes, clients)) for clients in speed.clients]
        points = [(clients, run.per_second) for clients, run in runs if run is not None]
        axes.plot(
            [clients for clients, _ in points],
            [rate for _, rate in points],
            color=colour,
            marker=marker,
            markersize=4,
            linestyle=line,
            linewidth=2.0 if name.startswith("corecache") else 1.2,
            label=title,
            zorder=3 if name.startswith("corecache") else 2,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(speed.clients, [str(clients) for clients in speed.clients])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:,.0f}")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_title(f"{operation.capitalize()}s, {size_words(value_bytes)}", loc="left", fontsize=10)
