"""The choosers against the distributions that they promise, each with one seed, so that a failure is a defect."""

import random
from collections import Counter

import pytest

from corecache.loadgen.choosers import (
    RANKS,
    THETA,
    ZETA_OF_RANKS,
    Latest,
    Scrambled,
    Uniform,
    Zipfian,
    scrambled,
    zeta,
)

DRAWS = 100_000


def chi_square(counts: Counter[int], expected: dict[int, float]) -> float:
    """Returns the sum of squared deviations, each by what was expected."""
    return sum((counts[item] - wanted) ** 2 / wanted for item, wanted in expected.items())


def test_uniform_draws_all_keys_alike() -> None:
    """99 degrees of freedom: 149 is exceeded once in a thousand times."""
    chooser = Uniform(100, random.Random(1))
    counts = Counter(chooser.next() for _ in range(DRAWS))
    assert sorted(counts) == list(range(100))
    assert chi_square(counts, dict.fromkeys(range(100), DRAWS / 100)) < 149


@pytest.mark.parametrize("items", [1, 2, 3, 10, 1000])
def test_zipfian_gives_the_first_ranks_exactly_and_the_others_nearly(items: int) -> None:
    """Gray's formula is exact for the first two ranks; the sum of all behind them follows."""
    chooser = Zipfian(items, random.Random(2))
    counts = Counter(chooser.next() for _ in range(DRAWS))
    assert 0 <= min(counts) <= max(counts) < items
    total = sum(rank**-THETA for rank in range(1, items + 1))
    for rank in range(min(2, items)):
        wanted = DRAWS * (rank + 1) ** -THETA / total
        assert abs(counts[rank] - wanted) <= 4 * wanted**0.5
    for upto in (10, 100, 999):
        if upto < items:
            wanted = DRAWS * sum(rank**-THETA for rank in range(1, upto + 1)) / total
            assert sum(counts[rank] for rank in range(upto)) == pytest.approx(wanted, rel=0.05)


def test_zipfian_that_has_grown_is_one_of_that_size() -> None:
    """Item by item, or at once: the same die gives the same ranks."""
    grown = Zipfian(10, random.Random(3))
    for _ in range(990):
        grown.grow()
    made = Zipfian(1000, random.Random(3))
    assert [grown.next() for _ in range(1000)] == [made.next() for _ in range(1000)]


@pytest.mark.parametrize("items", [1, 9_999, 10_000, 10_001, 200_000])
def test_zeta_is_the_sum(items: int) -> None:
    """Beyond the first ten thousand ranks the formula is as good as the sum."""
    assert zeta(items) == pytest.approx(sum(rank**-THETA for rank in range(1, items + 1)), rel=1e-12)


def test_the_sum_of_all_ranks_is_ycsbs_constant() -> None:
    """YCSB has summed it up once, and wrote it down."""
    assert zeta(RANKS) == pytest.approx(ZETA_OF_RANKS, rel=1e-9)


def fnv_as_ycsb_has_it(number: int) -> int:
    """`Utils.fnvhash64` of YCSB, word for word, with Java's signed arithmetic."""
    value = 0xCBF29CE484222325
    for _ in range(8):
        octet = number & 0x00FF
        number = number >> 8
        value = value ^ octet
        value = (value * 1099511628211) % 2**64
    signed = value - 2**64 if value >= 2**63 else value
    return abs(signed)


@pytest.mark.parametrize("number", [0, 1, 255, 256, 10**9, RANKS - 1])
def test_scrambling_is_fnv(number: int) -> None:
    """The published hash, sign dropped."""
    assert scrambled(number) == fnv_as_ycsb_has_it(number)


def test_scrambled_has_its_favourites_where_the_hash_puts_them() -> None:
    """The most frequent ranks are recognised by their keys, in the proportion of their ranks."""
    items = 100_000
    chooser = Scrambled(items, random.Random(4))
    counts = Counter(chooser.next() for _ in range(DRAWS))
    assert 0 <= min(counts) <= max(counts) < items
    for rank in range(2):
        wanted = DRAWS * (rank + 1) ** -THETA / ZETA_OF_RANKS
        assert counts[scrambled(rank) % items] == pytest.approx(wanted, abs=5 * wanted**0.5 + DRAWS / items * 10)
    assert {key for key, _ in counts.most_common(2)} == {scrambled(rank) % items for rank in range(2)}


def test_latest_favours_the_newest_also_when_keys_are_added() -> None:
    """The newest is the favourite, the one before it next."""
    chooser = Latest(100, random.Random(5))
    for _ in range(50):
        chooser.grow()
    counts = Counter(chooser.next() for _ in range(DRAWS))
    assert 0 <= min(counts) <= max(counts) == 149
    assert [key for key, _ in counts.most_common(3)] == [149, 148, 147]
    assert counts[149] == pytest.approx(DRAWS / zeta(150), rel=0.03)


def test_the_same_seed_draws_the_same() -> None:
    """And another seed another."""

    def drawn(seed: int) -> list[int]:
        chooser = Scrambled(1000, random.Random(seed))
        return [chooser.next() for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)
