"""The server of Redis's protocol: it listens, looks after its connections, and drains.

Draining: no new connections; what was begun is answered, then each connection ends; what is left when time is up is cut
off.
"""

import asyncio
from contextlib import suppress

from prometheus_client import CollectorRegistry

from corecache.config import Config
from corecache.listening import Ports, listen
from corecache.ports import Clock, Service
from corecache.serving.resp.connection import Connection
from corecache.serving.resp.metrics import RespMetrics
from corecache.serving.resp.shared import Shared

_SWEEP_MS_MAX = 500


class RespServer:
    """One or two listening sockets and their connections. `start` once, `stop` once."""

    def __init__(self) -> None:
        self._shared: Shared | None = None
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def start(
        self, service: Service, config: Config, clock: Clock, registry: CollectorRegistry
    ) -> tuple[str, int, int]:
        """Listens; returns the host, the port, and the port that the map names, which is 0 for a node alone.

        The server's counts join `registry`.

        Raises: CallerFault `port_in_use` or `cannot_listen`.
        """
        resp = config.resp
        times = [each for each in (resp.idle_timeout_ms, resp.send_timeout_ms) if each]
        shared = self._shared = Shared(service, config, clock, min(_SWEEP_MS_MAX, min(times) // 4))
        port = await self._listen(shared, resp.port, cluster_aware=False)
        shared.port = port
        cluster_port = 0
        if config.coordination.zookeeper:
            cluster_port = await self._listen(shared, resp.cluster_port, cluster_aware=True)
        registry.register(RespMetrics(shared))
        self._sweeper = shared.loop.create_task(_sweep_for_ever(shared))
        return resp.host, port, cluster_port

    async def _listen(self, shared: Shared, port: int, cluster_aware: bool) -> int:
        resp = shared.config.resp
        ports = Ports("resp", resp.host, port, resp.port_range_first, resp.port_range_last)
        server, taken = await listen(lambda: Connection(shared, cluster_aware), ports, resp.connections_max)
        self._servers.append(server)
        return taken

    @property
    def shared(self) -> Shared:
        """What the connections share. Requires: `start` has returned."""
        assert self._shared is not None
        return self._shared

    async def stop(self, timeout_ms: int) -> None:
        """Drains for up to `timeout_ms`, then cuts off what is left."""
        for server in self._servers:
            server.close()
        shared, sweeper = self._shared, self._sweeper
        if shared is None or sweeper is None:
            return
        shared.all_closed = shared.loop.create_future()
        for connection in list(shared.open):
            connection.stop()
        if shared.open:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(shared.all_closed), timeout_ms / 1000)
        for connection in list(shared.open):
            connection.abort()
        tasks = {sweeper, *shared.tasks}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()


async def _sweep_for_ever(shared: Shared) -> None:
    while True:
        shared.now = shared.clock.today()
        for connection in list(shared.open):
            connection.sweep(shared.now)
        await asyncio.sleep(shared.sweep_ms / 1000)
