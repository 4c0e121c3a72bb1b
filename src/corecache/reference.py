"""The settings as pages: the commented example file and the table of the documentation.

`python -m corecache.reference example` and `… table` print them; `scripts/write_reference.sh` puts them where they
belong, and a test says when they are no longer what the declarations in `config/` say. Nothing is written by hand in
either: who adds a setting there has documented it.
"""

import inspect
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Final

from corecache.config import DECLARATIONS, Config
from corecache.declaration import Declaration, shown

_WIDTH = 118
_TABLE_BEGIN: Final = "<!-- Written by scripts/write_reference.sh from src/corecache/config/. -->"


def example() -> str:
    """Returns the example file: every setting with its default, commented out, so that it changes nothing as it is."""
    return "\n".join(_example_lines()) + "\n"


def table() -> str:
    """Returns the settings as Markdown tables, one a section."""
    return "\n".join([_TABLE_BEGIN, *_table_lines()]) + "\n"


def main(arguments: list[str]) -> int:
    """Prints the page that is asked for; returns the exit code."""
    pages: Mapping[str, Callable[[], str]] = {"example": example, "table": table}
    if len(arguments) != 1 or arguments[0] not in pages:
        sys.stderr.write(f"usage: python -m corecache.reference {'|'.join(pages)}\n")
        return 2
    sys.stdout.buffer.write(pages[arguments[0]]().encode())
    return 0


def _sections() -> Iterator[tuple[str, str, list[Declaration]]]:
    """Yields each section's name, what it is about, and its settings."""
    types = typing.get_type_hints(Config)
    for section, settings in groupby(DECLARATIONS, key=lambda declaration: declaration.section):
        yield section, inspect.getdoc(types[section]) or "", list(settings)


def _example_lines() -> Iterator[str]:
    yield from _comment(
        "Every setting of CoreCache with its default. Take the # away from what you want to change, and name the file "
        "with --config, or call it corecache.toml and start in its directory. A variable such as "
        f"{DECLARATIONS[0].variable} overrides the file, an option of `corecache serve` overrides both."
    )
    for section, about, settings in _sections():
        yield ""
        yield ""
        yield from _comment(about)
        yield f"[{section}]"
        for setting in settings:
            yield ""
            yield from _comment(setting.description)
            yield from _comment(f"Default {setting.amount(setting.default)}; allowed: {setting.allowed}.")
            yield f"#{setting.name} = {_toml(setting)}"


def _table_lines() -> Iterator[str]:
    for section, about, settings in _sections():
        yield f"\n### {section}\n\n{about}\n"
        yield "| setting | default | allowed | what it is for |"
        yield "|---|---|---|---|"
        for setting in settings:
            default = setting.amount(setting.default)
            yield f"| `{setting.path}` | {default} | {setting.allowed} | {setting.description} |"


def _toml(setting: Declaration) -> str:
    is_quantity = isinstance(setting.default, int) and not setting.is_port
    return f"{setting.default:_}" if is_quantity else shown(setting.default)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
