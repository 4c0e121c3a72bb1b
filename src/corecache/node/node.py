"""A node as its servers see it: the `Service` port over the replicas, the driver and the store.

Here a key finds its partition, a read finds its record, and a request finds its deadline. A read never enters the log:
it asks the replica before and after the fetch whether it may be served (R7), and takes the record from memory where it
is there. A record that has expired is removed through the log before anybody is told that it is absent (R17).

How a node comes to life is in `startup.py`; who removes expired records that nobody reads, in `sweeper.py`.
"""

import asyncio
from collections.abc import Mapping, Sequence

from corecache.config import Config
from corecache.errors import CallerFault, CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import Milliseconds, NodeId, PartitionId
from corecache.identity import Sequence as LogSequence
from corecache.node.cold_reads import ColdReads
from corecache.node.driver import Driver
from corecache.node.requests import ClientRequest, ManyReplies, Slot, size_of
from corecache.operations import NEVER, ConditionFailed, Expire, Operation, Put, Record, Result
from corecache.placement.slots import partition_of, slots_of
from corecache.ports import Clock, Page, Store, Uncached
from corecache.replication.replica import Replica
from corecache.reports import ClusterReport, NodeReport, PartitionReport, StorageReport


class Node:
    """Serves clients from this machine's replicas."""

    def __init__(
        self,
        config: Config,
        name: str,
        replicas: Mapping[PartitionId, Replica],
        driver: Driver,
        store: Store,
        clock: Clock,
    ) -> None:
        """Takes the parts, started or not; `name` is the node's id."""
        self.addresses: dict[str, str] = {}
        self.version = ""
        self._config = config
        self._name = NodeId(name)
        self._replicas = replicas
        self._count = len(replicas)
        self._driver = driver
        self._store = store
        self._clock = clock
        self._cold_reads = ColdReads(store)
        self._started = clock.now()

    # Reads.

    async def get(self, key: bytes, deadline: Milliseconds) -> Record | None:
        """Returns the newest committed record (see `Service`)."""
        partition = partition_of(key, self._count)
        replica = self._replicas[partition]
        if not replica.may_serve_reads(self._clock.now()):
            raise replica.refusal()
        record = self._store.peek(partition, key)
        if isinstance(record, Uncached):
            record = await self._get_cold(partition, key, deadline)
            if not replica.may_serve_reads(self._clock.now()):
                raise replica.refusal()
        if record is not None and NEVER < record.expires <= self._clock.today():
            return await self._expire(key, deadline)
        return record

    async def get_stale(self, key: bytes) -> tuple[Record | None, LogSequence]:
        """Returns the record of the applied state (see `Service`). An expired one is left out, and left alone."""
        partition = partition_of(key, self._count)
        applied = self._replicas[partition].log.applied
        record = self._store.peek(partition, key)
        if isinstance(record, Uncached):
            timeout_ms = self._config.http.request_timeout_ms
            record = await self._get_cold(partition, key, Milliseconds(self._clock.now() + timeout_ms))
        if record is not None and NEVER < record.expires <= self._clock.today():
            record = None
        return record, applied

    async def scan(
        self, start: bytes, end: bytes | None, items_max: int, deadline: Milliseconds, values: bool = True
    ) -> Page:
        """Returns a page of records in byte order (see `Service`)."""
        self._check_all_serve()
        try:
            async with asyncio.timeout((deadline - self._clock.now()) / 1000):
                items, resume = await self._store.scan(
                    list(self._replicas), start, end, items_max, self._config.limits.page_bytes_max, values
                )
        except TimeoutError:
            raise NotDone("deadline_passed", "The disk did not answer before the deadline; try again.", 0) from None
        self._check_all_serve()
        today = self._clock.today()
        expired = dict.fromkeys(item.key for item in items if NEVER < item.record.expires <= today)
        if expired:
            await self.expire(list(expired), deadline)
        return Page(tuple(item for item in items if item.key not in expired), resume)

    async def _get_cold(self, partition: PartitionId, key: bytes, deadline: Milliseconds) -> Record | None:
        try:
            async with asyncio.timeout((deadline - self._clock.now()) / 1000):
                return await self._cold_reads.get(partition, key)
        except TimeoutError:
            raise NotDone("deadline_passed", "The disk did not answer before the deadline; try again.", 0) from None

    def _check_all_serve(self) -> None:
        now = self._clock.now()
        for replica in self._replicas.values():
            if not replica.may_serve_reads(now):
                raise replica.refusal()

    async def _expire(self, key: bytes, deadline: Milliseconds) -> Record | None:
        try:
            (result,) = await self.write((Expire(key),), deadline)
        except OutcomeUnknown as error:
            raise _not_removed_yet() from error
        if isinstance(result, ConditionFailed):
            # Somebody has written the key anew meanwhile.
            return await self.get(key, deadline)
        return None

    async def expire(self, keys: Sequence[bytes], deadline: Milliseconds) -> None:
        """Removes expired records through the log. Raises: NotDone, Broken."""
        for outcome in await self.write_many([(Expire(key),) for key in keys], deadline):
            if isinstance(outcome, OutcomeUnknown):
                raise _not_removed_yet()
            if isinstance(outcome, CoreCacheError):
                raise outcome

    # Writes.

    async def write(self, operations: Sequence[Operation], deadline: Milliseconds) -> Sequence[Result]:
        """Executes operations of one partition, all or none (see `Service`)."""
        partition = self._place(operations)
        reply: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        self._driver.submit(partition, ClientRequest(operations, deadline, size_of(operations), reply))
        return await reply

    async def write_many(
        self, requests: Sequence[Sequence[Operation]], deadline: Milliseconds
    ) -> list[Sequence[Result] | CoreCacheError]:
        """Executes many requests, those on one key in their order; returns each one's outcome (see `Service`)."""
        if not requests:
            return []
        replies = ManyReplies(len(requests))
        for index, operations in enumerate(requests):
            try:
                partition = self._place(operations)
                slot = Slot(replies, index)
                self._driver.submit(partition, ClientRequest(operations, deadline, size_of(operations), slot))
            except CoreCacheError as error:
                replies.put(index, error)
        await replies.finished
        return [outcome for outcome in replies.outcomes if outcome is not None]

    def _place(self, operations: Sequence[Operation]) -> PartitionId:
        partition = partition_of(operations[0].key, self._count)
        if len(operations) > 1 and any(partition_of(each.key, self._count) != partition for each in operations):
            raise CallerFault(
                "cross_partition",
                "The keys of an atomic batch must share a partition: give them one hash tag, as in {user1}.name.",
            )
        if not self._store.accepts_puts() and any(type(operation) is Put for operation in operations):
            raise CallerFault(
                "disk_full",
                "Only the disk's reserve is left: delete something, give the disk more room (storage.disk_bytes), or "
                "lower storage.disk_reserve_bytes. Reads and deletes go on.",
            )
        return partition

    # The tree, the cluster, the state of health.

    async def flush(self) -> StorageReport:
        """Flushes all memtables (see `Service`)."""
        await self._store.flush()
        return await self._store.report()

    async def compact(self) -> StorageReport:
        """Compacts all SSTables (see `Service`)."""
        await self._store.compact()
        return await self._store.report()

    async def storage(self) -> StorageReport:
        """Returns the tree as it stands."""
        return await self._store.report()

    def unready(self) -> str | None:
        """Returns the first reason why a partition can't be read and written, None if all can."""
        now = self._clock.now()
        for replica in self._replicas.values():
            if not replica.may_serve_reads(now):
                return replica.refusal().message
        return None

    def cluster(self) -> ClusterReport:
        """Returns who holds what."""
        incarnation = next(iter(self._replicas.values())).incarnation
        node = NodeReport(self._name, incarnation, True, self.addresses, self.version)
        partitions = tuple(self._partition_report(replica) for replica in self._replicas.values())
        return ClusterReport(self._config.cluster.name, self._name, (node,), partitions)

    def _partition_report(self, replica: Replica) -> PartitionReport:
        slots = slots_of(replica.partition, self._count)
        log = replica.log
        serving = replica.may_serve_reads(self._clock.now())
        return PartitionReport(
            id=replica.partition,
            first_slot=slots.start,
            last_slot=slots.stop - 1,
            view=replica.confirmed.view if replica.confirmed is not None else None,
            view_version=replica.confirmed.version if replica.confirmed is not None else -1,
            role="failed" if replica.failed else "primary" if serving else "starting",
            last_sequence=log.last,
            commit_point=log.commit,
            applied=log.applied,
            lag=log.last - log.applied,
        )


def _not_removed_yet() -> NotDone:
    # Whoever reads has asked for no write: that one is under way on his behalf is none of his worries.
    return NotDone("deadline_passed", "A key has expired and its removal is not through yet; read again.", 100)
