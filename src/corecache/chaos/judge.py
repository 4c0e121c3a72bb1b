"""Judges a campaign by what its clients noted: which rule is broken, of which key, and the least history that shows it.

A history ends with a get of every key, by client number -1, after all faults were healed. What each key did is judged
alone, since a promise is a promise for a key; `judge_key` may therefore be called in as many processes as there are.

One thing decides: whether there is an order that explains all that a key's clients were told (`linearizability`). If
there is none, the rule named is the most specific one that would mend it: the history is asked again with that one rule
taken away, say with records that may vanish early. Two more are seen without a search: a value that nobody wrote, and
one of which all writers were told that it was *not done*. Only the first of these rules is told, one violation a key.

A key that takes too long, or that nobody could read at the end, is *undecided*, and said to be so: never passed over.
That replicas hold the same is judged by their digests, taken when nothing was asked any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from corecache.chaos.explain import Least, in_lines, least, line, until
from corecache.chaos.history import READER, Call
from corecache.chaos.linearizability import Expiry, UndecidedError, linearization
from corecache.chaos.register import has_effect
from corecache.chaos.report import Violation

WRITTEN: Final = "a value found was written"
NOT_DONE: Final = "not done is never present"
EXPIRED_EARLY: Final = "no key expires early"
EXPIRED_LATE: Final = "no expired key is found"
DELETED: Final = "no deleted key comes back"
ACKNOWLEDGED: Final = "acknowledged is present at the end"
LINEARIZABLE: Final = "linearizable"
EQUAL: Final = "replicas are equal"

_SENTENCES: Final = {
    WRITTEN: "a value was found that nobody wrote",
    NOT_DONE: "a value was found whose writer was told that it was not written",
    EXPIRED_EARLY: "a record was gone before its time to live had passed",
    EXPIRED_LATE: "a record was found after its time to live had passed",
    DELETED: "a record was found after it had been deleted",
    ACKNOWLEDGED: "what was found at the end is not what the acknowledged writes leave",
    LINEARIZABLE: "no order of the calls explains all answers",
}
_CALLS_TOLD: Final = 20


class KeyJudged(msgspec.Struct, frozen=True):
    """What is to be said of a key: a violation, or why it is undecided ("" if it is not)."""

    violation: Violation | None = None
    undecided: str = ""


class Judged(msgspec.Struct, frozen=True):
    """What is to be said of a campaign: violations, why keys are undecided, and how much was judged."""

    violations: list[Violation]
    undecided: dict[str, str]
    keys: int
    calls: int


def judge(calls: Sequence[Call], digests: Mapping[int, Mapping[str, str]]) -> Judged:
    """Judges all calls of a campaign, and the digests of each partition's replicas, by node."""
    keys = by_key(calls)
    judged = {key: judge_key(of_key) for key, of_key in keys.items()}
    return summed(judged, judge_replicas(digests), len(calls))


def by_key(calls: Iterable[Call]) -> dict[str, list[Call]]:
    """Sorts calls by key, in the order in which keys come up."""
    keys: dict[str, list[Call]] = {}
    for call in calls:
        keys.setdefault(call.key, []).append(call)
    return keys


def summed(judged: Mapping[str, KeyJudged], replicas: Sequence[Violation], calls: int) -> Judged:
    """Puts together what was said of keys and of replicas."""
    violations = [each.violation for each in judged.values() if each.violation is not None]
    undecided = {key: each.undecided for key, each in judged.items() if each.undecided}
    return Judged([*violations, *replicas], undecided, len(judged), calls)


def judge_replicas(digests: Mapping[int, Mapping[str, str]]) -> list[Violation]:
    """Names the partitions whose replicas do not hold the same; `digests` are by partition and node."""
    return [
        Violation(
            EQUAL,
            f"partition {partition}",
            f"the replicas of partition {partition} do not hold the same",
            [f"{node}: {digest}" for node, digest in sorted(of_nodes.items())],
        )
        for partition, of_nodes in sorted(digests.items())
        if len(set(of_nodes.values())) > 1
    ]


def judge_key(calls: Sequence[Call]) -> KeyJudged:
    """Judges all calls of one key."""
    for rule, value in (*_unwritten(calls), *_not_done(calls)):
        return KeyJudged(_convicted(rule, calls, _of_value(calls, value)))
    try:
        if linearization(calls) is None:
            history = least(calls)
            return KeyJudged(_convicted(_broken(calls, history), calls, in_lines(history)))
    except UndecidedError:
        return KeyJudged(undecided="the search for an order was given up")
    if not any(call.client == READER and call.outcome == "done" for call in calls):
        return KeyJudged(undecided="nobody could read it at the end")
    return KeyJudged()


def _convicted(rule: str, calls: Sequence[Call], history: list[str]) -> Violation:
    key = calls[0].key
    return Violation(rule, key, f"key {key!r}: {_SENTENCES[rule]}", history)


def _unwritten(calls: Sequence[Call]) -> list[tuple[str, str]]:
    """Gives values that were found and never asked to be written; sums are no matter of this rule."""
    if any(call.kind == "add" for call in calls):
        return []
    asked = {call.value for call in calls if call.kind == "put"}
    return [(WRITTEN, value) for value in _found(calls) if value not in asked]


def _not_done(calls: Sequence[Call]) -> list[tuple[str, str]]:
    """Gives values that were found though all who wrote them were told that they did not."""
    if any(call.kind == "add" for call in calls):
        return []
    kept = {call.value for call in calls if call.kind == "put" and call.outcome in ("done", "unknown")}
    refused = {call.value for call in calls if call.kind == "put"} - kept
    return [(NOT_DONE, value) for value in _found(calls) if value in refused]


def _found(calls: Sequence[Call]) -> list[str]:
    return [call.value for call in calls if call.kind == "get" and call.outcome == "done" and call.value is not None]


def _of_value(calls: Sequence[Call], value: str) -> list[str]:
    """Tells who asked for a value to be written, and who found it."""
    named = sorted((call for call in calls if call.value == value), key=lambda call: call.begin_ns)
    lines = [line(call) for call in named[:_CALLS_TOLD]]
    return lines if len(named) <= _CALLS_TOLD else [*lines, f"and {len(named) - _CALLS_TOLD} more"]


def _broken(calls: Sequence[Call], history: Least) -> str:
    """Names the most specific rule without which a history that can't be explained could be."""
    culprit = history.culprit
    known = until(calls, culprit.end_ns)
    found = culprit.kind == "get" and culprit.value is not None
    # What the culprit found, whoever else found it gone.
    bare = [call for call in known if has_effect(call) or call is culprit]
    if any(call.ttl_ms is not None for call in known):
        if _explained(known, "early"):
            return EXPIRED_EARLY
        mortal = any(call.ttl_ms is not None and call.value == culprit.value for call in known)
        if _explained(known, "late") or (found and mortal and _explained(bare, "late")):
            return EXPIRED_LATE
    if (
        found
        and not _explained(bare)
        and _explained([_maybe(call) if call.kind == "delete" else call for call in bare])
    ):
        return DELETED
    return ACKNOWLEDGED if culprit.client == READER else LINEARIZABLE


def _explained(calls: Sequence[Call], expiry: Expiry = "exact") -> bool:
    try:
        return linearization(calls, expiry) is not None
    except UndecidedError:
        return False


def _maybe(call: Call) -> Call:
    """Returns a call that had its effect as one that may have had it."""
    return msgspec.structs.replace(call, outcome="unknown") if call.outcome == "done" else call
