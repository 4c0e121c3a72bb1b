"""Which key is next: YCSB's choosers, drawn from a seeded die that is handed in. Pure.

Rule 1: a chooser gives numbers of keys from 0 to below `items`. `Latest` alone is asked with the number of keys that
there are at the moment, since its favourites are the newest.

Rule 2: they are YCSB's, constant for constant (theta 0.99, FNV-1a of 64 bits, ten thousand million ranks behind the
scrambled one), so that a result can be laid beside others. `Zipfian` gives ranks: 0 is the most frequent. `Scrambled`
spreads the ranks over all keys, because in a real store the favourites are not neighbours.

After Gray and others, "Quickly generating billion-record synthetic databases", 1994: one random number and one power a
draw, whatever the number of items.
"""

import random
from typing import Final

THETA: Final = 0.99
RANKS: Final = 10_000_000_000
ZETA_OF_RANKS: Final = 26.46902820178302
"""The sum of 1/rank**THETA over `RANKS` ranks: summing it up would take an hour."""

_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 1_099_511_628_211
_64_BITS: Final = 0xFFFFFFFFFFFFFFFF
_SUMMED_MAX: Final = 10_000


class Uniform:
    """Every key is as likely as any other."""

    def __init__(self, items: int, dice: random.Random) -> None:
        assert items > 0
        self._items = items
        self._random = dice.random

    def next(self) -> int:
        """Returns the number of a key."""
        return int(self._random() * self._items)


class Zipfian:
    """The key of rank r (from 1) is asked for in proportion to 1/r**0.99. Gives ranks from 0. It can grow."""

    def __init__(self, items: int, dice: random.Random, zeta_of_items: float | None = None) -> None:
        """Takes the sum of 1/rank**THETA over the items if it is known."""
        assert items > 0
        self._random = dice.random
        self._items = items
        self._zeta = zeta(items) if zeta_of_items is None else zeta_of_items
        self._alpha = 1 / (1 - THETA)
        self._second = 1 + 0.5**THETA
        self._reckon()

    def grow(self) -> None:
        """Adds an item."""
        self._items += 1
        self._zeta += self._items**-THETA
        self._reckon()

    def next(self) -> int:
        """Returns a rank, 0 the most frequent."""
        drawn = self._random()
        point = drawn * self._zeta
        if point < 1:
            return 0
        if point < self._second:
            return 1 if self._items > 1 else 0
        return min(self._items - 1, int(self._items * (self._eta * (drawn - 1) + 1) ** self._alpha))

    def _reckon(self) -> None:
        # With up to two items the two ranks above are all there is.
        rest = 1 - self._second / self._zeta
        self._eta = (1 - (2 / self._items) ** (1 - THETA)) / rest if self._items > 2 else 0.0


class Scrambled:
    """Zipfian, the favourites spread over all keys by a hash."""

    def __init__(self, items: int, dice: random.Random) -> None:
        assert items > 0
        self._items = items
        self._ranks = Zipfian(RANKS, dice, ZETA_OF_RANKS)

    def next(self) -> int:
        """Returns the number of a key."""
        return scrambled(self._ranks.next()) % self._items


class Latest:
    """Zipfian, the newest key being the favourite."""

    def __init__(self, items: int, dice: random.Random) -> None:
        self._items = items
        self._ranks = Zipfian(items, dice)

    def grow(self) -> None:
        """Adds a key, which is the newest now."""
        self._items += 1
        self._ranks.grow()

    def next(self) -> int:
        """Returns the number of a key."""
        return self._items - 1 - self._ranks.next()


def scrambled(number: int) -> int:
    """Returns the hash that YCSB spreads numbers with: FNV-1a over eight bytes, its sign as a signed one's dropped."""
    hashed = _FNV_OFFSET
    for _ in range(8):
        hashed = (hashed ^ (number & 0xFF)) * _FNV_PRIME & _64_BITS
        number >>= 8
    return hashed if hashed < 1 << 63 else (1 << 64) - hashed


def zeta(items: int) -> float:
    """Returns the sum of 1/rank**THETA over ranks 1 to `items`; beyond the first by Euler and Maclaurin's formula."""
    first = min(items, _SUMMED_MAX)
    total: float = sum(rank**-THETA for rank in range(1, first + 1))
    if items == first:
        return total
    power = 1 - THETA
    integral = (items**power - first**power) / power
    ends = (items**-THETA - first**-THETA) / 2
    slopes = THETA * (first ** (-THETA - 1) - items ** (-THETA - 1)) / 12
    return float(total + integral + ends + slopes)
