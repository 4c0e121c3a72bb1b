"""Faults of ZooKeeper: it dies, hangs, loses its leader, or ends the session of a node that lives."""

import asyncio

from corecache.chaos.faults.deed import Struck
from corecache.chaos.ground import Ground, SkippedError
from corecache.chaos.plan import Planned
from corecache.chaos.zookeeper import ZooKeeperServer

_SHARED = "ZooKeeper"


async def stop(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Kills all servers, and starts them again with what they had."""
    with ground.hold(_SHARED):
        struck(_SHARED)
        await _away(ground.cluster.zookeepers.servers, planned.seconds)
        await _await_serving(ground, struck)


async def stop_leader(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Kills the server that leads the ensemble, and starts it again."""
    with ground.hold(_SHARED):
        zookeepers = ground.cluster.zookeepers
        leading = await asyncio.to_thread(zookeepers.leader)
        if leading is None:
            raise SkippedError("no ZooKeeper server leads")
        struck(zookeepers.names[zookeepers.servers.index(leading)])
        await _away([leading], planned.seconds)
        await _await_serving(ground, struck)


async def hang(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Has all servers stand still, with their connections open."""
    with ground.hold(_SHARED):
        struck(_SHARED)
        for server in ground.cluster.zookeepers.servers:
            server.pause()
        try:
            await asyncio.sleep(planned.seconds)
        finally:
            for server in ground.cluster.zookeepers.servers:
                server.resume()
        await _await_serving(ground, struck)


async def expire(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Ends a node's session, as ZooKeeper does with a node that it has not heard for too long."""
    with ground.take(planned.roll) as node:
        if not await asyncio.to_thread(ground.cluster.zookeepers.expire, node.name):
            raise SkippedError(f"{node.name} has no session that could be ended")
        struck(node.name)
        await asyncio.sleep(planned.seconds)


async def _away(servers: list[ZooKeeperServer], seconds: float) -> None:
    for server in servers:
        await asyncio.to_thread(server.kill)
    try:
        await asyncio.sleep(seconds)
    finally:
        for server in servers:
            server.start(wait=False)
    for server in servers:
        await asyncio.to_thread(server.wait)


async def _await_serving(ground: Ground, struck: Struck) -> None:
    """Waits until ZooKeeper is what it was. Where that needs an operator, the report says whom he started anew."""
    anew = await asyncio.to_thread(ground.cluster.zookeepers.mend)
    if anew:
        struck(f"{_SHARED}, until {' and '.join(anew)} started anew")
