"""The timeline: what it counts, how fast things were, and for how long nobody was answered."""

import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corecache.chaos.history import Call, Kind, Outcome
from corecache.chaos.report import Second
from corecache.chaos.timeline import PAUSE_NS, TICK_NS, Timeline

MS = 1_000_000


def by_first_letter(key: str) -> int:
    """Keys that begin alike share a partition."""
    return ord(key[0])


def call(begin_ms: float, end_ms: float, outcome: Outcome = "done", key: str = "a", kind: Kind = "put") -> Call:
    """Returns a call from one millisecond to another."""
    return Call(
        client=1,
        protocol="http" if kind == "get" else "resp",
        node="n1",
        kind=kind,
        key=key,
        begin_ns=round(begin_ms * MS),
        end_ns=round(end_ms * MS),
        outcome=outcome,
    )


def timeline_of(*calls: Call) -> Timeline:
    """Returns the timeline of calls, added in this order."""
    timeline = Timeline(by_first_letter)
    for each in calls:
        timeline.add(each)
    return timeline


def test_calls_are_counted_by_outcome_and_by_protocol() -> None:
    """All outcomes are there, also those that no call had; of the protocols those that were used."""
    timeline = timeline_of(call(0, 1), call(0, 2, "failed"), call(0, 3, "unknown", kind="get"))
    assert timeline.counts() == {"done": 1, "failed": 1, "not_done": 0, "unknown": 1}
    assert timeline.protocols() == {"http": 1, "resp": 2}
    assert timeline_of().counts() == {"done": 0, "failed": 0, "not_done": 0, "unknown": 0}
    assert timeline_of().seconds() == []


def test_a_second_has_the_percentiles_of_what_was_answered_in_it() -> None:
    """Of 200 gets of 1 to 200 ms the 100th and the 198th; calls that were not answered have no latency."""
    gets = [call(500, 500 + latency, kind="get") for latency in range(1, 201)]
    timeline = timeline_of(*gets, call(100, 800, "failed"), call(0, 900, "not_done"), call(0, 950, "unknown"))
    assert timeline.seconds() == [Second(0, 201, 1, 1, 100.0, 198.0, 700.0, 700.0)]


def test_seconds_without_an_answer_are_told_too_and_a_call_counts_where_it_ends() -> None:
    """From the campaign's start, not from the first call."""
    timeline = timeline_of(call(1_990, 2_010), call(4_000, 4_001))
    assert timeline.seconds() == [
        Second(0, 0, 0, 0, 0, 0, 0, 0),
        Second(1, 0, 0, 0, 0, 0, 0, 0),
        Second(2, 1, 0, 0, 0, 0, 20, 20),
        Second(3, 0, 0, 0, 0, 0, 0, 0),
        Second(4, 1, 0, 0, 0, 0, 1, 1),
    ]


def test_a_call_that_comes_long_after_its_second_is_counted_all_the_same() -> None:
    """Its second's percentiles are closed by then."""
    timeline = timeline_of(call(0, 10), call(60_000, 60_001), call(0, 500))
    assert timeline.seconds()[0] == Second(0, 2, 0, 0, 0, 0, 10, 10)


@pytest.mark.parametrize(
    ("calls", "expected_s"),
    [
        pytest.param([call(0, 1), call(100, 101), call(5_000, 5_001)], 0.0, id="nobody asked"),
        pytest.param([call(0, 1), call(100, 140)], 0.0, id="too short to be kept"),
        pytest.param([call(0, 1), call(100, 2_100)], 2.0, id="one call waits"),
        pytest.param([call(0, 1), call(100, 2_100, "failed")], 2.0, id="a failed condition is an answer"),
        pytest.param([call(0, 1), call(100, 2_100, "unknown")], 2.0, id="never answered again"),
        pytest.param(
            [call(0, 1), call(100, 101, "not_done"), call(900, 901, "not_done"), call(1_500, 1_502)],
            1.402,
            id="refused again and again, with pauses",
        ),
        pytest.param(
            [call(0, 1), call(100, 300, "not_done"), call(9_000, 9_100)], 0.2, id="refused, then left in peace"
        ),
        pytest.param([call(0, 4_000, "unknown"), call(3_999, 4_001)], 4.001, id="not up yet"),
        pytest.param(
            [call(0, 1), call(2_990, 3_000), call(10, 3_005)], 2.99, id="the call that waited ends after the answer"
        ),
        pytest.param(
            [
                call(0, 1),
                call(2_990, 3_000),
                *(call(3_000 + i, 3_002 + i) for i in range(99)),
                call(10, 3_101, "unknown"),
            ],
            2.99,
            id="the call that waited ends after many answers",
        ),
        pytest.param(
            [call(0, 1), *(call(20 * i, 20 * i + 5) for i in range(1, 200)), call(10, 4_000, "unknown")],
            0.0,
            id="one call hangs while others are answered",
        ),
        pytest.param(
            [call(0, 1), call(0, 1, key="b"), call(10, 11), call(5, 800, key="b"), call(799, 801)],
            0.795,
            id="another partition",
        ),
    ],
)
def test_how_long_a_partition_was_asked_and_answered_nobody(calls: list[Call], expected_s: float) -> None:
    """From the first call after the last answer to the next answer, less the time in which nobody asked."""
    assert timeline_of(*calls).unavailable_s(0, 100) == pytest.approx(expected_s, abs=1e-9)


def test_a_fault_answers_for_what_it_began_or_made_last() -> None:
    """What was over before or began after it is not its own; what it found counts from its own begin."""
    timeline = timeline_of(call(0, 1_001), call(3_000, 3_001), call(5_000, 7_000))
    assert timeline.unavailable_s(0.5, 0.6) == pytest.approx(0.501)
    assert timeline.unavailable_s(2, 4) == 0
    assert timeline.unavailable_s(4, 5.5) == pytest.approx(2)
    assert timeline.unavailable_s(6, 6.1) == pytest.approx(1)
    assert timeline.unavailable_s(8, 9) == 0


def longest_by_hand(calls: list[Call], began_ns: int, ended_ns: int) -> int:
    """The obvious twin: keeps every call, and looks at every silence of every partition, in ns."""
    longest = 0
    for partition in {by_first_letter(each.key) for each in calls}:
        own = [each for each in calls if by_first_letter(each.key) == partition]
        answers = [0, *sorted(each.end_ns for each in own if each.outcome in ("done", "failed")), 1 << 62]
        for since, until in pairwise(answers):
            asked = sorted(
                (max(each.begin_ns, since), min(each.end_ns, until))
                for each in own
                if each.begin_ns < until and each.end_ns > since
            )
            stretches: list[tuple[int, int]] = []
            for first, last in asked:
                if stretches and first <= stretches[-1][1] + PAUSE_NS:
                    stretches[-1] = stretches[-1][0], max(last, stretches[-1][1])
                else:
                    stretches.append((first, last))
            for first, last in stretches:
                if last - first >= TICK_NS and first <= ended_ns:
                    longest = max(longest, last - max(first, began_ns))
    return longest


CALLS = st.lists(
    st.builds(
        lambda begin, length, outcome, key, kind: call(begin, begin + length, outcome, key, kind),
        st.integers(0, 6_000),
        st.one_of(st.integers(1, 60), st.integers(1, 3_000)),
        st.sampled_from(("done", "failed", "not_done", "unknown")),
        st.sampled_from("abc"),
        st.sampled_from(("get", "put", "delete", "add")),
    ),
    max_size=40,
).map(lambda calls: sorted(calls, key=lambda each: each.end_ns))


@given(CALLS, st.integers(0, 8_000), st.integers(0, 3_000))
def test_the_timeline_finds_what_its_obvious_twin_finds(calls: list[Call], began_ms: int, lasts_ms: int) -> None:
    """Never less, and more by no more than what beginnings are told apart by."""
    found_ns = timeline_of(*calls).unavailable_s(began_ms / 1e3, (began_ms + lasts_ms) / 1e3) * 1e9
    began_ns, ended_ns = began_ms * MS, (began_ms + lasts_ms) * MS
    assert found_ns >= longest_by_hand(calls, began_ns, ended_ns) - 1
    assert found_ns <= longest_by_hand(calls, began_ns, ended_ns + TICK_NS) + TICK_NS + 1
    assert found_ns <= max((each.end_ns for each in calls), default=0)


@given(st.permutations(range(30)), CALLS)
def test_counts_sum_up_in_whatever_order_calls_come(order: list[int], calls: list[Call]) -> None:
    """Each call is in one outcome, one protocol and one second; no order is refused."""
    timeline = timeline_of(*(calls[place] for place in order if place < len(calls)))
    counts, seconds = timeline.counts(), timeline.seconds()
    assert sum(counts.values()) == sum(timeline.protocols().values()) == min(len(calls), len(order))
    assert sum(second.done for second in seconds) == counts["done"] + counts["failed"]
    assert sum(second.not_done for second in seconds) == counts["not_done"]
    assert sum(second.unknown for second in seconds) == counts["unknown"]
    assert [second.at_s for second in seconds] == list(range(len(seconds)))


def size_after(seconds: int, each_second: int) -> int:
    """Returns the bytes of a timeline after a steady load whose every fourth call takes long, on eight partitions."""
    timeline = Timeline(by_first_letter)
    for number in range(seconds * each_second):
        end_ms = 1_000 * number / each_second
        long = number % 4 == 0
        begin_ms = max(0, end_ms - (900 if long else 1))
        kind: Kind = "get" if number % 3 == 0 else "put"
        timeline.add(call(begin_ms, end_ms, "unknown" if long else "done", "abcdefgh"[number % 8], kind))
    return len(pickle.dumps(timeline))


def test_memory_grows_with_neither_the_calls_of_a_second_nor_much_with_the_seconds() -> None:
    """A second costs a few numbers once it is over; the latencies of the last ones are all that the rate adds to."""
    slow = [size_after(seconds, 20) for seconds in (100, 200)]
    fast = [size_after(seconds, 200) for seconds in (100, 200)]
    assert slow[1] - slow[0] < 100 * 100
    assert fast[1] - fast[0] < 100 * 100
