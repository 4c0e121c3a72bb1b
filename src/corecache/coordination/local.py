"""The embedded coordinator: a cluster of one node, whose views are in one small file beside its data.

Rule 1: nobody is told of a change before it is on the disk: a new file is written and synced, renamed over the old one,
and the directory synced. A crash between any two of these steps leaves the old file or the new one, never a part.
Rule 2: changes that arrive while a write is under way share the next one, as group commit does, so that a node whose
partitions all propose at its start waits for a write or two and not for hundreds.
Rule 3: a failure before the rename is *not done*: the old file stands. From the rename on it is *unknown*, and the
ledger *unsettled*: before anything else is answered the file is read again and written anew, so that what is then told
is what a restart would find.

Its one node is always connected with it, is the only one alive, and is the controller as soon as it stands. Who is
alive is not in the file.

The file is read and written in a thread; the event loop never waits for the disk. Its form is in `docs/formats.md`.
That no other process uses the same directory is seen to by the store's lock: open the store first.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from corecache.coordination.following import Following
from corecache.coordination.ledger import Ledger
from corecache.errors import Broken, CallerFault, NotDone, OutcomeUnknown
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.placement.partition_map import ClusterFacts, NodeEntry, Orders
from corecache.placement.view import VersionedView, View
from corecache.ports import SessionState

FORMAT = "corecache-coordinator"
VERSION = 2
VERSIONS_READ = (1, VERSION)
"""Version 1 had no replication factor and no orders: they take their defaults."""

Answered = TypeVar("Answered")


class _Document(msgspec.Struct):
    """The file. `checksum` is of the ledger's JSON with sorted names and without white space."""

    format: str
    version: int
    checksum: str
    ledger: msgspec.Raw


class _Change:
    """A change that waits for the disk: what it does to a ledger, and who is to be told the answer."""

    __slots__ = ("answer", "decide", "told")

    def __init__(self, decide: Callable[[Ledger], Any], told: "asyncio.Future[Any]") -> None:
        self.decide = decide
        self.told = told
        self.answer: Any = None


class LocalCoordinator:
    """A durable coordinator inside its only node; see `ports.Coordinator` for what its methods promise.

    Each method raises NotDone if the disk refused and nothing changed, OutcomeUnknown if the disk failed so late that
    the change may stand, and Broken if the file was found damaged.
    """

    def __init__(self, path: Path, ledger: Ledger) -> None:
        """Use `open`. Takes the file's path, and the ledger that it durably holds."""
        self._path = path
        self._ledger = ledger
        self._settled = True
        self._waiting: list[_Change] = []
        self._writer: asyncio.Task[None] | None = None
        self._following = Following()
        self._living: dict[NodeId, NodeEntry] = {}
        self._node_watchers: list[Callable[[], None]] = []
        self._stands = False
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Opens the file, which is made at the first change if it is missing. The directory must exist.

        Raises: Broken if the file is damaged; CallerFault if it is of a newer CoreCache or not CoreCache's at all, or
        can't be read and written.
        """
        try:
            return cls(path, await asyncio.to_thread(_settle, path))
        except (NotDone, OutcomeUnknown) as error:
            raise CallerFault("coordinator_unusable", error.message) from error

    async def register(self, entry: NodeEntry) -> Incarnation:
        """Lists the node as alive; returns the highest incarnation ever registered for it, this one included."""
        highest = await self._change(lambda ledger: ledger.register(entry.node, entry.incarnation))
        if highest == entry.incarnation and not self._closed:
            self._living[entry.node] = entry
            for changed in self._node_watchers:
                self._soon(changed)
        return highest

    async def create(self, facts: ClusterFacts, views: Mapping[PartitionId, View]) -> bool:
        """Creates the cluster, or finds it there. Raises: CallerFault if it exists with other facts."""
        return await self._change(lambda ledger: ledger.create(facts, views))

    async def facts(self) -> ClusterFacts | None:
        """Returns the cluster's facts, None before `create`."""
        return await self._read(Ledger.facts)

    async def views(self) -> dict[PartitionId, VersionedView]:
        """Returns every partition's view; empty before `create`."""
        return await self._read(lambda ledger: dict(ledger.views))

    async def view(self, partition: PartitionId) -> VersionedView:
        """Returns one partition's view."""
        views = await self.views()
        assert partition in views, f"partition {partition} was never created"
        return views[partition]

    async def propose(self, partition: PartitionId, view: View, expected: int) -> VersionedView | None:
        """Replaces the view if its version is still `expected`. Returns the new one, None if another came first."""
        return await self._change(lambda ledger: ledger.propose(partition, view, expected))

    def watch(self, changed: Callable[[PartitionId, VersionedView], None]) -> None:
        """Calls `changed`, on the event loop, for the views of followed partitions that change from now on."""
        self._following.watch(changed)

    def follow(self, partitions: Sequence[PartitionId]) -> None:
        """Says which partitions `watch` is about. `changed` is called once for each that was not followed before."""
        for partition in self._following.follow(partitions):
            if partition in self._ledger.views:
                self._soon(self._following.tell, partition, self._ledger.views[partition])

    async def nodes(self) -> dict[NodeId, NodeEntry]:
        """Returns the nodes that are alive: this one, once it is registered."""
        return dict(self._living)

    def watch_nodes(self, changed: Callable[[], None]) -> None:
        """Calls `changed` when the node is registered."""
        self._node_watchers.append(changed)

    async def orders(self) -> tuple[Orders, int]:
        """Returns what operators have ordered, and its version."""
        return await self._read(lambda ledger: (ledger.orders, ledger.orders_version))

    async def order(self, orders: Orders, expected: int) -> bool:
        """Replaces the orders if their version is still `expected`; says whether it did."""
        return await self._change(lambda ledger: ledger.order(orders, expected))

    def campaign(self, elected: Callable[[bool], None]) -> None:
        """Stands for election as controller, and wins: there is nobody else."""
        self._stands = True
        self._soon(elected, True)

    async def controller(self) -> NodeId | None:
        """Returns the one node, once it stands, None before."""
        return next(iter(self._living), None) if self._stands else None

    def watch_session(self, changed: Callable[[SessionState], None]) -> None:
        """Calls `changed` once, with CONNECTED: there is no session that could be lost."""
        self._soon(changed, SessionState.CONNECTED)

    async def close(self) -> None:
        """Finishes what was begun and ends: nobody is called any more."""
        if self._writer is not None:
            await self._writer
        self._closed = True
        self._following.end()
        self._living.clear()

    async def _read(self, look: Callable[[Ledger], Answered]) -> Answered:
        """Returns what the ledger says, after it has been settled if that is in doubt."""
        if self._settled:
            return look(self._ledger)
        return await self._change(look)

    async def _change(self, decide: Callable[[Ledger], Answered]) -> Answered:
        told: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Change(decide, told))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        return await told

    async def _write_all(self) -> None:
        """Takes what waits, batch after batch, until nothing waits."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await self._write(batch)
            except Exception as error:
                # A defect of ours too is told to those who wait: they must not wait for ever.
                for change in batch:
                    _tell(change.told, error)
        self._writer = None

    async def _write(self, batch: list[_Change]) -> None:
        """Makes a batch durable with one write, then tells its callers and the watchers."""
        if not self._settled:
            try:
                self._publish(await asyncio.to_thread(_settle, self._path))
            except OutcomeUnknown as error:
                raise NotDone("coordinator_unsettled", error.message) from error
            self._settled = True
        draft = self._ledger.copy()
        for change in batch:
            try:
                change.answer = change.decide(draft)
            except (CallerFault, AssertionError) as error:
                _tell(change.told, error)
        if draft != self._ledger:
            try:
                await asyncio.to_thread(_replace, self._path, draft)
            except NotDone:
                raise
            except BaseException:
                self._settled = False
                raise
            self._publish(draft)
        for change in batch:
            if not change.told.done():
                change.told.set_result(change.answer)

    def _publish(self, ledger: Ledger) -> None:
        """Takes over a ledger that is on the disk, and has the watchers told of each view that differs."""
        before, self._ledger = self._ledger, ledger
        for partition, confirmed in ledger.views.items():
            if confirmed != before.views.get(partition):
                self._soon(self._following.tell, partition, confirmed)

    def _soon(self, callback: Callable[..., None], *arguments: object) -> None:
        """Has something called in a later turn, unless this is closed by then."""
        asyncio.get_running_loop().call_soon(self._call, callback, arguments)

    def _call(self, callback: Callable[..., None], arguments: tuple[object, ...]) -> None:
        if not self._closed:
            callback(*arguments)


def _tell(told: "asyncio.Future[Any]", error: Exception) -> None:
    """Raises an error for a caller who has not been told yet, or does not wait any more."""
    if not told.done():
        told.set_exception(error)


def _settle(path: Path) -> Ledger:
    """Reads the file and, if there is one, writes it anew: what is returned is what any later opening finds."""
    ledger = _read(path)
    if ledger is None:
        return Ledger()
    _replace(path, ledger)
    return ledger


def _read(path: Path) -> Ledger | None:
    """Returns the file's ledger, None if there is no file. Raises: Broken, CallerFault."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CallerFault(
            "coordinator_unusable",
            f"can't read {path}: {error.strerror}; it must be a file that this user may read and write",
        ) from error
    try:
        document = msgspec.json.decode(text, type=_Document)
    except msgspec.ValidationError as error:
        raise CallerFault("coordinator_foreign", _foreign(path)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Broken("coordinator_damaged", _damaged(path, str(error))) from error
    if document.format != FORMAT:
        raise CallerFault("coordinator_foreign", _foreign(path))
    if document.version not in VERSIONS_READ:
        raise CallerFault(
            "coordinator_newer",
            f"{path} has version {document.version} of its format, this CoreCache knows up to version {VERSION}: "
            "start the CoreCache that wrote it, or a newer one",
        )
    try:
        if _checksum(document.ledger) != document.checksum:
            raise Broken("coordinator_damaged", _damaged(path, "its checksum is wrong"))
        return msgspec.json.decode(document.ledger, type=Ledger)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Broken("coordinator_damaged", _damaged(path, str(error))) from error


def _foreign(path: Path) -> str:
    return f"{path} is not a file of CoreCache's: choose another data directory, or move the file away"


def _damaged(path: Path, reason: str) -> str:
    # The reason may quote the file, and the file may hold what would move a terminal's cursor.
    reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
    return f"{path} is damaged ({reason}): restore it, or move it away and the node makes it anew from its database"


def _checksum(ledger: bytes | msgspec.Raw) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.json.decode(ledger), order="sorted")).hexdigest()


def _replace(path: Path, ledger: Ledger) -> None:
    """Puts a file with this ledger in the place of the old one, durably. Raises: NotDone, OutcomeUnknown."""
    body = msgspec.json.encode(ledger)
    document = _Document(FORMAT, VERSION, _checksum(body), msgspec.Raw(body))
    text = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise NotDone(
            "coordinator_not_written", f"can't write {fresh}: {error.strerror}; {path} is as it was"
        ) from error
    try:
        fresh.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise OutcomeUnknown(
            "coordinator_unknown", f"{path} was being replaced when the disk failed: {error.strerror}"
        ) from error
