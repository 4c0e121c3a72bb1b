"""Kills at an awkward moment: while a node catches up, hands over, compacts. That it was the moment is proven.

The moment is awaited by the node's own word. Then the node stands still, so that its part in it can't end. What it has
sent takes its course, and then what others know is looked at: the primaries, who say whether it lacks anything; the
views, which say whether it still leads; the order to compact, which is not answered yet. Only if the moment lasts is it
killed: that is a hit. Else it goes on, and the aim is taken again, a few times. Whoever never hits has done another
fault than the one that it is named after, and raises MissedError.

The moment may also be over before it was seen: to wait for it ends then, and what is looked at says that it is missed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from corecache.chaos.cluster import ChaosNode
from corecache.chaos.faults.deed import Struck
from corecache.chaos.faults.processes import await_started, down
from corecache.chaos.ground import Ground, MissedError, SkippedError, until
from corecache.chaos.plan import Planned
from corecache.reports import PartitionReport

_TRIES: Final = 4
_AIM_SECONDS: Final = 5.0
"""So long is a moment waited for."""

_LOOK_SECONDS: Final = 0.002
_SETTLE_SECONDS: Final = 0.1
"""So long may take what a node sent before it stood still: an acknowledgement, and the view that follows from it."""

Truth = Callable[[], Awaitable[bool]]


async def kill_in_catch_up(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Kills a node that was away for a while, while it catches up."""
    with ground.take(planned.roll) as node:

        async def lacks() -> bool:
            # The primaries' word: it is they who bring it level, and propose that it is in sync.
            told = await _told(_others(ground, node))
            return any(one.node == node.name and not one.in_sync for each in told for one in each.members)

        async def comes() -> bool:
            roles = {each.role for each in await _told([node])}
            return await lacks() if "joining" in roles else "backup" in roles

        for number in range(_TRIES):
            struck(_named(node, number))
            async with down(node):
                await asyncio.sleep(planned.seconds)
            if await _killed(node, planned, comes, lacks):
                return
        raise MissedError(f"{node.name} had nothing to catch up with, or was too fast, {_TRIES} times")


async def kill_in_hand_over(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Tells a node to stop, and kills it while it gives away what it leads."""
    with ground.take(planned.roll) as node:

        async def leads() -> bool:
            # The others' word: it is they who know when it does no more.
            return _leads(await _told(_others(ground, node)), node)

        async def comes() -> bool:
            return not node.running or b"stopping" in (await asyncio.to_thread(node.ask, "GET", "/readyz"))[1]

        async def lasts() -> bool:
            return node.running and await leads()

        if not await until(leads, _AIM_SECONDS):
            raise SkippedError(f"{node.name} leads nothing that it could hand over")
        for number in range(_TRIES):
            struck(_named(node, number))
            node.terminate()
            hit = False
            try:
                hit = await _killed(node, planned, comes, lasts)
            finally:
                if not hit:
                    # It was told to end, and does.
                    node.kill()
                    node.spawn()
            if hit:
                return
            await await_started([node])
            await until(leads, _AIM_SECONDS)
        raise MissedError(f"{node.name} had given away all that it led before it was killed, {_TRIES} times")


async def kill_in_compaction(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Orders a compaction, and kills the node while it goes on."""
    with ground.take(planned.roll) as node:
        for number in range(_TRIES):
            struck(_named(node, number))
            order = asyncio.ensure_future(asyncio.to_thread(node.storage, "compact"))
            hit = await _killed(node, planned, partial(_compacts, node, order), partial(_goes_on, order))
            await order
            if hit:
                return
        raise MissedError(f"{node.name} had ended its compaction before it was killed, {_TRIES} times")


async def _compacts(node: ChaosNode, order: "asyncio.Future[bool]") -> bool:
    """Says whether it compacts, by its own word, or has no more to do."""
    tree = await asyncio.to_thread(node.tree)
    return order.done() or (tree is not None and tree.running_compactions > 0)


async def _goes_on(order: "asyncio.Future[bool]") -> bool:
    return not order.done()


async def _killed(node: ChaosNode, planned: Planned, comes: Truth, lasts: Truth) -> bool:
    """Kills a node at a moment, and starts it again after a while; says whether it did.

    That is when the moment has come, and only if it lasts when the node stands still.
    """
    if not await until(comes, _AIM_SECONDS, _LOOK_SECONDS):
        return False
    node.pause()
    try:
        await asyncio.sleep(_SETTLE_SECONDS)
        if not await lasts():
            return False
        async with down(node):
            await asyncio.sleep(planned.seconds)
    finally:
        node.resume()
    await await_started([node])
    return True


def _named(node: ChaosNode, number: int) -> str:
    return node.name if not number else f"{node.name}, at try {number + 1}"


def _others(ground: Ground, node: ChaosNode) -> list[ChaosNode]:
    return [other for other in ground.present if other is not node and other.running]


async def _told(nodes: Iterable[ChaosNode]) -> list[PartitionReport]:
    """Returns what nodes say of all partitions; who does not answer says nothing."""
    reports = await asyncio.gather(*(asyncio.to_thread(node.report) for node in nodes))
    return [partition for report in reports if report is not None for partition in report.partitions]


def _leads(told: Iterable[PartitionReport], node: ChaosNode) -> bool:
    """Says whether the newest view of some partition names a node its primary."""
    newest: dict[int, PartitionReport] = {}
    for each in told:
        if each.id not in newest or each.view_version > newest[each.id].view_version:
            newest[each.id] = each
    return any(each.view is not None and each.view.primary.node == node.name for each in newest.values())
