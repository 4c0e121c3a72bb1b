"""The rules of trying again, on a clock that the tests turn."""

import random

import pytest

from corecache.client.answers import Answer
from corecache.client.attempts import PAUSE_S_MAX, Attempts
from corecache.client.requests import delete, get
from corecache.errors import NotDone, OutcomeUnknown


def attempts(write: bool, endpoints: int, deadline: float = 100.0, rounds_max: int | None = None) -> Attempts:
    """Returns the attempts at a request that starts at the first endpoint, at time 0."""
    request = delete("k", None) if write else get("k")
    return Attempts(request, endpoints, 0, deadline, rounds_max, random.Random(1))


@pytest.mark.parametrize("write", [False, True])
def test_a_round_has_no_pause_within(write: bool) -> None:
    """Unreachable endpoints are tried one after the other at once; only a whole round is followed by a pause."""
    trying = attempts(write, 3)
    pauses = [(trying.begin(0).endpoint, trying.unreachable("refused", 0)) for _ in range(6)]
    assert [endpoint for endpoint, _ in pauses] == [0, 1, 2, 0, 1, 2]
    assert [pause > 0 for _, pause in pauses] == [False, False, True, False, False, True]


def test_pauses_double_up_to_a_limit() -> None:
    """Pauses grow with each vain round, are shortened by half at most, and stay below their limit."""
    trying = attempts(False, 1, deadline=10_000)
    pauses = [trying.unreachable("refused", 0) for _ in range(40)]
    for number, pause in enumerate(pauses):
        longest = min(PAUSE_S_MAX, 0.05 * 2**number)
        assert longest / 2 <= pause <= longest


def test_no_pause_reaches_beyond_the_deadline() -> None:
    """The attempts end with NotDone when the next one would begin after the deadline."""
    trying = attempts(False, 1, deadline=1.0)
    assert trying.lost("cut", 0.9) < 0.1
    with pytest.raises(NotDone):
        trying.lost("cut", 0.99)


def test_rounds_are_counted_over_all_endpoints() -> None:
    """`rounds_max` rounds of two endpoints are twice as many attempts."""
    trying = attempts(True, 2, rounds_max=2)
    for _ in range(3):
        trying.unreachable("refused", 0)
    with pytest.raises(NotDone):
        trying.unreachable("refused", 0)


def test_a_lost_write_ends_at_once() -> None:
    """A write that may have arrived is not tried again."""
    with pytest.raises(OutcomeUnknown):
        attempts(True, 3).lost("cut", 0)


def test_shares_of_time() -> None:
    """Each untried endpoint keeps its share for a read; a write's answer may take all that is left."""
    reading, writing = attempts(False, 4).begin(0), attempts(True, 4).begin(0)
    assert (reading.connected_by, reading.ended_by) == (25.0, 25.0)
    assert (writing.connected_by, writing.ended_by) == (25.0, 100.0)
    later = attempts(False, 4)
    for _ in range(3):
        later.unreachable("refused", 0)
    assert later.begin(40).ended_by == 100.0


def test_only_a_503_is_not_the_last_word() -> None:
    """Every other answer, errors too, is handed to the caller."""
    for status in (200, 204, 404, 412, 500, 504, 507):
        request = get("k")
        assert attempts(False, 1).answered(Answer(request, "node", status, {}, b""), 0) is None
    assert attempts(False, 1).answered(Answer(get("k"), "node", 503, {}, b""), 0) is not None
