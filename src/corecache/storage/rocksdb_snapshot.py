"""A snapshot on RocksDB: a partition's records as of one applied sequence, read piece by piece.

Rule 1: it is one iterator, made on the event loop together with a look at the applied point. Writes happen on the loop
too, so none comes between: the records are exactly those of that point. What is written, flushed or compacted later
does not show in it. (rocksdict's own snapshots are of no use: their iterators show later writes.)
Rule 2: it is read on reader threads, in short calls however large the piece; what is held in memory is one piece.
Rule 3: what it reads does not push what clients read out of the block cache.
Rule 4: while it is open, RocksDB keeps the memtables and files that it was made on, so whoever takes one closes it. The
store closes what is left open, for RocksDB gives its lock up only when no iterator is left.

A piece that is being read when the snapshot is closed is read to its end: it keeps the iterator until then.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from rocksdict import Rdict, RdictIter, ReadOptions

from corecache.config import MIB
from corecache.errors import Broken
from corecache.identity import PartitionId
from corecache.operations import Record
from corecache.replication.recovered import AppliedPoint
from corecache.storage import keyspace
from corecache.storage.checksum import Checksum
from corecache.storage.rocksdb_reader import Reader

_STEP_BYTES: Final = MIB
"""What one call of a reader thread reads."""

Visit = Callable[[bytes, bytes], None]


class RocksSnapshot:
    """A `ports.Snapshot`. Made and closed on the event loop."""

    def __init__(
        self,
        records: Rdict,
        partition: PartitionId,
        point: AppliedPoint,
        reader: Reader,
        closed: Callable[["RocksSnapshot"], None],
    ) -> None:
        """Takes the records as they are now, the point that they are as of, and whom to tell of the closing."""
        options = ReadOptions()
        # rocksdict's types forget the argument.
        options.fill_cache(False)  # type: ignore[call-arg]
        self.point = point
        self._iterator: RdictIter | None = records.iter(options)
        self._prefix = keyspace.PREFIX.pack(partition)
        self._begun = False
        self._reader = reader
        self._closed = closed

    async def read(self, bytes_max: int) -> tuple[list[tuple[bytes, Record]], bool]:
        """Returns the next records in the order of their keys, and whether these were the last."""
        found: list[tuple[bytes, Record]] = []

        def keep(key: bytes, raw: bytes) -> None:
            found.append((key, keyspace.read_record(raw)))

        left_bytes, last = bytes_max, False
        while not last and (left_bytes > 0 or not found):
            last, read_bytes = await self._reader.read(partial(self._visit, min(left_bytes, _STEP_BYTES), keep))
            left_bytes -= read_bytes
        return found, last

    async def checksum(self) -> str:
        """Returns the checksum of all records that were not read yet. Raises: Broken."""
        checksum, last = Checksum(), False
        while not last:
            last, _ = await self._reader.read(partial(self._visit, _STEP_BYTES, checksum.add))
        return checksum.text()

    def close(self) -> None:
        """Lets go of the iterator. Does nothing the second time."""
        if self._iterator is not None:
            self._iterator = None
            self._closed(self)

    def _visit(self, bytes_max: int, visit: Visit) -> tuple[bool, int]:
        """Shows the next records to `visit`, up to the one that reaches `bytes_max`.

        Returns whether these were the last, and their bytes. Blocks. Raises: KeyspaceError, Broken, and what
        rocksdict raises.
        """
        # A local name: `close` may come meanwhile, and the iterator goes when neither needs it any more.
        iterator = self._iterator
        if iterator is None:
            raise Broken("storage_closed", "The snapshot is closed.")
        try:
            if not self._begun:
                self._begun = True
                iterator.seek(self._prefix)
            prefix, found_bytes = self._prefix, 0
            while iterator.valid():
                raw_key = iterator.key()
                if not raw_key.startswith(prefix):
                    return True, found_bytes
                if found_bytes and found_bytes >= bytes_max:
                    return False, found_bytes
                key, raw = raw_key[len(prefix) :], iterator.value()
                visit(key, raw)
                found_bytes += len(key) + len(raw)
                iterator.next()
            iterator.status()
            return True, found_bytes
        finally:
            # An error carries the names of this frame with it, however long somebody keeps it.
            del iterator
