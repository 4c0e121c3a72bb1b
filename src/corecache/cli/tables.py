"""Reports for eyes and for programs: tables by Rich, JSON by msgspec.

A table in a terminal has a frame and fits its width; into a pipe it goes wide enough that no cell is ever cut. What a
node sends is shown as text, never read as markup.
"""

import sys
from collections.abc import Collection, Iterable, Sequence
from io import StringIO

import msgspec

from corecache.cli.octets import write_out

WIDTH_MAX = 10_000


def print_json(report: object) -> None:
    """Prints a report as JSON, readable."""
    write_out(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = ()
) -> None:
    """Prints rows below a title; the columns in `numbers` are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.ROUNDED)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # Rich draws into memory: writing, and what may go wrong with it, is write_out's alone.
    drawn = StringIO()
    terminal = sys.stdout is not None and sys.stdout.isatty()
    console = Console(file=drawn, force_terminal=terminal, highlight=False)
    if not terminal:
        # Into a file or pipe nothing has to fit: as wide as the widest row.
        wide = console.options.update(max_width=WIDTH_MAX)
        console.width = console.measure(table, options=wide).maximum
    console.print(table)
    write_out(drawn.getvalue().encode())
