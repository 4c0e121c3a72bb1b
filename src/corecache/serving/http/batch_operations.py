"""The JSON of a batch, and the operations that it means.

Keys and values are text (`key`, `value`: their UTF-8 bytes count) or base64 (`key_base64`, `value_base64`), exactly one
of the two. Unknown fields are refused, as unknown parameters are elsewhere.

The rule: `batch_of` returns operations that `Service` may be handed as they are, or raises the one error `bad_batch`
(with the number of the operation, from 0), or `value_too_large`. It begins nothing.
"""

import re
from base64 import b64decode
from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from corecache.config import Limits
from corecache.errors import CallerFault
from corecache.identity import Version
from corecache.operations import KEY_BYTES_MAX, Condition, Delete, IfAbsent, IfMatch, Operation, Put, Read
from corecache.serving.http.parameters import TTL_SECONDS_MAX, VERSION_MAX

_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_FIRST_HALF = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
"""The first half of a surrogate pair without the second."""

# These describe; `_octets` and `_operation_of` judge, in words that say what to do.
KeyText: TypeAlias = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": KEY_BYTES_MAX})]
KeyBase64: TypeAlias = Annotated[str, Meta(extra_json_schema={"minLength": 4, "pattern": _BASE64})]
ValueBase64: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": _BASE64})]
VersionNumber: TypeAlias = Annotated[int, Meta(ge=0, le=VERSION_MAX)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=TTL_SECONDS_MAX)]


class PutOperation(msgspec.Struct, frozen=True, tag_field="op", tag="put", forbid_unknown_fields=True):
    """Stores a value; at most one of the two conditions."""

    key: KeyText | UnsetType = UNSET
    key_base64: KeyBase64 | UnsetType = UNSET
    value: str | UnsetType = UNSET
    value_base64: ValueBase64 | UnsetType = UNSET
    ttl: Seconds | UnsetType = UNSET
    if_absent: bool | UnsetType = UNSET
    if_version: VersionNumber | UnsetType = UNSET


class DeleteOperation(msgspec.Struct, frozen=True, tag_field="op", tag="delete", forbid_unknown_fields=True):
    """Removes a key."""

    key: KeyText | UnsetType = UNSET
    key_base64: KeyBase64 | UnsetType = UNSET
    if_version: VersionNumber | UnsetType = UNSET


class GetOperation(msgspec.Struct, frozen=True, tag_field="op", tag="get", forbid_unknown_fields=True):
    """Reads a key."""

    key: KeyText | UnsetType = UNSET
    key_base64: KeyBase64 | UnsetType = UNSET


AnyOperation: TypeAlias = PutOperation | DeleteOperation | GetOperation


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a batch."""

    operations: list[AnyOperation]
    atomic: bool = False


class BatchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one operation did: a status as /v1/kv/{key} would give it, and what belongs to that status."""

    status: int
    version: int | None = None
    timestamp: int | None = None
    expires: int | None = None
    value: str | None = None
    value_base64: str | None = None
    present: int | None = None
    code: str | None = None
    detail: str | None = None
    outcome: str | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """A result for each operation, in their order."""

    results: list[BatchResult]


_decoder = msgspec.json.Decoder(BatchRequest)
encoded = msgspec.json.Encoder().encode


def batch_of(body: bytes, limits: Limits) -> tuple[bool, list[Operation]]:
    """Returns whether the batch is atomic, and its operations. Raises: CallerFault `bad_batch`, `value_too_large`."""
    try:
        batch = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallerFault("bad_batch", f"The body is not a batch: {_cause(error, body)}.") from error
    if len(batch.operations) > limits.batch_operations_max:
        raise CallerFault(
            "bad_batch",
            f"The batch has {len(batch.operations):,} operations; {limits.batch_operations_max:,} are allowed "
            "(limits.batch_operations_max).",
        )
    bytes_max = limits.value_bytes_max
    return batch.atomic, [_operation_of(asked, n, bytes_max) for n, asked in enumerate(batch.operations)]


def _operation_of(asked: AnyOperation, number: int, value_bytes_max: int) -> Operation:
    key = _octets(asked.key, asked.key_base64, "key", number)
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise _bad(number, f"the key has {len(key):,} bytes; a key has 1 to {KEY_BYTES_MAX:,}")
    if isinstance(asked, GetOperation):
        return Read(key)
    unchanged = None if asked.if_version is UNSET else IfMatch((Version(asked.if_version),))
    if isinstance(asked, DeleteOperation):
        return Delete(key, unchanged)
    value = _octets(asked.value, asked.value_base64, "value", number)
    if len(value) > value_bytes_max:
        raise CallerFault(
            "value_too_large",
            f"Operation {number}: the value is longer than {value_bytes_max:,} bytes (limits.value_bytes_max).",
        )
    condition: Condition | None = unchanged
    if asked.if_absent is not UNSET:
        if unchanged is not None:
            raise _bad(number, "if_absent and if_version exclude each other")
        condition = IfAbsent() if asked.if_absent else None
    return Put(key, value, None if asked.ttl is UNSET else ttl_ms_of(asked.ttl), condition)


def ttl_ms_of(seconds: float) -> int:
    """Returns seconds as milliseconds, rounded up; what a binary fraction adds to a decimal one does not count."""
    whole_ms = round(seconds * 1000)
    exact = abs(seconds * 1000 - whole_ms) < 1e-6 * max(1.0, whole_ms * 1e-6)
    return max(1, whole_ms if exact else int(seconds * 1000) + 1)


def _octets(text: str | UnsetType, base64: str | UnsetType, name: str, number: int) -> bytes:
    """Returns the bytes that one of the two spellings says."""
    if base64 is UNSET and text is not UNSET:
        return text.encode()
    if text is UNSET and base64 is not UNSET:
        try:
            if len(base64) % 4 == 0:
                return b64decode(base64, validate=True)
        except ValueError:
            pass
        raise _bad(
            number,
            f"{name}_base64 is not base64: A to Z, a to z, 0 to 9, + and /, padded with = to a multiple of four",
        )
    raise _bad(number, f"exactly one of {name} and {name}_base64 is needed")


def _cause(error: Exception, body: bytes) -> str:
    """Returns why a body could not be decoded; of half a surrogate pair the decoder says that the body is cut off."""
    words = str(error)
    if "surrogate" in words or ("truncated" in words and _FIRST_HALF.search(body)):
        return "a \\u escape is half of a surrogate pair, which is no character; bytes that are no text go in base64"
    return words


def _bad(number: int, what: str) -> CallerFault:
    return CallerFault("bad_batch", f"Operation {number}: {what}.")
