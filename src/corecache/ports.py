"""All that the parts ask of each other and of the world: the contracts, without an implementation.

`Service` is what `serving/` sees of a node. `Store`, `Coordinator` and `Clock` are what a node sees of the disk, of the
other nodes' agreement, and of time. Every implementation, the memory twins included, passes the suite of its port in
`tests/contracts/`. What is awaited here may take long and never blocks the event loop; what is not awaited is quick.

Errors: a method raises what its docstring names, from `errors.py`, and nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from corecache.errors import CoreCacheError
from corecache.identity import Incarnation, Milliseconds, NodeId, PartitionId, Timestamp
from corecache.identity import Sequence as LogSequence
from corecache.operations import Operation, Record, Result
from corecache.placement.view import VersionedView, View
from corecache.replication.log import Entry
from corecache.replication.recovered import NodeFacts, Recovered, ReplicaFacts
from corecache.reports import ClusterReport, StorageReport


class Uncached:
    """The answer of `Store.peek` when only the disk knows."""


UNCACHED: Final = Uncached()


class Item(msgspec.Struct, frozen=True):
    """A key and its record, as a scan finds them."""

    key: bytes
    record: Record


class Store(Protocol):
    """A node's disk. One store holds all its partitions.

    Durability is ordered: a crash keeps a prefix of the calls as they were begun, and what was awaited of `append` and
    `save` is in that prefix. After a failed write or sync every later one raises `Broken`: nothing is guessed.
    """

    def recovered(self) -> tuple[NodeFacts | None, Mapping[PartitionId, Recovered]]:
        """Returns what the disk held at opening: the node's facts (None: never started) and each replica's."""

    async def save(self, node: NodeFacts | None, replicas: Mapping[PartitionId, ReplicaFacts]) -> None:
        """Makes facts durable, all or none. Raises: Broken."""

    async def append(self, entries: Sequence[tuple[PartitionId, Entry]]) -> None:
        """Adds entries to the logs, all or none; with durability "fsync" they are on the disk on return.

        Held back while the tree is stalled. Raises: Broken.
        """

    async def apply(self, entries: Sequence[tuple[PartitionId, Entry]]) -> None:
        """Brings the records up to these entries and notes them as applied, in one atomic batch. Raises: Broken."""

    async def cut(self, upto: Mapping[PartitionId, LogSequence]) -> None:
        """Removes applied entries from the logs, up to and including a sequence. Raises: Broken."""

    def peek(self, partition: PartitionId, key: bytes) -> Record | Uncached | None:
        """Returns the applied record from memory, None if there is surely none, UNCACHED if a file must be read."""

    async def get(self, keys: Sequence[tuple[PartitionId, bytes]]) -> list[Record | None]:
        """Returns the applied records, None for each key without one. Raises: Broken if a file can't be read."""

    async def scan(
        self,
        partitions: Sequence[PartitionId],
        start: bytes,
        end: bytes | None,
        items_max: int,
        bytes_max: int,
        values: bool,
    ) -> tuple[list[Item], bytes | None]:
        """Returns records with start <= key < end (None: no end) of all partitions together, in byte order of the keys.

        Stops after `items_max`, after the item that exceeds `bytes_max`, or after a bounded amount of work; then the
        second part is the key to go on from, else None. Without `values` the records' values are empty.
        """

    async def expired(self, before: Timestamp, keys_max: int) -> list[tuple[PartitionId, bytes, Record]]:
        """Returns up to `keys_max` records whose expiry is at or before a date, earliest first, with empty values."""

    async def flush(self) -> None:
        """Writes all memtables to SSTables; returns when they are on the disk. Raises: Broken."""

    async def compact(self) -> None:
        """Merges all SSTables: overwritten and deleted records leave the files. Raises: Broken."""

    async def report(self) -> StorageReport:
        """Returns the tree as it stands."""

    def accepts_puts(self) -> bool:
        """Says whether there is room: False near the disk budget. As of the last look, at most a second ago."""

    async def close(self) -> None:
        """Finishes what was begun and gives the directory up."""


class Coordinator(Protocol):
    """The consistent service that holds the views, and nothing else. No data passes through it.

    Each awaited method also raises NotDone if it surely changed nothing, OutcomeUnknown if it may have (then read the
    views and settle the matter by another proposal, R18), and Broken.
    """

    async def register(self, node: NodeId, incarnation: Incarnation, addresses: Mapping[str, str]) -> Incarnation:
        """Announces a node as alive; returns the highest incarnation ever registered for it, this one included."""

    async def create(self, cluster: str, partitions: int, views: Mapping[PartitionId, View]) -> None:
        """Creates the cluster with its first views, all or none; does nothing if it exists with the same facts.

        Raises: CallerFault if it exists under another name or with another number of partitions.
        """

    async def views(self) -> dict[PartitionId, VersionedView]:
        """Returns every partition's view; empty before `create`."""

    async def propose(self, partition: PartitionId, view: View, expected: int) -> VersionedView | None:
        """Replaces the view if its version is still `expected`. Returns the new one, None if another came first."""

    def watch(self, changed: Callable[[PartitionId, VersionedView], None]) -> None:
        """Calls `changed`, on the event loop, for every view that changes from now on, in the order of its versions."""

    async def close(self) -> None:
        """Takes the node off the list of the living and ends."""


class Clock(Protocol):
    """The two kinds of time."""

    def now(self) -> Milliseconds:
        """Returns the steady clock, which runs while the machine sleeps (CLOCK_BOOTTIME)."""

    def today(self) -> Timestamp:
        """Returns the date, by the wall clock."""


class Page(msgspec.Struct, frozen=True):
    """One page of a listing. `resume` is the key to go on from, None on the last page."""

    items: tuple[Item, ...]
    resume: bytes | None


class Service(Protocol):
    """A node, as its servers see it. Keys are 1 to 8,192 bytes. Deadlines are points on the steady clock.

    Everything raises the errors of `errors.py`: NotDone, OutcomeUnknown (writes only), CallerFault, Broken.
    """

    async def get(self, key: bytes, deadline: Milliseconds) -> Record | None:
        """Returns the newest committed record, None if there is none: a linearizable read (R7)."""

    async def get_stale(self, key: bytes) -> tuple[Record | None, LogSequence]:
        """Returns the record of the applied state, whoever is primary, and the sequence up to which that reaches."""

    async def write(self, operations: Sequence[Operation], deadline: Milliseconds) -> Sequence[Result]:
        """Executes operations on keys of one partition in their order, and returns a result for each.

        Several are atomic: all or, when one's condition fails, none (its result says so, the others' are what they
        would have been). Raises: CallerFault `cross_partition` if the keys do not share a partition.
        """

    async def write_many(
        self, requests: Sequence[Sequence[Operation]], deadline: Milliseconds
    ) -> list[Sequence[Result] | CoreCacheError]:
        """Executes many writes, each as `write` would, and returns for each its results or the error it met.

        They are begun in the order given: of two on one key the later one comes later. Raises nothing itself.
        """

    async def scan(
        self, start: bytes, end: bytes | None, items_max: int, deadline: Milliseconds, values: bool = True
    ) -> Page:
        """Returns a page of the records with start <= key < end, in byte order of the keys, over all partitions."""

    async def flush(self) -> StorageReport:
        """Flushes all memtables and returns the tree as it then stands."""

    async def compact(self) -> StorageReport:
        """Compacts all SSTables and returns the tree as it then stands."""

    async def storage(self) -> StorageReport:
        """Returns the tree as it stands."""

    def cluster(self) -> ClusterReport:
        """Returns who holds what, as this node knows it."""

    def unready(self) -> str | None:
        """Returns None if every partition here can be read and written, else the reason why not."""
