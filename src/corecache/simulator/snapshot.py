"""A snapshot of a partition on a simulated disk: its records as of one applied sequence, read chunk by chunk."""

from corecache.operations import Record
from corecache.replication.recovered import AppliedPoint
from corecache.simulator.contents import Held


class Snapshot:
    """A partition's records as of one point, read in chunks."""

    __slots__ = ("items", "offsets", "point")

    def __init__(self, held: Held) -> None:
        self.point: AppliedPoint = held.applied
        self.items = sorted(held.records.items())
        self.offsets = [0]

    def chunk(self, number: int, bytes_max: int) -> tuple[tuple[tuple[bytes, Record], ...], bool]:
        """Returns the chunk of a number, and whether it is the last. Requires: the one before it was read."""
        start = end = self.offsets[number]
        size_bytes = 0
        while end < len(self.items) and (size_bytes < bytes_max or end == start):
            size_bytes += len(self.items[end][0]) + len(self.items[end][1].value)
            end += 1
        del self.offsets[number + 1 :]
        self.offsets.append(end)
        return tuple(self.items[start:end]), end == len(self.items)
