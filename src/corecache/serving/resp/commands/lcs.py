"""LCS: what two values have in common, in order: as a string, a length, or ranges.

It answers the very subsequence that Redis does, of several that are equally long. Its table is kept as one bit a cell
(Hyyrö's bit-parallel algorithm): a row's bit j is set if its cell is larger than that on the left, which is all that
the way back through the table asks. How long the values may be is bounded, for nobody else is served meanwhile.
"""

import msgspec

from corecache.config import Config
from corecache.operations import Read
from corecache.serving.resp.commands.arguments import SYNTAX, checked_keys, following, integer, value_of
from corecache.serving.resp.commands.command import Arguments, Command, Plan, Refusal
from corecache.wire.resp import Failure, Reply

_CELLS_MAX = 1 << 25
_BYTES_MAX = 1 << 18
"""Of both values: the answer is worked out while every other client of the node waits, some 0.1 s with these. Redis
allows four times the cells."""


class _Comparison(msgspec.Struct):
    """What LCS is to tell."""

    length: bool = False
    matches: bool = False
    with_lengths: bool = False
    length_min: int = 0


def _lcs(arguments: Arguments, _: Config) -> Plan:
    keys, wanted, rest = checked_keys(arguments[1:3]), _Comparison(), iter(arguments[3:])
    for word in rest:
        match word.upper():
            case b"LEN":
                wanted.length = True
            case b"IDX":
                wanted.matches = True
            case b"WITHMATCHLEN":
                wanted.with_lengths = True
            case b"MINMATCHLEN":
                wanted.length_min = integer(following(rest))
            case _:
                raise Refusal(SYNTAX)
    if wanted.length and wanted.matches:
        raise Refusal("ERR If you want both the length and indexes, please just use IDX.")
    operations = [Read(key) for key in keys]
    return Plan(operations, lambda results: _compared(value_of(results[0]) or b"", value_of(results[1]) or b"", wanted))


def _compared(a: bytes, b: bytes, wanted: _Comparison) -> Reply:
    if (len(a) + 1) * (len(b) + 1) > _CELLS_MAX or len(a) + len(b) > _BYTES_MAX:
        return Failure("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    rows = _rows(a, b)
    if wanted.length:
        return rows[-1].bit_count() if rows else 0
    runs = _runs(a, b, rows)
    if not wanted.matches:
        return b"".join(a[begin : begin + length] for begin, _, length in reversed(runs))
    matches: list[Reply] = []
    for in_a, in_b, length in runs:
        if length >= wanted.length_min:
            ranges: list[Reply] = [[in_a, in_a + length - 1], [in_b, in_b + length - 1]]
            matches.append([*ranges, length] if wanted.with_lengths else ranges)
    return {"matches": matches, "len": sum(length for _, _, length in runs)}


def _rows(a: bytes, b: bytes) -> list[int]:
    """Returns the table, a row for each byte of `a`, a bit for each of `b`."""
    ones = (1 << len(b)) - 1
    masks = {byte: _places(b, byte) for byte in set(a)}
    rest, rows = ones, []
    for byte in a:
        meets = rest & masks[byte]
        rest = ((rest + meets) | (rest - meets)) & ones
        rows.append(rest ^ ones)
    return rows


def _places(text: bytes, byte: int) -> int:
    """Returns a number whose bits are set where the text has the byte."""
    digits = bytearray(b"0" * 256)
    digits[byte] = ord("1")
    return int(text[::-1].translate(digits) or b"0", 2)


def _runs(a: bytes, b: bytes, rows: list[int]) -> list[tuple[int, int, int]]:
    """Returns what is common, the last first: where it begins in `a` and in `b`, and how long it is."""
    table = [row.to_bytes(len(b) // 8 + 1, "little") for row in rows]
    i, j, length, runs = len(a), len(b), 0, []
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j, length = i - 1, j - 1, length + 1
            continue
        if length:
            runs.append((i, j, length))
            length = 0
        if table[i - 1][(j - 1) >> 3] >> ((j - 1) & 7) & 1:
            i -= 1
        else:
            j -= 1
    if length:
        runs.append((i, j, length))
    return runs


COMMANDS: tuple[Command, ...] = (
    Command(
        "lcs",
        -3,
        ("readonly",),
        1,
        2,
        1,
        ("read", "string", "slow"),
        "string",
        "7.0.0",
        "Tells what two values have in common, in order.",
        _lcs,
    ),
)
