"""How the log loses its beginning: what was applied, and will stay so whatever a power cut takes.

Rule: before an entry goes, a sync has covered its application; `rocksdb_reapply.py` says what would be lost else. What
is cut was applied long ago, as a rule, so that the syncs of appends have covered it. Where the log keeps next to
nothing, or entries are as large as what it keeps, the cut waits for a sync of its own.
"""

from collections.abc import Mapping

from rocksdict import ColumnFamily, WriteBatch

from corecache.identity import PartitionId
from corecache.identity import Sequence as LogSequence
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint
from corecache.storage import keyspace
from corecache.storage.rocksdb_writer import Writer


class Cutter:
    """Cuts applied entries off the logs, and knows what is applied for good.

    `applied` and `cut` are the store's own. `durable`: syncs are made, and what they have covered counts.
    """

    def __init__(
        self,
        handles: Mapping[str, ColumnFamily],
        writer: Writer,
        applied: Mapping[PartitionId, AppliedPoint],
        cut: dict[PartitionId, LogSequence],
        durable: bool,
    ) -> None:
        self._handles = handles
        self._writer = writer
        self._applied = applied
        self._cut = cut
        self._durable = durable
        self._unsynced: dict[PartitionId, AppliedPoint] = {}
        self._synced: dict[PartitionId, AppliedPoint] = {}

    def note_applied(self, points: Mapping[PartitionId, AppliedPoint]) -> None:
        """Takes note of applied points that have just been written."""
        self._unsynced.update(points)

    def note_emptying(self, partition: PartitionId) -> None:
        """Takes note that a partition's applied point goes. Requires: nothing of it is applied till that is durable."""
        self._unsynced.pop(partition, None)

    def note_emptied(self, partition: PartitionId) -> None:
        """Takes note that it is gone, durably: who began a sync before has noted by now what that had covered."""
        self._unsynced.pop(partition, None)
        self._synced.pop(partition, None)

    async def sync(self) -> None:
        """Returns when all that was written before is on the disk, and notes what had been applied by then."""
        covered, self._unsynced = self._unsynced, {}
        await self._writer.sync()
        self._synced.update(covered)

    async def cut(self, upto: Mapping[PartitionId, LogSequence]) -> None:
        """Removes applied entries from the logs. One at a time. Raises: Broken."""
        ends: dict[PartitionId, LogSequence] = {}
        for partition, sequence in upto.items():
            end = min(sequence, self._applied.get(partition, NOTHING_APPLIED).sequence)
            if end > self._cut.get(partition, 0):
                ends[partition] = end
        synced = self._synced
        if self._durable and any(end > synced.get(at, NOTHING_APPLIED).sequence for at, end in ends.items()):
            await self.sync()

        def fill(batch: WriteBatch) -> None:
            for partition, end in ends.items():
                first = LogSequence(self._cut.get(partition, 0) + 1)
                batch.delete_range(
                    keyspace.log_key(partition, first),
                    keyspace.log_key(partition, LogSequence(end + 1)),
                    self._handles[keyspace.LOG],
                )
                batch.put(keyspace.cut_key(partition), keyspace.cut_bytes(end), self._handles[keyspace.FACTS])

        async with self._writer.turn:
            await self._writer.write(fill)
            self._cut.update(ends)
