"""Who is alive and who is the controller, as ZooKeeper's ephemeral znodes have it.

Rule 1: a node is listed as alive by an ephemeral znode of its present session, and only while no higher incarnation of
it was ever registered. What an older session of the same node left is replaced.
Rule 2: the controller is whoever made the one ephemeral znode /controller. All who stand watch it; when it goes, each
tries to make it. A node that is not CONNECTED counts itself out at once, and in again only after it has read, in the
new connection, that the znode is its own.
Rule 3: `renew` is safe to call at any time and brings both about again; it is called after each connection and by each
sweep. How often it is called is not decided here.
"""

import time
from collections.abc import Callable

import structlog

from corecache.coordination import znodes
from corecache.coordination.errands import Errands, windowed
from corecache.coordination.session import ZnodeMissing, ZooKeeperSession
from corecache.errors import Broken, NotDone
from corecache.identity import Incarnation, NodeId
from corecache.placement.partition_map import NodeEntry
from corecache.ports import SessionState

ATTEMPTS_MAX = 8
"""How often what others change meanwhile is tried again."""
WINDOW = 32
"""Entries that are read at once."""
CLOCK_SECONDS_MAX = 5
"""How far the wall clock may be from ZooKeeper's before somebody should know."""

log = structlog.get_logger()


class Presence:
    """One node's place among the living, and its candidacy."""

    def __init__(self, session: ZooKeeperSession, layout: znodes.Layout, errands: Errands) -> None:
        self._session = session
        self._layout = layout
        self._errands = errands
        self._entry: NodeEntry | None = None
        self._watchers: list[Callable[[], None]] = []
        self._changes_seen = -1
        self._candidates: list[Callable[[bool], None]] = []
        self._controls = False

    async def register(self, entry: NodeEntry) -> Incarnation:
        """Lists the node as alive; returns the highest incarnation ever registered for it, this one included."""
        path = self._layout.node(entry.node)
        content = znodes.encode(znodes.NodeContent(entry.incarnation))
        for _ in range(ATTEMPTS_MAX):
            found = await self._session.read_fresh(path)
            if found is None:
                registered = await self._session.create(path, content)
            else:
                highest = znodes.decode(path, found.content, znodes.NodeContent).incarnation
                if highest > entry.incarnation:
                    return highest
                registered = highest == entry.incarnation or await self._replace(path, content, found.version)
            if registered:
                self._entry = entry
                await self._list_alive(entry)
                return entry.incarnation
        raise NotDone("zookeeper_contended", f"others change the znode {path} all the time; try again")

    async def nodes(self) -> dict[NodeId, NodeEntry]:
        """Returns the nodes that are alive. One whose entry makes no sense is left out, and said in the log."""
        found: dict[NodeId, NodeEntry] = {}

        async def read(name: str) -> None:
            path = f"{self._layout.alive}/{name}"
            znode = await self._session.read(path)
            if znode is not None:
                try:
                    found[znodes.node_named(name)] = znodes.decode(path, znode.content, NodeEntry)
                except Broken as error:
                    self._errands.complain(error)

        await self._session.sync(self._layout.alive)
        names, _ = await self._session.children(self._layout.alive)
        await windowed(read, names, WINDOW)
        return dict(sorted(found.items()))

    def watch(self, changed: Callable[[], None]) -> None:
        """Calls `changed` when a node joins the living or leaves them, and once when the watch is set."""
        self._watchers.append(changed)
        self._changes_seen = -1
        self._errands.begin(self._watch_living)

    def campaign(self, elected: Callable[[bool], None]) -> None:
        """Stands for election."""
        self._candidates.append(elected)
        if self._controls:
            self._errands.soon(lambda: elected(self._controls))
        self._errands.begin(self._stand)

    async def controller(self) -> NodeId | None:
        """Returns who is the controller, None if nobody is at the moment."""
        path = self._layout.controller
        found = await self._session.read_fresh(path)
        return znodes.decode(path, found.content, znodes.ControllerContent).node or None if found is not None else None

    def session_changed(self, state: SessionState) -> None:
        """Counts itself out when the session is not CONNECTED."""
        if state is not SessionState.CONNECTED:
            self._control(False)

    def touched(self, path: str) -> None:
        """Looks at what a watch pointed at."""
        if path == self._layout.alive:
            self._errands.begin(self._watch_living)
        elif path == self._layout.controller:
            self._errands.begin(self._stand)

    async def renew(self) -> None:
        """Brings about again what a lost session took away, and hears of what was missed."""
        if self._entry is not None:
            await self._errands.run(self._list_alive, self._entry)
        await self._errands.run(self._watch_living)
        await self._errands.run(self._stand)

    async def _list_alive(self, entry: NodeEntry) -> None:
        """Makes the node's ephemeral znode, if it is not there, and no later start of the node was registered."""
        registered = self._layout.node(entry.node)
        found = await self._session.read(registered)
        if (
            found is None
            or znodes.decode(registered, found.content, znodes.NodeContent).incarnation > entry.incarnation
        ):
            return
        path, content = self._layout.living(entry.node), znodes.encode(entry)
        for _ in range(ATTEMPTS_MAX):
            if await self._session.create(path, content, ephemeral=True):
                await self._compare_clocks(path)
                return
            znode = await self._session.read(path)
            if znode is None:
                continue
            if znode.mine:
                if znode.content == content or await self._replace(path, content, znode.version):
                    return
            else:
                await self._session.remove(path)

    async def _compare_clocks(self, path: str) -> None:
        """Warns of a wall clock that is far from ZooKeeper's, which has just dated a znode. Nothing else minds it."""
        znode = await self._session.read(path)
        ahead_seconds = 0.0 if znode is None else time.time() - znode.date_ms / 1000
        if abs(ahead_seconds) > CLOCK_SECONDS_MAX:
            log.warning(
                "this machine's clock and ZooKeeper's differ: records would expire too early or too late",
                ahead_seconds=round(ahead_seconds),
            )

    async def _replace(self, path: str, content: bytes, version: int) -> bool:
        try:
            return await self._session.replace(path, content, version) is not None
        except ZnodeMissing:
            return False

    async def _watch_living(self) -> None:
        if not self._watchers:
            return
        _, changes = await self._session.children(self._layout.alive, watched=True)
        if changes != self._changes_seen:
            self._changes_seen = changes
            for changed in list(self._watchers):
                changed()

    async def _stand(self) -> None:
        """Finds out who the controller is, and tries to be it if there is none."""
        if not self._candidates:
            return
        connection = self._session.connections
        path = self._layout.controller
        content = znodes.encode(znodes.ControllerContent(self._entry.node if self._entry is not None else NodeId("")))
        found = await self._session.read(path, watched=True)
        for _ in range(ATTEMPTS_MAX):
            if found is not None:
                break
            await self._session.create(path, content, ephemeral=True)
            found = await self._session.read(path, watched=True)
        if self._session.state is SessionState.CONNECTED and self._session.connections == connection:
            self._control(found is not None and found.mine)

    def _control(self, controls: bool) -> None:
        if controls != self._controls:
            self._controls = controls
            for elected in list(self._candidates):
                elected(controls)
