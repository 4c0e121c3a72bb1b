"""Clients that ask a cluster all the time, as in a campaign, for tests of what strikes it."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from corecache.chaos.clients import Address, ChaosClients
from corecache.chaos.ground import Ground
from corecache.chaos.history import Call
from corecache.chaos.workload import Workload

CLIENTS_EACH: Final = 8
RATE: Final = 300.0
_numbers = itertools.count(1)


@asynccontextmanager
async def asked_all_the_time(ground: Ground) -> AsyncIterator[list[Call]]:
    """Asks within; gives the list to which each call is added."""
    calls: list[Call] = []
    stop = asyncio.Event()
    clients = ChaosClients(
        lambda: [Address(node.name, node.http_url, node.resp) for node in ground.present],
        Workload(7, f"traffic{next(_numbers)}"),
        CLIENTS_EACH,
        CLIENTS_EACH,
        timeout_s=1.0,
        began_ns=time.monotonic_ns(),
        note=calls.append,
        pause_s=2 * CLIENTS_EACH / RATE,
    )
    asking = asyncio.ensure_future(clients.run(stop))
    try:
        yield calls
    finally:
        stop.set()
        await asking
