"""The coordinator that forgets: a ledger in memory. It defines what is right for all the others.

Every other implementation of `ports.Coordinator` passes the same contract suite and can differ in one thing only, that
it outlives its process. This one is for tests and for nodes whose views may die with them.

The nodes of a cluster share a `MemoryHub`, each with a `MemoryCoordinator` of its own on it. `interrupt` plays what
ZooKeeper does to a node's session, so that what follows from it can be tried without ZooKeeper.

Rule: a change is in the ledger before its caller is answered, and watchers hear of it in a later turn of the event
loop, never from inside a call. So a caller needs no guard against being called back while it is calling.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence

import msgspec

from corecache.coordination.following import Following
from corecache.coordination.ledger import Ledger
from corecache.errors import NotDone
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.placement.partition_map import ClusterFacts, NodeEntry, Orders
from corecache.placement.view import VersionedView, View
from corecache.ports import SessionState


class MemoryHub:
    """What the coordinators of one cluster share: the ledger, who is alive, and who stands for controller."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.creation = secrets.token_hex(4)
        self.coordinators: list[MemoryCoordinator] = []
        self.living: dict[NodeId, tuple[MemoryCoordinator, NodeEntry]] = {}
        self.controller: MemoryCoordinator | None = None

    def announce(self, partition: PartitionId) -> None:
        """Tells all connected coordinators of a view, in a later turn."""
        for coordinator in self.coordinators:
            coordinator.hear(partition)

    def list_alive(self, coordinator: "MemoryCoordinator", entry: NodeEntry) -> None:
        """Lists a node as alive, in the place of what an older session of the same node left."""
        self.living[entry.node] = (coordinator, entry)
        self.tell_nodes()

    def unlist(self, coordinator: "MemoryCoordinator") -> None:
        """Takes the node of a lost or closed session off the list of the living, and has another controller elected."""
        gone = [node for node, (owner, _) in self.living.items() if owner is coordinator]
        for node in gone:
            del self.living[node]
        if gone:
            self.tell_nodes()
        if self.controller is coordinator:
            self.controller = None
            self.elect()

    def tell_nodes(self) -> None:
        """Tells all connected coordinators that the list of the living has changed."""
        for coordinator in self.coordinators:
            coordinator.hear_of_nodes()

    def elect(self) -> None:
        """Makes the first that stands and is connected the controller, if there is none."""
        for coordinator in self.coordinators:
            if self.controller is None and coordinator.stands():
                self.controller = coordinator
                coordinator.win()


class MemoryCoordinator:
    """One node's coordinator in memory; see `ports.Coordinator` for what its methods promise."""

    def __init__(self, hub: MemoryHub | None = None) -> None:
        """Takes the hub that the nodes of the cluster share; without one the node is alone."""
        self._hub = MemoryHub() if hub is None else hub
        self._hub.coordinators.append(self)
        self._state = SessionState.CONNECTED
        self._closed = False
        self._entry: NodeEntry | None = None
        self._following = Following()
        self._node_watchers: list[Callable[[], None]] = []
        self._session_watchers: list[Callable[[SessionState], None]] = []
        self._candidates: list[Callable[[bool], None]] = []

    async def register(self, entry: NodeEntry) -> Incarnation:
        """Lists a node as alive; returns the highest incarnation ever registered for it, this one included."""
        highest = self._ledger().register(entry.node, entry.incarnation)
        if highest == entry.incarnation:
            self._entry = entry
            self._hub.list_alive(self, entry)
        return highest

    async def create(self, facts: ClusterFacts, views: Mapping[PartitionId, View]) -> bool:
        """Creates the cluster, or finds it there. Raises: CallerFault if it exists with other facts."""
        created = self._ledger().create(facts, views)
        if created:
            for partition in sorted(views):
                self._hub.announce(partition)
        return created

    async def facts(self) -> ClusterFacts | None:
        """Returns the cluster's facts, None before `create`."""
        found = self._ledger().facts()
        return None if found is None else msgspec.structs.replace(found, creation=self._hub.creation)

    async def views(self) -> dict[PartitionId, VersionedView]:
        """Returns every partition's view; empty before `create`."""
        return dict(self._ledger().views)

    async def view(self, partition: PartitionId) -> VersionedView:
        """Returns one partition's view."""
        self._ledger().check_created(partition)
        return self._hub.ledger.views[partition]

    async def propose(self, partition: PartitionId, view: View, expected: int) -> VersionedView | None:
        """Replaces the view if its version is still `expected`. Returns the new one, None if another came first."""
        confirmed = self._ledger().propose(partition, view, expected)
        if confirmed is not None:
            self._hub.announce(partition)
        return confirmed

    def watch(self, changed: Callable[[PartitionId, VersionedView], None]) -> None:
        """Calls `changed` for the views of followed partitions that change from now on."""
        self._following.watch(changed)

    def follow(self, partitions: Sequence[PartitionId]) -> None:
        """Says which partitions `watch` is about. `changed` is called once for each that was not followed before."""
        for partition in self._following.follow(partitions):
            self.hear(partition)

    async def nodes(self) -> dict[NodeId, NodeEntry]:
        """Returns the nodes that are alive."""
        self._ledger()
        return {node: entry for node, (_, entry) in self._hub.living.items()}

    def watch_nodes(self, changed: Callable[[], None]) -> None:
        """Calls `changed` when a node joins the living or leaves them."""
        self._node_watchers.append(changed)

    async def orders(self) -> tuple[Orders, int]:
        """Returns what operators have ordered, and its version."""
        ledger = self._ledger()
        return ledger.orders, ledger.orders_version

    async def order(self, orders: Orders, expected: int) -> bool:
        """Replaces the orders if their version is still `expected`; says whether it did."""
        return self._ledger().order(orders, expected)

    def campaign(self, elected: Callable[[bool], None]) -> None:
        """Stands for election as controller."""
        self._candidates.append(elected)
        if self._hub.controller is self:
            self._soon(elected, True)
        self._hub.elect()

    async def controller(self) -> NodeId | None:
        """Returns who is the controller, None if nobody is at the moment."""
        self._ledger()
        elected = self._hub.controller
        return elected.node if elected is not None else None

    def watch_session(self, changed: Callable[[SessionState], None]) -> None:
        """Calls `changed` at each change of the session's state, and once for the present one."""
        self._session_watchers.append(changed)
        self._soon(changed, self._state)

    async def close(self) -> None:
        """Takes the node off the list of the living and ends: nobody is called any more."""
        self._closed = True
        self._following.end()
        self._candidates.clear()
        if self in self._hub.coordinators:
            self._hub.coordinators.remove(self)
        self._hub.unlist(self)

    def interrupt(self, state: SessionState) -> None:
        """Plays a change of this node's session: until it is CONNECTED nothing is heard, and calls raise NotDone."""
        if state is self._state:
            return
        self._state = state
        for changed in self._session_watchers:
            self._soon(changed, state)
        if self._hub.controller is self and state is not SessionState.CONNECTED:
            for elected in self._candidates:
                self._soon(elected, False)
        if state is SessionState.LOST:
            self._hub.unlist(self)
        if state is SessionState.CONNECTED:
            self._resume()

    def hear(self, partition: PartitionId) -> None:
        """Has the watchers told of a partition's present view, in a later turn."""
        confirmed = self._hub.ledger.views.get(partition)
        if confirmed is not None and self._state is SessionState.CONNECTED:
            self._soon(self._following.tell, partition, confirmed)

    def hear_of_nodes(self) -> None:
        """Has the watchers of the living called, in a later turn."""
        if self._state is SessionState.CONNECTED:
            for changed in self._node_watchers:
                self._soon(changed)

    @property
    def node(self) -> NodeId | None:
        """Returns whose coordinator this is, None before it is registered."""
        return self._entry.node if self._entry is not None else None

    def stands(self) -> bool:
        """Says whether this node can be elected."""
        return bool(self._candidates) and self._state is SessionState.CONNECTED

    def win(self) -> None:
        """Tells the candidates that they won, in a later turn."""
        for elected in self._candidates:
            self._soon(elected, True)

    def _resume(self) -> None:
        """Makes up for what was missed while the session was away."""
        entry = self._entry
        if entry is not None and self._hub.ledger.incarnations[entry.node] == entry.incarnation:
            self._hub.list_alive(self, entry)
        self.hear_of_nodes()
        if self._hub.controller is self:
            self.win()
        self._hub.elect()
        for partition in self._following.partitions():
            self.hear(partition)

    def _ledger(self) -> Ledger:
        """Returns the ledger to a node that is connected with it. Raises: NotDone."""
        if self._state is not SessionState.CONNECTED:
            raise NotDone("coordinator_away", f"the session with the coordinator is {self._state.value}; try again")
        return self._hub.ledger

    def _soon(self, callback: Callable[..., None], *arguments: object) -> None:
        """Has something called in a later turn, unless this is closed by then."""
        asyncio.get_running_loop().call_soon(self._call, callback, arguments)

    def _call(self, callback: Callable[..., None], arguments: tuple[object, ...]) -> None:
        if not self._closed:
            callback(*arguments)
