"""Decides whether a history of concurrent operations on one key is linearizable, after Wing and Gong.

A history is linearizable if its operations can be put in one order, in which each keeps what real time says (an
operation that was answered before another was asked for comes before it) and each answer is the one that a single
register with versions gives. An operation that was never answered may stand anywhere after its question, and may have
done nothing.

The search goes depth first. It remembers, as Lowe proposed, which sets of operations it has tried in which state, so
that a few clients with some hundred operations take milliseconds. It returns an order, which is the proof, or None.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

NEVER = math.inf
"""The end of an operation that was never answered."""

UNTOLD = -1
"""The version of a value whose writer was never answered: above all before it, and told by whoever sees it first."""


class Register(NamedTuple):
    """A key: its value and version, None and 0 if it has no record; and the highest version so far."""

    value: str | None = None
    version: int = 0
    highest: int = 0


@dataclass(frozen=True)
class Operation:
    """What a client asked, what it was told, and when.

    `kind` is "get", "put" or "delete". `condition` is None, or the version that the key must have, 0 for no record.
    `done`: whether the answer was success; None if there was no answer. `value` is what a put writes or a get found.
    `version` is what the answer named: that of the value written or found, 0 for no record; if the condition failed,
    the one that stood in the way.
    """

    kind: str
    begin: float
    end: float
    value: str | None = None
    condition: int | None = None
    done: bool | None = True
    version: int = 0

    def after(self, register: Register) -> Iterator[Register]:
        """Gives the states that a register may have after this operation and its answer; none if it can't be so."""
        if self.kind == "get":
            if self.version == 0 or register.value == self.value:
                yield from _seen(register, self.version)
        elif self.done is False:
            if self.condition != self.version:
                yield from _seen(register, self.version)
        else:
            if self.done is None:
                yield register
            for met in [register] if self.condition is None else _seen(register, self.condition):
                yield from self._written(met)

    def _written(self, register: Register) -> Iterator[Register]:
        """Gives the state after a write that was not refused."""
        if self.kind == "delete":
            # Without a condition, a delete that found nothing is told apart: its answer is a failure.
            if register.value is not None:
                yield Register(None, 0, register.highest)
        elif self.done is None:
            yield Register(self.value, UNTOLD, register.highest)
        elif self.version > register.highest:
            yield Register(self.value, self.version, self.version)


def _seen(register: Register, version: int) -> Iterator[Register]:
    """Gives the register as it was seen with a version, if it can have that one."""
    if register.version == version:
        yield register
    elif register.version == UNTOLD and version > register.highest:
        yield Register(register.value, version, version)


def linearization(history: Sequence[Operation]) -> list[Operation] | None:
    """Returns an order that explains a history of one key, which is absent at first; None if there is none."""
    operations = sorted(history, key=lambda operation: operation.begin)
    everything = (1 << len(operations)) - 1
    tried = {(0, Register())}
    path: list[Operation] = []
    searches = [_steps(operations, 0, Register())]
    while searches:
        for operation, placed, register in searches[-1]:
            if (placed, register) not in tried:
                tried.add((placed, register))
                path.append(operation)
                if placed == everything:
                    return path
                searches.append(_steps(operations, placed, register))
                break
        else:
            searches.pop()
            if path:
                path.pop()
    return None if operations else []


def _steps(
    operations: Sequence[Operation], placed: int, register: Register
) -> Iterator[tuple[Operation, int, Register]]:
    """Gives each operation that may come next: none that is still to be placed was answered before it was asked for."""
    first_end = NEVER
    for number, operation in enumerate(operations):
        if placed >> number & 1:
            continue
        if operation.begin > first_end:
            break
        first_end = min(first_end, operation.end)
        for after in operation.after(register):
            yield operation, placed | 1 << number, after
