"""What one process of a simulated node does for clients: writes by its machine, reads from its store.

Writes of a moment are handed to a replica together. A read is looked up between two looks at the replica (R7): the
epoch in which it may serve, the record, the epoch again; an expired record is removed through the log first (R17). What
takes time takes now and then as long as a lease, so that whatever may change in between does.
"""

from collections.abc import Callable
from random import Random

from corecache.errors import NotDone
from corecache.identity import Epoch, Milliseconds, PartitionId
from corecache.operations import Absent, Expire, Found, Operation, Put, Record
from corecache.replication import actions, events
from corecache.replication.replica import Replica
from corecache.simulator.driver import Driver
from corecache.simulator.requests import ClientRequest, Outcome, Tell, nobody


class Service:
    """The clients' side of a process."""

    def __init__(self, driver: Driver, dice: Random) -> None:
        self._driver = driver
        self._dice = dice.random
        self._timeout_ms = driver.world.options.request_timeout_ms
        self._lease_ms = driver.world.options.lease_ms
        self._writes: dict[PartitionId, list[ClientRequest]] = {}

    def write(self, partition: PartitionId, operation: Operation, tell: Tell) -> None:
        """Takes a write."""
        deadline = Milliseconds(self._driver.now + self._timeout_ms)
        size_bytes = len(operation.key) + (len(operation.value) if isinstance(operation, Put) else 0)
        waiting = self._writes.setdefault(partition, [])
        waiting.append(ClientRequest([operation], deadline, size_bytes, tell))
        if len(waiting) == 1:
            self._driver.after(int(self._dice() * 2), self._write_all, partition)

    def _write_all(self, partition: PartitionId) -> None:
        requests = self._writes.pop(partition)
        if partition in self._driver.machine.replicas:
            self._driver.handle(partition, events.ClientWrites(requests, self._driver.today))
        else:
            self._driver.refuse(partition, actions.Refuse(requests, NotDone("moved", "This node does not hold it.")))

    def read(self, partition: PartitionId, key: bytes, tell: Tell) -> None:
        """Takes a linearizable read."""
        replica = self._driver.machine.replicas.get(partition)
        epoch = self.epoch_before(replica)
        if replica is None or not epoch:
            tell(NotDone("no_primary", "This node may not serve reads."))
        else:
            self._driver.after(self._delay(), self._read_record, (replica, partition, key, epoch, tell))

    def epoch_before(self, replica: Replica | None) -> Epoch:
        """Returns the epoch in which a record may be fetched from now on, 0 for none."""
        return Epoch(0) if replica is None else replica.serving_epoch(self._driver.now)

    def epoch_after(self, replica: Replica, before: Epoch) -> Epoch:
        """Returns the epoch in which a record that was fetched may be answered, 0 for none."""
        return replica.serving_epoch(self._driver.now)

    def _delay(self) -> int:
        return int(self._dice() * 3) if self._dice() < 0.95 else int(self._dice() * self._lease_ms * 2)

    def _read_record(self, event: tuple[Replica, PartitionId, bytes, Epoch, Tell]) -> None:
        replica, partition, key, epoch, tell = event
        held = self._driver.disk.contents.replicas.get(partition)
        record = held.records.get(key) if held is not None else None
        self._driver.after(self._delay(), self._end_read, (replica, partition, key, epoch, record, tell))

    def _end_read(self, event: tuple[Replica, PartitionId, bytes, Epoch, Record | None, Tell]) -> None:
        replica, partition, key, epoch, record, tell = event
        if self._driver.machine.replicas.get(partition) is not replica or self.epoch_after(replica, epoch) != epoch:
            tell(NotDone("no_primary", "This node may no longer serve reads."))
        elif record is not None and 0 < record.expires <= self._driver.today:
            self.write(partition, Expire(key), _expired(tell))
        else:
            tell(Found(record) if record is not None else Absent())

    def sweep(self) -> None:
        """Removes what has expired and nobody reads (R17)."""
        today = self._driver.today
        for partition, replica in sorted(self._driver.machine.replicas.items(), key=lambda item: item[0]):
            if replica.primary is not None:
                records = self._driver.disk.contents.replicas[partition].records
                for key in sorted(key for key, record in records.items() if 0 < record.expires <= today):
                    self.write(partition, Expire(key), nobody)


def _expired(tell: Tell) -> Callable[[Outcome], None]:
    """Returns who is told of the removal of a record that a read found expired, and tells the reader what it means."""

    def told(outcome: Outcome) -> None:
        # A newer record stands in its place, or its removal was refused: either way the reader has to ask again.
        tell(outcome if isinstance(outcome, Absent) else NotDone("expired", "The record has expired; try again."))

    return told
