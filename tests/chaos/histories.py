"""Calls, written shortly: times in ms, and by default of one HTTP client."""

from typing import Any

from corecache.chaos.history import ABSENT, Call, Kind, Outcome

MS = 1_000_000
LAST = 1_000_000


def call(kind: Kind, begin: int, end: int, outcome: Outcome = "done", **rest: Any) -> Call:
    """Returns a call of any kind."""
    rest.setdefault("client", 1)
    rest.setdefault("protocol", "http")
    return Call(node="n1", kind=kind, key="k", begin_ns=begin * MS, end_ns=end * MS, outcome=outcome, **rest)


def put(begin: int, end: int, value: str, version: int | None = None, outcome: Outcome = "done", **rest: Any) -> Call:
    """Returns a put, done if nothing else is said."""
    return call("put", begin, end, outcome, value=value, version=version, **rest)


def get(begin: int, end: int, value: str | None, version: int | None = None, **rest: Any) -> Call:
    """Returns a get that found a value, or None."""
    return call("get", begin, end, value=value, version=ABSENT if value is None else version, **rest)


def delete(begin: int, end: int, outcome: Outcome = "done", **rest: Any) -> Call:
    """Returns a delete, done if nothing else is said."""
    return call("delete", begin, end, outcome, **rest)


def add(begin: int, end: int, amount: int, total: int | None, outcome: Outcome = "done", **rest: Any) -> Call:
    """Returns an add and the sum it answered."""
    return call("add", begin, end, outcome, amount=amount, value=None if total is None else str(total), **rest)


def last(value: str | None, version: int | None = None) -> Call:
    """The get that ends every history."""
    return get(LAST, LAST + 1, value, version, client=-1)
