"""The parts of a node that know each other, put together: the same for one node alone, for a cluster, and for tests.

What is outside (disk, coordinator, clock, link) is handed in; the link comes later, because it needs a node to speak
for that has been registered. Until it is there, and for a node alone for ever, nothing is sent.
"""

from collections.abc import Callable, Sequence

from corecache.config import Config
from corecache.identity import Incarnation, NodeId
from corecache.node.callee import Callee
from corecache.node.calls import Calls
from corecache.node.controlling import Controlling
from corecache.node.driver import Driver
from corecache.node.leaving import Leaving
from corecache.node.local import Local
from corecache.node.neighbours import Neighbours
from corecache.node.node import Node
from corecache.node.ordering import Ordering
from corecache.node.recovering import Recovering
from corecache.node.reporting import Reporting
from corecache.node.routing import Router
from corecache.node.views import Views
from corecache.placement.partition_map import NodeEntry
from corecache.ports import Clock, Coordinator, Link, Store
from corecache.replication.machine import Machine
from corecache.replication.messages import Envelope
from corecache.replication.recovered import NodeFacts
from corecache.wire.calls import CopyReply, FailureReply, ReadReply, ScanReply, StaleReply, WriteReply

_REPLIES = (ReadReply, WriteReply, ScanReply, StaleReply, CopyReply, FailureReply)


class Parts:
    """A node's parts, made but not started."""

    def __init__(
        self,
        config: Config,
        facts: NodeFacts,
        machine: Machine,
        store: Store,
        coordinator: Coordinator,
        clock: Clock,
        draw_id: Callable[[], str],
        broke: Callable[[str], None],
    ) -> None:
        """`draw_id` gives a random name; `broke` is called when the node must stop."""
        limits = config.replication
        self.views = Views(facts.node, facts.incarnation, clock)
        self.driver = Driver(
            machine, self.views, store, coordinator, clock, limits, config.limits.batch_bytes_max, draw_id, broke
        )
        self.local = Local(config, self.driver, store, clock)
        self.calls = Calls(facts.incarnation, self.views, clock, limits)
        self.callee = Callee(self.local, self.views, clock, limits)
        alone = not config.coordination.zookeeper
        self.router = Router(facts.node, alone, self.views, self.local, self.calls, clock)
        entry = NodeEntry(facts.node, facts.incarnation)
        self.reporting = Reporting(facts.cluster, facts.partitions, entry, self.driver, self.local, store)
        self.neighbours = Neighbours(facts.node, coordinator, machine.peers)
        self.leaving = Leaving(self.driver, self.neighbours)
        self.controlling = Controlling(config.cluster, coordinator, self.neighbours, clock, self.views)
        recovering = Recovering(
            facts.node, facts.incarnation, coordinator, self.driver, self.local, self.calls, store, clock
        )
        self.node = Node(
            config,
            facts.partitions,
            self.driver,
            store,
            clock,
            self.local,
            self.router,
            self.reporting,
            Ordering(coordinator, self.controlling),
            recovering,
        )
        if not alone:
            self.reporting.neighbours = self.neighbours
        self.events = Events(self.driver, self.calls, self.callee)

    def connect(self, link: Link) -> None:
        """Gives the link to all who send."""
        self.driver.link = link
        self.calls.link = link
        self.callee.link = link
        self.neighbours.link = link


class Events:
    """What a link tells (`ports.LinkEvents`), brought to whom it concerns."""

    def __init__(self, driver: Driver, calls: Calls, callee: Callee) -> None:
        """Takes whom it may concern."""
        self._driver = driver
        self._calls = calls
        self._callee = callee

    def connected(self, node: NodeId, incarnation: Incarnation) -> None:
        """A node can be reached."""
        self._driver.connected(node, incarnation)

    def lost(self, node: NodeId, refused: bool) -> None:
        """A node can't be reached any more: no call to it will be answered."""
        self._calls.lost(node)
        self._driver.lost(node, refused)

    def received(self, envelope: Envelope) -> None:
        """A node has sent messages."""
        self._driver.received(envelope)

    def called(self, sender: NodeId, incarnation: Incarnation, calls: Sequence[object]) -> None:
        """A node has sent calls, or replies."""
        for call in calls:
            if isinstance(call, _REPLIES):
                self._calls.take(sender, call)
            else:
                self._callee.take(sender, call)  # type: ignore[arg-type]  # the codec gives nothing else
