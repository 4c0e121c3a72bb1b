"""Every scenario of `scenarios/` leaves the trace that its file says; see `scenario_script.py` for the language.

With CORECACHE_RECORD=1 in the environment the traces are written anew: read them, line by line, before they are kept.
"""

import os
from pathlib import Path

import pytest

from replication.scenario_script import play, split

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_leaves_its_trace(path: Path) -> None:
    """The steps of the file are answered with the actions below them, and what it expects is so."""
    trace = play(path)
    text = path.read_text()
    if os.environ.get("CORECACHE_RECORD"):
        path.write_text(text.partition("\n---\n")[0].rstrip("\n") + "\n---\n" + trace)
    else:
        assert trace == split(text)[1]
