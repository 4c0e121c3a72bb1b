"""Finds the least part of a key's history that still can't be, and tells it in lines that a person can follow.

Only such cuts are made after which a history that could be explained still could. So if what is left can't be, the
whole could not either, and for that same reason:

1. *The end.* At a moment, calls that began later are dropped; those that were answered later become *unknown*, and
   reads and failed ones among them are dropped. An order of the whole, up to the last call answered by then, holds no
   call that began later, and is an order of what is left.
2. *No effect.* A read or a failed call is dropped: any order without it is as good.
3. *The beginning.* A done call A whose answer tells all of the key is taken for the first, without its condition. What
   is surely before A is dropped: calls answered before A began, or told a lower version. It is allowed only if every
   other call with an effect is surely after A: begun after A's answer, or told a higher version. In an order of the
   whole, what is left without all that stands before A is an order of the rest: A alone says how the key is then, and
   unknown calls may as well never have happened. Reads that overlap A are dropped by rule 2.
4. *What can't matter*: `linearizability.effective`.

What a shorter end or a later beginning shows, a longer or an earlier one shows too: both are found by halving.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from corecache.chaos.history import ABSENT, PRESENT, READER, Call
from corecache.chaos.linearizability import (
    UndecidedError,
    effective,
    linearization,
    values_name_writers,
    with_told_versions,
)
from corecache.chaos.register import has_effect

SEARCHES_MAX: Final = 300
"""How many histories are tried at the most until the least one found so far is told."""

_STEPS_MAX: Final = 20_000
_MS: Final = 1_000_000
_CULPRIT: Final = "   <== can't be explained"


class Least(NamedTuple):
    """The calls of a least history as they were noted, by their beginning.

    `culprit` is the answer that can't be explained: without it the others can be. `anchor` is the call that stands
    first, whenever it began, since it tells the key for all that was left out before it; None if nothing was.
    """

    calls: list[Call]
    culprit: Call
    anchor: Call | None


def least(calls: Sequence[Call]) -> Least:
    """Returns a least history of those that show why the calls of one key are not linearizable.

    Requires: they are not. Ensures: neither is what it returns.
    """
    budget = [SEARCHES_MAX]
    ends = sorted({call.end_ns for call in calls if call.outcome in ("done", "failed")})
    last = _first(len(ends) - 1, lambda number: _violates(until(calls, ends[number]), budget))
    left = until(calls, ends[last])
    earlier = [call for call in left if call.outcome == "done" and call.end_ns < ends[last]]
    anchors = sorted(earlier, key=lambda call: -call.begin_ns)
    cuts = [cut for cut in (since(left, anchor) for anchor in anchors) if cut is not None]
    # The shortest that shows it; if none does, all of what is left.
    number = _first(len(cuts), lambda number: _violates(cuts[number].asked, budget))
    cut = cuts[number] if number < len(cuts) else Cut(left, None)
    kept = _without_effectless(cut, budget)
    noted = {id(call) for call in left}
    rest = [call for call in kept if id(call) in noted]
    culprit = max((call for call in rest if call.outcome in ("done", "failed")), key=lambda call: call.end_ns)
    ordered = sorted(rest, key=lambda call: (call.begin_ns, call.end_ns))
    return Least(ordered if cut.anchor is None else [cut.anchor, *ordered], culprit, cut.anchor)


def _first(last: int, holds: Callable[[int], bool]) -> int:
    """Returns the first number from 0 on from which on something holds, `last` if none before does."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _violates(calls: Sequence[Call], budget: list[int]) -> bool:
    """Says whether a history surely can't be explained, False also if that would take too long to find out."""
    budget[0] -= 1
    if budget[0] < 0:
        return False
    try:
        return linearization(calls, steps_max=_STEPS_MAX) is None
    except UndecidedError:
        return False


def until(calls: Sequence[Call], time_ns: int) -> list[Call]:
    """Cuts the end off: returns what was known at a time, in ns."""
    known = []
    for call in effective(calls):
        if call.begin_ns > time_ns:
            continue
        if call.outcome == "unknown" or call.end_ns <= time_ns:
            known.append(call)
        elif has_effect(call):
            value = call.value if call.kind == "put" else None
            known.append(
                msgspec.structs.replace(call, outcome="unknown", value=value, version=None, detail="answered later")
            )
    return effective(known)


class Cut(NamedTuple):
    """What is left, as it is asked of the search, and the call that it begins with, None if that is the beginning."""

    asked: list[Call]
    anchor: Call | None


def since(calls: Sequence[Call], anchor: Call) -> Cut | None:
    """Cuts the beginning off: what comes from a done call on; None if its answer does not tell enough for that."""
    first = _as_first(anchor, calls)
    if first is None:
        return None
    filled = with_told_versions(calls)
    version = next(full.version for full, call in zip(filled, calls, strict=True) if call is anchor)
    own = anchor.value if anchor.value is not None and values_name_writers(calls) else ""
    kept = list(first)
    for full, call in zip(filled, calls, strict=True):
        if call is anchor or (own and has_effect(call) and call.value == own):
            # The write of what the anchor found.
            continue
        if call.outcome == "unknown" or call.begin_ns > anchor.end_ns or (version and (full.version or 0) > version):
            kept.append(call)
        elif (
            has_effect(call) and call.end_ns >= anchor.begin_ns and not (version and 0 < (full.version or 0) < version)
        ):
            return None
    return Cut(kept, anchor)


def _as_first(anchor: Call, calls: Sequence[Call]) -> list[Call] | None:
    """Returns what makes the key as a call left it; None if its answer does not tell that."""
    if anchor.kind == "delete" or anchor.value is None:
        return []
    if anchor.kind != "put" and any(call.ttl_ms is not None for call in calls):
        return None
    return [msgspec.structs.replace(anchor, kind="put", condition=None, amount=0)]


def _without_effectless(cut: Cut, budget: list[int]) -> list[Call]:
    """Drops reads and failed calls, many at once first, as long as the rest still can't be explained."""
    kept = list(cut.asked)
    size = sum(not has_effect(call) for call in kept)
    while size:
        start = 0
        while True:
            idle = [call for call in kept if not has_effect(call)]
            if start >= len(idle):
                break
            dropped = {id(call) for call in idle[start : start + size]}
            without = [call for call in kept if id(call) not in dropped]
            if _violates(without, budget):
                kept = without
            else:
                start += size
        size //= 2
    return effective(kept)


def since_last_write(calls: Sequence[Call]) -> list[str]:
    """Returns, as text, how a value is known to have changed when nobody wrote any more.

    That is the write acknowledged last, whoever wrote what is found now, the writes of unknown outcome, and the reads
    at the end of rounds, of which the last can't be explained.

    Requires: `calls` are all of a key's, as they were noted; the last is the read that differs.
    """
    found = calls[-1]
    writes = [call for call in calls if has_effect(call)]
    acknowledged = [call for call in writes if call.outcome == "done"][-1:]
    told = [
        call
        for call in calls
        if (call.client == READER and call is not found)
        or call in acknowledged
        or (call in writes and (call.outcome == "unknown" or (call.kind == "put" and call.value == found.value)))
    ]
    return [*map(line, told), line(found) + _CULPRIT]


def in_lines(history: Least) -> list[str]:
    """Returns a history as text, a line for each call."""
    lines = ["what came before is left out: the first call tells how the key is after it"] if history.anchor else []
    marked = (history.culprit.client, history.culprit.begin_ns)
    lines += [line(call) + (_CULPRIT if (call.client, call.begin_ns) == marked else "") for call in history.calls]
    return lines


def line(call: Call) -> str:
    """Returns a call as a line of text: from and to in ms, who asked whom, for what, and the answer."""
    span = f"{call.begin_ns / _MS:12.3f} - {call.end_ns / _MS:12.3f} ms"
    return f"{span}  client {call.client:>3}  {call.protocol}@{call.node}  {_asked(call)}  ->  {_answer(call)}"


def _asked(call: Call) -> str:
    words = call.kind if call.kind in ("get", "delete") else f"add {call.amount}"
    if call.kind == "put":
        words = f"put {call.value!r}"
    if call.ttl_ms is not None:
        words += f" for {call.ttl_ms} ms"
    if call.condition is not None:
        named = {ABSENT: "absent", PRESENT: "present"}
        words += f" if {named.get(call.condition, f'version {call.condition}')}"
    return words


def _answer(call: Call) -> str:
    words = {"not_done": "not done"}.get(call.outcome, call.outcome)
    if call.outcome == "done" and call.kind == "get":
        words = "absent" if call.value is None else repr(call.value)
    if call.outcome == "done" and call.kind == "add":
        words = repr(call.value)
    if call.version:
        words += f", version {call.version}"
    return f"{words} ({call.detail})" if call.detail else words
