"""Each canary is convicted by the campaign, of the rule that it breaks; the unbroken node passes under the same faults.

If one is no longer convicted, the faults, the workload or the judge have become blind, and a campaign that passes
proves less than it says. Each flight is a whole campaign on real processes, some twenty seconds long.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from chaos.canaries import CANARIES, PATIENT, USUAL, Canary
from corecache.chaos import campaign, staging
from corecache.chaos.campaign import Wish
from corecache.chaos.faults import processes
from corecache.chaos.node import PROGRAM
from corecache.chaos.page import page
from corecache.chaos.plan import KINDS
from corecache.chaos.report import Report

pytestmark = pytest.mark.campaign

FLIGHTS_MAX: Final = 3
"""So many campaigns, with other seeds, before a canary is said to have got away. Most are convicted by the first."""

NODES: Final = 3
CONTROL_SECONDS_EACH: Final = 6.0
"""How long faults go on for each kind of them."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits less long for what some canaries break for good."""
    monkeypatch.setattr(campaign, "WHOLE_SECONDS", 15.0)
    monkeypatch.setattr(campaign, "READ_SECONDS", 5.0)
    monkeypatch.setattr(campaign, "EQUAL_SECONDS", 10.0)
    monkeypatch.setattr(processes, "_WHOLE_SECONDS", 5.0)


def say(line: str) -> None:
    """Shows a line with the test's output."""
    sys.stdout.write(f"{line}\n")


def flown(wish: Wish, stage: staging.Stage, directory: Path) -> Report:
    """Runs a campaign in a directory of its own and shows its page."""
    directory.mkdir()
    report = staging.run(wish, stage, directory, "the test", say)
    say(page(report))
    return report


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: str(canary.name))
def test_a_canary_is_convicted_of_the_rule_that_it_breaks(
    canary: Canary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a few campaigns. What is judged before, and told first, is whether the cluster was whole."""
    lacking = staging.missing(zookeepers=1)
    for kind in canary.faults:
        needs = KINDS[kind].needs
        if needs in lacking:
            pytest.skip(f"{kind} can't happen here: {lacking[needs]}")
    program = (sys.executable, "-m", "chaos.canary_node", canary.name, "serve")
    stage = staging.Stage(NODES, 1, canary.faults, program, dict(canary.settings))
    monkeypatch.setattr(campaign, "_CALL_SECONDS", canary.call_seconds)
    found: set[str] = set()
    for seed in range(1, FLIGHTS_MAX + 1):
        wish = Wish(seed, canary.seconds, canary.clients_each, canary.clients_each, canary.rate)
        broken = {violation.rule for violation in flown(wish, stage, tmp_path / str(seed)).violations}
        if not broken.isdisjoint(canary.guilty):
            return
        found |= broken
    pytest.fail(f"no campaign convicted a cluster in which {canary.breaks} of {canary.guilty}; of others: {found}")


@pytest.mark.parametrize("settings", [USUAL, PATIENT], ids=["usual", "patient"])
def test_the_unbroken_node_passes_under_the_same_faults(
    settings: Mapping[str, str | int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a mixture of all that convicts canaries, with all settings that one of them has, and as many clients."""
    canaries = [canary for canary in CANARIES if canary.settings == settings]
    kinds = dict.fromkeys(kind for canary in canaries for kind in canary.faults)
    clients_each, rate = (max(each) for each in zip(*((one.clients_each, one.rate) for one in canaries), strict=True))
    monkeypatch.setattr(campaign, "_CALL_SECONDS", min(canary.call_seconds for canary in canaries))
    wish = Wish(1, CONTROL_SECONDS_EACH * len(kinds), clients_each, clients_each, rate)
    report = flown(wish, staging.Stage(NODES, 1, tuple(kinds), PROGRAM, dict(settings)), tmp_path / "control")
    assert report.verdict == "passed", report.why
