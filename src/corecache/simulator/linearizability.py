"""Decides whether what clients saw of one key is linearizable, after Wing and Gong, with a memory of what was tried.

A history is linearizable if its calls can be put in one order in which each keeps what real time says (a call that was
answered before another was made comes before it) and each answer is the one that a single register with versions
gives. A write of unknown outcome may take effect at any time after it was made, or never.

The search goes depth first, and remembers every combination (which calls are placed, which state) that led nowhere.
Calls that end first are tried first. Two things keep it small. Definite calls are placed nearly in the order in which
they began, so what is placed is a prefix and a few bits. Writes of unknown outcome that took effect are known by their
version, which the cluster's committed log tells; those that never did are left out before the search. What remains are
deletes of unknown outcome, which are all alike: only how many were used counts.

A record with a time to live may vanish at any time; it must not come back.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Many
from typing import Final, NamedTuple

import msgspec

STEPS_MAX: Final = 400_000
"""A search that takes more is given up: *undecided*."""

_NEVER: Final = 1 << 62


class Register(NamedTuple):
    """A key: its version, 0 if it has no record; the highest so far; and whether it may vanish by itself."""

    version: int = 0
    highest: int = 0
    vanishes: bool = False


class Call(msgspec.Struct, eq=False):
    """What a client asked of a key, and what it was told.

    `kind` is "get", "put" or "delete". `begin` and `end` count events of the run; `end` is None if the outcome is
    unknown. `condition`: None; 0, the key must be absent; else the version that it must have. `done`: it was answered
    with success, and not with a failed condition. `version`: of the value written or found, 0 for absent; if the
    condition failed, the one that stood in the way; for a write of unknown outcome the one that it was given.
    """

    kind: str
    begin: int
    end: int | None = None
    condition: int | None = None
    done: bool = True
    version: int = 0
    vanishes: bool = False

    def after(self, register: Register) -> Iterator[Register]:
        """Gives the states that the key may have after this call and its answer; none if it can't be so."""
        yield from self._after(register)
        if register.vanishes:
            yield from self._after(Register(0, register.highest, False))

    def _after(self, register: Register) -> Iterator[Register]:
        if self.kind == "get":
            if register.version == self.version:
                yield register
        elif not self.done:
            if register.version == self.version and self.condition != self.version:
                yield register
        elif self.condition is not None and register.version != self.condition:
            return
        elif self.kind == "delete":
            if register.version:
                yield Register(0, register.highest, False)
        elif self.version > register.highest:
            yield Register(self.version, self.version, self.vanishes)


class UndecidedError(Exception):
    """The search was given up."""


def is_linearizable(calls: Many[Call]) -> bool:
    """Says whether a history of one key, which is absent at first, can be explained. Raises: UndecidedError."""
    definite = sorted((call for call in calls if call.end is not None), key=lambda call: call.begin)
    open_calls = sorted((call for call in calls if call.end is None), key=lambda call: call.begin)
    return _Search(definite, open_calls).succeeds()


_State = tuple[int, int, int, Register]
"""How many definite calls are placed without a gap, the bits of those after it, the bits of open ones, the key."""


class _Search:
    """One search. Bits of placed calls are relative to the first that is not."""

    def __init__(self, definite: list[Call], open_calls: list[Call]) -> None:
        self._definite = definite
        self._open = open_calls
        self._tried: set[_State] = set()

    def succeeds(self) -> bool:
        """Goes depth first until every definite call is placed."""
        start: _State = (0, 0, 0, Register())
        self._tried.add(start)
        searches = [self._next(start)]
        while searches:
            for state in searches[-1]:
                if state[0] == len(self._definite):
                    return True
                if state not in self._tried:
                    self._tried.add(state)
                    if len(self._tried) > STEPS_MAX:
                        raise UndecidedError
                    searches.append(self._next(state))
                    break
            else:
                searches.pop()
        return not self._definite

    def _next(self, state: _State) -> Iterator[_State]:
        """Gives the states that may follow: by the definite calls that may come next, then by the open ones."""
        base, placed, used, register = state
        definite = self._definite
        first_end = _NEVER
        candidates = []
        for index in range(base, len(definite)):
            call = definite[index]
            if call.begin > first_end:
                break
            if not placed >> (index - base) & 1:
                assert call.end is not None
                first_end = min(first_end, call.end)
                candidates.append((call.end, index))
        candidates.sort()
        for _, index in candidates:
            call = definite[index]
            if call.begin > first_end:
                continue
            for after in call.after(register):
                now_base, now_placed = base, placed | 1 << (index - base)
                while now_placed & 1:
                    now_base, now_placed = now_base + 1, now_placed >> 1
                yield now_base, now_placed, used, after
        yield from self._open_next(state, first_end)

    def _open_next(self, state: _State, first_end: int) -> Iterator[_State]:
        base, placed, used, register = state
        alike: set[tuple[object, ...]] = set()
        for index, call in enumerate(self._open):
            if call.begin > first_end:
                break
            likeness = (call.kind, call.condition, call.version, call.vanishes)
            if used >> index & 1 or likeness in alike:
                continue
            alike.add(likeness)
            for after in call.after(register):
                if after != register:
                    yield base, placed, used | 1 << index, after
