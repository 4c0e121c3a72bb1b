"""Slots are Redis Cluster's, and partitions cover them evenly."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corecache.identity import PartitionId
from corecache.placement.slots import SLOT_COUNT, partition_of, slot_of, slots_of


def crc16_by_the_book(key: bytes) -> int:
    """The obvious twin: CRC16/XMODEM bit by bit, as the Redis Cluster specification describes it."""
    crc = 0
    for byte in key:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


@pytest.mark.parametrize(
    ("key", "slot"),
    [(b"123456789", 0x31C3), (b"foo", 12182), (b"bar", 5061), (b"hello", 866)],
)
def test_known_slots(key: bytes, slot: int) -> None:
    """The specification's reference value and what CLUSTER KEYSLOT answers for well-known keys."""
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"foo{}{bar}", b"foo{}{bar}"),
        (b"foo{{bar}}zap", b"{bar"),
        (b"foo{bar}{zap}", b"bar"),
        (b"}{a}", b"a"),
        (b"{open", b"{open"),
    ],
)
def test_hash_tags(key: bytes, hashed: bytes) -> None:
    """The specification's own examples of what a hash tag is and what is none."""
    assert slot_of(key) == crc16_by_the_book(hashed) % SLOT_COUNT


@given(st.binary(max_size=64).filter(lambda key: b"{" not in key))
def test_the_fast_crc_is_the_one_by_the_book(key: bytes) -> None:
    """The standard library's C function computes the specification's CRC16."""
    assert slot_of(key) == crc16_by_the_book(key) % SLOT_COUNT


@given(st.integers(1, SLOT_COUNT))
def test_partitions_cover_all_slots_evenly(count: int) -> None:
    """Each slot is in exactly one partition, ranges follow each other, and lengths differ by one at the most."""
    ranges = [slots_of(PartitionId(partition), count) for partition in range(count)]

    assert ranges[0].start == 0
    assert ranges[-1].stop == SLOT_COUNT
    assert all(left.stop == right.start for left, right in pairwise(ranges))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


@given(st.binary(min_size=1, max_size=32), st.integers(1, SLOT_COUNT))
def test_a_key_is_in_the_partition_that_holds_its_slot(key: bytes, count: int) -> None:
    """The division and the ranges agree."""
    assert slot_of(key) in slots_of(partition_of(key, count), count)
