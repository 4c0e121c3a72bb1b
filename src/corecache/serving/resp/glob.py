r"""Patterns of keys and names, as in Redis: `*`, `?`, `[a-c]`, `[^x]`, and `\` before what is meant as it is.

A pattern is a stranger's, so none may cost much: its length has the limit that keys have, and a match takes at most the
product of the two lengths. Every pattern means something: a bracket that is not closed ends with it, as in Redis.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Final

from corecache.serving.resp.commands.command import Refusal

_ANY_BYTE: Final = frozenset(range(256))
_PATTERN_BYTES_MAX: Final = 1024
"""To compile one of brackets only takes 0.2 s, while all others wait."""


class Glob:
    """A pattern, ready to be matched.

    What stands between two stars says for each of so many bytes which it may be. It is looked for from left to right,
    and its first place is right if any is.
    """

    def __init__(self, pattern: bytes) -> None:
        """Takes a pattern; only length can make it bad. Raises: Refusal."""
        if len(pattern) > _PATTERN_BYTES_MAX:
            raise Refusal(f"ERR the pattern has more than {_PATTERN_BYTES_MAX} bytes")
        pieces = _pieces(pattern)
        self._first, *rest = (_Piece(piece) for piece in pieces)
        self._last = rest.pop() if rest else None
        self._middle = [piece for piece in rest if piece.length]
        literal = itertools.takewhile(lambda allowed: len(allowed) == 1, pieces[0])
        self.prefix = b"".join(map(bytes, literal))
        """What all that match begin with."""

    def matches(self, text: bytes) -> bool:
        """Says whether all of a text is as the pattern says."""
        if self._last is None:
            return len(text) == self._first.length and self._first.at(text, 0) is not None
        start, end = self._first.length, len(text) - self._last.length
        if end < start or not self._first.at(text, 0) or not self._last.at(text, end):
            return False
        for piece in self._middle:
            place = piece.find(text, start, end)
            if place is None:
                return False
            start = place.end()
        return True


class _Piece:
    """The part of a pattern between two stars. The expression repeats nothing, so there is nothing to go back to."""

    __slots__ = ("at", "find", "length")

    def __init__(self, piece: Sequence[frozenset[int]]) -> None:
        expression = re.compile(b"".join(map(_one_of, piece)), re.DOTALL)
        self.length = len(piece)
        self.at = expression.match
        self.find = expression.search


def _one_of(allowed: frozenset[int]) -> bytes:
    if not allowed:
        return b"(?!)"
    return b"." if len(allowed) == 256 else b"[%b]" % b"".join(b"\\x%02x" % byte for byte in sorted(allowed))


def _pieces(pattern: bytes) -> list[list[frozenset[int]]]:
    """Returns what stands before, between and after the stars: for each byte, which it may be."""
    pieces: list[list[frozenset[int]]] = [[]]
    at = 0
    while at < len(pattern):
        byte = pattern[at]
        if byte == ord("*"):
            pieces.append([])
        elif byte == ord("?"):
            pieces[-1].append(_ANY_BYTE)
        elif byte == ord("["):
            allowed, at = _bracket(pattern, at + 1)
            pieces[-1].append(allowed)
        else:
            if byte == ord("\\") and at + 1 < len(pattern):
                at += 1
            pieces[-1].append(frozenset((pattern[at],)))
        at += 1
    return pieces


def _bracket(pattern: bytes, at: int) -> tuple[frozenset[int], int]:
    """Returns the bytes that a bracket allows, and where it ends. One that is not closed ends with the pattern."""
    refuses = pattern[at : at + 1] == b"^"
    at += refuses
    named: set[int] = set()
    while at < len(pattern) and pattern[at] != ord("]"):
        if pattern[at] == ord("\\") and at + 1 < len(pattern):
            at += 1
            named.add(pattern[at])
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at], pattern[at + 2]))
            named.update(range(low, high + 1))
            at += 2
        else:
            named.add(pattern[at])
        at += 1
    return (_ANY_BYTE - named if refuses else frozenset(named)), at
