"""Bytes as text: what `scan` prints can be told exactly, and is safe to print."""

from hypothesis import given
from hypothesis import strategies as st

from corecache.cli.octets import escaped

ESCAPES = {"t": b"\t", "n": b"\n", "r": b"\r", "\\": b"\\"}


def unescaped(text: str) -> bytes:
    """Returns the bytes that escaped text stands for, read in the dullest way."""
    raw, place = b"", 0
    while place < len(text):
        if text[place] != "\\":
            raw += text[place].encode()
            place += 1
        elif text[place + 1] == "x":
            raw += bytes([int(text[place + 2 : place + 4], 16)])
            place += 4
        else:
            raw += ESCAPES[text[place + 1]]
            place += 2
    return raw


@given(st.binary() | st.text().map(str.encode))
def test_escaped_bytes_can_be_told_exactly(raw: bytes) -> None:
    """Escaping loses nothing, and what it gives is printable and has neither tabs nor line ends."""
    shown = escaped(raw)
    assert unescaped(shown) == raw
    assert shown.isprintable()
    shown.encode()
