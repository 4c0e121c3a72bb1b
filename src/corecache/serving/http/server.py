"""The HTTP server of a node: it listens, keeps time for its connections, and drains.

It runs inside the caller's event loop and installs nothing there that outlives `stop`: no signals, no logging. uvicorn
gives the protocol (`connection.py`), not the process: its `Server` wants to own both.

Draining: no new connections; every answer says `connection: close`; a connection that stays idle for a moment is closed
then, and not at once: a request may be on its way on it, and its client could not know what became of it. What is left
when time is up is cut off.
"""

import asyncio
from contextlib import suppress
from email.utils import formatdate

import uvicorn
from prometheus_client import CollectorRegistry

from corecache.config import Config
from corecache.listening import Ports, listen
from corecache.ports import Clock, Service
from corecache.serving.http.app import App
from corecache.serving.http.bodies import Budget
from corecache.serving.http.connection import Connection
from corecache.serving.http.metrics import RequestMetrics
from corecache.serving.http.shared import SharedState

_SWEEP_MS_MAX = 500


class HttpServer:
    """One listening socket and its connections. `start` once, `stop` once."""

    def __init__(self) -> None:
        self._state: SharedState | None = None
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(
        self, service: Service, config: Config, clock: Clock, registry: CollectorRegistry
    ) -> tuple[str, int]:
        """Listens and returns host and port. `registry` is what /metrics shows; the server's own counts join it.

        Raises: CallerFault `port_in_use` or `cannot_listen`.
        """
        http = config.http
        sweep_ms = min(
            _SWEEP_MS_MAX,
            min(http.header_timeout_ms, http.body_timeout_ms, http.send_timeout_ms, http.idle_timeout_ms) // 4,
        )
        state = self._state = SharedState(http, clock.now(), sweep_ms)
        budget = Budget(http.buffered_bytes_max)
        metrics = RequestMetrics(state, lambda: budget.bytes)
        registry.register(metrics)
        app = App(service, config, clock, registry, budget, metrics)
        protocol = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        protocol.load()
        loop = asyncio.get_running_loop()
        ports = Ports("http", http.host, http.port, http.port_range_first, http.port_range_last)
        self._server, port = await listen(lambda: Connection(protocol, state, loop), ports, http.connections_max)
        self._sweeper = loop.create_task(_sweep_for_ever(state, clock))
        return http.host, port

    @property
    def state(self) -> SharedState:
        """What the connections share. Requires: `start` has returned."""
        assert self._state is not None
        return self._state

    async def stop(self, timeout_ms: int) -> None:
        """Drains for up to `timeout_ms`, then cuts off what is left."""
        state, server, sweeper = self._state, self._server, self._sweeper
        if state is None or server is None or sweeper is None:
            return
        server.close()
        state.draining = True
        state.all_closed = asyncio.get_running_loop().create_future()
        for connection in list(state.open):
            connection.sweep(state.now)
        if state.open or state.closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(state.all_closed), timeout_ms / 1000)
        remaining = [*state.open, *state.closing]
        for connection in remaining:
            connection.transport.abort()
        tasks = {sweeper, *state.tasks, *(connection.task for connection in remaining if connection.task is not None)}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def _sweep_for_ever(state: SharedState, clock: Clock) -> None:
    while True:
        state.now = clock.now()
        state.date_line = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        for connection in [*state.open, *state.closing]:
            connection.sweep(state.now)
        await asyncio.sleep(state.sweep_ms / 1000)
