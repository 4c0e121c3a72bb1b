"""docs/errors.md lists exactly the errors that the code makes, with the statuses and outcomes that they have."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import corecache
from corecache import errors
from corecache.errors import CoreCacheError
from corecache.serving.http import problems

SOURCE = Path(corecache.__file__).parent
DOCUMENT = SOURCE.parent.parent / "docs" / "errors.md"
ROW = re.compile(r'\| <a id="(\w+)"></a>`(\w+)` \| ([^|]+) \| ([^|]+) \| [^|]+\. \| [^|]+\. \|')
NO_STATUS = "\N{EN DASH}"
KINDS = {"CallerFault", "NotDone", "OutcomeUnknown", "Broken"}


def made() -> Iterator[tuple[str, str]]:
    """Yields class and code of every error that the source makes with a code written out."""
    for path in SOURCE.rglob("*.py"):
        if "simulator" in path.parts:
            continue  # What simulated clients are told, nobody else hears.
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    assert isinstance(code.value, str)
                    yield node.func.id, code.value


def documented() -> dict[str, tuple[str, set[str]]]:
    """Returns status and outcomes of each code in the document."""
    rows: dict[str, tuple[str, set[str]]] = {}
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("| <a"):
            match = ROW.fullmatch(line)
            assert match is not None, line
            assert match[1] == match[2], line
            assert match[1] not in rows, f"{match[1]} is documented twice"
            rows[match[1]] = match[3], set(match[4].split(" or "))
    return rows


def test_every_error_is_documented_and_every_documented_error_exists() -> None:
    """No code is missing on either side."""
    assert {code for _, code in made()} == set(documented())


def test_the_documented_statuses_and_outcomes_are_those_of_the_code() -> None:
    """For each class that carries a code, status and outcome are in its row; no row claims more."""
    rows = documented()
    outcomes: dict[str, set[str]] = {code: set() for code in rows}
    statuses: dict[str, set[str]] = {code: set() for code in rows}
    for kind, code in made():
        error: CoreCacheError = getattr(errors, kind)(code, "A sentence.")
        outcomes[code].add(error.outcome)
        statuses[code].add(str(problems.status_of(error)))
    for code, (status, outcome) in rows.items():
        assert outcome == outcomes[code], code
        assert status == NO_STATUS or set(status.split(" or ")) == statuses[code], code
