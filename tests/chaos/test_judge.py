"""Each rule of the judge: what it convicts, in which words, and what it lets pass."""

import pickle
import random

import msgspec
import pytest

from chaos.histories import LAST, add, call, delete, get, last, put
from chaos.true_register import observed
from corecache.chaos import judge as rules
from corecache.chaos.explain import in_lines, least, line
from corecache.chaos.history import ABSENT, Call
from corecache.chaos.judge import Judged, KeyJudged, judge, judge_key, judge_replicas

BROKEN: dict[str, tuple[str, list[Call]]] = {
    "a value that nobody wrote": (rules.WRITTEN, [put(0, 1, "a", 1), get(2, 3, "x", 1), last("a", 1)]),
    "not done, and there": (rules.NOT_DONE, [put(0, 1, "a", None, "not_done"), last("a", 4)]),
    "its condition failed, and there": (
        rules.NOT_DONE,
        [put(0, 1, "a", 1), put(2, 3, "b", 1, "failed", condition=ABSENT), last("b", 2)],
    ),
    "expired early": (rules.EXPIRED_EARLY, [put(0, 1, "a", 1, ttl_ms=90_000), get(20, 21, None), last(None)]),
    "found after its time": (rules.EXPIRED_LATE, [put(0, 1, "a", 1, ttl_ms=50), last("a", 1)]),
    "expired and back": (rules.EXPIRED_LATE, [put(0, 1, "a", 1, ttl_ms=50), get(5000, 5001, "a", 1), last(None)]),
    "deleted and back": (rules.DELETED, [put(0, 1, "a", 1), delete(2, 3), get(4, 5, None), last("a", 1)]),
    "deleted, seen, and gone again": (rules.DELETED, [put(0, 1, "a", 1), delete(2, 3), get(4, 5, "a", 1), last(None)]),
    "lost": (rules.ACKNOWLEDGED, [put(0, 1, "a", 1), get(2, 3, "a", 1), last(None)]),
    "overwritten by its elder": (rules.ACKNOWLEDGED, [put(0, 1, "a", 1), put(2, 3, "b", 2), last("a", 1)]),
    "a lost increment": (rules.ACKNOWLEDGED, [add(0, 1, 1, 1), add(2, 3, 1, 2), last("1")]),
    "a double increment": (rules.ACKNOWLEDGED, [add(0, 1, 1, 1), add(2, 3, 1, 2), last("3")]),
    "a stale read": (rules.LINEARIZABLE, [put(0, 1, "a", 1), put(2, 3, "b", 2), get(4, 5, "a", 1), last("b", 2)]),
    "both compare-and-sets won": (
        rules.LINEARIZABLE,
        [put(0, 1, "a", 1), put(2, 5, "b", 2, condition=1), put(2, 5, "c", 3, condition=1), last("c", 3)],
    ),
    "appears, disappears, appears": (
        rules.LINEARIZABLE,
        [put(0, 1, "a", 1, "unknown"), get(2, 3, "a", 1), get(4, 5, None), last("a", 1)],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_broken_rule_is_named(name: str) -> None:
    """A broken history is convicted by the most specific rule."""
    rule, calls = BROKEN[name]
    judged = judge_key(calls)
    assert judged.violation is not None
    assert judged.violation.rule == rule
    assert judged.violation.subject == "k"
    assert judged.violation.history
    assert judged.undecided == ""
    assert pickle.loads(pickle.dumps(judged)) == judged


@pytest.mark.parametrize("style", ["register", "counter", "ttl", "mixed"])
def test_a_true_register_is_acquitted(style: str) -> None:
    """Whatever a true register answers, late or never, is no violation."""
    for seed in range(20):
        assert judge_key(observed(random.Random(seed), 60, 6, style)) == KeyJudged()


def test_a_key_that_nobody_read_at_the_end_is_undecided() -> None:
    """What was there at the end is not known, and not passed over."""
    assert judge_key([put(0, 1, "a", 1)]).undecided == "nobody could read it at the end"
    unread = call("get", LAST, LAST + 1, "not_done", client=-1)
    assert judge_key([put(0, 1, "a", 1), unread]).undecided == "nobody could read it at the end"


def test_a_campaign_is_judged_key_by_key_and_partition_by_partition() -> None:
    """Each key and each partition is judged alone, and all are counted."""
    lost = [put(0, 1, "a", 1), last(None)]
    good = [put(0, 1, "b", 2), last("b", 2)]
    renamed = [msgspec.structs.replace(each, key="good") for each in good]
    judged = judge([*lost, *renamed], {0: {"n1": "x", "n2": "x"}, 1: {"n1": "x", "n2": "y"}})
    assert [(each.rule, each.subject) for each in judged.violations] == [
        (rules.ACKNOWLEDGED, "k"),
        (rules.EQUAL, "partition 1"),
    ]
    assert judged.violations[1].history == ["n1: x", "n2: y"]
    assert (judged.keys, judged.calls, judged.undecided) == (2, 4, {})
    assert judge([], {}) == Judged([], {}, 0, 0)
    assert judge_replicas({0: {"n1": "x"}}) == []


def test_the_least_history_is_what_a_reader_needs() -> None:
    """Forty-seven calls come down to the two that contradict each other."""
    before = [each for number in range(20) for each in (put(9 * number, 9 * number + 1, f"v{number}", number + 1),)]
    reads = [get(9 * number + 2, 9 * number + 3, f"v{number}", number + 1, client=2) for number in range(20)]
    stale = get(400, 401, "v18", 19, client=3, protocol="resp")
    after = [put(500 + number, 501 + number, f"w{number}", 30 + number) for number in range(5)]
    found = least([*before, *reads, put(300, 301, "z", 25), stale, *after])
    assert found.culprit is stale
    assert in_lines(found) == [
        "what came before is left out: the first call tells how the key is after it",
        "     300.000 -      301.000 ms  client   1  http@n1  put 'z'  ->  done, version 25",
        "     400.000 -      401.000 ms  client   3  resp@n1  get  ->  'v18', version 19   <== can't be explained",
    ]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (put(0, 1, "a", 3, condition=ABSENT, ttl_ms=50), "put 'a' for 50 ms if absent  ->  done, version 3"),
        (put(0, 1, "a", None, "unknown", detail="timeout", condition=7), "put 'a' if version 7  ->  unknown (timeout)"),
        (delete(0, 1, "failed", condition=-1), "delete if present  ->  failed"),
        (add(0, 1, 5, 12), "add 5  ->  '12'"),
        (get(0, 1, None), "get  ->  absent"),
        (call("get", 0, 1, "not_done", detail="no_primary"), "get  ->  not done (no_primary)"),
    ],
)
def test_a_call_is_a_line(asked: Call, text: str) -> None:
    """A line says what was asked and answered."""
    assert line(asked).endswith(f"http@n1  {text}")
