"""Each canary is convicted by the campaign, of the rule that it breaks; the unbroken node passes under the same faults.

If one is no longer convicted, the faults, the workload or the judge have become blind, and a campaign that passes
proves less than it says. Each flight is a whole campaign on real processes, some twenty seconds long.
"""

import sys
from pathlib import Path
from typing import Final

import pytest

from chaos.canaries import CANARIES, Canary
from corecache.chaos import campaign, staging
from corecache.chaos.campaign import Wish
from corecache.chaos.node import PROGRAM
from corecache.chaos.page import page
from corecache.chaos.report import Report

pytestmark = pytest.mark.campaign

FLIGHTS_MAX: Final = 3
"""So many campaigns, with other seeds, before a canary is said to have got away. Most are convicted by the first."""

CLIENTS: Final = 8
NODES: Final = 3
CONTROL_SECONDS: Final = 30.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits less long for what some canaries break for good."""
    monkeypatch.setattr(campaign, "WHOLE_SECONDS", 20.0)
    monkeypatch.setattr(campaign, "READ_SECONDS", 5.0)
    monkeypatch.setattr(campaign, "EQUAL_SECONDS", 10.0)


def flown(wish: Wish, stage: staging.Stage, directory: Path) -> Report:
    """Runs a campaign in a directory of its own and shows its page."""
    directory.mkdir()
    report = staging.run(wish, stage, directory, "the test", lambda sentence: print(sentence))
    print(page(report))
    return report


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: str(canary.name))
def test_a_canary_is_convicted_of_the_rule_that_it_breaks(canary: Canary, tmp_path: Path) -> None:
    """By the first violation that is told, within a few campaigns."""
    lacking = staging.missing(zookeepers=1)
    for kind in canary.faults:
        needs = staging.KINDS[kind].needs
        if needs in lacking:
            pytest.skip(f"{kind} can't happen here: {lacking[needs]}")
    program = (sys.executable, "-m", "chaos.canary_node", canary.name, "serve")
    stage = staging.Stage(NODES, 1, canary.faults, program, dict(canary.settings))
    for seed in range(1, FLIGHTS_MAX + 1):
        report = flown(Wish(seed, canary.seconds, CLIENTS, CLIENTS, canary.rate), stage, tmp_path / str(seed))
        if report.verdict == "violation":
            assert report.violations[0].rule in canary.guilty, report.why
            return
    pytest.fail(f"no campaign convicted a cluster in which {canary.breaks}")
