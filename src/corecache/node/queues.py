"""Writes of clients that wait for the next append round: one queue a partition, and the limits on all together.

Rule 1: the queues refuse, they do not grow (`Admission`).
Rule 2: a write that waits here when its deadline passes is refused as *not done*: nobody is left without an answer
because a disk hangs.
Rule 3: whoever had a share of a round comes last in the next one, so that a busy partition holds up no other.
Rule 4: while an entry of a partition is on its way to being committed, the next one waits for it, so that many writes
share an entry, unless a crowd of them waits already.

What leaves a queue becomes one event for its partition's replica; who brings it there is `driver.py`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from corecache.config import Replication
from corecache.errors import CoreCacheError, NotDone
from corecache.identity import Milliseconds, PartitionId, Timestamp
from corecache.node.requests import Admission, ClientRequest
from corecache.replication.events import ClientWrites, Request

_CROWD = 8
"""So many writes are worth an entry of their own."""


class Queues:
    """The waiting writes of a node."""

    def __init__(self, limits: Replication, filled: asyncio.Event) -> None:
        """Takes the limits, and what to set when something waits."""
        self.admission = Admission(limits)
        self._limits = limits
        self._filled = filled
        self._queues: dict[PartitionId, deque[ClientRequest]] = {}

    def put(self, partition: PartitionId, request: ClientRequest) -> None:
        """Queues a request. Raises: NotDone `overloaded`."""
        self.admission.admit(request)
        queue = self._queues.get(partition)
        if queue is None:
            self._queues[partition] = deque((request,))
            self._filled.set()
        else:
            queue.append(request)
            if len(queue) == _CROWD:
                self._filled.set()

    def take(self, accepted: Timestamp, busy: Callable[[PartitionId], bool]) -> list[tuple[PartitionId, ClientWrites]]:
        """Returns what goes into the next round, at most as much as one may take; the rest waits for the one after.

        What waits for a `busy` partition waits on (rule 4): `note_free` says when it no longer is.
        """
        left_bytes, left_requests = self._limits.batch_bytes_max, self._limits.batch_requests_max
        queues, self._queues = self._queues, {}
        begun: dict[PartitionId, deque[ClientRequest]] = {}
        held: dict[PartitionId, deque[ClientRequest]] = {}
        writes: list[tuple[PartitionId, ClientWrites]] = []
        for partition, queue in queues.items():
            if len(queue) < _CROWD and busy(partition):
                held[partition] = queue
                continue
            requests = []
            while queue and left_bytes > 0 and left_requests > 0:
                request = queue.popleft()
                left_bytes -= request.size_bytes
                left_requests -= 1
                if not request.reply.done():
                    requests.append(request)
                else:
                    self.admission.leave(1, request.size_bytes)
            if queue:
                (begun if requests else self._queues)[partition] = queue
            if requests:
                writes.append((partition, ClientWrites(requests, accepted)))
        self._queues |= begun
        if self._queues:
            self._filled.set()
        if held:
            self._queues = held | self._queues
        return writes

    def note_free(self, partition: PartitionId) -> None:
        """Takes that a partition is not busy any more."""
        if partition in self._queues:
            self._filled.set()

    def refuse_overdue(self, now: Milliseconds) -> None:
        """Tells those whose deadline has passed; they are counted out when their turn comes."""
        for queue in self._queues.values():
            for request in queue:
                if request.deadline <= now and not request.reply.done():
                    request.reply.set_exception(
                        NotDone("deadline_passed", "The deadline passed before the write was begun; try again.", 0)
                    )

    def empty(self, partition: PartitionId, error: CoreCacheError) -> None:
        """Refuses all that waits for a partition."""
        self.refuse(self._queues.pop(partition, ()), error)

    def refuse(self, requests: Iterable[Request], error: CoreCacheError) -> None:
        """Tells requests that there is no result, and counts them out."""
        for request in requests:
            assert isinstance(request, ClientRequest)
            self.admission.leave(1, request.size_bytes)
            if not request.reply.done():
                request.reply.set_exception(error)

    def partitions(self) -> list[PartitionId]:
        """Returns the partitions for which something waits."""
        return list(self._queues)
