"""A node as its servers see it: the `Service` port.

Here a key finds its partition. What this node leads and memory can answer is answered on the spot; everything else goes
the way of `routing.py`, to this node's own replicas (`local.py`) or to another node's.

How a node comes to life is in `startup.py`; what it tells of itself and of the cluster in `reporting.py`; who removes
expired records that nobody reads, in `sweeper.py`.
"""

import asyncio
from collections.abc import Sequence

from corecache.config import Config
from corecache.errors import CallerFault, CoreCacheError, NotDone
from corecache.identity import Milliseconds, NodeId, PartitionId
from corecache.identity import Sequence as LogSequence
from corecache.node.driver import Driver
from corecache.node.local import Local
from corecache.node.ordering import Ordering
from corecache.node.recovering import Recovering
from corecache.node.reporting import Reporting
from corecache.node.routing import Router
from corecache.operations import NEVER, Operation, Record, Result, keys_of
from corecache.placement.partition_map import NodeEntry
from corecache.placement.slots import partition_of
from corecache.ports import Clock, Page, Reply, Store, Uncached
from corecache.reports import ClusterReport, DigestReport, MoveReport, OrdersReport, RecoveryReport, StorageReport


class Node:
    """Serves clients, from this machine's replicas and from those of others."""

    def __init__(
        self,
        config: Config,
        partitions: int,
        driver: Driver,
        store: Store,
        clock: Clock,
        local: Local,
        router: Router,
        reporting: Reporting,
        ordering: Ordering,
        recovering: Recovering,
    ) -> None:
        """Takes the parts, started or not, and how many partitions the cluster has."""
        self.leaving = False
        self._count = partitions
        self._partitions = [PartitionId(number) for number in range(partitions)]
        self._replicas = driver.machine.replicas
        self._timeout_ms = config.http.request_timeout_ms
        self._store = store
        self._clock = clock
        self._local = local
        self._peek = local.peek
        self._router = router
        self._reporting = reporting
        self._ordering = ordering
        self._recovering = recovering
        self._driver = driver
        self._was_ready = False

    def leads(self, key: bytes) -> bool:
        """Says whether this node is the primary of a key's partition (see `Service`)."""
        return self._local.leads(partition_of(key, self._count))

    def primary(self, key: bytes) -> NodeEntry | None:
        """Returns the primary of a key's partition, None if none that is alive is known."""
        return self._reporting.primary(partition_of(key, self._count))

    # Reads.

    def peek(self, key: bytes) -> Record | Uncached | None:
        """Returns the newest committed record, if memory knows it here (see `Service`)."""
        return self._peek(partition_of(key, self._count), key)

    def peek_many(self, keys: Sequence[bytes]) -> list[Record] | None:
        """Returns the newest committed records, if all are at hand here (see `Service`)."""
        count = self._count
        return self._local.peek_many([partition_of(key, count) for key in keys], keys)

    async def get(self, key: bytes, deadline: Milliseconds) -> Record | None:
        """Returns the newest committed record (see `Service`)."""
        partition = partition_of(key, self._count)
        record = self._peek(partition, key)
        if not isinstance(record, Uncached):
            return record
        return await self._router.get(partition, key, deadline)

    def begin_get(self, key: bytes, deadline: Milliseconds, reply: Reply[Record | None]) -> bool:
        """Asks the node that leads a key, if that is another (see `Service`)."""
        return self._router.begin_get(partition_of(key, self._count), key, deadline, reply)

    async def get_stale(self, key: bytes) -> tuple[Record | None, LogSequence]:
        """Returns the record of the applied state (see `Service`)."""
        deadline = Milliseconds(self._clock.now() + self._timeout_ms)
        return await self._router.get_stale(partition_of(key, self._count), key, deadline)

    async def scan(
        self, start: bytes, end: bytes | None, items_max: int, deadline: Milliseconds, values: bool = True
    ) -> Page:
        """Returns a page of records in byte order (see `Service`)."""
        items, resume = await self._router.scan(self._partitions, start, end, items_max, deadline, values)
        today = self._clock.today()
        expired = dict.fromkeys(item.key for item in items if NEVER < item.record.expires <= today)
        if expired:
            places = [(partition_of(key, self._count), key) for key in expired]
            await self._local.expire([place for place in places if self._local.leads(place[0])], deadline)
        return Page(tuple(item for item in items if item.key not in expired), resume)

    # Writes.

    async def write(self, operations: Sequence[Operation], deadline: Milliseconds) -> Sequence[Result]:
        """Executes operations of one partition, all or none (see `Service`)."""
        partition = self._place(operations)
        replica = self._replicas.get(partition)
        if replica is not None and replica.primary is not None:
            reply: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
            try:
                self._local.submit(partition, operations, deadline, reply)
                return await reply
            except NotDone as error:
                if not self._router.may_repeat(partition, error):
                    raise
        return await self._router.write(partition, operations, deadline)

    def begin(self, operations: Sequence[Operation], deadline: Milliseconds, reply: Reply[Sequence[Result]]) -> None:
        """Begins a write (see `Service`)."""
        partition = self._place(operations)
        replica = self._replicas.get(partition)
        if replica is not None and replica.primary is not None:
            self._local.submit(partition, operations, deadline, reply)
        else:
            self._router.begin_write(partition, operations, deadline, reply)

    async def write_many(
        self, requests: Sequence[Sequence[Operation]], deadline: Milliseconds
    ) -> list[Sequence[Result] | CoreCacheError]:
        """Executes many requests, those on one key in their order; returns each one's outcome (see `Service`)."""
        outcomes: dict[int, Sequence[Result] | CoreCacheError] = {}
        placed: list[tuple[PartitionId, Sequence[Operation]]] = []
        indexes: list[int] = []
        for index, operations in enumerate(requests):
            try:
                placed.append((self._place(operations), operations))
                indexes.append(index)
            except CallerFault as error:
                outcomes[index] = error
        outcomes |= zip(indexes, await self._router.write_many(placed, deadline), strict=True)
        return [outcomes[index] for index in range(len(requests))]

    def _place(self, operations: Sequence[Operation]) -> PartitionId:
        partition = partition_of(operations[0].key, self._count)
        if len(operations) > 1 and any(
            partition_of(key, self._count) != partition for each in operations for key in keys_of(each)
        ):
            raise CallerFault(
                "cross_partition",
                "The keys of an atomic batch must share a partition: give them one hash tag, as in {user1}.name.",
            )
        return partition

    async def sweep(self, found: Sequence[tuple[PartitionId, bytes]], deadline: Milliseconds) -> int:
        """Removes expired records of the partitions that this node leads; returns how many. Raises: NotDone, Broken."""
        mine = [place for place in found if self._local.serves(place[0])]
        await self._local.expire(mine, deadline)
        return len(mine)

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

    async def digest(self, partition: PartitionId) -> DigestReport:
        """Returns the checksum of this node's replica of a partition (see `Service`)."""
        return await self._reporting.digest(partition)

    def cluster(self) -> ClusterReport:
        """Returns who holds what."""
        return self._reporting.cluster()

    async def orders(self) -> OrdersReport:
        """Returns what operators have ordered, and how far it is (see `Service`)."""
        return await self._ordering.report()

    async def moves(self, drained: NodeId | None = None) -> tuple[MoveReport, ...]:
        """Returns what would be moved (see `Service`)."""
        return await self._ordering.moves(drained)

    async def drain(self, node: NodeId, cancel: bool) -> OrdersReport:
        """Orders that a node is to hold nothing, or cancels that (see `Service`)."""
        return await self._ordering.drain(node, cancel)

    async def rebalance(self, run: bool) -> OrdersReport:
        """Orders that loads are evened out, or not any more (see `Service`)."""
        return await self._ordering.rebalance(run)

    async def require_in_sync(self, min_in_sync: int) -> OrdersReport:
        """Orders how many copies a success needs (see `Service`)."""
        return await self._ordering.require_in_sync(min_in_sync)

    async def recover(self, partition: PartitionId, node: NodeId, accept_data_loss: bool) -> RecoveryReport:
        """Has a partition go on from this node's copy (see `Service`)."""
        return await self._recovering.recover(partition, node, accept_data_loss)

    def unready(self) -> str | None:
        """Returns why this node should get no requests, None if it should."""
        if self._router.alone:
            return self._first_unserved(self._partitions)
        if self._router.stopping or self.leaving:
            return "The node is stopping."
        if not self._driver.views.all():
            # They are all brought at once (`startup.py`). One that is missing then makes no sense, and only its
            # partition has to wait until somebody has mended it.
            return "Who leads the partitions is not known yet."
        if not self._was_ready:
            # Later on, a partition that is just being taken over makes a request wait, and no node unready.
            unserved = self._first_unserved([part for part in self._partitions if self._reporting.is_named(part)])
            if unserved is not None:
                return unserved
            self._was_ready = True
        return None

    def _first_unserved(self, partitions: Sequence[PartitionId]) -> str | None:
        for partition in partitions:
            if not self._local.serves(partition):
                return self._local.refusal(partition).message
        return None

    # Stopping.

    def leave(self) -> None:
        """Begins to hand over all that is led here, while requests go on."""
        self.leaving = True
        self._driver.leave()
