"""The one place that names all the real parts, and puts a node together of them.

Starting goes from the disk outwards, so that whatever can't work fails before anybody was told that it does: the data
directory (locked), the store (recovered), the HTTP port (bound), the coordinator (views), the replicas (activated).
Stopping goes the other way: no new requests, those under way answered, the rounds ended, the store closed.
"""

import asyncio
import contextlib
import gc
import secrets
import signal
import sys
from collections.abc import AsyncIterator

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from corecache import __version__, operator_log
from corecache.config import Config
from corecache.coordination.local import LocalCoordinator
from corecache.errors import Broken
from corecache.identity import PartitionId
from corecache.node.clock import SystemClock
from corecache.node.driver import Driver
from corecache.node.metrics import NodeCollector
from corecache.node.node import Node
from corecache.node.startup import join, restore, until_ready
from corecache.node.sweeper import sweep
from corecache.replication.events import ViewChanged
from corecache.serving.http.server import HttpServer
from corecache.storage.directory import DataDirectory
from corecache.storage.rocksdb import RocksStore

_SWITCH_INTERVAL_SECONDS = 0.0005
"""How long the interpreter lets a thread run while another waits: the loop waits for the threads of the disk often, and
the default of 5 ms would be longer than an fsync."""

_READY_TIMEOUT_MS = 60_000
_GC_YOUNG_OBJECTS = 10_000

log = structlog.get_logger("corecache")


def serve(config: Config) -> int:
    """Runs a node until SIGTERM or SIGINT; returns the exit code: 0 after a clean stop.

    Raises: CoreCacheError if the node can't start, or must stop because something is broken.
    """
    operator_log.configure(config.log)
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    return uvloop.run(_serve(config))


async def _serve(config: Config) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    broken: asyncio.Future[str] = loop.create_future()
    async with _node(config, broken):
        stop = asyncio.ensure_future(stopping.wait())
        await asyncio.wait((stop, broken), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        log.info("stopping")
    if broken.done():
        raise Broken("broken_invariant", broken.result())
    log.info("stopped")
    return 0


@contextlib.asynccontextmanager
async def _node(config: Config, broken: asyncio.Future[str]) -> AsyncIterator[Node]:
    clock = SystemClock()
    registry = CollectorRegistry()

    def broke(reason: str) -> None:
        if not broken.done():
            broken.set_result(reason)

    async with contextlib.AsyncExitStack() as stack:
        directory = DataDirectory.open(config.node.data_dir)
        stack.callback(directory.close)
        store = await RocksStore.open(directory, config)
        stack.push_async_callback(store.close)
        coordinator = await LocalCoordinator.open(directory.coordinator)
        stack.push_async_callback(coordinator.close)
        facts, replicas = await restore(config, store, coordinator, clock, lambda: secrets.token_hex(8))
        driver = Driver(replicas, store, coordinator, clock, config.replication, config.limits.batch_bytes_max, broke)
        stack.push_async_callback(driver.stop)
        node = Node(config, facts.node, replicas, driver, store, clock)
        node.version = __version__
        collector = NodeCollector(node, driver)
        registry.register(collector)
        server = HttpServer()
        host, port = await server.start(node, config, clock, registry)
        stack.push_async_callback(server.stop, config.node.stop_timeout_ms)
        node.addresses["http"] = f"http://{host}:{port}"
        driver.start()

        def deliver(partition: PartitionId, event: ViewChanged) -> None:
            driver.deliver(partition, event)

        await join(facts, replicas, coordinator, node.addresses, deliver)
        await until_ready(node.unready, broken, _READY_TIMEOUT_MS)
        for chore in (sweep(node, store, clock, config.replication), collector.refresh()):
            stack.callback(asyncio.create_task(chore).cancel)
        # What was made so far lives as long as the process: the collector need not look at it again. And a request
        # leaves few cycles, if any: to look for some after every 700 objects costs more than it finds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_YOUNG_OBJECTS)
        log.info(
            "ready",
            version=__version__,
            node=facts.node,
            http=node.addresses["http"],
            data=str(directory.path),
            partitions=len(replicas),
        )
        yield node
