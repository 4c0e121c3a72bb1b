"""The coordinator of a real cluster: ZooKeeper, by one session of this node's.

Rule 1: a view changes by compare-and-set on its znode's version. A proposal is sent once; when its answer is lost the
proposer is told *unknown* and settles it (R18 of `docs/protocol.md`).
Rule 2: a watch is a hint that something is to be read, never the news itself. Followed views are read when their watch
fires, after each connection, and by a slow jittered sweep; what is then told grows in version (`following.py`).
Rule 3: only followed partitions are watched, so that a death does not make every node read every view.
Rule 4: a cluster is created by the one write of its facts, which name the folder of its views. So it has the views of
one creator, and one who ended halfway left nothing behind that counts.
Rule 5: a view that makes no sense concerns its partition alone: `view` raises Broken, `views` leaves it out and
followers do not hear of it, and the log names the znode. The other partitions go on.

Kazoo is in `session.py`, who is alive and who is the controller in `presence.py`, paths and bytes in `znodes.py`.
"""

import asyncio
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from corecache.config import Coordination
from corecache.coordination import znodes
from corecache.coordination.errands import Errands, windowed
from corecache.coordination.following import Following
from corecache.coordination.ledger import check_creation, check_same_cluster
from corecache.coordination.presence import Presence
from corecache.coordination.session import ZnodeMissing, ZooKeeperSession
from corecache.errors import Broken, CallerFault, CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.placement.partition_map import ClusterFacts, NodeEntry, Orders
from corecache.placement.view import VersionedView, View
from corecache.ports import SessionState

WINDOW = 32
"""Views that are read or written at once; proposals need not wait behind more than these."""
SWEEP_SHARE = 0.25
"""The part of `coordination.sweep_interval_ms` over which a sweep is spread."""
ATTEMPTS_MAX = 5
"""How often a start begins anew when the connection is lost before it is done."""


class ZooKeeperCoordinator:
    """One node's coordinator in ZooKeeper; see `ports.Coordinator` for what its methods promise."""

    def __init__(self, settings: Coordination, cluster: str) -> None:
        """Use `open`."""
        self._cluster = cluster
        self._sweep_ms = settings.sweep_interval_ms
        self._layout = znodes.Layout(_chroot(settings.zookeeper), cluster)
        self._content: znodes.ClusterContent | None = None
        self._errands = Errands()
        self._following = Following()
        self._session_watchers: list[Callable[[SessionState], None]] = []
        self._stale = asyncio.Event()
        self._session = ZooKeeperSession(settings, self._session_changed, self._touched)
        self._presence = Presence(self._session, self._layout, self._errands)

    @classmethod
    async def open(cls, settings: Coordination, cluster: str) -> Self:
        """Connects with ZooKeeper as a node of this cluster, and makes the folders that are missing.

        Raises: CallerFault if no server can be reached in time, or the credentials are refused.
        """
        coordinator = cls(settings, cluster)
        try:
            await coordinator._prepare()
        except CoreCacheError as error:
            await coordinator.close()
            if coordinator._session.refused:
                raise coordinator._session.refusal() from error
            raise CallerFault(error.code, error.message) from error
        except BaseException:
            await coordinator.close()
            raise
        coordinator._errands.begin(coordinator._keep)
        return coordinator

    async def _prepare(self) -> None:
        """Connects and makes the folders; anew if the connection is lost meanwhile, but not without end."""
        for attempts_left in reversed(range(ATTEMPTS_MAX)):
            await self._session.meet()
            try:
                for folder in self._layout.folders():
                    if await self._session.read(folder) is None:
                        await self._session.create(folder, b"")
                return
            except (NotDone, OutcomeUnknown) as error:
                if not attempts_left or self._session.refused or error.code == "zookeeper_forbidden":
                    raise

    async def register(self, entry: NodeEntry) -> Incarnation:
        """Lists a node as alive; returns the highest incarnation ever registered for it, this one included."""
        return await self._presence.register(entry)

    async def create(self, facts: ClusterFacts, views: Mapping[PartitionId, View]) -> bool:
        """Creates the cluster, or finds it there. Raises: CallerFault if it exists with other facts."""
        check_creation(facts, views)
        check_same_cluster(ClusterFacts(self._cluster, facts.partitions), facts)
        found, created = await self._known(), False
        if found is None:
            creation = await self._write_views(views)
            content = znodes.ClusterContent(
                znodes.FORMAT, facts.name, facts.partitions, facts.replication_factor, creation
            )
            created = await self._session.create(self._layout.cluster, znodes.encode(content))
            if not created:
                self._errands.begin(self._remove_views, creation, sorted(views))
            found = await self._known()
            assert found is not None, "facts are never deleted"
            self._stale.set()
        check_same_cluster(found.facts(), facts)
        return created

    async def facts(self) -> ClusterFacts | None:
        """Returns the cluster's facts, None before `create`."""
        content = await self._known()
        return None if content is None else content.facts()

    async def views(self) -> dict[PartitionId, VersionedView]:
        """Returns every partition's view that makes sense; empty before `create`."""
        content = await self._known()
        found: dict[PartitionId, VersionedView] = {}
        if content is not None:
            await self._session.sync(self._layout.partitions)
            everything = [PartitionId(number) for number in range(content.partitions)]
            await self._read_views(everything, False, found.__setitem__)
        return dict(sorted(found.items()))

    async def view(self, partition: PartitionId) -> VersionedView:
        """Returns one partition's view, no older than the newest at the time of the call."""
        path = await self._path(partition)
        await self._session.sync(path)
        return await self._read_view(path, watched=False)

    async def propose(self, partition: PartitionId, view: View, expected: int) -> VersionedView | None:
        """Replaces the view if its version is still `expected`. Returns the new one, None if another came first."""
        path = await self._path(partition)
        try:
            version = await self._session.replace(path, znodes.encode(view), expected)
        except ZnodeMissing as error:
            raise _missing(path) from error
        return None if version is None else VersionedView(view, version)

    def watch(self, changed: Callable[[PartitionId, VersionedView], None]) -> None:
        """Calls `changed` for the views of followed partitions that change from now on."""
        self._following.watch(changed)

    def follow(self, partitions: Sequence[PartitionId]) -> None:
        """Says which partitions `watch` is about. `changed` is called once for each that was not followed before."""
        fresh = self._following.follow(partitions)
        if fresh:
            self._errands.begin(self._tell, fresh)

    async def nodes(self) -> dict[NodeId, NodeEntry]:
        """Returns the nodes that are alive. One whose entry makes no sense is left out."""
        return await self._presence.nodes()

    def watch_nodes(self, changed: Callable[[], None]) -> None:
        """Calls `changed` when a node joins the living or leaves them."""
        self._presence.watch(changed)

    async def orders(self) -> tuple[Orders, int]:
        """Returns what operators have ordered, and its version."""
        znode = await self._session.read_fresh(self._layout.orders)
        if znode is None:
            return Orders(), 0
        return znodes.decode(self._layout.orders, znode.content, Orders), znode.version

    async def order(self, orders: Orders, expected: int) -> bool:
        """Replaces the orders if their version is still `expected`; says whether it did."""
        path, content = self._layout.orders, znodes.encode(orders)
        try:
            return await self._session.replace(path, content, expected) is not None
        except ZnodeMissing:
            # The first orders of all: what stood until now is written down, and then replaced.
            await self._session.create(path, znodes.encode(Orders()))
            return await self._session.replace(path, content, expected) is not None

    def campaign(self, elected: Callable[[bool], None]) -> None:
        """Stands for election as controller: calls `elected` with True when it wins and False when it no longer is."""
        self._presence.campaign(elected)

    async def controller(self) -> NodeId | None:
        """Returns who is the controller, None if nobody is at the moment."""
        return await self._presence.controller()

    def watch_session(self, changed: Callable[[SessionState], None]) -> None:
        """Calls `changed` at each change of the session's state, and once for the present one."""
        self._session_watchers.append(changed)
        self._errands.soon(lambda: changed(self._session.state))

    async def close(self) -> None:
        """Takes the node off the list of the living, if ZooKeeper can still be told, and ends."""
        self._following.end()
        await self._errands.end()
        await self._session.close()

    def _session_changed(self, state: SessionState) -> None:
        self._presence.session_changed(state)
        for changed in list(self._session_watchers):
            changed(state)
        if state is SessionState.CONNECTED:
            self._stale.set()

    def _touched(self, path: str) -> None:
        partition = self._layout.partition_of(path)
        if partition is None:
            self._presence.touched(path)
        elif partition in self._following:
            self._errands.begin(self._tell, [partition])

    async def _keep(self) -> None:
        """Makes up for what was missed: after each connection at once, and now and then for what nothing pointed at."""
        while True:
            pause_ms = self._sweep_ms * random.uniform(0.75, 1.25)  # noqa: S311 (so that nodes do not sweep in step)
            reconnected = await self._stale_within(pause_ms)
            self._stale.clear()
            if not reconnected:
                await self._errands.run(self._session.revive)
            if self._session.state is SessionState.CONNECTED:
                await self._presence.renew()
                followed = self._following.partitions()
                await (self._errands.run(self._tell, followed) if reconnected else self._sweep(followed))

    async def _sweep(self, partitions: Sequence[PartitionId]) -> None:
        """Reads followed views, some at a time with pauses in between, so that nobody is held up by it."""
        for first in range(0, len(partitions), WINDOW):
            await self._errands.run(self._tell, partitions[first : first + WINDOW])
            if await self._stale_within(self._sweep_ms * SWEEP_SHARE * WINDOW / len(partitions)):
                return

    async def _stale_within(self, pause_ms: float) -> bool:
        """Waits; returns early, with True, if everything is to be read anew at once."""
        try:
            async with asyncio.timeout(pause_ms / 1000):
                await self._stale.wait()
        except TimeoutError:
            return False
        return True

    async def _tell(self, partitions: Sequence[PartitionId]) -> None:
        """Reads the views of followed partitions, watches them, and tells what is new."""
        if await self._known() is not None:
            wanted = [partition for partition in partitions if partition in self._following]
            await self._read_views(wanted, True, self._following.tell)

    async def _known(self) -> znodes.ClusterContent | None:
        """Returns what /cluster says, None before `create`; it never changes. Raises: CallerFault, Broken."""
        if self._content is None:
            znode = await self._session.read_fresh(self._layout.cluster)
            if znode is not None:
                self._content = znodes.decode_cluster(self._layout.cluster, znode.content)
        return self._content

    async def _path(self, partition: PartitionId) -> str:
        content = await self._known()
        assert content is not None, "the cluster was never created"
        assert 0 <= partition < content.partitions, f"partition {partition} was never created"
        return self._layout.partition(content.creation, partition)

    async def _read_view(self, path: str, watched: bool) -> VersionedView:
        znode = await self._session.read(path, watched)
        if znode is None:
            raise _missing(path)
        return VersionedView(znodes.decode(path, znode.content, View), znode.version)

    async def _read_views(
        self, partitions: Sequence[PartitionId], watched: bool, take: Callable[[PartitionId, VersionedView], None]
    ) -> None:
        """Reads views, some at a time, and hands on those that make sense."""

        async def read(partition: PartitionId) -> None:
            try:
                take(partition, await self._read_view(await self._path(partition), watched))
            except Broken as error:
                self._errands.complain(error)

        await windowed(read, partitions, WINDOW)

    async def _write_views(self, views: Mapping[PartitionId, View]) -> str:
        """Writes first views to a folder of their own and returns its name: nobody's, until /cluster names it."""
        creation = secrets.token_hex(4)
        while not await self._session.create(self._layout.creation(creation), b""):
            creation = secrets.token_hex(4)

        async def write(partition: PartitionId) -> None:
            await self._session.create(self._layout.partition(creation, partition), znodes.encode(views[partition]))

        await windowed(write, sorted(views), WINDOW)
        return creation

    async def _remove_views(self, creation: str, partitions: Sequence[PartitionId]) -> None:
        """Removes the views of a creation that came second."""

        async def remove(partition: PartitionId) -> None:
            await self._session.remove(self._layout.partition(creation, partition))

        await windowed(remove, partitions, WINDOW)
        await self._session.remove(self._layout.creation(creation))


def _missing(path: str) -> Broken:
    return Broken("znode_missing", f"the znode {path} is gone, and CoreCache removes none: restore it from a copy")


def _chroot(zookeeper: str) -> str:
    """Returns the path under which all is kept, "" or "/some/path". Raises: CallerFault if it is none."""
    parts = [part for part in zookeeper.partition("/")[2].split("/") if part]
    if not {".", ".."}.isdisjoint(parts):
        raise CallerFault("bad_chroot", "the path in coordination.zookeeper must not contain '.' or '..' as a part")
    return "".join("/" + part for part in parts)
