"""What is asked of a node, as bytes of HTTP: one function for each call of the API. Pure: nothing is sent here.

Rule 1: a key reaches the node exactly. Every byte that is not a letter, a digit, "-", "_" or "~" is percent-encoded,
"/" too, and also ".": it is unreserved, but HTTP libraries and proxies drop the path segments "." and "..", and "%2E"
they leave alone.

Rule 2: `repeatable` says whether the request may be sent again although a node may have executed it already. Only what
changes nothing is.

Rule 3: what no node would accept (an empty or oversized key) is refused here, in the words of the node, before it costs
a round trip. Everything else is for the node to judge.
"""

import base64
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import quote

import msgspec

from corecache.errors import CallerFault
from corecache.operations import KEY_BYTES_MAX, Condition, Delete, IfAbsent, IfMatch, Operation, Put, Read

PAGE_ITEMS_MAX = 1000
"""Items asked for at once: what a node allows unless it is configured otherwise."""

TARGET_BYTES_MAX = 60_000
"""Path and query together, percent-encoded. A node takes 64 KiB of request line and headers."""


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, without the node that it goes to. `timeout_s` None: the client's own."""

    method: str
    target: str
    repeatable: bool
    headers: dict[str, str] = {}
    body: bytes | None = None
    timeout_s: float | None = None


def key_bytes(key: bytes | str) -> bytes:
    """Returns a key as bytes; text is UTF-8. Raises: CallerFault if it does not have 1 to 8,192 bytes."""
    raw = _raw(key)
    if not 1 <= len(raw) <= KEY_BYTES_MAX:
        raise CallerFault(
            "bad_key", f"a key has 1 to {KEY_BYTES_MAX:,} bytes, this one has {len(raw):,}: choose another"
        )
    return raw


def get(key: bytes | str) -> Request:
    """Asks for a key's record."""
    return Request("GET", _path(key), repeatable=True)


def put(key: bytes | str, value: bytes | str, ttl: float | None, if_absent: bool, if_version: int | None) -> Request:
    """Asks to store a value, for `ttl` seconds if given, on a condition if given."""
    if if_absent and if_version is not None:
        raise CallerFault("bad_condition", "if_absent and if_version exclude each other: give one of them")
    headers = _if_match(if_version)
    if if_absent:
        headers["If-None-Match"] = "*"
    target = _path(key)
    if ttl is not None:
        target += f"?ttl={_seconds(ttl)}"
    return Request("PUT", target, repeatable=False, headers=headers, body=_raw(value))


def delete(key: bytes | str, if_version: int | None) -> Request:
    """Asks to remove a key, on a condition if given."""
    return Request("DELETE", _path(key), repeatable=False, headers=_if_match(if_version))


class Range(msgspec.Struct, frozen=True):
    """The keys that a listing covers: those that begin with `prefix` and have start <= key < end; empty is no bound."""

    prefix: bytes = b""
    start: bytes = b""
    end: bytes = b""
    keys_only: bool = False

    @classmethod
    def of(cls, prefix: bytes | str, start: bytes | str, end: bytes | str, keys_only: bool) -> Self:
        """Returns the range whose bounds are given as bytes or as text."""
        return cls(_raw(prefix), _raw(start), _raw(end), keys_only)


def scan(listing: Range, limit: int | None, cursor: str | None) -> Request:
    """Asks for a page of a listing, of `limit` items at most: the first, or the one that `cursor` points to."""
    query = [f"{name}={_quoted(bound)}" for name, bound in _bounds(listing) if bound]
    if listing.keys_only:
        query.append("keys_only=true")
    query.append(f"limit={PAGE_ITEMS_MAX if limit is None else min(limit, PAGE_ITEMS_MAX)}")
    if cursor is not None:
        query.append(f"cursor={_quoted(cursor.encode())}")
    target = "/v1/kv?" + "&".join(query)
    if len(target) > TARGET_BYTES_MAX:
        raise CallerFault("bad_range", "prefix, start and end together are too long for one request: shorten them")
    return Request("GET", target, repeatable=True)


def batch(operations: Sequence[Operation], atomic: bool) -> Request:
    """Asks for several puts, deletes and reads at once; with `atomic` all or none, on keys of one partition."""
    body = msgspec.json.encode({"atomic": atomic, "operations": [_in_batch(each) for each in operations]})
    return Request(
        "POST",
        "/v1/batch",
        repeatable=all(isinstance(each, Read) for each in operations),
        headers={"Content-Type": "application/json"},
        body=body,
    )


def cluster() -> Request:
    """Asks who holds what."""
    return Request("GET", "/v1/cluster", repeatable=True)


def orders() -> Request:
    """Asks what operators have ordered."""
    return Request("GET", "/v1/cluster/orders", repeatable=True)


def moves(drained: str | None) -> Request:
    """Asks what a rebalance would move, or the drain of a node."""
    query = "" if drained is None else f"?drain={_quoted(drained.encode())}"
    return Request("GET", f"/v1/cluster/rebalance{query}", repeatable=True)


def order(name: str, said: dict[str, Any]) -> Request:
    """Gives the cluster an order."""
    headers = {"Content-Type": "application/json"}
    return Request("POST", f"/v1/cluster/{name}", repeatable=False, headers=headers, body=msgspec.json.encode(said))


def storage() -> Request:
    """Asks how the tree stands."""
    return Request("GET", "/v1/storage", repeatable=True)


def storage_work(name: str, timeout_s: float) -> Request:
    """Asks for a "flush" or a "compact", which may take minutes and is not asked for twice."""
    return Request("POST", f"/v1/storage/{name}", repeatable=False, body=b"", timeout_s=timeout_s)


def as_text(name: str, raw: bytes) -> dict[str, str]:
    """Returns bytes as the API's JSON holds them: `{name: text}` where they are UTF-8, `{name_base64: …}` where not."""
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(raw).decode()}


def _raw(given: bytes | str) -> bytes:
    return given.encode() if isinstance(given, str) else bytes(given)


def _quoted(raw: bytes) -> str:
    return quote(raw, safe="").replace(".", "%2E")


def _path(key: bytes | str) -> str:
    return "/v1/kv/" + _quoted(key_bytes(key))


def _seconds(ttl: float) -> str:
    """Writes seconds without an exponent, to the millisecond, at least one."""
    if not 0 < ttl < 1e12:
        raise CallerFault("bad_ttl", f"a ttl is a number of seconds above 0, not {ttl!r}")
    return f"{max(ttl, 0.001):.3f}".rstrip("0").rstrip(".")


def _if_match(version: int | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}


def _bounds(listing: Range) -> tuple[tuple[str, bytes], ...]:
    return (("prefix", listing.prefix), ("start", listing.start), ("end", listing.end))


def _in_batch(operation: Operation) -> dict[str, Any]:
    named: dict[str, Any] = dict(as_text("key", key_bytes(operation.key)))
    match operation:
        case Put(value=value, ttl_ms=ttl_ms, condition=condition):
            ttl = {} if ttl_ms is None else {"ttl": ttl_ms / 1000}
            return {"op": "put", **named, **as_text("value", value), **ttl, **_condition(condition)}
        case Delete(condition=condition):
            return {"op": "delete", **named, **_condition(condition)}
        case Read():
            return {"op": "get", **named}
        case _:
            raise CallerFault("bad_batch", f"a batch holds Put, Delete and Read, not {type(operation).__name__}")


def _condition(condition: Condition | None) -> dict[str, Any]:
    match condition:
        case None:
            return {}
        case IfAbsent():
            return {"if_absent": True}
        case IfMatch(versions=(version,)):
            return {"if_version": version}
        case _:
            raise CallerFault(
                "bad_condition", "a condition in a batch names exactly one version: give IfMatch((version,))"
            )
