r"""Redis's protocol, what people send who type: an inline command, which is a line of words.

Words are set apart by white space. A part in quotes ends its word, and may hold anything: within double quotes `\n`,
`\x41` and the like mean what they do in C, within single ones only `\'` means something else than it is. That is
Redis's grammar; the patterns never go back over what they have taken, so the work is linear.
"""

import re

_spaces = re.compile(rb"\s*").match
_word = re.compile(
    rb"""([^ \t\n\r"']*+)  # as it is
    (?: "((?:[^"\\]|\\.)*+)" | '((?:[^'\\]|\\'|\\(?!'))*+)' )?  # and then a part in quotes, which ends the word
    (?=\s|\Z)""",
    re.DOTALL | re.VERBOSE,
).match
_escape = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def words_of(line: bytes) -> list[bytes] | None:
    """Returns the words of an inline command, None if a quote has no other, or has one within a word."""
    words = []
    at = _end_of_spaces(line, 0)
    while at < len(line):
        found = _word(line, at)
        if found is None:
            return None
        plain, double, single = found.groups(b"")
        words.append(plain + _escape.sub(_unescaped, double) + single.replace(b"\\'", b"'"))
        at = _end_of_spaces(line, found.end())
    return words


def _end_of_spaces(line: bytes, at: int) -> int:
    found = _spaces(line, at)
    assert found is not None, "it matches nothing as well"
    return found.end()


def _unescaped(escape: re.Match[bytes]) -> bytes:
    hexadecimal, letter = escape.groups()
    return bytes.fromhex(hexadecimal.decode()) if hexadecimal else _CONTROLS.get(letter, letter)
