"""Decides whether the calls of one key are linearizable, after Wing and Gong, with Lowe's memory of what was tried.

They are if they can be put in one order in which each keeps what real time says (a call answered before another was
made comes before it) and each answer is the one that a single register gives (`register`). An *unknown* call may take
effect at any time after it was made, or never; a record whose time has come vanishes at any time from then on.

The search goes depth first and never tries the same twice: the same calls placed, in the same state, with as many
unknown calls used or more. What keeps it small loses nothing, since from any order that explains the history one can be
made that the search does not leave out:

1. A call without effect that fits now is placed now: moved to the front, it changes nothing for the others.
2. What may or may not happen (an unknown call, a vanishing) stands right before an answer that needs it. If the answer
   fits as well without, and leaves the same, it is left out.
3. Calls that are alike may change places. Of unknown ones the one made first is used first, of others that may be next
   the one answered first.
4. Told versions rise: a write waits for all that was told a lower version, and a record stays while somebody is still
   to be told its version. If values name their writer, a value stays while somebody is still to see it, one that
   nobody saw is like any other, and an unknown put that somebody saw has happened, before that answer. A counter that
   only grows waits for all who saw it smaller.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from operator import le
from typing import Final, Literal, NamedTuple

import msgspec

from corecache.chaos.history import PRESENT, Call
from corecache.chaos.register import NEVER, Register, after, has_effect, vanished

STEPS_MAX: Final = 400_000
"""A search that takes more is given up: so many take half a minute, and memory for all that is remembered."""

Expiry = Literal["exact", "early", "late"]
"""Whether a time to live counts, or records may vanish at any time, or be found for as long as one likes."""

_UNSEEN: Final = "\0unseen"


class UndecidedError(Exception):
    """The search was given up."""


def linearization(calls: Sequence[Call], expiry: Expiry = "exact", steps_max: int = STEPS_MAX) -> list[Call] | None:
    """Returns an order that explains the calls of one key, which is absent at first; None if there is none.

    Unknown calls that the order does not hold never took effect. Raises: UndecidedError.
    """
    return _Search(_Question.of(calls, expiry), steps_max).order()


def effective(calls: Sequence[Call]) -> list[Call]:
    """Returns the calls that can matter for the answer: leaving out the others changes nothing.

    Left out are *not done* calls, unknown gets, and unknown puts for good whose value nobody saw, if no call depends on
    there being a record: such a put would at most be overwritten.
    """
    known = [call for call in calls if call.outcome != "not_done" and (call.outcome != "unknown" or has_effect(call))]
    if any(call.condition is not None or call.kind == "add" for call in known):
        return known
    if any(call.kind == "delete" and call.outcome != "unknown" for call in known):
        return known
    seen = {call.value for call in known if call.kind == "get"}
    return [
        call
        for call in known
        if call.kind != "put" or call.outcome != "unknown" or call.value in seen or call.ttl_ms is not None
    ]


def with_told_versions(calls: Sequence[Call]) -> list[Call]:
    """Returns the calls with those versions of writes filled in that somebody who saw the value was told."""
    if not values_name_writers(calls):
        return list(calls)
    told: dict[str, int] = {}
    for call in calls:
        if call.kind == "get" and call.value is not None and call.version is not None:
            told.setdefault(call.value, call.version)
    return [_with_version(call, told) for call in calls]


def _with_version(call: Call, told: dict[str, int]) -> Call:
    if call.value in told and has_effect(call) and call.version is None:
        return msgspec.structs.replace(call, version=told[call.value])
    return call


def values_name_writers(calls: Sequence[Call]) -> bool:
    """Says whether a value found tells which write it is from, since no two may have written the same."""
    if _only_grows(calls):
        return True
    writes = [call for call in calls if has_effect(call) and call.outcome != "not_done"]
    values = [call.value for call in writes if call.kind == "put"]
    return len(values) == len(set(values)) and not any(call.kind == "add" for call in writes)


def _only_grows(calls: Sequence[Call]) -> bool:
    """Says whether a key is only ever added to, after at most one put that was answered before all the rest began."""
    answered = [call for call in calls if call.outcome in ("done", "failed")]
    writes = [call for call in calls if has_effect(call) and call.outcome != "not_done"]
    adds = [call for call in writes if call.kind == "add" and call.amount > 0]
    if len(adds) == len(writes):
        return bool(adds)
    put = min(writes, key=lambda call: call.end_ns)
    is_first = put.kind == "put" and put.outcome == "done" and put.ttl_ms is None and (put.value or "").isdecimal()
    return is_first and len(adds) == len(writes) - 1 and all(c is put or c.begin_ns > put.end_ns for c in answered)


class _Placed(NamedTuple):
    """A call that must be placed, as it is asked of the register and as it was noted, and its time."""

    begin_ns: int
    end_ns: int
    call: Call
    noted: Call


class _Question(NamedTuple):
    """A history, made ready: what must be placed, by its beginning; what may be, by likeness; what must wait for what.

    Sets of definite calls are bits. `before[i]`: all that come before call i. `seers`: by value, or version, who is
    told it. `likeness[i]`: the first call that call i is like. `floors`: of a counter that only grows, what each call
    finds, sorted; `below[n]`: the calls of the first n floors.
    """

    definite: list[_Placed]
    alike: list[list[_Placed]]
    likeness: list[int]
    before: list[int]
    seers: dict[str | int, int]
    floors: list[int]
    below: list[int]

    @classmethod
    def of(cls, calls: Sequence[Call], expiry: Expiry) -> "_Question":
        """Prepares the calls of a key."""
        calls = effective(calls)
        named, grows = values_name_writers(calls), _only_grows(calls)
        seen_ns: dict[str, int] = {}
        for call in calls:
            if call.kind == "get" and call.value is not None:
                seen_ns[call.value] = min(seen_ns.get(call.value, NEVER), call.end_ns)
        definite: list[_Placed] = []
        groups: dict[tuple[object, ...], list[_Placed]] = {}
        for noted, filled in zip(calls, with_told_versions(calls), strict=True):
            call, end_ns = _lax(filled, expiry), noted.end_ns
            if named and call.kind == "put" and has_effect(call) and not grows:
                if call.value not in seen_ns:
                    call = msgspec.structs.replace(call, value=_UNSEEN)
                elif noted.outcome == "unknown":
                    assert call.value is not None
                    definite.append(_Placed(noted.begin_ns, seen_ns[call.value], call, noted))
                    continue
            if noted.outcome == "unknown":
                groups.setdefault(_likeness(call), []).append(_Placed(noted.begin_ns, NEVER, call, noted))
            else:
                definite.append(_Placed(noted.begin_ns, end_ns, call, noted))
        definite.sort(key=lambda each: (each.begin_ns, each.end_ns))
        alike = [sorted(group, key=lambda each: each.begin_ns) for group in groups.values()]
        floors = sorted(
            (_floor(each.call), index)
            for index, each in enumerate(definite)
            if grows and each.call.kind != "delete" and each.call.outcome == "done"
        )
        below = [0]
        for _, index in floors:
            below.append(below[-1] | 1 << index)
        firsts: dict[tuple[object, ...], int] = {}
        likeness = [
            firsts.setdefault(_likeness(each.call), index) if each.call.ttl_ms is None else index
            for index, each in enumerate(definite)
        ]
        seers = _seers(definite, named)
        return cls(definite, alike, likeness, _before(definite), seers, [floor for floor, _ in floors], below)


def _lax(call: Call, expiry: Expiry) -> Call:
    """Returns a put with a time to live so that its record may vanish at any time, or never has to."""
    if call.ttl_ms is None or expiry == "exact":
        return call
    if expiry == "early":
        return msgspec.structs.replace(call, begin_ns=-NEVER)
    return msgspec.structs.replace(call, outcome="unknown")


def _floor(call: Call) -> int:
    """Returns what a call of a counter found; below all for the put that comes first."""
    if call.kind == "put":
        return -1
    if call.value is None or not call.value.isdecimal():
        return 0
    return int(call.value) - call.amount


def _likeness(call: Call) -> tuple[object, ...]:
    return call.kind, call.outcome, call.value, call.condition, call.version, call.ttl_ms, call.amount


def _met_version(call: Call) -> int | None:
    """Returns the version that a call surely met: what a read or a failed call was told, or a condition that held."""
    if not has_effect(call):
        return call.version
    return call.condition if call.condition != PRESENT else None


def _before(definite: list[_Placed]) -> list[int]:
    """Gives for each call the calls that were told, or met, a lower version than it wrote."""
    told = sorted(
        (version, index)
        for index, each in enumerate(definite)
        if (version := (each.call.version or _met_version(each.call)))
    )
    below = [0]
    for _, index in told:
        below.append(below[-1] | 1 << index)
    return [
        below[bisect_left(told, (each.call.version, -1))] if each.call.version and has_effect(each.call) else 0
        for each in definite
    ]


def _seers(definite: list[_Placed], named: bool) -> dict[str | int, int]:
    """Gives who must be placed while a version stands, and, if values name their writers, while a value does."""
    seers: dict[str | int, int] = {}
    for index, each in enumerate(definite):
        version = _met_version(each.call)
        if version:
            seers[version] = seers.get(version, 0) | 1 << index
        if named and each.call.kind == "get" and each.call.value is not None:
            seers[each.call.value] = seers.get(each.call.value, 0) | 1 << index
    return seers


class _State(NamedTuple):
    """How many definite calls are placed without a gap, the bits of those after it, how many of each alike, the key.

    `origin` is the key before what may or may not have happened since the last definite call; None if nothing did.
    """

    base: int
    placed: int
    used: tuple[int, ...]
    register: Register
    origin: Register | None


_Step = tuple[Call | None, _State]


class _Search:
    """One search."""

    def __init__(self, question: _Question, steps_max: int) -> None:
        self._question = question
        self._definite = question.definite
        self._steps_left = steps_max
        self._tried: dict[tuple[object, ...], list[tuple[int, ...]]] = {}

    def order(self) -> list[Call] | None:
        """Goes depth first until every definite call is placed."""
        start = _State(0, 0, (0,) * len(self._question.alike), Register(), None)
        if not self._definite:
            return []
        self._is_new(start)
        path: list[Call | None] = []
        searches = [self._steps(start)]
        while searches:
            for call, state in searches[-1]:
                if not self._is_new(state):
                    continue
                path.append(call)
                if state.base == len(self._definite):
                    return [each for each in path if each is not None]
                searches.append(self._steps(state))
                break
            else:
                searches.pop()
                if path:
                    path.pop()
        return None

    def _is_new(self, state: _State) -> bool:
        """Says whether a state was not tried yet, also not with fewer unknown calls used; notes it. Counts steps."""
        tried = self._tried.setdefault((state.base, state.placed, state.register, state.origin), [])
        if any(all(map(le, used, state.used)) for used in tried):
            return False
        tried.append(state.used)
        self._steps_left -= 1
        if self._steps_left < 0:
            raise UndecidedError
        return True

    def _steps(self, state: _State) -> Iterator[_Step]:
        """Gives what may come next: definite calls first, those that ended first before all."""
        candidates, first_end_ns = self._candidates(state)
        fitting: dict[tuple[int, Register], int] = {}
        for index in candidates:
            call = self._definite[index].call
            now = after(call, state.register)
            if now is None:
                continue
            if now == state.register and not has_effect(call):
                yield self._definite[index].noted, _placing(state, index, now)
                return
            if self._may_follow(state, now, index):
                fitting.setdefault((self._question.likeness[index], now), index)
        for (_, now), index in fitting.items():
            if state.origin is None or after(self._definite[index].call, state.origin) != now:
                yield self._definite[index].noted, _placing(state, index, now)
        yield from self._chances(state, first_end_ns)

    def _candidates(self, state: _State) -> tuple[list[int], int]:
        """Returns the calls that may be next, by their end, and when the first call is answered that is not placed."""
        first_end_ns = NEVER
        waiting = []
        for index in range(state.base, len(self._definite)):
            each = self._definite[index]
            if each.begin_ns > first_end_ns:
                break
            if not state.placed >> (index - state.base) & 1:
                first_end_ns = min(first_end_ns, each.end_ns)
                waiting.append((each.end_ns, index))
        waiting.sort()
        return [index for _, index in waiting if self._definite[index].begin_ns <= first_end_ns], first_end_ns

    def _chances(self, state: _State, first_end_ns: int) -> Iterator[_Step]:
        """Gives what may happen or not: unknown calls, and the record's end."""
        register, origin = state.register, state.origin
        if register.value is not None and register.vanishes_from_ns <= first_end_ns:
            now = vanished(register)
            if self._may_follow(state, now, None):
                yield None, state._replace(register=now, origin=origin or register)
        for number, group in enumerate(self._question.alike):
            used = state.used[number]
            if used == len(group) or group[used].begin_ns > first_end_ns:
                continue
            call = group[used].call
            happened = after(call, register)
            if happened is None or happened == register or not self._may_follow(state, happened, None):
                continue
            if origin is not None and after(call, origin) == happened:
                continue
            counts = (*state.used[:number], used + 1, *state.used[number + 1 :])
            yield group[used].noted, state._replace(used=counts, register=happened, origin=origin or register)

    def _may_follow(self, state: _State, now: Register, index: int | None) -> bool:
        """Says whether nobody is left behind who can't be answered any more once the key is so."""
        question = self._question
        waited = 0 if index is None else question.before[index]
        value, version = state.register.value, state.register.version
        if value is not None and now.value != value:
            waited |= question.seers.get(value, 0)
        if version and now.version != version:
            waited |= question.seers.get(version, 0)
        if question.floors and now.value is not None:
            waited |= question.below[bisect_left(question.floors, int(now.value))]
        if index is not None:
            waited &= ~(1 << index)
        return not (waited >> state.base) & ~state.placed


def _placing(state: _State, index: int, register: Register) -> _State:
    """Returns the state with one more definite call placed."""
    base, placed = state.base, state.placed | 1 << (index - state.base)
    while placed & 1:
        base, placed = base + 1, placed >> 1
    return _State(base, placed, state.used, register, None)
