"""The failover part of the benchmark, small: one kill, whose phases add up, in a report that can be read back."""

import shutil
from collections.abc import Callable

import pytest
from benchmarks.report import Failover, Failovers, Report

from benchmarks import failover, failover_tables


def kill_of(pause_ms: float) -> Failover:
    """Returns a kill whose partitions stood still for so long."""
    return Failover("n1", 2, 10.0, 20.0, pause_ms - 40.0, pause_ms, 50.0, 0.5)


def test_the_longest_pause_is_what_counts() -> None:
    """One kill in three that cost too much is too much; the tables say it all."""
    kills = Failovers(100, 8, {"acknowledged": 5}, [kill_of(900.0), kill_of(2100.0), kill_of(1000.0)])
    (bound,) = failover.bounds(kills)
    assert (bound.value, bound.met) == (2.1, False)
    head, rows = failover_tables.spread(kills)
    assert head == ("3 kills", "Least", "Median", "Most")
    assert ("pause of the partitions that it led", "900 ms", "1000 ms", "2100 ms") in rows
    assert [row[:3] for row in failover_tables.each_kill(kills)[1]] == [(str(n), "n1", "2") for n in (1, 2, 3)]


@pytest.mark.skipif(not shutil.which("wrk"), reason="scripts/bench.sh wants wrk")
def test_a_kill_is_measured(run_bench: Callable[..., tuple[Report, str]]) -> None:
    """The phases of the slowest partition explain its pause, and no file is left behind."""
    report, printed = run_bench("--only", "failover", "--kills", "1")
    assert report.failovers is not None
    (kill,) = report.failovers.kills
    assert kill.led > 0
    assert (
        0 < kill.detection_ms < kill.detection_ms + kill.view_change_ms + kill.activation_ms <= kill.led_pause_ms + 50
    )
    assert report.failovers.writes["acknowledged"] > 0
    assert "| 1 kills |" in printed
