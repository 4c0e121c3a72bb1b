"""What a simulated process reads from its disk for its replicas: records, the log, snapshots.

A read takes a few milliseconds, thrown, and may see its disk as it was when the read began or when it ended, as a real
one may. Reads of one kind end in the order in which they began, as `actions.py` promises.
"""

from collections.abc import Callable
from random import Random
from typing import Any, TypeAlias

from corecache.identity import PartitionId
from corecache.replication import actions, events
from corecache.replication.log import Entry, size_of
from corecache.simulator.clock import Schedule
from corecache.simulator.disk import Disk
from corecache.simulator.snapshot import Snapshot

Complete: TypeAlias = Callable[[int, PartitionId, Callable[[], events.Event | None]], None]

_DELAY_MAX_MS = 4


class Reads:
    """The reads of one process."""

    def __init__(self, schedule: Schedule, disk: Disk, dice: Random, complete: Complete) -> None:
        """`complete(delay_ms, partition, make)` is to hand what `make()` returns to the replica after the delay."""
        self._schedule = schedule
        self._disk = disk
        self._dice = dice.random
        self._complete = complete
        self._snapshots: dict[tuple[PartitionId, int], Snapshot] = {}
        self._turns: dict[tuple[PartitionId, type[Any]], int] = {}

    def fetch(self, partition: PartitionId, action: actions.Fetch) -> None:
        """Reads records."""
        held = self._disk.contents.replicas[partition]
        early = self._dice() < 0.5
        records = {key: held.records.get(key) for key in action.keys} if early else {}

        def fetched() -> events.Event:
            found = records if early else {key: held.records.get(key) for key in action.keys}
            return events.Fetched(action.epoch, found, {})

        self._complete(self._in_turn(partition, actions.Fetch), partition, fetched)

    def read_log(self, partition: PartitionId, action: actions.ReadLog) -> None:
        """Reads entries."""

        def read() -> events.Event:
            log = self._disk.contents.replicas[partition].log
            entries: list[Entry] = []
            size_bytes, sequence = 0, action.above + 1
            while sequence in log and sequence <= action.upto and (not entries or size_bytes < action.bytes_max):
                entries.append(log[sequence])
                size_bytes += size_of([log[sequence]])
                sequence += 1
            return events.LogRead(action.replica, action.above, tuple(entries))

        self._complete(self._in_turn(partition, actions.ReadLog), partition, read)

    def read_snapshot(self, partition: PartitionId, action: actions.ReadSnapshot) -> None:
        """Reads a chunk of a snapshot, which begins with its first one."""
        key = (partition, action.transfer)
        if action.number == 0:
            self._snapshots[key] = Snapshot(self._disk.contents.replicas[partition])

        def read() -> events.Event | None:
            snapshot = self._snapshots.get(key)
            if snapshot is None:
                return None
            records, last = snapshot.chunk(action.number, action.bytes_max)
            return events.SnapshotRead(action.transfer, action.number, snapshot.point, records, last)

        self._complete(self._in_turn(partition, actions.ReadSnapshot), partition, read)

    def end_snapshot(self, partition: PartitionId, action: actions.EndSnapshot) -> None:
        """Forgets a snapshot."""
        self._snapshots.pop((partition, action.transfer), None)

    def _in_turn(self, partition: PartitionId, kind: type[Any]) -> int:
        """Throws how long a read takes, so that those of a kind end in the order in which they began."""
        now = self._schedule.now
        end = max(now + int(self._dice() * _DELAY_MAX_MS), self._turns.get((partition, kind), 0))
        self._turns[partition, kind] = end
        return end - now
