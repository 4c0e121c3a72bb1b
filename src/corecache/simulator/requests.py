"""What clients ask of a simulated node, and what they are told.

A write is a `Request` that knows whom to tell. A read never becomes one: it is looked up in the store between two looks
at the replica (R7), as `node/node.py` does it.
"""

from collections.abc import Callable
from typing import TypeAlias

from corecache.errors import CoreCacheError
from corecache.operations import Result
from corecache.replication.events import Request

Outcome: TypeAlias = Result | CoreCacheError

Tell: TypeAlias = Callable[[Outcome], None]


class ClientRequest(Request):
    """A request that knows whom to tell."""

    tell: Tell


def nobody(outcome: Outcome) -> None:
    """Is told what nobody waits for."""
