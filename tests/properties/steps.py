"""What the steps of the model test are made of (keys, values, conditions), and how HTTP and JSON say it.

The keys are few, so that steps meet on them; the values and keys include all that an encoding may stumble over.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from hypothesis import strategies as st

from properties.model import Condition

SHORT_MS = 400
"""A time to live up to this ends while a test runs; a longer one does not."""

_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class Place(NamedTuple):
    """A key without the example's prefix: a hash tag, hence a partition, and the rest."""

    partition: bytes
    rest: bytes


PLACES = [
    Place(partition, rest) for partition in (b"{red}", b"{blue}") for rest in (b"", b"/", b"\xff\x00", b"%2F +&=?#\r\n")
]
VALUES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"", bytes(range(256)), "schön\n".encode(), b"x" * 70_000]),
)
TTLS_MS = st.one_of(st.none(), st.integers(1, SHORT_MS), st.just(3_600_000))
CONDITIONS = st.sampled_from(["none", "none", "absent", "right", "wrong", "several", "any"])
Kind = Literal["none", "absent", "right", "wrong", "several", "any"]


class Step(NamedTuple):
    """One operation of a batch. `ttl_ms` is long or None."""

    op: Literal["put", "delete", "get"]
    place: Place
    value: bytes
    ttl_ms: int | None
    kind: Kind


STEPS = st.builds(
    Step,
    st.sampled_from(["put", "put", "delete", "get"]),
    st.sampled_from(PLACES),
    st.binary(max_size=8),
    st.sampled_from([None, 3_600_000]),
    st.sampled_from(["none", "none", "absent", "right", "wrong"]),
)


def headers_of(condition: Condition | None) -> dict[str, str]:
    """Returns the header that states a write's condition."""
    if condition is None:
        return {}
    return {"If-None-Match": "*"} if condition.absent else {"If-Match": tags_of(condition)}


def tags_of(condition: Condition) -> str:
    """Returns the entity tags of a condition on versions."""
    return "*" if condition.versions is None else ", ".join(f'"{version}"' for version in condition.versions)


def octets_of(item: Mapping[str, Any], name: str) -> bytes:
    """Returns bytes as the API's JSON holds them: text, or base64 where they are no printable text and only there."""
    if name in item:
        return str(item[name]).encode()
    octets = b64decode(item[f"{name}_base64"], validate=True)
    is_text = octets.decode(errors="replace").encode() == octets and not _CONTROLS.search(octets)
    assert not is_text, f"{octets!r} is text, and shown in base64"
    return octets
