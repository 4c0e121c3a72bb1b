"""When operations are due, with times that are handed in."""

import itertools
import random

import pytest

from corecache.loadgen.pace import ClosedPace, OpenPace

MS = 1_000_000


def test_a_closed_loop_counts_from_now_until_the_end() -> None:
    """Nothing begins at the end or later."""
    pace = ClosedPace(0, 10 * MS, None)
    assert [pace.due(at * MS) for at in (0, 9, 10, 11)] == [0, 9 * MS, None, None]
    assert not pace.over(9 * MS)
    assert pace.over(10 * MS)


def test_a_closed_loop_of_operations_does_not_count_its_warm_up() -> None:
    """Two before the measurement, then exactly three."""
    pace = ClosedPace(10 * MS, None, 3)
    assert [pace.due(at * MS) for at in (1, 2)] == [1 * MS, 2 * MS]
    assert [pace.due(at * MS) for at in (10, 11, 12, 13)] == [10 * MS, 11 * MS, 12 * MS, None]
    assert pace.over(13 * MS)


def test_an_open_loop_counts_from_when_an_operation_was_due() -> None:
    """Whoever comes late gets the times that were missed, one after the other."""
    pace = OpenPace(0, 0, 100 * MS, None, 1000, None)
    assert pace.due(0) == 0
    assert pace.due(MS - 1) is None
    assert pace.next_ns() == MS
    assert [pace.due(5 * MS) for _ in range(6)] == [MS, 2 * MS, 3 * MS, 4 * MS, 5 * MS, None]


def test_an_open_loop_tells_what_it_never_sent() -> None:
    """Due from the warm-up's end until the end, and not begun: the warm-up's are not counted."""
    pace = OpenPace(0, 5 * MS, 10 * MS, None, 1000, None)
    assert [pace.due(at * MS) for at in range(3)] == [0, MS, 2 * MS]
    assert [pace.due(7 * MS) for _ in range(2)] == [5 * MS, 6 * MS]
    assert pace.due(10 * MS) is None
    assert pace.over(10 * MS)
    assert pace.unsent(12 * MS) == 3
    assert pace.unsent(12 * MS) == 0


def test_an_open_loop_of_operations_ends_with_the_last() -> None:
    """And nothing is due after it."""
    pace = OpenPace(0, 2 * MS, None, 2, 1000, None)
    assert [pace.due(at * MS) for at in range(2)] == [0, MS]
    assert [pace.due(20 * MS) for _ in range(3)] == [2 * MS, 3 * MS, None]
    assert pace.next_ns() is None
    assert pace.unsent(20 * MS) == 0


def test_stopped_early_both_begin_nothing_more() -> None:
    """What was due until then and was not sent is told."""
    closed = ClosedPace(0, 100 * MS, None)
    closed.stop(3 * MS)
    assert closed.due(3 * MS) is None
    opened = OpenPace(0, 0, 100 * MS, None, 1000, None)
    opened.stop(3 * MS)
    assert opened.due(4 * MS) is None
    assert opened.unsent(4 * MS) == 3


def test_random_times_have_the_rate_and_the_spread_of_poissons() -> None:
    """Pauses of one millisecond on average, and as large a deviation."""
    pace = OpenPace(0, 0, None, None, 1000, random.Random(1))
    times = [due for due in (pace.due(10**15) for _ in range(20_000)) if due is not None]
    pauses = [(later - earlier) / MS for earlier, later in itertools.pairwise(times)]
    mean = sum(pauses) / len(pauses)
    deviation = (sum((pause - mean) ** 2 for pause in pauses) / len(pauses)) ** 0.5
    assert mean == pytest.approx(1, rel=0.03)
    assert deviation == pytest.approx(1, rel=0.05)


def test_times_do_not_drift() -> None:
    """The operation after 30,000 of three a second is due after ten thousand seconds."""
    pace = OpenPace(0, 0, None, None, 3, None)
    for _ in range(30_000):
        pace.due(10**18)
    assert pace.next_ns() == 10_000 * 10**9


@pytest.mark.parametrize("poisson", [False, True])
def test_what_was_due_in_the_warm_up_and_did_not_begin_is_forgotten(poisson: bool) -> None:
    """A thousand a second, and the first asks when 20 ms of warm-up have passed: what is measured is due from then."""
    pace = OpenPace(0, 20 * MS, 100 * MS, None, 1000, random.Random(1) if poisson else None)
    first = pace.due(60 * MS)
    assert first is not None
    assert 20 * MS <= first <= 60 * MS
    if not poisson:
        assert first == 20 * MS
        assert pace.unsent(100 * MS) == 79


@pytest.mark.parametrize("rate", [3.0, 999.0, 1000.0, 12_345.6])
def test_what_was_never_sent_is_counted_as_one_by_one(rate: float) -> None:
    """Whatever the rate, and wherever the count begins."""
    counted = OpenPace(7, 3 * MS, 5_000 * MS, None, rate, None)
    one_by_one = OpenPace(7, 3 * MS, 5_000 * MS, None, rate, None)
    seen = 0
    at = one_by_one.next_ns()
    while at is not None:
        one_by_one.due(at)
        seen += at >= 3 * MS
        at = one_by_one.next_ns()
    assert counted.unsent(10_000 * MS) == seen
