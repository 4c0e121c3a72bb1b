"""What is asked: YCSB's workloads and three plain ones, and the plan of a worker, which draws operation by operation.

Rule 1: the same seed, worker and answers give the same operations. Nothing here knows a clock.

Rule 2: a plan asks only for keys that are there: those that were loaded, and those whose insertion has succeeded.
`Scrambled` and `Uniform` draw from the loaded ones, `Latest` from all that its worker knows of.

Rule 3: workers share the keys that were loaded and never insert the same: of the run's own, worker w of n has each nth.
"""

import random
from enum import StrEnum

import msgspec

from corecache.loadgen.choosers import Latest, Scrambled, Uniform

READ, UPDATE, INSERT, SCAN, CHANGE = "read", "update", "insert", "scan", "read-modify-write"
SCAN_ITEMS_MAX = 100
"""YCSB's scans have 1 to this many items, each number as likely."""

_SHIFTS = 4 * 1024 * 1024
"""Values are cut out of a random string, beginning at one of so many places: those of a block of the store hardly ever
overlap, so the block does not compress."""


class Distribution(StrEnum):
    """How keys are drawn."""

    ZIPFIAN = "zipfian"
    LATEST = "latest"
    UNIFORM = "uniform"


class Workload(msgspec.Struct, frozen=True):
    """Which operations in which shares, and how their keys are drawn."""

    name: str
    shares: tuple[tuple[str, float], ...]
    distribution: Distribution
    says: str


WORKLOADS = {
    each.name: each
    for each in (
        Workload("a", ((READ, 0.5), (UPDATE, 0.5)), Distribution.ZIPFIAN, "half reads, half updates"),
        Workload("b", ((READ, 0.95), (UPDATE, 0.05)), Distribution.ZIPFIAN, "95% reads, 5% updates"),
        Workload("c", ((READ, 1.0),), Distribution.ZIPFIAN, "reads"),
        Workload("d", ((READ, 0.95), (INSERT, 0.05)), Distribution.LATEST, "95% reads of the newest, 5% inserts"),
        Workload("e", ((SCAN, 0.95), (INSERT, 0.05)), Distribution.ZIPFIAN, "95% short scans, 5% inserts"),
        Workload("f", ((READ, 0.5), (CHANGE, 0.5)), Distribution.ZIPFIAN, "half reads, half read-modify-writes"),
        Workload("put", ((UPDATE, 1.0),), Distribution.UNIFORM, "writes"),
        Workload("get", ((READ, 1.0),), Distribution.UNIFORM, "reads"),
        Workload("mixed", ((READ, 0.5), (UPDATE, 0.5)), Distribution.UNIFORM, "half reads, half writes"),
    )
}


class Plan:
    """What one worker of `workers` asks, step by step."""

    def __init__(
        self,
        workload: Workload,
        distribution: Distribution,
        keys: int,
        first_inserted: int,
        worker: int,
        workers: int,
        seed: int,
    ) -> None:
        dice = random.Random(f"plan {seed} {worker}")  # noqa: S311 keeps no secret
        self._random = dice.random
        self._keys = keys
        self._first_inserted = first_inserted
        self._worker, self._workers = worker, workers
        self._latest = Latest(keys, dice) if distribution is Distribution.LATEST else None
        if self._latest is not None:
            self._next = self._latest.next
        else:
            self._next = (Scrambled if distribution is Distribution.ZIPFIAN else Uniform)(keys, dice).next
        bounds, below = [], 0.0
        for kind, share in workload.shares:
            below += share
            bounds.append((kind, below))
        self._bounds = bounds
        self._last = bounds[-1][0]
        self.inserted = 0
        self._there: list[int] = []
        """The keys whose insertion has succeeded, in the order in which it did."""

    def next(self) -> tuple[str, int]:
        """Returns the kind of an operation, and the number of its key."""
        kind = self._last
        point = self._random()
        for each, below in self._bounds:
            if point < below:
                kind = each
                break
        if kind == INSERT:
            self.inserted += 1
            return kind, self._first_inserted + (self.inserted - 1) * self._workers + self._worker
        place = self._next()
        return kind, place if place < self._keys else self._there[place - self._keys]

    def scan_items(self) -> int:
        """Returns how many items a scan is to have."""
        return 1 + int(self._random() * SCAN_ITEMS_MAX)

    def inserted_one(self, number: int) -> None:
        """Notes that an insertion has succeeded: the key may be asked for."""
        if self._latest is not None:
            self._there.append(number)
            self._latest.grow()


class Values:
    """Values of a size, or of any size between two, that do not compress, neither one nor a block of them."""

    def __init__(self, bytes_min: int, bytes_max: int, seed: str) -> None:
        assert 0 <= bytes_min <= bytes_max
        dice = random.Random(f"values {seed}")  # noqa: S311 keeps no secret
        self._random = dice.random
        self._octets = dice.randbytes(bytes_max + _SHIFTS)
        self._least, self._span = bytes_min, bytes_max - bytes_min + 1

    def next(self) -> bytes:
        """Returns a value."""
        size = self._least if self._span == 1 else self._least + int(self._random() * self._span)
        first = int(self._random() * _SHIFTS)
        return self._octets[first : first + size]
