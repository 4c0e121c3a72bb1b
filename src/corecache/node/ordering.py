"""The orders of operators: judged by what the coordinator has now, written by compare-and-set, and reported.

Any node can be asked; the controller, wherever it is, goes by the orders from its next round on. What may be ordered is
decided in `placement/ordering.py`, what follows from it in `placement/controller.py`.

Rule 1: nothing here is answered from memory. Whoever stops a node because it was said to be drained must not have been
told of yesterday; so every report reads the coordinator, and fails without it.
Rule 2: an order is a state, not an event: the same one again changes nothing. So one whose answer was lost, or that
lost against another, is judged anew and tried again. From the moment that one may stand, no failure is *not done*.
"""

from collections.abc import Callable

import msgspec
import structlog

from corecache.errors import CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import NodeId
from corecache.node.controlling import Controlling
from corecache.placement.controller import is_drained, preview, waiting
from corecache.placement.ordering import Situation, drained, rebalanced, required, undrained
from corecache.placement.partition_map import Orders
from corecache.ports import Coordinator
from corecache.reports import DrainReport, MoveReport, OrdersReport

_ATTEMPTS_MAX = 8

log = structlog.get_logger("corecache.node")


class Ordering:
    """Takes orders at this node."""

    def __init__(self, coordinator: Coordinator, controlling: Controlling) -> None:
        """`controlling` judges which nodes may hold what, elected or not."""
        self._coordinator = coordinator
        self._controlling = controlling

    async def report(self) -> OrdersReport:
        """Returns what is ordered, and how far it is (see `Service.orders`)."""
        seen, _ = await self._look()
        facts, views, orders = seen.facts, seen.views, seen.orders
        judged = self._controlling.judged(views, seen.alive, orders)
        # A view that makes no sense is left out by the coordinator, and might name the node.
        whole = len(views) == facts.partitions
        least = orders.min_in_sync
        return OrdersReport(
            controller=await self._coordinator.controller(),
            draining=tuple(
                DrainReport(node, seen.held_by(node), whole and is_drained(node, views)) for node in orders.draining
            ),
            rebalancing=orders.rebalancing,
            min_in_sync=least,
            min_in_sync_left=sum(least not in (0, held.view.min_in_sync) for held in views.values()),
            moving=waiting(views, judged),
            moves_left=len(preview(facts, views, judged, orders)),
        )

    async def moves(self, node: NodeId | None) -> tuple[MoveReport, ...]:
        """Returns what would be moved (see `Service.moves`)."""
        seen, _ = await self._look()
        orders = rebalanced(seen, True) if node is None else drained(seen, node)
        judged = self._controlling.judged(seen.views, seen.alive, orders)
        steps = preview(seen.facts, seen.views, judged, orders)
        return tuple(MoveReport(step.partition, step.before, step.after, step.cause.value) for step in steps)

    async def drain(self, node: NodeId, cancel: bool) -> OrdersReport:
        """Orders a drain, or cancels it (see `Service.drain`)."""
        return await self._order(lambda seen: undrained(seen, node) if cancel else drained(seen, node))

    async def rebalance(self, run: bool) -> OrdersReport:
        """Orders that loads are evened out, or not any more (see `Service.rebalance`)."""
        return await self._order(lambda seen: rebalanced(seen, run))

    async def require_in_sync(self, min_in_sync: int) -> OrdersReport:
        """Orders how many copies a success needs (see `Service.require_in_sync`)."""
        return await self._order(lambda seen: required(seen, min_in_sync))

    async def _order(self, decide: Callable[[Situation], Orders]) -> OrdersReport:
        in_doubt = False
        for _ in range(_ATTEMPTS_MAX):
            try:
                seen, version = await self._look()
            except NotDone as error:
                if in_doubt:
                    raise _doubtful(error) from error
                raise
            wanted = decide(seen)
            if wanted == seen.orders:
                return await self._reported()
            try:
                if await self._coordinator.order(wanted, version):
                    log.info("ordered", **msgspec.structs.asdict(wanted))
                    return await self._reported()
            except OutcomeUnknown:
                in_doubt = True
        contended = NotDone("orders_contended", "Others give orders all the time; nothing was ordered; try again.")
        raise _doubtful(contended) if in_doubt else contended

    async def _reported(self) -> OrdersReport:
        """Returns the report after an order: if there is none, the order stands all the same."""
        try:
            return await self.report()
        except NotDone as error:
            raise _doubtful(error) from error

    async def _look(self) -> tuple[Situation, int]:
        """Returns how things stand, and the version of the orders. Raises: NotDone, OutcomeUnknown, Broken."""
        orders, version = await self._coordinator.orders()
        facts = await self._coordinator.facts()
        if facts is None:
            raise NotDone("not_ready", "The cluster is not created yet; try again.")
        return Situation(facts, await self._coordinator.views(), await self._coordinator.nodes(), orders), version


def _doubtful(error: CoreCacheError) -> OutcomeUnknown:
    return OutcomeUnknown("order_unknown", f"The order may stand; look, or give it again ({error.message})")
