"""Faults of membership: nodes come and go. To an operator that is no fault; many a store has lost writes by it."""

import asyncio
from typing import Final

from corecache.chaos.cluster import ChaosNode
from corecache.chaos.faults.deed import Struck
from corecache.chaos.ground import Ground, SkippedError, until
from corecache.chaos.plan import Planned

_SECONDS_MAX: Final = 90.0
_STOP_SECONDS: Final = 40.0


async def join_and_drain(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Has a node join and, when it has its share, another leave: drained, then stopped.

    Other faults may strike the one that leaves while its copies move away.
    """
    with ground.hold("list of members"):
        cluster = ground.cluster
        joining = await asyncio.to_thread(cluster.add_node)
        with ground.hold(joining.name):
            struck(f"+{joining.name}")
            joining.spawn()
            if not await until(lambda: asyncio.to_thread(joining.is_ready), _SECONDS_MAX):
                raise SkippedError(f"{joining.name} was not ready after {_SECONDS_MAX:.0f} s, beside other faults")
        others = [node for node in ground.present if node is not joining]
        leaving = others[planned.roll % len(others)]
        struck(f"+{joining.name} -{leaving.name}")
        await asyncio.to_thread(cluster.drain, leaving.name)
        if not await until(lambda: asyncio.to_thread(cluster.is_drained, leaving.name), _SECONDS_MAX):
            raise SkippedError(f"{leaving.name} was not drained after {_SECONDS_MAX:.0f} s, beside other faults")
        # Whatever strikes it at this moment is to be over before it stops for good.
        await until(lambda: _leave(ground, leaving), _SECONDS_MAX)


async def _leave(ground: Ground, node: ChaosNode) -> bool:
    """Stops a drained node, if no fault has it in hand; says whether it did."""
    try:
        with ground.hold(node.name):
            node.terminate()
            await asyncio.to_thread(node.wait, _STOP_SECONDS)
            ground.left(node)
    except SkippedError:
        return False
    return True
