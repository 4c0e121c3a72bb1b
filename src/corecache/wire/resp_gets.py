"""The stream that is met most often, cut the short way: nothing but GETs, one or many, as clients pack them.

One split finds all words. Since no word that it finds has a line end in it, and each is as long as was declared, the
commands are what `resp_requests` would find. What is anything else, or is not whole, is for that.
"""

_PARTS = 5
"""Of each command: how many words it has, how long each is, and the words."""
_BEGINNINGS = (b"*2\r\n$3\r\nGET\r\n$", b"*2\r\n$3\r\nget\r\n$")
_BEGINNING_BYTES = len(_BEGINNINGS[0])
_KEY_BYTES_MAX = 1023
_heads = {length: b"$%d" % length for length in range(1, _KEY_BYTES_MAX + 1)}.get


def keys_of_gets(octets: bytes) -> list[bytes] | None:
    """Returns the keys of the GETs that a stream begins with, if it is nothing but these and ends with the last one.

    None if it is anything else, or if a key is longer than 1,023 bytes, or empty.
    """
    if octets[:_BEGINNING_BYTES] not in _BEGINNINGS:
        return None
    parts = octets.split(b"\r\n")
    if len(parts) == _PARTS + 1 and not parts[-1]:
        # One alone, which most clients send: its beginning has been looked at.
        return [parts[4]] if _heads(len(parts[4])) == parts[3] else None
    count = len(parts) // _PARTS
    keys = parts[4::_PARTS]
    # What follows the last line end must be nothing, and is the one part more.
    if (
        len(parts) != count * _PARTS + 1
        or parts.pop()
        or parts[::_PARTS].count(b"*2") != count
        or parts[1::_PARTS].count(b"$3") != count
        or parts[2::_PARTS].count(parts[2]) != count
        or list(map(_heads, map(len, keys))) != parts[3::_PARTS]
    ):
        return None
    return keys
