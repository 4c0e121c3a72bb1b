"""A system that the closed loop asks by itself: where its members listen, what they are sent, which keys each takes."""

import os
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Protocol

import msgspec

from benchmarks.closed_loop import Load, ask, key, send_each
from benchmarks.systems.dialects import Dialect, Resp
from benchmarks.wrk import LoadError, Run
from corecache.wire.resp_command import command

FILLERS = 16
KEYS = 1000
"""Of each size of values. Few, so that all sizes fit everyone's memory, and none measures its disk by reading."""


class Cell(msgspec.Struct, frozen=True):
    """What is measured: writes or reads of values of a size, by so many clients. `first` is its first key's number."""

    operation: str
    value_bytes: int
    clients: int
    first: int

    @property
    def numbers(self) -> range:
        """The numbers of its keys."""
        return range(self.first, self.first + KEYS)

    @property
    def values(self) -> Sequence[bytes]:
        """The keys' values, one after the other. No two are alike, and none can be compressed."""
        return _values(self.value_bytes)


class Driver(Protocol):
    """Who asks a system that runs. All raise: LoadError, OSError."""

    def fill(self, cell: Cell) -> None:
        """Writes all keys of the cell's size."""

    def drive(self, cell: Cell, seconds: float, warm_seconds: float) -> tuple[Run, float]:
        """Returns what was measured, and the share of one core that the load generator computed for it."""


class WireDriver:
    """The closed loop, its clients spread over the members, each of which takes any key. One client asks the first."""

    def __init__(self, dialect: Dialect, ports: Sequence[int]) -> None:
        self._dialect = dialect
        self._ports = ports

    def fill(self, cell: Cell) -> None:
        """Writes each key once, some at a time."""
        asked = [(port, part[at::FILLERS]) for port, part in self._writes(cell).items() for at in range(FILLERS)]
        with ThreadPoolExecutor(FILLERS) as threads:
            list(threads.map(lambda each: send_each(each[0], each[1], self._dialect.written()), asked))

    def drive(self, cell: Cell, seconds: float, warm_seconds: float) -> tuple[Run, float]:
        """Lets the closed loop ask."""
        if cell.operation == "write":
            load = Load(self._writes(cell), self._dialect.written(), cell.clients)
        else:
            load = Load(self._reads(cell), self._dialect.found(cell.values), cell.clients)
        before = sum(os.times()[:2])
        run = load.drive(seconds, warm_seconds)
        return run, (sum(os.times()[:2]) - before) / (run.seconds + warm_seconds)

    def _writes(self, cell: Cell) -> dict[int, list[bytes]]:
        write, values = self._dialect.write, cell.values
        return {
            port: [write(each, values[each - cell.first]) for each in taken]
            for port, taken in self._taken(cell).items()
        }

    def _reads(self, cell: Cell) -> dict[int, list[bytes]]:
        return {port: [self._dialect.read(each) for each in taken] for port, taken in self._taken(cell).items()}

    def _taken(self, cell: Cell) -> dict[int, Sequence[int]]:
        """Returns the numbers of the keys that each member is asked for."""
        return dict.fromkeys(self._ports, cell.numbers)


class AwareDriver(WireDriver):
    """The closed loop as a cluster-aware client: each key is asked of its primary, which takes it at once."""

    def __init__(self, ports: Sequence[int]) -> None:
        """Takes the ports that answer MOVED."""
        super().__init__(Resp(), ports)
        self._learned: dict[int, dict[int, Sequence[int]]] = {}

    def _taken(self, cell: Cell) -> dict[int, Sequence[int]]:
        if cell.first not in self._learned:
            questions = [command(b"EXISTS", key(number)) for number in cell.numbers]
            # A primary answers with a number, the others with where to go.
            answers = {port: zip(cell.numbers, ask(port, questions), strict=True) for port in self._ports}
            taken = {port: [each for each, said in said_of if said[:1] == b":"] for port, said_of in answers.items()}
            if sum(map(len, taken.values())) != len(questions):
                raise LoadError("the nodes do not agree on who takes which key")
            self._learned[cell.first] = dict(taken)
        return self._learned[cell.first]


@cache
def _values(value_bytes: int) -> Sequence[bytes]:
    source = random.Random(value_bytes)  # noqa: S311 keeps no secret
    return [source.randbytes(value_bytes) for _ in range(KEYS)]
