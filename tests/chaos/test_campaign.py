"""What a campaign makes of what happens in it: on a real cluster, under deeds of the tests' own."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from corecache.chaos import campaign as campaigns
from corecache.chaos.campaign import Campaign, Totals, Wish
from corecache.chaos.cluster import ChaosCluster
from corecache.chaos.faults import DEEDS
from corecache.chaos.faults.deed import Deed, Struck
from corecache.chaos.ground import Ground, MissedError
from corecache.chaos.history import READER, Call, history_of
from corecache.chaos.plan import Planned
from corecache.chaos.timeline import Timeline

_seeds = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosCluster]:
    """Three nodes that nothing happens to but what a test does."""
    with ChaosCluster(tmp_path_factory.mktemp("ground"), 3, 1) as made:
        made.start()
        yield made


class Stage:
    """Runs campaigns with a deed of the test's own."""

    def __init__(self, cluster: ChaosCluster, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster = cluster
        self.history = directory / "history.jsonl"
        self.history.touch()
        self._monkeypatch = monkeypatch

    def totals_of(self, deed: Deed) -> Totals:
        """Runs a short campaign under it, and returns what it came to."""
        self._monkeypatch.setitem(DEEDS, "kill", deed)
        # No two campaigns on one cluster have the same keys.
        wish = Wish(next(_seeds), 1.0, 4, 4, 200.0)
        ground = Ground(self.cluster, None, None)
        run = Campaign(wish, ground, ["kill"], Timeline(lambda key: 0), self.history, lambda what: None)
        asyncio.run(run.run())
        return run.totals

    def calls(self) -> list[Call]:
        """Returns the history."""
        return [msgspec.json.decode(line, type=Call) for line in self.history.read_bytes().splitlines()]


@pytest.fixture
def stage(cluster: ChaosCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Campaigns on the cluster of all tests here."""
    return Stage(cluster, tmp_path, monkeypatch)


async def nothing(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Lets clients ask for a while."""
    struck("nobody")
    await asyncio.sleep(0.3)


def test_what_an_earlier_round_left_is_read_again_and_what_is_gone_is_shown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the write that was acknowledged, the read of its round, and the read that differs; all in the history."""
    monkeypatch.setattr(campaigns, "ROUND_SECONDS", 0.5)
    stolen: list[str] = []

    async def steal(ground: Ground, planned: Planned, struck: Struck) -> None:
        await nothing(ground, planned, struck)
        left = [call for call in stage.calls() if "/register/" in call.key and call.client == READER and call.value]
        if left and not stolen:
            stolen.append(left[0].key)
            status, _ = await asyncio.to_thread(ground.present[0].ask, "DELETE", f"/v1/kv/{left[0].key}")
            assert status == 204

    totals = stage.totals_of(steal)
    assert (totals.rounds, totals.broke) == (2, "")
    (violation,) = totals.violations
    assert (violation.rule, [violation.subject]) == ("acknowledged is kept", stolen)
    written, then, *unknown, now = violation.history
    assert "client  -1" in then
    value = then.partition("get  ->  ")[2].partition(",")[0]
    assert value in written
    assert written.partition("->")[2].strip().startswith("done")
    assert now.endswith("get  ->  absent   <== can't be explained")
    assert all("unknown" in line for line in unknown)
    last = history_of(stage.history, stolen)[stolen[0]][-1]
    assert (last.client, last.value) == (READER, None)


def test_a_timeout_within_a_deed_is_the_grounds_and_no_violation(stage: Stage) -> None:
    """The campaign is void, and says which fault could not go on."""

    async def waits_in_vain(ground: Ground, planned: Planned, struck: Struck) -> None:
        struck("n1")
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    totals = stage.totals_of(waits_in_vain)
    assert totals.violations == []
    assert totals.broke == "kill could not go on: something in it timed out"
    assert totals.why_void == f"the ground did not hold: {totals.broke}"


def test_a_fault_that_never_ends_is_a_violation(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up at its deadline."""
    monkeypatch.setattr(campaigns, "FAULT_SECONDS_MAX", 0.1)

    async def stays(ground: Ground, planned: Planned, struck: Struck) -> None:
        struck("n1")
        await asyncio.Event().wait()

    totals = stage.totals_of(stays)
    assert totals.broke == ""
    assert {violation.rule for violation in totals.violations} == {"faults end"}


def test_a_fault_that_missed_its_moment_is_not_counted_as_its_kind(stage: Stage) -> None:
    """Its begin, end and target are told, apart."""

    async def misses(ground: Ground, planned: Planned, struck: Struck) -> None:
        await nothing(ground, planned, struck)
        raise MissedError("it was over")

    totals = stage.totals_of(misses)
    assert totals.faults == []
    assert {(fault.kind, fault.target) for fault in totals.missed} == {("kill", "nobody")}
    assert totals.why_void == "each fault has missed the moment that it was aimed at"
