"""Client requests on their way through the driver: who waits for them, and how many may.

A `ClientRequest` is what the machine gets and hands back; `reply` is where its result goes: an asyncio future for one
request, a `Slot` of a `ManyReplies` for a batch, which costs one wake-up for all of them.

Rule: the queue refuses, it does not grow. `Admission` counts what waits or is under way, in bytes and in requests, and
says *not done* beyond the limits of the configuration.
"""

import asyncio
from collections.abc import Sequence

from corecache.config import Replication
from corecache.errors import CoreCacheError, NotDone
from corecache.operations import Assign, AssignNew, Extend, Operation, Overwrite, Put, Result, keys_of
from corecache.ports import Reply
from corecache.replication.events import Request

_OVERHEAD_BYTES = 64
"""What a request costs besides its keys and values, roughly: none is free, so that a flood of small ones is bounded."""


class ClientRequest(Request):
    """A request, and where its outcome goes."""

    reply: Reply[Sequence[Result]]


class ManyReplies:
    """Collects the outcomes of many requests in their order; `finished` is set when the last is in."""

    def __init__(self, count: int) -> None:
        """Expects `count` (1 or more) outcomes."""
        self.outcomes: list[Sequence[Result] | CoreCacheError | None] = [None] * count
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = count

    def put(self, index: int, outcome: Sequence[Result] | CoreCacheError) -> None:
        """Notes an outcome."""
        self.outcomes[index] = outcome
        self._left -= 1
        if self._left == 0 and not self.finished.done():
            self.finished.set_result(None)


class Slot:
    """The place of one request among many (see `Reply`)."""

    __slots__ = ("_index", "_replies")

    def __init__(self, replies: ManyReplies, index: int) -> None:
        """Stands for the outcome number `index`."""
        self._replies = replies
        self._index = index

    def done(self) -> bool:
        """Says whether the outcome is in."""
        return self._replies.outcomes[self._index] is not None

    def set_result(self, result: Sequence[Result], /) -> None:
        """Tells the results."""
        self._replies.put(self._index, result)

    def set_exception(self, exception: CoreCacheError, /) -> None:
        """Tells that there are none, and why."""
        self._replies.put(self._index, exception)


class Admission:
    """Counts what waits or is under way."""

    def __init__(self, limits: Replication) -> None:
        """Takes the limits `uncommitted_bytes_max` and `uncommitted_requests_max`."""
        self._limits = limits
        self.size_bytes = 0
        self.requests = 0

    def admit(self, request: Request) -> None:
        """Counts a request in. Raises: NotDone `overloaded` if that would exceed a limit.

        One alone is never refused: however large it may be, nothing that it could wait for would make room.
        """
        size_bytes = self.size_bytes + request.size_bytes
        too_large = size_bytes > self._limits.uncommitted_bytes_max and self.requests
        if too_large or self.requests >= self._limits.uncommitted_requests_max:
            raise NotDone(
                "overloaded",
                f"{self.requests} writes of {self.size_bytes} bytes wait already: the disk is behind; try again.",
            )
        self.size_bytes = size_bytes
        self.requests += 1

    def leave(self, requests: int, size_bytes: int) -> None:
        """Counts requests out that have got their outcome, with the sum of their sizes."""
        self.size_bytes -= size_bytes
        self.requests -= requests


def size_of(operations: Sequence[Operation]) -> int:
    """Returns the bytes that a request with these operations counts for."""
    size_bytes = _OVERHEAD_BYTES
    for operation in operations:
        if type(operation) is Put:
            size_bytes += len(operation.key) + len(operation.value)
            continue
        for key in keys_of(operation):
            size_bytes += len(key)
        if isinstance(operation, Assign | Extend | Overwrite):
            size_bytes += len(operation.value)
        elif isinstance(operation, AssignNew):
            size_bytes += sum(len(value) for _, value in operation.pairs)
    return size_bytes
