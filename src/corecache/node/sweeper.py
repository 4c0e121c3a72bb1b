"""Removes expired records that nobody reads (R17).

Every `sweep_interval_ms` it asks the store's expiry index for what has expired, and removes it through the log like any
write, which looks at the newest record again, so that one written meanwhile stays. A full look is followed by the next
at once: a burst of expiries is worked off at the speed of writes, in bounded steps.
"""

import asyncio

import structlog

from corecache.config import Replication
from corecache.errors import CoreCacheError
from corecache.identity import Milliseconds
from corecache.node.node import Node
from corecache.ports import Clock, Store

_STEP_TIMEOUT_MS = 10_000

log = structlog.get_logger("corecache.node")


async def sweep(node: Node, store: Store, clock: Clock, limits: Replication) -> None:
    """Sweeps until it is cancelled. Errors are told to the operator and tried again at the next interval."""
    while True:
        await asyncio.sleep(limits.sweep_interval_ms / 1000)
        try:
            while await _sweep_step(node, store, clock, limits.sweep_keys_max):
                pass
        except CoreCacheError as error:
            log.info("expired keys are left for the next sweep", reason=error.message)


async def _sweep_step(node: Node, store: Store, clock: Clock, keys_max: int) -> bool:
    if node.unready() is not None:
        return False
    found = await store.expired(clock.today(), keys_max)
    deadline = Milliseconds(clock.now() + _STEP_TIMEOUT_MS)
    removed = await node.sweep([(partition, key) for partition, key, _ in found], deadline)
    return removed == keys_max
