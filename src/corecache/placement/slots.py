"""Which slot a key belongs to, and which partition a slot belongs to.

A slot is `CRC16(hash tag or key) mod 16384`, exactly as the Redis Cluster specification defines it, so that
cluster-aware Redis clients compute the same. Its CRC16 is the XMODEM variant (polynomial 0x1021, initial value 0,
nothing reflected), which the standard library has in C as `binascii.crc_hqx`.

A partition is a contiguous range of slots. With `count` partitions, partition p starts at slot `ceil(p * 16384 /
count)`: the ranges differ in length by one slot at the most.
"""

from binascii import crc_hqx

from corecache.identity import PartitionId, Slot

SLOT_COUNT = 16_384


def slot_of(key: bytes) -> Slot:
    """Returns the slot of a key.

    If the key contains `{`, and a `}` after it with at least one byte between, only the bytes between the first `{`
    and the first `}` after it count (the hash tag): keys with the same tag share a slot.
    """
    opening = key.find(b"{")
    if opening >= 0:
        closing = key.find(b"}", opening + 1)
        if closing > opening + 1:
            key = key[opening + 1 : closing]
    return Slot(crc_hqx(key, 0) & (SLOT_COUNT - 1))


def partition_of(key: bytes, count: int) -> PartitionId:
    """Returns the partition of a key among `count` (1 to 16,384) partitions."""
    return PartitionId(slot_of(key) * count // SLOT_COUNT)


def slots_of(partition: PartitionId, count: int) -> range:
    """Returns the slots of a partition among `count` (1 to 16,384) partitions."""
    return range(_first_slot(partition, count), _first_slot(partition + 1, count))


def _first_slot(partition: int, count: int) -> int:
    return -(-partition * SLOT_COUNT // count)
