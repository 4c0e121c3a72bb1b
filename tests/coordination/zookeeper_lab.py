"""What the tests on real ZooKeeper share: settings, another client that meddles, a wire that loses answers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kazoo.client import KazooClient

from coordination.coordinator_stage import DEADLINE_SECONDS, Stage, ZooKeeperStage, played
from corecache.config import Coordination
from corecache.coordination.zookeeper import ZooKeeperCoordinator
from corecache.identity import NodeId, PartitionId
from corecache.ports import SessionState

ONE = PartitionId(1)
TWO = PartitionId(2)
CONNECTED, SUSPENDED, LOST = SessionState.CONNECTED, SessionState.SUSPENDED, SessionState.LOST


def settings(address: str, **others: Any) -> Coordination:
    """Returns settings with times for tests; a sweep so slow that it can't be what brought something about."""
    given = {"session_timeout_ms": 4000, "start_timeout_ms": 20_000, "sweep_interval_ms": 600_000} | others
    return Coordination(zookeeper=address, **given)


def play(given: Coordination, scene: Callable[[ZooKeeperStage], Awaitable[None]]) -> None:
    """Plays a scene on ZooKeeper."""

    async def on_zookeeper(stage: Stage) -> None:
        assert isinstance(stage, ZooKeeperStage)
        await scene(stage)

    played(ZooKeeperStage(given.zookeeper, given), on_zookeeper)


async def listed(node: ZooKeeperCoordinator, wanted: NodeId) -> None:
    """Waits until a node is listed as alive."""
    changed = asyncio.Event()
    node.watch_nodes(changed.set)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while wanted not in await node.nodes():
            changed.clear()
            await changed.wait()


@contextmanager
def other_client(address: str, **options: Any) -> Iterator[KazooClient]:
    """A client that is not CoreCache's; blocking."""
    client = KazooClient(address.partition("/")[0], **options)
    client.start(DEADLINE_SECONDS)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def root_of(address: str) -> str:
    """Returns the path of cluster "red" under the chroot of an address."""
    return f"/{address.partition('/')[2]}/corecache/red"


def found_paths(client: KazooClient, path: str) -> list[str]:
    """Returns all paths below one, itself included."""
    paths = [path]
    for name in client.get_children(path):
        paths += found_paths(client, f"{path.rstrip('/')}/{name}")
    return paths


def view_path(client: KazooClient, root: str, partition: PartitionId) -> str:
    """Returns where a partition's view is, looked up as an operator would."""
    (creation,) = client.get_children(f"{root}/partitions")
    return f"{root}/partitions/{creation}/{partition}"


class LossyWire:
    """Stands between a node and its server; `mute` lets requests through and loses every answer."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.partition(":")
        self._muted = False
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server
        self.swallowed = asyncio.Event()

    async def open(self) -> str:
        """Begins; returns the address to connect with."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def mute(self) -> None:
        """Loses every answer from now on; `swallowed` is set with the first."""
        self._muted = True
        self.swallowed.clear()

    def cut(self) -> None:
        """Ends all connections; the next ones work."""
        self._muted = False
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    def close(self) -> None:
        """Ends."""
        self._server.close()
        self.cut()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        self._writers += [writer, server_writer]
        await asyncio.gather(self._pump(reader, server_writer, False), self._pump(server_reader, writer, True))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        try:
            while part := await reader.read(65_536):
                if answers and self._muted:
                    self.swallowed.set()
                else:
                    writer.write(part)
        except OSError:
            return
        finally:
            writer.close()
