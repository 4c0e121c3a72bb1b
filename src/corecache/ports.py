"""All that the parts ask of each other and of the world: the contracts, without an implementation.

`Service` is what `serving/` sees of a node. `Store`, `Coordinator` and `Clock` are what a node sees of the disk, of the
other nodes' agreement, and of time. Every implementation, the memory twins included, passes the suite of its port in
`tests/contracts/`. What is awaited here may take long and never blocks the event loop; what is not awaited is quick.

Errors: a method raises what its docstring names, from `errors.py`, and nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

import msgspec

from corecache.errors import CoreCacheError
from corecache.identity import Incarnation, Milliseconds, NodeId, PartitionId, Timestamp
from corecache.identity import Sequence as LogSequence
from corecache.operations import Operation, Record, Result
from corecache.placement.partition_map import ClusterFacts, NodeEntry, Orders
from corecache.placement.view import VersionedView, View
from corecache.replication.log import Entry
from corecache.replication.messages import Envelope, Message
from corecache.replication.recovered import AppliedPoint, NodeFacts, Recovered, ReplicaFacts
from corecache.reports import ClusterReport, DigestReport, MoveReport, OrdersReport, RecoveryReport, StorageReport

T_contra = TypeVar("T_contra", contravariant=True)


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

    async def append(
        self,
        entries: Sequence[tuple[PartitionId, Entry]],
        truncated: Mapping[PartitionId, LogSequence] = MappingProxyType({}),
    ) -> None:
        """Adds entries to the logs, all or none; with durability "fsync" they are on the disk on return.

        First, in the same batch, the logs of `truncated` lose what is above a sequence (R1). Held back while the tree
        is stalled. Raises: Broken.
        """

    async def apply(self, entries: Sequence[tuple[PartitionId, Entry]]) -> None:
        """Brings the records up to these entries and notes them as applied, in one atomic batch. Raises: Broken."""

    async def cut(self, upto: Mapping[PartitionId, LogSequence]) -> None:
        """Removes applied entries from the logs, up to and including a sequence. Raises: Broken."""

    async def read_log(
        self, partition: PartitionId, above: LogSequence, upto: LogSequence, bytes_max: int
    ) -> tuple[Entry, ...]:
        """Returns the entries above + 1 to `upto`, as many as `bytes_max` holds, but one at least.

        None of them if the log does not hold the first any more. Raises: Broken.
        """

    def snapshot(self, partition: PartitionId) -> "Snapshot":
        """Returns a view of a partition's records as of this moment. Quick; whoever takes it must close it."""

    async def begin_install(self, partition: PartitionId, facts: ReplicaFacts) -> None:
        """Drops a partition's records, log and applied point and saves facts, in one durable batch. Raises: Broken."""

    async def install(
        self,
        partition: PartitionId,
        records: Sequence[tuple[bytes, Record]],
        whole: tuple[ReplicaFacts, AppliedPoint] | None,
    ) -> None:
        """Adds records to a partition. With `whole`, saves facts and applied point in the same batch, durably.

        The log then begins after the applied point. Raises: Broken.
        """

    async def discard(self, partition: PartitionId) -> None:
        """Drops all that there is of a partition, its facts included, durably. Raises: Broken."""

    async def digest(self, partition: PartitionId) -> tuple[LogSequence, str]:
        """Returns the applied sequence and a checksum as of it, equal for equal replicas; reads all. Raises: Broken."""

    def peek(self, partition: PartitionId, key: bytes) -> Record | Uncached | None:
        """Returns the applied record from memory, None if there is surely none, UNCACHED if a file must be read."""

    def peek_many(self, partitions: Sequence[PartitionId], keys: Sequence[bytes]) -> list[Record] | None:
        """Returns the applied records of keys, each in its partition, if all were read not long ago, else None."""

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


class Snapshot(Protocol):
    """A partition's records as of one applied sequence, read piece by piece. It holds disk space until it is closed."""

    point: AppliedPoint

    async def read(self, bytes_max: int) -> tuple[list[tuple[bytes, Record]], bool]:
        """Returns the next records in the order of their keys, and whether these were the last.

        Ends after the record that reaches `bytes_max`. One call at a time. Raises: Broken.
        """

    def close(self) -> None:
        """Lets go. Does nothing the second time, and may be called while a read is under way."""


class SessionState(Enum):
    """The session with the coordinator (R19)."""

    CONNECTED = "connected"
    SUSPENDED = "suspended"
    """The connection is lost, and nobody knows yet whether the session is."""
    LOST = "lost"
    """The session has ended: this node is no longer listed as alive, until it is connected again."""


class Coordinator(Protocol):
    """The consistent service that holds the views and a few small facts. No data passes through it.

    Each awaited method also raises NotDone if it surely changed nothing, OutcomeUnknown if it may have (then read the
    views and settle the matter by another proposal, R18), and Broken for what makes no sense. Callbacks are called on
    the event loop, never from inside a call.
    """

    async def register(self, entry: NodeEntry) -> Incarnation:
        """Lists a node as alive; returns the highest incarnation ever registered for it, this one included.

        One lower than the highest changes nothing. After a lost session the node is listed again by itself.
        """

    async def create(self, facts: ClusterFacts, views: Mapping[PartitionId, View]) -> bool:
        """Creates the cluster with its first views; says whether it did: not if it exists with the same facts.

        A cluster exists when all of its views do: one that was created by halves is completed.
        Raises: CallerFault if it exists under another name or with another number of partitions.
        """

    async def facts(self) -> ClusterFacts | None:
        """Returns the cluster's facts, None before `create`.

        Their `creation` is this cluster's alone, whatever was given to `create`; "" from the coordinator of one node.
        """

    async def views(self) -> dict[PartitionId, VersionedView]:
        """Returns every partition's view; empty before `create`."""

    async def view(self, partition: PartitionId) -> VersionedView:
        """Returns one partition's view, no older than the newest at the time of the call."""

    async def propose(self, partition: PartitionId, view: View, expected: int) -> VersionedView | None:
        """Replaces the view if its version is still `expected`. Returns the new one, None if another came first."""

    def watch(self, changed: Callable[[PartitionId, VersionedView], None]) -> None:
        """Calls `changed` for the views of followed partitions that change from now on, their versions growing.

        Changes may be skipped, but never the last one for long: what a watch missed, a slow sweep finds.
        """

    def follow(self, partitions: Sequence[PartitionId]) -> None:
        """Says which partitions `watch` is about. `changed` is called once for each that was not followed before."""

    async def nodes(self) -> dict[NodeId, NodeEntry]:
        """Returns the nodes that are alive."""

    def watch_nodes(self, changed: Callable[[], None]) -> None:
        """Calls `changed` when a node joins the living or leaves them."""

    async def orders(self) -> tuple[Orders, int]:
        """Returns what operators have ordered, and its version."""

    async def order(self, orders: Orders, expected: int) -> bool:
        """Replaces the orders if their version is still `expected`; says whether it did."""

    def campaign(self, elected: Callable[[bool], None]) -> None:
        """Stands for election as controller: calls `elected` with True when it wins and False when it no longer is."""

    async def controller(self) -> NodeId | None:
        """Returns who is the controller, None if nobody is at the moment."""

    def watch_session(self, changed: Callable[[SessionState], None]) -> None:
        """Calls `changed` at each change of the session's state, and once for the present one."""

    async def close(self) -> None:
        """Takes the node off the list of the living and ends."""


class LinkEvents(Protocol):
    """What a link tells its node, on the event loop."""

    def connected(self, node: NodeId, incarnation: Incarnation) -> None:
        """What is sent to this node from now on reaches that incarnation, or nobody."""

    def lost(self, node: NodeId, refused: bool) -> None:
        """The connection is lost. `refused`: and nobody listens at its address any more, so its process is gone."""

    def received(self, envelope: Envelope) -> None:
        """A node has sent messages."""

    def called(self, sender: NodeId, incarnation: Incarnation, calls: Sequence[object]) -> None:
        """A node has sent calls or replies (`wire/calls.py`), in their order."""


class Link(Protocol):
    """The connections to the other nodes. What is sent to one arrives in its order, once, or not at all."""

    def meet(self, addresses: Mapping[NodeId, str]) -> None:
        """Says who the other nodes are and where ("host:port"): connects with the new ones, lets go of the others."""

    def send(self, node: NodeId, messages: Sequence[Message], bulk: bool = False) -> None:
        """Sends messages, in one frame with all of this loop turn. Dropped if there is no connection or no room."""

    def call(self, node: NodeId, calls: Sequence[object]) -> bool:
        """Sends calls or replies (`wire/calls.py`). False if there is no connection or no room: nothing was sent."""

    async def close(self) -> None:
        """Sends what is queued, for a moment, and ends."""


class Clock(Protocol):
    """The two kinds of time."""

    def now(self) -> Milliseconds:
        """Returns the steady clock, which runs while the machine sleeps (CLOCK_BOOTTIME)."""

    def today(self) -> Timestamp:
        """Returns the date, by the wall clock."""


class Reply(Protocol[T_contra]):
    """Where a request's outcome goes, once: a write's results, or the record that a read has found."""

    def done(self) -> bool:
        """Says whether nobody waits any more: told already, or given up."""

    def set_result(self, result: T_contra, /) -> None:
        """Tells it."""

    def set_exception(self, exception: CoreCacheError, /) -> None:
        """Tells that there is none, and why."""


class Page(msgspec.Struct, frozen=True):
    """One page of a listing. `resume` is the key to go on from, None on the last page."""

    items: tuple[Item, ...]
    resume: bytes | None


class Service(Protocol):
    """A node, as its servers see it. Keys are 1 to 8,192 bytes. Deadlines are points on the steady clock.

    Everything raises the errors of `errors.py`: NotDone, OutcomeUnknown (writes only), CallerFault, Broken.
    """

    def peek(self, key: bytes) -> Record | Uncached | None:
        """Returns what `get` would if memory knows it, else UNCACHED; peeks without a pause are of one moment."""

    def peek_many(self, keys: Sequence[bytes]) -> list[Record] | None:
        """Returns what `peek` would, if all are records that were read not long ago, else None; much faster."""

    async def get(self, key: bytes, deadline: Milliseconds) -> Record | None:
        """Returns the newest committed record, None if there is none: a linearizable read (R7)."""

    def begin_get(self, key: bytes, deadline: Milliseconds, reply: Reply[Record | None]) -> bool:
        """Asks another node that leads a key, once; `reply` is told, not yet now. False: nothing was begun."""

    async def get_stale(self, key: bytes) -> tuple[Record | None, LogSequence]:
        """Returns the record of the applied state, whoever is primary, and the sequence up to which that reaches."""

    async def write(self, operations: Sequence[Operation], deadline: Milliseconds) -> Sequence[Result]:
        """Executes operations on keys of one partition in their order, and returns a result for each.

        Several are atomic: all or, when one's condition fails, none (its result says so, the others' are what they
        would have been). Raises: CallerFault `cross_partition` if the keys do not share a partition.
        """

    def begin(self, operations: Sequence[Operation], deadline: Milliseconds, reply: Reply[Sequence[Result]]) -> None:
        """Begins what `write` does, once: nothing is tried again, and `reply` is told the outcome.

        Of two on one key, begun one after the other, the later one comes later. Raises: as `write`.
        """

    def leads(self, key: bytes) -> bool:
        """Says whether this node is the primary of a key's partition, as far as it knows."""

    def primary(self, key: bytes) -> NodeEntry | None:
        """Returns the primary of a key's partition, as this node knows it; None if it knows none that is alive."""

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

    async def digest(self, partition: PartitionId) -> DigestReport:
        """Returns the checksum of this node's replica of a partition. Raises: CallerFault if it has none."""

    def cluster(self) -> ClusterReport:
        """Returns who holds what, as this node knows it."""

    async def orders(self) -> OrdersReport:
        """Returns what operators have ordered, and how far it is, as of now."""

    async def moves(self, drained: NodeId | None = None) -> tuple[MoveReport, ...]:
        """Returns what `rebalance(True)` would move, in its order; with `drained`, what the drain of that node would.

        Raises: CallerFault if that node can't be drained.
        """

    async def drain(self, node: NodeId, cancel: bool) -> OrdersReport:
        """Orders that a node is to hold nothing, or cancels that. Raises: CallerFault if it can't be."""

    async def rebalance(self, run: bool) -> OrdersReport:
        """Orders that copies and primaries are evened out, or that nothing more is moved for that."""

    async def require_in_sync(self, min_in_sync: int) -> OrdersReport:
        """Orders how many copies a success needs; 0 leaves it to the cluster. Raises: CallerFault if it can't be."""

    async def recover(self, partition: PartitionId, node: NodeId, accept_data_loss: bool) -> RecoveryReport:
        """Has a partition whose members in sync are lost go on from the copy of `node`, which must be this one (R9).

        Raises: CallerFault if the loss is not accepted, there is nothing to recover, or no whole copy here.
        """

    def unready(self) -> str | None:
        """Returns None if every partition here can be read and written, else the reason why not."""
