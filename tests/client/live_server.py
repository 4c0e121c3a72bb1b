"""The real HTTP server over a node in memory, in a thread of its own, for clients that block."""

import asyncio
import threading

from prometheus_client import CollectorRegistry

from corecache.serving.http.server import HttpServer
from serving.http_lab import config_of
from serving.memory_service import MemoryService, SystemClock

START_SECONDS = 20.0


class LiveServer:
    """A server that runs until `stop`. `service` is the node behind it, `url` its endpoint."""

    def __init__(self) -> None:
        self.service = MemoryService()
        self.url = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(START_SECONDS), "the server does not start"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = HttpServer()
        host, port = await server.start(self.service, config_of(), SystemClock(), CollectorRegistry())
        self.url = f"http://{host}:{port}"
        self._ready.set()
        await self._stopping.wait()
        await server.stop(200)

    def stop(self) -> None:
        """Stops the server and its thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
