"""The one place that names all the real parts, and puts a node together of them.

Starting goes from the disk outwards, so that whatever can't work fails before anybody was told that it does: the data
directory (locked), the store (recovered), the coordinator (the start counted, the cluster created), the ports (bound),
the views, the replicas (activated). Stopping goes the other way: all that is led is handed over, no new requests, those
under way answered, the rounds ended, the store closed.
"""

import asyncio
import contextlib
import gc
import random
import secrets
import signal
import sys
from collections.abc import AsyncIterator

import msgspec
import structlog
import uvloop
from prometheus_client import CollectorRegistry

from corecache import __version__, operator_log
from corecache.config import Config
from corecache.coordination.local import LocalCoordinator
from corecache.coordination.zookeeper import ZooKeeperCoordinator
from corecache.errors import Broken
from corecache.link.tcp import TcpLink
from corecache.node.clock import SystemClock
from corecache.node.metrics import NodeCollector
from corecache.node.node import Node
from corecache.node.parts import Parts
from corecache.node.startup import announce, bring_views, create_if_missing, restore, until_ready
from corecache.node.sweeper import sweep
from corecache.placement.partition_map import NodeEntry
from corecache.ports import Coordinator
from corecache.replication.machine import Machine
from corecache.replication.recovered import NodeFacts
from corecache.serving.http.server import HttpServer
from corecache.serving.resp.server import RespServer
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
    alone = not config.coordination.zookeeper

    def broke(reason: str) -> None:
        if not broken.done():
            broken.set_result(reason)

    async with contextlib.AsyncExitStack() as stack:
        directory = DataDirectory.open(config.node.data_dir)
        stack.callback(directory.close)
        store = await RocksStore.open(directory, config)
        stack.push_async_callback(store.close)
        coordinator: Coordinator
        if alone:
            coordinator = await LocalCoordinator.open(directory.coordinator)
        else:
            coordinator = await ZooKeeperCoordinator.open(config.coordination, config.cluster.name)
        stack.push_async_callback(coordinator.close)
        facts, recovered, grants_end = await restore(config, store, coordinator, clock, _drawn)
        entry = NodeEntry(facts.node, facts.incarnation, {}, config.node.zone, __version__)
        await announce(facts, coordinator, entry)
        await create_if_missing(config, facts, recovered, store, coordinator, _drawn)
        machine = Machine(
            facts.node,
            facts.incarnation,
            config.replication,
            recovered,
            clock.now(),
            grants_end,
            facts.partitions,
        )
        parts = Parts(config, facts, machine, store, coordinator, clock, _drawn, broke)
        stack.push_async_callback(parts.driver.stop)
        addresses: dict[str, str] = {}
        if not alone:
            addresses["peer"] = await _linked(stack, config, facts, clock, parts)
        registry = CollectorRegistry()
        collector = NodeCollector(parts.node, parts.driver)
        registry.register(collector)
        server = HttpServer()
        host, port = await server.start(parts.node, config, clock, registry)
        stack.push_async_callback(server.stop, config.node.stop_timeout_ms)
        addresses["http"] = f"http://{config.node.advertise_host or host}:{port}"
        resp_server = RespServer()
        host, port, cluster_port = await resp_server.start(parts.node, config, clock, registry)
        stack.push_async_callback(resp_server.stop, config.node.stop_timeout_ms)
        addresses["resp"] = f"{config.node.advertise_host or host}:{port}"
        if cluster_port:
            addresses["resp_cluster"] = f"{config.node.advertise_host or host}:{cluster_port}"
        entry = msgspec.structs.replace(entry, addresses=addresses)
        parts.reporting.entry = entry
        parts.driver.start()
        await announce(facts, coordinator, entry)
        coordinator.watch_session(parts.driver.session_changed)
        await bring_views(machine, coordinator, parts.driver.view_changed, alone)
        chores = [sweep(parts.node, store, clock, config.replication), collector.refresh()]
        if not alone:
            parts.neighbours.changed()
            coordinator.watch_nodes(parts.neighbours.changed)
            coordinator.campaign(parts.controlling.take_office)
            chores += [parts.neighbours.keep(), parts.controlling.keep()]
        for chore in chores:
            stack.callback(asyncio.create_task(chore).cancel)
        await until_ready(parts.node.unready, broken, _READY_TIMEOUT_MS)
        # What was made so far lives as long as the process: the collector need not look at it again. And a request
        # leaves few cycles, if any: to look for some after every 700 objects costs more than it finds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_YOUNG_OBJECTS)
        log.info(
            "ready",
            version=__version__,
            node=facts.node,
            **addresses,
            data=str(directory.path),
            partitions=facts.partitions,
        )
        yield parts.node
        if not alone:
            parts.node.leave()
            await parts.leaving.take(config.node.stop_timeout_ms)


async def _linked(
    stack: contextlib.AsyncExitStack, config: Config, facts: NodeFacts, clock: SystemClock, parts: Parts
) -> str:
    """Opens the link and gives it to the parts that send; returns the node's address for others."""
    dice = random.Random(secrets.randbits(64))  # noqa: S311 (jitter)
    link = TcpLink(
        facts.cluster, facts.partitions, facts.node, facts.incarnation, config.link, clock, dice, parts.events
    )
    host, port = await link.start()
    stack.push_async_callback(link.close)
    parts.connect(link)
    return f"{config.node.advertise_host or host}:{port}"


def _drawn() -> str:
    return secrets.token_hex(8)
