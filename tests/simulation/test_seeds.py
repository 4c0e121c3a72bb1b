"""Runs of the simulator that failed once, and a few that never did: all of them pass.

CI runs fresh seeds besides (`.ci/run`), and `corecache simulate --seeds 2000` runs many.
"""

from pathlib import Path

import pytest

from corecache.simulator.options import draw
from corecache.simulator.run import run

KNOWN = Path(__file__).with_name("seeds.txt")


def past_failures() -> list[int]:
    """Returns the seeds of the file."""
    lines = [line for line in KNOWN.read_text().splitlines() if line and not line.startswith("#")]
    return [int(line.split("\t")[0]) for line in lines]


@pytest.mark.parametrize("seed", past_failures())
def test_a_past_failure_stays_mended(seed: int) -> None:
    """What each of them showed stands in the file."""
    outcome = run(draw(seed))
    assert outcome.violation is None, "\n".join([*outcome.lines, outcome.violation, outcome.replay])


@pytest.mark.parametrize("seed", range(1000, 1024))
def test_a_seed_passes(seed: int) -> None:
    """Every kind of fault, and pairs of them, in two dozen runs."""
    outcome = run(draw(seed))
    assert outcome.violation is None, "\n".join([*outcome.lines, outcome.violation, outcome.replay])
