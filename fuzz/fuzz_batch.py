"""Fuzzes `serving/http/batch_operations.py`: the JSON of POST /v1/batch.

What is accepted is handed to the node as it is, so it must be what `ports.Service` asks for: keys of 1 to 8,192 bytes,
values within the limit, times to live of at least a millisecond.
"""

from corecache.config import Limits
from corecache.errors import CallerFault
from corecache.operations import KEY_BYTES_MAX, Delete, IfMatch, Put, Read
from corecache.serving.http import problems
from corecache.serving.http.batch_operations import batch_of
from corecache.serving.http.parameters import TTL_SECONDS_MAX, VERSION_MAX

WORDS = (
    *(b'"op":"put"', b'"op":"delete"', b'"op":"get"', b'"key":"', b'"key_base64":"', b'"value":"', b'"value_base64":"'),
    *(b'"ttl":', b'"if_absent":true', b'"if_version":', b'"atomic":true', b'"operations":[', b"{", b"}", b"[", b"]"),
    *(b"null", b"1e308", b"1e999", b"-0", b"0.0000001", b"1e-300", b"315360000", b"9223372036854775808", b"NaN"),
    *(b'"', b"\\ud800", b"\\u0000", b"\\", b",", b":", b"AAA=", b"====", b"[" * 2000, b'{"a":' * 500),
)

_LIMITS = Limits(value_bytes_max=1000, batch_operations_max=20)


def target(data: bytes) -> None:
    """Whatever bytes arrive: they are operations that a node can take, or bad_batch or value_too_large."""
    try:
        _, operations = batch_of(data, _LIMITS)
    except CallerFault as error:
        _check_refusal(error)
        return
    assert len(operations) <= _LIMITS.batch_operations_max
    for operation in operations:
        assert isinstance(operation, Put | Delete | Read), operation
        assert 1 <= len(operation.key) <= KEY_BYTES_MAX, operation
        if isinstance(operation, Put):
            assert len(operation.value) <= _LIMITS.value_bytes_max, operation
            assert operation.ttl_ms is None or 1 <= operation.ttl_ms <= TTL_SECONDS_MAX * 1000, operation
        if isinstance(operation, Put | Delete) and isinstance(operation.condition, IfMatch):
            versions = operation.condition.versions
            assert versions is not None, "a batch names a version"
            assert all(0 <= version <= VERSION_MAX for version in versions), operation


def _check_refusal(error: CallerFault) -> None:
    assert error.code in ("bad_batch", "value_too_large"), error
    status, _, body = problems.answer_of(error, write=True)
    assert status == (413 if error.code == "value_too_large" else 400), status
    assert body.decode(), "the answer is text"
