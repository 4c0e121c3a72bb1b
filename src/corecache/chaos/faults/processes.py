"""Faults of nodes as processes: they die, stand still, lose their directory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from corecache.chaos.cluster import ChaosNode
from corecache.chaos.faults.deed import Struck
from corecache.chaos.ground import Ground, SkippedError, until
from corecache.chaos.plan import Planned

_START_SECONDS: Final = 60.0
_WHOLE_SECONDS: Final = 60.0


@contextlib.asynccontextmanager
async def down(*nodes: ChaosNode) -> AsyncIterator[None]:
    """Kills nodes, and starts them again in the end."""
    for node in nodes:
        node.kill()
    try:
        yield
    finally:
        for node in nodes:
            node.spawn()


async def await_started(nodes: Sequence[ChaosNode]) -> None:
    """Waits until nodes answer, so that nobody else's fault strikes one that only begins to start."""

    async def answer() -> bool:
        reports = await asyncio.gather(*(asyncio.to_thread(node.report) for node in nodes))
        return None not in reports

    await until(answer, _START_SECONDS)


async def kill(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Kills a node."""
    with ground.take(planned.roll) as node:
        struck(node.name)
        async with down(node):
            await asyncio.sleep(planned.seconds)
        await await_started([node])


async def kill_all(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Kills all nodes at once."""
    with ground.take_all() as nodes:
        struck("all")
        async with down(*nodes):
            await asyncio.sleep(planned.seconds)
        await await_started(nodes)


async def pause(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Has a node stand still."""
    with ground.take(planned.roll) as node:
        struck(node.name)
        node.pause()
        try:
            await asyncio.sleep(planned.seconds)
        finally:
            node.resume()


async def wipe(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Kills a node and empties its data directory.

    Nothing is destroyed that nobody else has: it begins only while the cluster is whole, and no other fault of nodes
    begins until it is whole again.
    """
    if not ground.is_undisturbed():
        raise SkippedError("a data directory is emptied only while nothing else goes on")
    with ground.take_all() as nodes:
        if len(nodes) < len(ground.present) or not await until(ground.is_whole, planned.seconds + 5):
            raise SkippedError("a data directory is emptied only while the cluster is whole")
        node = nodes[planned.roll % len(nodes)]
        struck(node.name)
        async with down(node):
            await asyncio.to_thread(node.wipe)
            await asyncio.sleep(planned.seconds)
        await until(ground.is_whole, _WHOLE_SECONDS)
