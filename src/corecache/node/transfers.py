"""What a replica asks of its disk beside the rounds: reading for those who lag, and replacing what it holds.

Rule 1: replacing (`BeginInstall`, `Install`, `Adopt`, `Discard`) of one partition goes step by step, each after the one
before, and begins when nothing of that partition is queued or at the disk any more (rule 5 of `actions.py`).
Rule 2: a completion is for the replica that asked. One that was discarded meanwhile hears nothing, nor does the one
that took its place.
Rule 3: a replica id is drawn anew whenever a replica is made or emptied, and is durable before anybody hears it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from corecache.errors import Broken
from corecache.identity import Epoch, PartitionId, ReplicaId
from corecache.node.rounds import Rounds
from corecache.ports import Snapshot, Store
from corecache.replication import actions, events
from corecache.replication.machine import Machine
from corecache.replication.recovered import NOTHING_APPLIED, Recovered, ReplicaFacts
from corecache.replication.replica import Replica

log = structlog.get_logger("corecache.node")

Adopted = Callable[[PartitionId, Recovered, actions.Adopt], None]


class Transfers:
    """Readings and replacements that are under way."""

    def __init__(
        self,
        machine: Machine,
        store: Store,
        rounds: Rounds,
        draw_id: Callable[[], str],
        deliver: Callable[[PartitionId, events.Event], None],
        adopted: Adopted,
        failed: Callable[[Broken], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """`deliver` takes completions, `adopted` that of an `Adopt`, `failed` a failure of the disk."""
        self.chunks_sent = 0
        self.chunks_installed = 0
        self._machine = machine
        self._store = store
        self._rounds = rounds
        self._draw_id = draw_id
        self._deliver = deliver
        self._adopted = adopted
        self._failed = failed
        self._spawn = spawn
        self._snapshots: dict[tuple[PartitionId, int], Snapshot] = {}
        self._reads: dict[tuple[PartitionId, int], asyncio.Task[None]] = {}
        self._replacing: dict[PartitionId, asyncio.Task[None]] = {}

    # Reading.

    def read_log(self, partition: PartitionId, action: actions.ReadLog) -> None:
        """Begins to read entries from the disk."""
        self._spawn(self._read_log(self._machine.replicas.get(partition), action))

    async def _read_log(self, replica: Replica | None, action: actions.ReadLog) -> None:
        if replica is None:
            return
        try:
            entries = await self._store.read_log(replica.partition, action.above, action.upto, action.bytes_max)
        except Broken as error:
            # What can't be read is as good as cut: whoever lags takes the way of the snapshot.
            log.warning("a log can't be read", partition=replica.partition, reason=error.message)
            entries = ()
        self._complete(replica, events.LogRead(action.replica, action.above, entries))

    def read_snapshot(self, partition: PartitionId, action: actions.ReadSnapshot) -> None:
        """Begins to read the next part of a snapshot."""
        replica = self._machine.replicas.get(partition)
        if replica is None:
            return
        key = (partition, action.transfer)
        if action.number == 0:
            self.end_snapshot(partition, action.transfer)
            self._snapshots[key] = self._store.snapshot(partition)
        before = self._reads.get(key)
        task = self._reads[key] = self._spawn(self._read_snapshot(replica, action, before))
        task.add_done_callback(lambda done: self._reads.pop(key) if self._reads.get(key) is done else None)

    async def _read_snapshot(
        self, replica: Replica, action: actions.ReadSnapshot, before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await asyncio.wait((before,))
        snapshot = self._snapshots.get((replica.partition, action.transfer))
        if snapshot is None:
            return
        try:
            records, last = await snapshot.read(action.bytes_max)
        except Broken as error:
            log.warning("a snapshot can't be read", partition=replica.partition, reason=error.message)
            return
        self.chunks_sent += 1
        self._complete(
            replica, events.SnapshotRead(action.transfer, action.number, snapshot.point, tuple(records), last)
        )

    def end_snapshot(self, partition: PartitionId, transfer: int) -> None:
        """Lets go of a snapshot."""
        snapshot = self._snapshots.pop((partition, transfer), None)
        if snapshot is not None:
            snapshot.close()

    # Replacing.

    def begin_install(self, partition: PartitionId, action: actions.BeginInstall) -> None:
        """Begins to empty a replica, which gets a new id."""
        self._rounds.drop(partition, facts_too=False)
        self._replace(partition, self._begin_install(self._machine.replicas[partition], action))

    async def _begin_install(self, replica: Replica, action: actions.BeginInstall) -> None:
        facts = msgspec.structs.replace(action.facts, replica=ReplicaId(self._draw_id()))
        await self._store.begin_install(replica.partition, facts)
        log.info("emptied a replica", partition=replica.partition, to_install=action.transfer != 0)
        self._complete(replica, events.InstallBegun(action.transfer, facts.replica))

    def install(self, partition: PartitionId, action: actions.Install) -> None:
        """Begins to add records to a replica that installs."""
        self._replace(partition, self._install(self._machine.replicas[partition], action))

    async def _install(self, replica: Replica, action: actions.Install) -> None:
        whole = (action.facts, action.point) if action.last else None
        await self._store.install(replica.partition, action.records, whole)
        self.chunks_installed += 1
        if action.last:
            log.info("installed a snapshot", partition=replica.partition, upto=action.point.sequence)
        self._complete(replica, events.ChunkInstalled(action.transfer, action.number))

    def adopt(self, partition: PartitionId, action: actions.Adopt) -> None:
        """Begins to make an empty replica."""
        self._replace(partition, self._adopt(partition, action))

    async def _adopt(self, partition: PartitionId, action: actions.Adopt) -> None:
        facts = ReplicaFacts(ReplicaId(self._draw_id()), Epoch(0), action.confirmed.view.lineage)
        await self._store.save(None, {partition: facts})
        log.info("made an empty replica", partition=partition, replica=facts.replica)
        self._adopted(partition, Recovered(facts, NOTHING_APPLIED, ()), action)

    def discard(self, partition: PartitionId) -> None:
        """Begins to drop a replica for good."""
        for key in [key for key in self._snapshots if key[0] == partition]:
            self.end_snapshot(*key)
        self._rounds.drop(partition, facts_too=True)
        self._replace(partition, self._discard(partition))

    async def _discard(self, partition: PartitionId) -> None:
        await self._store.discard(partition)
        log.info("dropped a replica that no view wants here", partition=partition)

    def _replace(self, partition: PartitionId, step: Coroutine[Any, Any, None]) -> None:
        task = self._replacing[partition] = self._spawn(self._in_turn(partition, self._replacing.get(partition), step))
        task.add_done_callback(
            lambda done: self._replacing.pop(partition) if self._replacing.get(partition) is done else None
        )

    async def _in_turn(
        self, partition: PartitionId, before: asyncio.Task[None] | None, step: Coroutine[Any, Any, None]
    ) -> None:
        try:
            if before is not None:
                await asyncio.wait((before,))
            await self._rounds.quiet(partition)
            await step
        except Broken as failure:
            self._failed(failure)
        finally:
            step.close()

    def _complete(self, replica: Replica, event: events.Event) -> None:
        if self._machine.replicas.get(replica.partition) is replica:
            self._deliver(replica.partition, event)

    def close(self) -> None:
        """Lets go of all snapshots."""
        for snapshot in self._snapshots.values():
            snapshot.close()
        self._snapshots.clear()
