"""What this node's own replicas can do for a client: reads, writes and listings of partitions that it leads.

A read never enters the log: it asks the replica before and after the fetch whether it may be served, and in which epoch
(R7 of `docs/protocol.md`), and takes the record from memory where it is there. A record that has expired is removed
through the log before anybody is told that it is absent (R17).

Nothing is tried again here, and nothing is sent to another node: what this node does not lead, or not any more, is
*not done*. Who asks another is `routing.py`.
"""

import asyncio
from collections.abc import Sequence

from corecache.config import Config
from corecache.errors import CallerFault, CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import Epoch, Milliseconds, PartitionId
from corecache.identity import Sequence as LogSequence
from corecache.node.cold_reads import ColdReads
from corecache.node.driver import Driver
from corecache.node.requests import ClientRequest, ManyReplies, Slot, size_of
from corecache.operations import (
    NEVER,
    Add,
    AddFloat,
    Assign,
    AssignNew,
    ConditionFailed,
    Duplicate,
    Expire,
    Extend,
    Operation,
    Overwrite,
    Put,
    Record,
    Result,
    Retime,
)
from corecache.placement.recovery import Copy
from corecache.ports import UNCACHED, Clock, Item, Reply, Store, Uncached
from corecache.replication.replica import Replica

_GROWING = frozenset((Put, Assign, AssignNew, Extend, Overwrite, Add, AddFloat, Duplicate, Retime))
"""Operations that may need more room than there was."""


class Local:
    """Serves from this node's replicas."""

    def __init__(self, config: Config, driver: Driver, store: Store, clock: Clock) -> None:
        """Takes the parts, started or not."""
        self._page_bytes_max = config.limits.page_bytes_max
        self._timeout_ms = config.http.request_timeout_ms
        self._replicas = driver.machine.replicas
        self._driver = driver
        self._store = store
        self._clock = clock
        self._cold_reads = ColdReads(store)

    def leads(self, partition: PartitionId) -> bool:
        """Says whether this node has the role of the primary, activated or not."""
        replica = self._replicas.get(partition)
        return replica is not None and replica.primary is not None

    def copy(self, partition: PartitionId) -> Copy | None:
        """Returns what there is of a partition, None if there is nothing."""
        replica = self._replicas.get(partition)
        if replica is None:
            return None
        facts = replica.facts
        whole = replica.failed is None and not facts.installing and not replica.state.installing
        return Copy(facts.replica, facts.lineage, facts.epoch, replica.log.last, whole)

    def peek(self, partition: PartitionId, key: bytes) -> Record | Uncached | None:
        """Returns the record of a linearizable read, if all of it can be answered from memory, else UNCACHED.

        No event is handled meanwhile, so that one look at the replica, after the record was taken, is enough (R7).
        """
        replica = self._replicas.get(partition)
        if replica is None or replica.primary is None:
            return UNCACHED
        record = self._store.peek(partition, key)
        if isinstance(record, Uncached) or not replica.serving_epoch(self._clock.now()):
            return UNCACHED
        if record is not None and NEVER < record.expires <= self._clock.today():
            return UNCACHED
        return record

    def peek_many(self, partitions: Sequence[PartitionId], keys: Sequence[bytes]) -> list[Record] | None:
        """Returns the records of linearizable reads, each of its partition, if all are at hand, else None.

        As with `peek`, one look at each replica afterwards is enough.
        """
        replicas = []
        for partition in set(partitions):
            replica = self._replicas.get(partition)
            if replica is None or replica.primary is None:
                return None
            replicas.append(replica)
        records = self._store.peek_many(partitions, keys)
        if records is None:
            return None
        now, today = self._clock.now(), self._clock.today()
        for replica in replicas:
            if not replica.serving_epoch(now):
                return None
        for record in records:
            if NEVER < record.expires <= today:
                return None
        return records

    async def get(self, partition: PartitionId, key: bytes, deadline: Milliseconds) -> Record | None:
        """Returns the newest committed record. Raises: NotDone, Broken."""
        replica, epoch = self._serving(partition)
        record = self._store.peek(partition, key)
        if isinstance(record, Uncached):
            record = await self._get_cold(partition, key, deadline)
        self._still_serving(replica, epoch)
        if record is not None and NEVER < record.expires <= self._clock.today():
            return await self._expire(partition, key, deadline)
        return record

    async def get_stale(self, partition: PartitionId, key: bytes) -> tuple[Record | None, LogSequence] | None:
        """Returns the record of the applied state and how far that reaches; None if there is no whole replica here.

        An expired one is left out, and left alone. Raises: NotDone, Broken.
        """
        replica = self._replicas.get(partition)
        if replica is None or replica.facts.installing or replica.state.installing:
            return None
        applied, installs = replica.log.applied, replica.state.installs
        record = self._store.peek(partition, key)
        if isinstance(record, Uncached):
            record = await self._get_cold(partition, key, Milliseconds(self._clock.now() + self._timeout_ms))
            if replica.state.installs != installs or replica.state.installing:
                return None
        if record is not None and NEVER < record.expires <= self._clock.today():
            record = None
        return record, applied

    async def scan(
        self,
        partitions: Sequence[PartitionId],
        start: bytes,
        end: bytes | None,
        items_max: int,
        deadline: Milliseconds,
        values: bool,
    ) -> tuple[list[Item], bytes | None]:
        """Returns records of partitions that this node leads, and the key to go on from. Raises: NotDone, Broken."""
        serving = [self._serving(partition) for partition in partitions]
        try:
            async with asyncio.timeout((deadline - self._clock.now()) / 1000):
                items, resume = await self._store.scan(partitions, start, end, items_max, self._page_bytes_max, values)
        except TimeoutError:
            raise _too_late() from None
        for replica, epoch in serving:
            self._still_serving(replica, epoch)
        return items, resume

    def submit(
        self,
        partition: PartitionId,
        operations: Sequence[Operation],
        deadline: Milliseconds,
        reply: Reply[Sequence[Result]],
    ) -> None:
        """Queues a write, whose outcome goes to `reply`. Raises: CallerFault `disk_full`, NotDone."""
        if not self._store.accepts_puts() and any(type(operation) in _GROWING for operation in operations):
            if self._driver.hands_over_for_room(partition):
                raise NotDone("no_room", "Only the disk's reserve is left here, and another node takes over.", 50)
            raise CallerFault(
                "disk_full",
                "Only the disk's reserve is left: delete something, give the disk more room (storage.disk_bytes), or "
                "lower storage.disk_reserve_bytes. Reads and deletes go on.",
            )
        if partition not in self._replicas:
            raise not_here()
        self._driver.submit(partition, ClientRequest(operations, deadline, size_of(operations), reply))

    async def expire(self, keys: Sequence[tuple[PartitionId, bytes]], deadline: Milliseconds) -> None:
        """Removes expired records through the log. Raises: NotDone, Broken."""
        if not keys:
            return
        replies = ManyReplies(len(keys))
        for index, (partition, key) in enumerate(keys):
            try:
                self.submit(partition, (Expire(key),), deadline, Slot(replies, index))
            except CoreCacheError as error:
                replies.put(index, error)
        await replies.finished
        for outcome in replies.outcomes:
            if isinstance(outcome, OutcomeUnknown):
                raise _not_removed_yet()
            if isinstance(outcome, CoreCacheError):
                raise outcome

    def refusal(self, partition: PartitionId) -> CoreCacheError:
        """Returns why this node can't serve a partition."""
        replica = self._replicas.get(partition)
        return replica.refusal() if replica is not None else not_here()

    def serves(self, partition: PartitionId) -> bool:
        """Says whether a linearizable read can be answered now."""
        replica = self._replicas.get(partition)
        return replica is not None and bool(replica.serving_epoch(self._clock.now()))

    def _serving(self, partition: PartitionId) -> tuple[Replica, Epoch]:
        replica = self._replicas.get(partition)
        if replica is None:
            raise not_here()
        epoch = replica.serving_epoch(self._clock.now())
        if not epoch:
            raise replica.refusal()
        return replica, epoch

    def _still_serving(self, replica: Replica, epoch: Epoch) -> None:
        if replica.serving_epoch(self._clock.now()) != epoch:
            raise replica.refusal()

    async def _get_cold(self, partition: PartitionId, key: bytes, deadline: Milliseconds) -> Record | None:
        try:
            async with asyncio.timeout((deadline - self._clock.now()) / 1000):
                return await self._cold_reads.get(partition, key)
        except TimeoutError:
            raise _too_late() from None

    async def _expire(self, partition: PartitionId, key: bytes, deadline: Milliseconds) -> Record | None:
        reply: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        self.submit(partition, (Expire(key),), deadline, reply)
        try:
            (result,) = await reply
        except OutcomeUnknown as error:
            raise _not_removed_yet() from error
        if isinstance(result, ConditionFailed):
            # Somebody has written the key anew meanwhile.
            return await self.get(partition, key, deadline)
        return None


def not_here() -> NotDone:
    """Returns the refusal of a node that does not hold a partition."""
    return NotDone("no_primary", "This node does not hold the partition; another does. Try again.", 0)


def _too_late() -> NotDone:
    return NotDone("deadline_passed", "The disk did not answer before the deadline; try again.", 0)


def _not_removed_yet() -> NotDone:
    # Whoever reads has asked for no write: that one is under way on his behalf is none of his worries.
    return NotDone("deadline_passed", "A key has expired and its removal is not through yet; read again.", 100)
