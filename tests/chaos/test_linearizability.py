"""The search against histories judged by hand, against a dumb twin, and against what a true register answered."""

import random
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.histories import MS, add, delete, get, put
from chaos.true_register import observed
from corecache.chaos.explain import least, since, until
from corecache.chaos.history import ABSENT, PRESENT, Call
from corecache.chaos.linearizability import UndecidedError, linearization
from corecache.chaos.register import Register, after, has_effect, vanished

GOOD: dict[str, list[Call]] = {
    "nothing": [],
    "one after the other": [put(0, 1, "a", 1), get(2, 3, "a", 1), delete(4, 5), get(6, 7, None)],
    "a read beside a write sees the old": [put(0, 1, "a", 1), put(2, 9, "b", 2), get(3, 4, "a", 1), get(5, 6, "b", 2)],
    "an unknown write appears late": [put(0, 1, "a", 1, "unknown"), get(2, 3, None), get(8, 9, "a", 1)],
    "an unknown write never appears": [put(0, 1, "a", None, "unknown"), get(2, 3, None), put(4, 5, "b", 2)],
    "an unknown delete appears late": [put(0, 1, "a"), delete(2, 3, "unknown"), get(4, 5, "a"), get(6, 7, None)],
    "an unseen write lets a delete find a record": [put(0, 1, "a", None, "unknown"), delete(2, 3)],
    "an unseen write with a ttl replaces a record and is gone": [
        put(0, 1, "a"),
        put(2, 3, "b", None, "unknown", ttl_ms=10),
        get(20, 21, None),
    ],
    "one of two compare-and-sets wins": [
        put(0, 1, "a", 1),
        put(2, 5, "b", 2, condition=1),
        put(2, 5, "c", 2, "failed", condition=1),
    ],
    "a failed create tells who was first": [
        put(0, 5, "a", 7, condition=ABSENT),
        put(0, 5, "b", 7, "failed", condition=ABSENT),
    ],
    "a delete of nothing": [delete(0, 1, "failed"), delete(2, 3, "failed", condition=PRESENT)],
    "an untold version is told by who reads it": [put(0, 1, "a"), get(2, 3, "a", 5), put(4, 5, "b", 6)],
    "increments count": [add(0, 1, 2, 2), add(2, 3, 3, 5), get(4, 5, "5")],
    "an unknown increment counts later": [add(0, 1, 1, None, "unknown"), add(2, 3, 5, 5), get(4, 5, "6")],
    "increments keep a time to live": [put(0, 1, "1", ttl_ms=50), add(2, 3, 1, 2), get(60, 61, None)],
    "a record expires": [put(0, 1, "a", 1, ttl_ms=50), get(2, 3, "a", 1), get(60, 61, None)],
    "a record expires within the grace": [put(0, 1, "a", 1, ttl_ms=50), get(900, 901, "a", 1), get(902, 903, None)],
    "a write without a ttl takes it away": [put(0, 1, "a", ttl_ms=50), put(2, 3, "b"), get(5000, 5001, "b")],
}

BAD: dict[str, list[Call]] = {
    "stale read": [put(0, 1, "a", 1), put(2, 3, "b", 2), get(4, 5, "a", 1)],
    "stale read over redis": [put(0, 1, "a"), put(2, 3, "b"), get(4, 5, "a", protocol="resp")],
    "lost update": [put(0, 1, "a", 1), put(2, 3, "b", 2), get(4, 5, None)],
    "read before it was written": [get(0, 1, "a", 1), put(2, 3, "a", 1)],
    "split brain, both answered": [
        put(0, 1, "a", 1),
        put(2, 3, "b", 2, client=1),
        put(4, 5, "c", 3, client=2),
        get(6, 7, "b", 2, client=1),
        get(6, 7, "c", 3, client=2),
    ],
    "two readers see two orders": [
        put(0, 20, "a"),
        put(0, 20, "b"),
        get(1, 2, "a", client=2),
        get(3, 4, "b", client=3),
        get(5, 6, "a", client=2),
    ],
    "versions go back": [put(0, 1, "a", 5), put(2, 3, "b", 4)],
    "one version for two": [put(0, 9, "a", 5), put(0, 9, "b", 5)],
    "another version than was told": [put(0, 1, "a", 5), get(2, 3, "a", 6)],
    "an untold version between neighbours": [put(0, 1, "a", 5), put(2, 3, "b"), put(4, 5, "c", 7), get(6, 7, "b", 6)],
    "double increment": [add(0, 1, 1, 1), get(2, 3, "2")],
    "lost increment": [add(0, 1, 1, 1), add(2, 3, 1, 2), get(4, 5, "1")],
    "two increments answer the same": [add(0, 5, 1, 1), add(0, 5, 1, 1)],
    "unknown increments can't make this": [
        add(0, 1, 2, None, "unknown"),
        add(0, 1, 2, None, "unknown"),
        get(2, 3, "3"),
    ],
    "an unknown increment counts twice": [add(0, 1, 2, None, "unknown"), get(2, 3, "4")],
    "both compare-and-sets won": [
        put(0, 1, "a", 1),
        put(2, 5, "b", 2, condition=1),
        put(2, 5, "c", 3, condition=1),
    ],
    "both creates won": [put(0, 5, "a", 1, condition=ABSENT), put(0, 5, "b", 2, condition=ABSENT)],
    "a create failed for nothing": [put(0, 1, "a", 3, "failed", condition=ABSENT)],
    "a condition that held failed": [put(0, 1, "a", 1), put(2, 3, "b", 1, "failed", condition=1)],
    "an update of what is absent": [put(0, 1, "a", 1, condition=PRESENT)],
    "an unconditional put failed": [put(0, 1, "a", 1, "failed")],
    "appears, disappears, appears": [
        put(0, 1, "a", 1, "unknown"),
        get(2, 3, "a", 1),
        get(4, 5, None),
        get(6, 7, "a", 1),
    ],
    "an unknown write covers, and the old is back": [
        put(0, 1, "a", 1),
        put(2, 3, "b", None, "unknown"),
        get(4, 5, "b", 2),
        get(6, 7, "a", 1),
    ],
    "not done, and there": [put(0, 1, "a", None, "not_done"), get(2, 3, "a")],
    "expired early": [put(0, 1, "a", 1, ttl_ms=50), get(20, 21, None)],
    "an increment shortened the time to live": [put(0, 1, "1", ttl_ms=5000), add(2, 3, 1, 2), get(60, 61, None)],
    "found long after its time": [put(0, 1, "a", 1, ttl_ms=50), get(1060, 1061, "a", 1)],
    "expired and back": [put(0, 1, "a", 1, ttl_ms=50), get(60, 61, None), get(70, 71, "a", 1)],
    "deleted and back": [put(0, 1, "a", 1), delete(2, 3), get(4, 5, "a", 1)],
    "deleted twice": [put(0, 1, "a", 1), delete(2, 5), delete(2, 5)],
    "a delete found nothing": [put(0, 1, "a", 1), delete(2, 3, "failed")],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_is_explained(name: str) -> None:
    """A history that can be is explained, by an order that holds."""
    calls = GOOD[name]
    order = linearization(calls)
    assert order is not None
    check_order(order, calls)
    assert explained_by_brute_force(calls)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_not(name: str) -> None:
    """A history that can't be is not explained, by the twin neither."""
    assert linearization(BAD[name]) is None
    assert not explained_by_brute_force(BAD[name])


def test_a_time_to_live_is_asked_about_apart() -> None:
    """Too early and too late are told apart."""
    early, late = BAD["expired early"], BAD["found long after its time"]
    assert linearization(early, "early") is not None
    assert linearization(early, "late") is None
    assert linearization(late, "late") is not None
    assert linearization(late, "early") is None


def test_a_search_that_takes_too_long_is_given_up() -> None:
    """The search says that it does not know."""
    calls = [put(0, 1000, f"v{number}", condition=ABSENT if number % 2 else None) for number in range(12)]
    deletes = [delete(0, 1000, condition=PRESENT) for _ in range(12)]
    with pytest.raises(UndecidedError):
        linearization([*calls, *deletes, get(1001, 1002, "v1"), get(1003, 1004, "v3")], steps_max=50)


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.integers(1, 60),
    st.integers(1, 8),
    st.sampled_from(["register", "counter", "ttl"]),
)
def test_what_a_true_register_answered_is_explained(seed: int, calls: int, clients: int, style: str) -> None:
    """Whatever a true register answers, late or never, has an order."""
    history = observed(random.Random(seed), calls, clients, style)
    order = linearization(history)
    assert order is not None
    check_order(order, history)


@settings(max_examples=1500, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from(["register", "counter", "ttl", "mixed"]),
)
def test_the_search_and_its_dumb_twin_agree(seed: int, calls: int, clients: int, style: str) -> None:
    """On short histories, often wrong ones, the search says what trying everything says."""
    dice = random.Random(seed)
    history = spoiled(dice, observed(dice, calls, clients, style))
    expected = explained_by_brute_force(history)
    assert (linearization(history) is not None) == expected
    if not expected:
        found = least(history)
        assert len(found.calls) <= len(history)
        assert found.culprit in history


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.integers(5, 40),
    st.integers(1, 6),
    st.sampled_from(["register", "counter", "ttl"]),
)
def test_a_least_history_is_a_true_one(seed: int, calls: int, clients: int, style: str) -> None:
    """What is shown can't be explained, and the answer that is marked is the one too many."""
    dice = random.Random(seed)
    history = spoiled(dice, observed(dice, calls, clients, style))
    if linearization(history) is None:
        found = least(history)
        assert linearization(first_made_bare(found.calls, found.anchor is not None)) is None
        without = [each for each in found.calls if each is not found.culprit]
        assert len(without) == len(found.calls) - 1
        if not has_effect(found.culprit):
            assert linearization(first_made_bare(without, found.anchor is not None)) is not None


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.integers(5, 25),
    st.integers(1, 6),
    st.sampled_from(["register", "counter", "ttl", "mixed"]),
)
def test_no_cut_makes_a_true_history_wrong(seed: int, calls: int, clients: int, style: str) -> None:
    """What could be explained still can after every cut, at the end and at the beginning."""
    history = observed(random.Random(seed), calls, clients, style)
    for end_ns in sorted({each.end_ns for each in history}):
        left = until(history, end_ns)
        assert linearization(left) is not None
        for anchor in left:
            cut = since(left, anchor) if anchor.outcome == "done" else None
            assert cut is None or linearization(cut.asked) is not None


def first_made_bare(calls: list[Call], cut: bool) -> list[Call]:
    """The first call of what was cut at the beginning stands for how the key is after it."""
    if not cut:
        return calls
    first, *rest = calls
    if first.kind == "delete" or first.value is None:
        return rest
    return [msgspec.structs.replace(first, kind="put", condition=None, amount=0), *rest]


def spoiled(dice: random.Random, calls: list[Call]) -> list[Call]:
    """Changes an answer or two, so that the history is often wrong."""
    calls = list(calls)
    for _ in range(dice.randint(0, 2)):
        index = dice.randrange(len(calls))
        each = calls[index]
        others = [other.value for other in calls if other.kind != "add" or other.outcome == "done"]
        changes: list[dict[str, object]] = [{"version": dice.randint(1, 9)}]
        if each.kind == "get" and each.outcome == "done":
            changes = [{"value": value, "version": None} for value in [*others, None]]
        elif each.kind == "add" and each.outcome == "done":
            changes = [{"value": str(dice.randint(0, 9))}, {"outcome": "unknown", "value": None}]
        elif each.kind == "delete":
            changes = [{"outcome": outcome, "version": None} for outcome in ("done", "failed", "not_done", "unknown")]
        elif each.kind == "put" and each.outcome == "done":
            changes += [
                {"version": None},
                {"outcome": "not_done", "version": None},
                {"condition": ABSENT},
                {"ttl_ms": 9},
            ]
        if each.outcome != "unknown" or each.kind == "put":
            calls[index] = msgspec.structs.replace(each, **dice.choice(changes))
    return calls


def check_order(order: Sequence[Call], calls: Sequence[Call]) -> None:
    """Follows an order: it holds every answered call, keeps real time, and gives the answers."""
    answered = [each for each in calls if each.outcome in ("done", "failed")]
    ids = [id(each) for each in order]
    assert len(set(ids)) == len(ids)
    assert {id(each) for each in answered} <= set(ids) <= {id(each) for each in calls if each.outcome != "not_done"}
    registers = {Register()}
    for place, each in enumerate(order):
        waiting = [other for other in order[place:] if other.outcome != "unknown"]
        first_end_ns = min((other.end_ns for other in waiting), default=1 << 62)
        assert each.begin_ns <= first_end_ns
        registers |= {vanished(one) for one in registers if one.vanishes_from_ns <= first_end_ns}
        registers = {now for one in registers if (now := after(each, one)) is not None}
        assert registers


def explained_by_brute_force(calls: Sequence[Call]) -> bool:
    """The dumb twin: every order, with every choice of unknown calls and every moment for a record to vanish."""
    definite = [each for each in calls if each.outcome in ("done", "failed")]
    unknown = [each for each in calls if each.outcome == "unknown" and each.kind != "get"]
    return _brute(Register(), tuple(definite), tuple(unknown))


def _brute(register: Register, definite: tuple[Call, ...], unknown: tuple[Call, ...]) -> bool:
    if not definite:
        return True
    first_end_ns = min(each.end_ns for each in definite)
    may_vanish = register.value is not None and register.vanishes_from_ns <= first_end_ns
    if may_vanish and _brute(vanished(register), definite, unknown):
        return True
    for place, each in enumerate(definite):
        now = after(each, register) if each.begin_ns <= first_end_ns else None
        if now is not None and _brute(now, definite[:place] + definite[place + 1 :], unknown):
            return True
    for place, each in enumerate(unknown):
        now = after(each, register) if each.begin_ns <= first_end_ns else None
        if now is not None and _brute(now, definite, unknown[:place] + unknown[place + 1 :]):
            return True
    return False


def test_a_long_history_of_many_clients_takes_few_steps() -> None:
    """Three hundred calls of sixteen clients, some thirty answers lost; and an old value that is found at the end."""
    for style in ("register", "ttl", "counter"):
        for seed in range(10):
            history = observed(random.Random(seed), 300, 16, style, lost=0.1)
            assert linearization(history, steps_max=8_000) is not None
            late = max(each.end_ns for each in history) // MS + 1
            old = [each for each in history if has_effect(each) and each.outcome == "done" and each.value][5]
            assert linearization([*history, get(late, late + 1, old.value)], steps_max=8_000) is None
