"""What a client writes into paths, queries and headers, and what it means: one parser each.

The rule: a parser returns a value or raises `CallerFault`, whose message names the parameter and says what is allowed.
Nothing is guessed, trimmed or ignored: a parameter that nobody knows is refused by name, because a misspelt `ttl` that
is silently dropped keeps data for ever.

Percent-encoding is decoded strictly (`%` and two hexadecimal digits) into bytes; `+` is a plus, in queries too, since
keys are bytes and not forms. No parser knows a socket; `fuzz/` and the tests call them with anything.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from urllib.parse import unquote_to_bytes

from corecache.errors import CallerFault
from corecache.identity import Version
from corecache.operations import KEY_BYTES_MAX, Condition, IfAbsent, IfMatch

TTL_SECONDS_MAX = 315_360_000
"""Ten years. Longer is either a mistake in the unit or meant for ever, which is said by leaving `ttl` out."""

VERSION_MAX = 2**63 - 1
"""Versions are 8 bytes on the disk; no record can have a greater one."""

_CURSOR_FORM = b"\x01"
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SECONDS = re.compile(rb"([0-9]{1,12})(?:\.([0-9]{1,30}))?")
_NUMBER = re.compile(rb"[0-9]{1,18}")
_STRONG_TAGS = re.compile(rb'"(?:0|[1-9][0-9]{0,18})"(?:[ \t]*,[ \t]*"(?:0|[1-9][0-9]{0,18})")*')
_ANY_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ANY_TAGS = re.compile(_ANY_TAG + rb"(?:[ \t]*,[ \t]*" + _ANY_TAG + rb")*")
_TAG = re.compile(rb'"[^"]*"')
_CURSOR = re.compile(rb"[A-Za-z0-9_-]+")


def percent_decoded(raw: bytes, name: str) -> bytes:
    """Returns the bytes that `raw` encodes. `name` is what the error calls it. Raises: CallerFault `bad_encoding`."""
    if b"%" not in raw:
        return raw
    bad = _BAD_PERCENT.search(raw)
    if bad is not None:
        found = raw[bad.start() : bad.start() + 3].decode("latin-1")
        raise CallerFault(
            "bad_encoding", f"{name} has {found!r}: a percent sign needs two hexadecimal digits; itself it is %25."
        )
    return unquote_to_bytes(raw)


def checked_key(key: bytes) -> bytes:
    """Returns the key if it has 1 to 8,192 bytes. Raises: CallerFault `bad_key`."""
    if 0 < len(key) <= KEY_BYTES_MAX:
        return key
    raise CallerFault("bad_key", f"The key has {len(key):,} bytes; a key has 1 to {KEY_BYTES_MAX:,}.")


def key_of(raw: bytes) -> bytes:
    """Returns the key that the end of a raw path encodes. Raises: CallerFault `bad_key` or `bad_encoding`."""
    return checked_key(percent_decoded(raw, "The key"))


def query_of(raw: bytes, known: Collection[str]) -> dict[str, bytes]:
    """Returns the parameters of a query string, values decoded, names among `known`.

    Raises: CallerFault `bad_parameter` for a name that is unknown or repeated or has no value, `bad_encoding`.
    """
    found: dict[str, bytes] = {}
    if not raw:
        return found
    for part in raw.split(b"&"):
        raw_name, equals, value = part.partition(b"=")
        name = percent_decoded(raw_name, "A parameter's name").decode("utf-8", "replace")
        if name not in known:
            allowed = "possible are " + ", ".join(sorted(known)) if known else "this path takes none"
            raise CallerFault("bad_parameter", f"The parameter {name[:100]!r} is unknown; {allowed}.")
        if not equals:
            raise CallerFault("bad_parameter", f"The parameter {name} has no value; write {name}=VALUE.")
        if name in found:
            raise CallerFault("bad_parameter", f"The parameter {name} is given more than once.")
        found[name] = percent_decoded(value, f"The parameter {name}")
    return found


def ttl_ms_of(text: bytes) -> int:
    """Returns a `ttl` in milliseconds, rounded up, 1 or more. Raises: CallerFault `bad_ttl`."""
    match = _SECONDS.fullmatch(text)
    if match is not None:
        whole, decimals = match[1], match[2] or b""
        ttl_ms = int(whole) * 1000 + int(decimals[:3].ljust(3, b"0"))
        if decimals[3:].strip(b"0"):
            ttl_ms += 1
        if 0 < ttl_ms <= TTL_SECONDS_MAX * 1000:
            return ttl_ms
    raise bad_ttl(text.decode("latin-1"))


def bad_ttl(text: str) -> CallerFault:
    """Returns the error of a time to live that is none."""
    return CallerFault(
        "bad_ttl",
        f"ttl is {text[:40]!r}; it is a number of seconds, decimals allowed, above 0 and up to {TTL_SECONDS_MAX:,} "
        "(ten years). Leave it out to keep the record for ever.",
    )


def timeout_ms_of(text: bytes, timeout_max_ms: int) -> int:
    """Returns the header X-CoreCache-Timeout in milliseconds. Raises: CallerFault `bad_timeout`."""
    if _NUMBER.fullmatch(text) and 1 <= int(text) <= timeout_max_ms:
        return int(text)
    raise CallerFault(
        "bad_timeout",
        f"X-CoreCache-Timeout is {text[:40].decode('latin-1')!r}; it is a whole number of milliseconds, "
        f"1 to {timeout_max_ms:,}.",
    )


def number_of(text: bytes, name: str, greatest: int) -> int:
    """Returns a whole number from 1 to `greatest`. Raises: CallerFault `bad_parameter`."""
    if _NUMBER.fullmatch(text) and 1 <= int(text) <= greatest:
        return int(text)
    raise CallerFault(
        "bad_parameter", f"{name} is {text[:40].decode('latin-1')!r}; it is a whole number, 1 to {greatest:,}."
    )


def flag_of(text: bytes, name: str) -> bool:
    """Returns what `true` or `false` says. Raises: CallerFault `bad_parameter`."""
    if text in (b"true", b"false"):
        return text == b"true"
    raise CallerFault("bad_parameter", f"{name} is {text[:40].decode('latin-1')!r}; it is true or false.")


def write_condition_of(if_match: bytes | None, if_none_match: bytes | None) -> Condition | None:
    """Returns the condition that a write's headers state. Raises: CallerFault `bad_condition`."""
    if if_match is None:
        if if_none_match is None:
            return None
        if if_none_match == b"*":
            return IfAbsent()
        raise CallerFault(
            "bad_condition", "If-None-Match of a write can only be *, which means: only if the key has no record."
        )
    if if_none_match is not None:
        raise CallerFault("bad_condition", "If-Match and If-None-Match exclude each other; send one of them.")
    if if_match == b"*":
        return IfMatch(None)
    if _STRONG_TAGS.fullmatch(if_match):
        versions = tuple(Version(int(tag[1:-1])) for tag in _TAG.findall(if_match))
        if max(versions) <= VERSION_MAX:
            return IfMatch(versions)
    raise CallerFault(
        "bad_condition",
        'If-Match is * or one or more versions as an ETag shows them, in double quotes: If-Match: "42", "43".',
    )


def read_condition_of(if_none_match: bytes) -> list[bytes]:
    """Returns the entity tags of a read's If-None-Match, quotes included, weak ones as if strong; or just `*`.

    Raises: CallerFault `bad_condition`.
    """
    if if_none_match == b"*":
        return [b"*"]
    if not _ANY_TAGS.fullmatch(if_none_match):
        raise CallerFault("bad_condition", 'If-None-Match is * or a list of ETags in double quotes: "42", "43".')
    return _TAG.findall(if_none_match)


def cursor_from(resume: bytes) -> str:
    """Returns the cursor that continues a listing at a key."""
    return urlsafe_b64encode(_CURSOR_FORM + resume).rstrip(b"=").decode("ascii")


def resume_of(cursor: bytes) -> bytes:
    """Returns the key that a cursor continues at. Raises: CallerFault `bad_cursor`."""
    if _CURSOR.fullmatch(cursor) and len(cursor) % 4 != 1:
        decoded = urlsafe_b64decode(cursor + b"=" * (-len(cursor) % 4))
        key = decoded[1:]
        if decoded[:1] == _CURSOR_FORM and 0 < len(key) <= KEY_BYTES_MAX + 1 and cursor_from(key).encode() == cursor:
            return key
    raise bad_cursor()


def bad_cursor() -> CallerFault:
    """Returns the error of a cursor that no page of this listing gave."""
    return CallerFault(
        "bad_cursor", "The cursor is not one of this listing. Repeat the same request with the cursor of its last page."
    )


def prefix_end(prefix: bytes) -> bytes | None:
    """Returns the least key after all that start with `prefix`, None if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


def path_of(target: bytes) -> bytes:
    """Returns the path of a target in absolute form (`http://host/path`); any other is returned as it is."""
    authority = target.find(b"://")
    if authority < 0:
        return target
    path = target.find(b"/", authority + 3)
    return target[path:] if path >= 0 else b"/"
