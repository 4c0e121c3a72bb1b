"""The plans: shares, and which keys they ask for."""

import zlib
from collections import Counter

import pytest

from corecache.loadgen.workloads import INSERT, READ, SCAN_ITEMS_MAX, WORKLOADS, Distribution, Plan, Values


def plan(
    name: str, distribution: Distribution | None = None, keys: int = 100, worker: int = 0, workers: int = 1
) -> Plan:
    """Returns a plan with the workload's own distribution unless another is given. It inserts from 1000 on."""
    workload = WORKLOADS[name]
    return Plan(workload, distribution or workload.distribution, keys, 1000, worker, workers, seed=1)


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_operations_come_in_their_shares(name: str) -> None:
    """Within four standard deviations of 20,000 draws."""
    chosen = plan(name)
    counts = Counter(chosen.next()[0] for _ in range(20_000))
    shares = dict(WORKLOADS[name].shares)
    assert sum(shares.values()) == 1
    assert counts.keys() == shares.keys()
    for kind, share in shares.items():
        assert abs(counts[kind] - 20_000 * share) <= 4 * (20_000 * share * (1 - share)) ** 0.5


def test_ycsb_as_published() -> None:
    """The six core workloads: kinds, shares, choosers."""
    told = {name: ([*WORKLOADS[name].shares], str(WORKLOADS[name].distribution)) for name in "abcdef"}
    assert told == {
        "a": ([("read", 0.5), ("update", 0.5)], "zipfian"),
        "b": ([("read", 0.95), ("update", 0.05)], "zipfian"),
        "c": ([("read", 1.0)], "zipfian"),
        "d": ([("read", 0.95), ("insert", 0.05)], "latest"),
        "e": ([("scan", 0.95), ("insert", 0.05)], "zipfian"),
        "f": ([("read", 0.5), ("read-modify-write", 0.5)], "zipfian"),
    }


def test_workers_never_insert_the_same_and_leave_no_gap() -> None:
    """Three workers share the run's numbers."""
    plans = [plan("d", worker=worker, workers=3) for worker in range(3)]
    inserted = []
    for each in plans:
        steps = (each.next() for _ in range(10_000))
        inserted.append([number for kind, number in steps if kind == INSERT][:50])
    assert sorted(number for numbers in inserted for number in numbers) == list(range(1000, 1150))


def test_a_key_is_asked_for_only_once_its_insertion_has_succeeded() -> None:
    """One that failed never is, also if others that were inserted later are."""
    chosen = plan("d", worker=1, workers=2)
    begun: list[int] = []
    while len(begun) < 3:
        kind, number = chosen.next()
        if kind == INSERT:
            begun.append(number)
        else:
            assert number < 100
    assert begun == [1001, 1003, 1005]
    chosen.inserted_one(1005)
    chosen.inserted_one(1001)
    asked = {number for kind, number in (chosen.next() for _ in range(2000)) if kind == READ}
    assert {number for number in asked if number >= 100} == {1001, 1005}


def test_scans_have_one_to_a_hundred_items() -> None:
    """Each number as likely: both ends are reached."""
    chosen = plan("e")
    sizes = Counter(chosen.scan_items() for _ in range(10_000))
    assert (min(sizes), max(sizes)) == (1, SCAN_ITEMS_MAX)


def test_the_same_seed_plans_the_same() -> None:
    """Worker by worker; two workers ask differently."""

    def steps(worker: int) -> list[tuple[str, int]]:
        chosen = plan("a", worker=worker, workers=2)
        return [chosen.next() for _ in range(100)]

    assert steps(0) == steps(0) != steps(1)


def test_values_have_their_size_and_do_not_repeat_themselves() -> None:
    """One size, or all sizes of a range."""
    fixed = Values(100, 100, "s")
    assert {len(fixed.next()) for _ in range(100)} == {100}
    assert len({fixed.next() for _ in range(100)}) > 90
    ranged = Values(3, 6, "s")
    assert {len(ranged.next()) for _ in range(500)} == {3, 4, 5, 6}
    assert Values(0, 0, "s").next() == b""


@pytest.mark.parametrize(("bytes_min", "bytes_max"), [(10, 30), (100, 100), (1000, 1000)])
def test_a_block_of_values_does_not_compress(bytes_min: int, bytes_max: int) -> None:
    """As much as zlib sees at once saves less than one part in thirty."""
    values = Values(bytes_min, bytes_max, "s")
    block = b"".join(values.next() for _ in range(32_768 // bytes_max))
    assert len(zlib.compress(block, 9)) > len(block) * 29 / 30
