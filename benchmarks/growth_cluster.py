"""Clusters of several sizes: what a partition costs, and a node, and how long partitions stand still after a kill.

All have three copies of each partition, or one a node if there are fewer, and sync to the disk on all of them. All
nodes are on this machine and share its cores with the load: more nodes are more work on the same cores, so that their
rate falls where that of a machine for each would grow. The processor time a request tells what each has to do.

For failovers a node is killed while the cluster has nothing else to do. At once one client for each partition writes a
key of it through the nodes that are left, until it is answered with success. A node holds a write back until there is
a primary again, so one attempt is the rule; after a refusal or a broken connection the client tries again.
"""

import asyncio
import http.client
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvloop

import processes
import zookeeper
from benchmarks import clusters, servers, wrk
from benchmarks.clusters import Group
from benchmarks.growth_report import AtSize, Takeover
from benchmarks.loading import Loader
from benchmarks.memory import resident_bytes
from benchmarks.report import Settings
from benchmarks.servers import ServerError
from benchmarks.wrk import Load, LoadError, Run
from corecache.placement.slots import partition_of
from corecache.placement.view import View
from corecache.reports import PartitionReport

COPIES = 3
KEYS = 10_000
NODES = 3
PARTITIONS = 16
WHOLE_SECONDS_MAX = 180.0
LOOK_SECONDS = 0.05
SETTLED_SECONDS = 3.0
RETRY_SECONDS = 0.01
TAKEOVER_SECONDS_MAX = 60.0
ATTEMPT_MS = 20_000


def at_size(
    directory: Path, nodes: int, partitions: int, settings: Settings, rounds: int, say: Callable[[str], None]
) -> AtSize:
    """Starts a cluster with its files below the directory, measures writes and reads, and stops it."""
    put = Load("PUT", KEYS, settings.value_bytes, settings.connections)
    with cluster(directory, nodes, partitions, settings.memory_bytes) as group:
        Loader(group.ports[0], KEYS, settings.value_bytes, say).run()
        written, put_cpu_us = _driven(group, put, settings.seconds, rounds)
        read, get_cpu_us = _driven(group, msgspec.structs.replace(put, method="GET"), settings.seconds, rounds)
        rss_bytes = max(resident_bytes(pid, "VmHWM") for pid in group.pids)
    say(
        f"{nodes} nodes, {partitions} partitions: PUT {written.per_second:,.0f}/s, {put_cpu_us:.0f} µs; "
        f"GET {read.per_second:,.0f}/s, {get_cpu_us:.0f} µs"
    )
    return AtSize(nodes, partitions, written, read, put_cpu_us, get_cpu_us, rss_bytes)


def takeovers(
    directory: Path, partitions: int, kills: int, settings: Settings, say: Callable[[str], None]
) -> list[Takeover]:
    """Starts a cluster with its files below the directory, kills its nodes in turn, and stops it."""
    with cluster(directory, NODES, partitions, settings.memory_bytes) as group:
        Loader(group.ports[0], KEYS, settings.value_bytes, say).run()
        found = []
        for number in range(kills):
            found.append(_takeover(group, number % NODES, partitions))
            longest = max(found[-1].led_ms + found[-1].other_ms)
            say(f"{partitions} partitions, kill {number + 1} of {kills}: {longest:.0f} ms at the longest")
        return found


@contextmanager
def cluster(directory: Path, nodes: int, partitions: int, memory_bytes: int) -> Iterator[Group]:
    """Runs ZooKeeper and nodes, from the moment on that all is in sync and led evenly. Raises: ServerError."""
    directory.mkdir(parents=True)
    try:
        coordinator = zookeeper.start(directory / "zookeeper")
    except processes.Refusal as refusal:
        raise ServerError(str(refusal)) from None
    try:
        members = [
            clusters.node(directory, number, coordinator.address, partitions, memory_bytes) for number in range(nodes)
        ]
        with clusters.running(Group("corecache", members)) as group:
            await_whole(group, partitions)
            yield group
    finally:
        zookeeper.stop(directory / "zookeeper")


def await_whole(group: Group, partitions: int) -> None:
    """Waits until every partition has all copies in sync, and no view has changed for a while. Raises: ServerError.

    Copies come first, then primaries move until they are even: what is measured before that measures the moves.
    """
    deadline = time.perf_counter() + WHOLE_SECONDS_MAX
    known: list[View] = []
    changed_at = time.perf_counter()
    while not (is_whole(known, len(group.servers), partitions) and time.perf_counter() - changed_at > SETTLED_SECONDS):
        if time.perf_counter() > deadline:
            raise ServerError(f"the cluster is not whole after {WHOLE_SECONDS_MAX:.0f} s")
        time.sleep(LOOK_SECONDS)
        views = [*newest_views(group.ports).values()]
        if views != known:
            known, changed_at = views, time.perf_counter()


def is_whole(views: Sequence[View], nodes: int, partitions: int) -> bool:
    """Says whether every partition has all its copies in sync, and every node leads some if they suffice."""
    copies = min(COPIES, nodes)
    whole = [view for view in views if len(view.in_sync) == len(view.replicas) == copies]
    leading = {view.primary.node for view in whole}
    return len(whole) == partitions and len(leading) == min(nodes, partitions)


def _driven(group: Group, load: Load, seconds: int, rounds: int) -> tuple[Run, float]:
    """Returns what several runs were as one, and the processor time that a request took in them, of all nodes."""
    wrk.drive(group.ports, load, wrk.WARM_SECONDS)
    before = sum(servers.cpu_seconds(pid) for pid in group.pids)
    runs = [wrk.drive(group.ports, load, seconds) for _ in range(rounds)]
    spent = sum(servers.cpu_seconds(pid) for pid in group.pids) - before
    run = wrk.summary(runs)
    return run, spent / run.requests * 1e6


def _takeover(group: Group, at: int, partitions: int) -> Takeover:
    """Kills a node, waits until every partition takes writes, starts it again, and waits until all is whole."""
    left = [server.port for number, server in enumerate(group.servers) if number != at]
    led = {number for number, view in newest_views(left).items() if view.primary.node == f"n{at}"}
    pauses_ms = uvloop.run(_killed(group, at, left, partitions))
    group.servers[at].start()
    await_whole(group, partitions)
    return Takeover(
        partitions,
        [pause for number, pause in enumerate(pauses_ms) if number in led],
        [pause for number, pause in enumerate(pauses_ms) if number not in led],
    )


async def _killed(group: Group, at: int, left: list[int], partitions: int) -> list[float]:
    """Kills a node and returns for each partition the ms until a write was answered with success. Raises: LoadError."""
    ports = itertools.cycle(left)
    connections = [await asyncio.open_connection("127.0.0.1", next(ports)) for _ in range(partitions)]
    begun = time.perf_counter()
    killing = asyncio.create_task(asyncio.to_thread(group.servers[at].kill))
    writers = [
        _until_written(connection, ports, key, begun)
        for connection, key in zip(connections, keys_of_each(partitions), strict=True)
    ]
    try:
        async with asyncio.timeout(TAKEOVER_SECONDS_MAX):
            pauses_ms = await asyncio.gather(*writers)
            await killing
    except TimeoutError:
        raise LoadError(f"not every partition took writes within {TAKEOVER_SECONDS_MAX:.0f} s of a kill") from None
    return pauses_ms


async def _until_written(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], ports: Iterator[int], key: str, begun: float
) -> float:
    head = f"PUT /v1/kv/{key} HTTP/1.1\r\nHost: localhost\r\nX-CoreCache-Timeout: {ATTEMPT_MS}\r\n"
    request = f"{head}Content-Length: 5\r\n\r\nvalue".encode()
    reader, writer = connection
    while True:
        writer.write(request)
        try:
            answer = await reader.readline()
        except OSError:
            answer = b""
        writer.close()
        if answer.startswith(b"HTTP/1.1 204"):
            return (time.perf_counter() - begun) * 1000
        await asyncio.sleep(RETRY_SECONDS)
        reader, writer = await asyncio.open_connection("127.0.0.1", next(ports))


def keys_of_each(partitions: int) -> list[str]:
    """Returns a key of each partition, by its number."""
    found: dict[int, str] = {}
    for number in itertools.count():
        key = f"takeover-{number}"
        found.setdefault(int(partition_of(key.encode(), partitions)), key)
        if len(found) == partitions:
            return [found[partition] for partition in range(partitions)]
    raise AssertionError("counting has no end")


def newest_views(ports: Sequence[int]) -> dict[int, View]:
    """Returns the newest view of each partition that some node knows: one that has no copy of it may be behind."""
    newest: dict[int, tuple[int, View]] = {}
    for report in itertools.chain.from_iterable(map(_partition_reports, ports)):
        if report.view is not None and report.view_version > newest.get(report.id, (-1, None))[0]:
            newest[report.id] = report.view_version, report.view
    return {number: view for number, (_, view) in sorted(newest.items())}


def _partition_reports(port: int) -> list[PartitionReport]:
    """Returns what a node tells of the partitions; nothing if it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/v1/cluster/partitions")
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, http.client.HTTPException):
        return []
    finally:
        connection.close()
    return msgspec.json.decode(said, type=list[PartitionReport]) if answer.status == 200 else []
