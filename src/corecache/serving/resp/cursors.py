"""SCAN's cursors: the numbers that iterations are continued by, and what they stand for.

A cursor is a number, and a key does not fit into one. The node that gave a number remembers what it stands for, as long
as the iteration is among the last `resp.cursors_max`. A number that it does not know, be it too old, another node's or
from before a restart, is not found: an iteration ends with an error rather than leave keys out in silence. The numbers
are random, so that none is mistaken for another, and have 53 bits, which clients in any language can hold.
"""

import secrets
from collections import OrderedDict
from typing import Final

import msgspec

from corecache.identity import PartitionId

_CURSOR_BITS: Final = 53


class Position(msgspec.Struct, frozen=True):
    """Where an iteration goes on. `led`: the partitions whose keys are shown, None for all."""

    key: bytes
    led: frozenset[PartitionId] | None
    before: int
    """The cursor that led here, 0 for the first."""


class Cursors:
    """What the numbers stand for that were given for cursors: the last `iterations_max` iterations.

    A number can be used any number of times, until one that was given for it is used: then its client has moved on.
    """

    def __init__(self, iterations_max: int) -> None:
        """Takes how many iterations are remembered, each with up to two numbers."""
        self._positions_max = 2 * iterations_max
        self._positions: OrderedDict[int, Position] = OrderedDict()

    def give(self, position: Position) -> int:
        """Returns a number for a position."""
        number = 0
        while number == 0 or number in self._positions:
            number = secrets.randbits(_CURSOR_BITS)
        self._positions[number] = position
        if len(self._positions) > self._positions_max:
            self._positions.popitem(last=False)
        return number

    def find(self, number: int) -> Position | None:
        """Returns what a number stands for, None if that is not known (any more)."""
        position = self._positions.get(number)
        if position is not None:
            self._positions.move_to_end(number)
            self._positions.pop(position.before, None)
        return position
