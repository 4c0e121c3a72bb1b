"""What is made of ticks: precision, seconds in order, percentiles."""

import random

import pytest

from corecache.loadgen.histograms import Ledger
from corecache.loadgen.tally import LATENCY_US_MAX, Tally, Tick, coarse


def test_coarse_latencies_fall_where_the_exact_ones_would() -> None:
    """A histogram can't tell them apart; and there are few of them."""
    dice = random.Random(1)
    exact = [int(10 ** dice.uniform(0, 7.7)) for _ in range(20_000)]
    one, other = Ledger(1, log=False), Ledger(1, log=False)
    one.add(0, Tick(0, {"read": dict.fromkeys(exact, 1)}, {}, 0))
    for latency_us in dict.fromkeys(exact):
        other.total.record_value(coarse(latency_us))
    assert one.total.equals(other.total)
    assert len({coarse(latency_us) for latency_us in range(1, 1_000_000, 7)}) < 12_000
    assert coarse(10 * LATENCY_US_MAX) <= LATENCY_US_MAX


def test_a_tally_counts_by_second_and_kind() -> None:
    """Taking a tick begins the next second with nothing in it."""
    tally = Tally()
    tally.done("read", 100)
    tally.done("read", 100)
    tally.done("update", 5000)
    tally.failed("no_lease", 3)
    tally.found_none()
    assert tally.take() == Tick(0, {"read": {100: 2}, "update": {coarse(5000): 1}}, {"no_lease": 3}, 1)
    assert tally.take() == Tick(1, {}, {}, 0)


def test_a_second_is_summed_up_once_all_workers_have_told_of_it() -> None:
    """However far ahead one of them is; what is left is summed up at the end."""
    ledger = Ledger(2, log=False)
    for second in range(3):
        ledger.add(0, Tick(second, {"read": {1000: 10}}, {}, 0))
    assert ledger.timeline == []
    ledger.add(1, Tick(0, {"read": {3000: 10}, "update": {9000: 1}}, {"lost": 2}, 4))
    (first,) = ledger.timeline
    assert (first.at_s, first.done, first.failed, first.p50_ms, first.max_ms) == (0, 21, 2, 3.0, 9.0)
    ledger.end()
    assert [each.at_s for each in ledger.timeline] == [0, 1, 2]
    assert (ledger.failures, ledger.absent) == ({"lost": 2}, 4)


def test_percentiles_are_those_of_the_values() -> None:
    """1 to 1,000 ms, each once: the nth percentile is n per cent of a second, within three digits."""
    ledger = Ledger(1, log=False)
    ledger.add(0, Tick(0, {"read": {ms * 1000: 1 for ms in range(1, 1001)}}, {}, 0))
    (read,) = ledger.kinds(2.0)
    assert (read.operation, read.done, read.per_second) == ("read", 1000, 500.0)
    assert read.p50_ms == pytest.approx(500, rel=0.002)
    assert read.p99_ms == pytest.approx(990, rel=0.002)
    assert read.p999_ms == pytest.approx(999, rel=0.002)
    assert read.mean_ms == pytest.approx(500.5, rel=0.002)
    assert [percent for percent, _ in read.percentiles] == sorted({percent for percent, _ in read.percentiles})
    assert all(ms == pytest.approx(max(1, percent * 10), rel=0.1) for percent, ms in read.percentiles)
