"""Faults of membership: nodes come and go. To an operator that is no fault; many a store has lost writes by it."""

import asyncio
from typing import Final

from corecache.chaos.cluster import ChaosNode
from corecache.chaos.faults.deed import Struck
from corecache.chaos.ground import Ground, SkippedError, until
from corecache.chaos.plan import Planned

_STOP_SECONDS: Final = 40.0


async def join_and_drain(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Has a node join and, when it has its share, another leave: drained, then stopped.

    Other faults may strike the one that leaves while its copies move away. It takes as long as that takes; whether that
    is too long when all other faults are over is seen by who waits for it.
    """
    with ground.hold("list of members"):
        cluster = ground.cluster
        joining = await asyncio.to_thread(cluster.add_node)
        with ground.hold(joining.name):
            struck(f"+{joining.name}")
            joining.spawn()
            await until(lambda: asyncio.to_thread(joining.is_ready))
        others = [node for node in ground.present if node is not joining]
        leaving = others[planned.roll % len(others)]
        struck(f"+{joining.name} -{leaving.name}")
        await until(lambda: asyncio.to_thread(cluster.takes_drain, leaving.name))
        await until(lambda: asyncio.to_thread(cluster.is_drained, leaving.name))
        # Whatever strikes it at this moment is to be over before it stops for good.
        await until(lambda: _leave(ground, leaving))


async def _leave(ground: Ground, node: ChaosNode) -> bool:
    """Stops a drained node, if no fault has it in hand; says whether it did."""
    try:
        with ground.hold(node.name):
            node.terminate()
            await asyncio.to_thread(node.wait, _STOP_SECONDS)
            await asyncio.to_thread(ground.left, node)
    except SkippedError:
        return False
    return True
