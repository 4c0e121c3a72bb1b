"""The controller at work: while this node is elected, it has the plan made and proposes what it says.

What is to be done is decided in `placement/controller.py`, from the newest views, the living nodes and the operators'
orders. Remembered here is only since when a node is away. A proposal that loses to another is looked at again in the
next round, like everything else; so is one whose answer is lost.
"""

import asyncio
from collections.abc import Mapping

import structlog

from corecache.config import Cluster
from corecache.errors import CoreCacheError
from corecache.identity import Milliseconds, NodeId, PartitionId
from corecache.node.neighbours import Neighbours
from corecache.node.views import Views
from corecache.placement.absences import Absences
from corecache.placement.controller import plan
from corecache.placement.eligibility import Eligibility
from corecache.placement.partition_map import NodeEntry, Orders
from corecache.placement.view import VersionedView
from corecache.ports import Clock, Coordinator

log = structlog.get_logger("corecache.node")


class Controlling:
    """Runs rounds of planning. `elected` says whether this node is the controller."""

    def __init__(
        self,
        settings: Cluster,
        coordinator: Coordinator,
        neighbours: Neighbours,
        clock: Clock,
        views: Views,
    ) -> None:
        """`views` takes note of each view that was read or changed."""
        self.elected = False
        self._settings = settings
        self._coordinator = coordinator
        self._neighbours = neighbours
        self._clock = clock
        self._views = views
        self._absences = Absences()

    def take_office(self, elected: bool) -> None:
        """Takes the result of the election."""
        log.info("controller" if elected else "no longer controller")
        self.elected = elected
        self._absences.restart()

    def judged(
        self, views: Mapping[PartitionId, VersionedView], alive: Mapping[NodeId, NodeEntry], orders: Orders
    ) -> Eligibility:
        """Returns which nodes may hold what, as of now."""
        now = self._clock.now()
        self._absences.note(alive, views, now)
        gone = self._absences.gone(now, Milliseconds(self._settings.replace_after_ms))
        return Eligibility.judged(alive, gone, orders, self._neighbours.known)

    async def keep(self) -> None:
        """Plans again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(self._settings.plan_interval_ms / 1000)
            if not self.elected:
                # So that whoever is asked here for a preview hears of nodes that have been away for long.
                self._absences.note(self._neighbours.alive, self._views.all(), self._clock.now())
                continue
            try:
                await self._round()
            except CoreCacheError as error:
                log.info("the plan waits", reason=error.message)

    async def _round(self) -> None:
        coordinator = self._coordinator
        facts, views = await coordinator.facts(), await coordinator.views()
        orders, _ = await coordinator.orders()
        if facts is None or not self._neighbours.alive:
            return
        for partition, confirmed in views.items():
            self._views.note(partition, confirmed)
        judged = self.judged(views, self._neighbours.alive, orders)
        planned = plan(facts, views, judged, orders, self._settings.moves_max)
        for proposal in planned.proposals:
            if not self.elected:
                return
            view = proposal.view
            log.info(
                "placing a partition",
                partition=proposal.partition,
                replicas=list(view.replicas),
                min_in_sync=view.min_in_sync,
                reason=proposal.reason,
            )
            accepted = await coordinator.propose(proposal.partition, view, proposal.expected)
            if accepted is not None:
                self._views.note(proposal.partition, accepted)
