"""A cluster of real processes: nodes (`node_harness.Node`) that share a ZooKeeper, and what a test does to them.

Nothing of a node is imported here: a test sees what an operator sees, by HTTP, in logs, and by what becomes of the
clients (`cluster_load.py`). Every wait is for a condition, with a deadline, and says what it was waiting for, with the
views that the nodes had at the end.

A node is ended by its process id alone. The timings are the program's own defaults, unless a test says otherwise: what
is measured here is what a user gets.
"""

import binascii
import contextlib
import http.client
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from corecache.chaos.processes import PortLease
from integration.node_harness import REQUEST_SECONDS, Node, Shim

SLOT_COUNT = 16_384
PARTITIONS = 8
WHOLE_SECONDS = 60.0


def slot_of(key: bytes) -> int:
    """Returns the slot of a key without a hash tag."""
    return binascii.crc_hqx(key, 0) % SLOT_COUNT


def partition_of(key: bytes, partitions: int = PARTITIONS) -> int:
    """Returns the partition of a key without a hash tag."""
    return slot_of(key) * partitions // SLOT_COUNT


class Member(Node):
    """A node of a cluster. `host` is where it listens, for clients and for peers."""

    def __init__(
        self,
        directory: Path,
        name: str,
        zookeeper: str,
        settings: Mapping[str, str | int] | None = None,
        shim: Shim | None = None,
        command: Sequence[str] = (),
        host: str = "127.0.0.1",
    ) -> None:
        self.name = name
        self.host = host
        self._peer_lease = PortLease()
        shared: dict[str, str | int] = {
            "node.id": name,
            "coordination.zookeeper": zookeeper,
            "coordination.session_timeout_ms": 3000,
            "cluster.partitions": PARTITIONS,
            "link.port": self._peer_lease.number,
            "link.host": host,
            "http.host": host,
        }
        super().__init__(directory, shared | dict(settings or {}), shim, command)

    @property
    def peer_port(self) -> int:
        """The port on which it listens for other nodes."""
        return self._peer_lease.number

    def connection(self, seconds: float = REQUEST_SECONDS) -> http.client.HTTPConnection:
        """Returns a connection to the node, which is opened with the first request."""
        return http.client.HTTPConnection(self.host, self.port, timeout=seconds)

    @contextlib.contextmanager
    def connected(self, seconds: float = REQUEST_SECONDS) -> Iterator[http.client.HTTPConnection]:
        """Gives a connection to the node."""
        connection = self.connection(seconds)
        try:
            yield connection
        finally:
            connection.close()

    def report(self) -> Any:
        """Returns /v1/cluster, None if the node does not answer."""
        try:
            with self.connected(5.0) as connection:
                connection.request("GET", "/v1/cluster")
                response = connection.getresponse()
                return json.loads(response.read()) if response.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def ready(self) -> bool:
        """Says whether /readyz answers 200."""
        with contextlib.suppress(OSError, http.client.HTTPException), self.connected(5.0) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False

    def pause(self) -> None:
        """Has the process stand still."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Removes its data directory; it must not run."""
        assert not self.running
        shutil.rmtree(self.data_dir)

    def end(self) -> None:
        """Ends whatever is left."""
        if self.running:
            self.resume()
        super().end()
        self._peer_lease.end()


class Cluster:
    """Nodes n1, n2, … of one ZooKeeper."""

    def __init__(
        self, directory: Path, zookeeper: str, count: int = 3, settings: Mapping[str, str | int] | None = None
    ) -> None:
        """Makes `count` nodes and starts none. Settings are all nodes'."""
        self.directory = directory
        self.zookeeper = zookeeper
        self.settings = dict(settings or {})
        self.nodes: list[Member] = []
        for _ in range(count):
            self.add()

    def add(self, **details: Any) -> Member:
        """Makes one more node."""
        name = f"n{len(self.nodes) + 1}"
        settings = self.settings | details.pop("settings", {})
        node = Member(self.directory / name, name, self.zookeeper, settings, **details)
        self.nodes.append(node)
        return node

    def start(self) -> "Cluster":
        """Starts the nodes, the first one first, and waits until every partition has all its copies."""
        first, *others = self.nodes
        first.start()
        for node in others:
            node.spawn()
        for node in others:
            node.await_ready()
        self.await_whole()
        return self

    def kill(self, nodes: Sequence[Member] = ()) -> None:
        """Kills nodes, or all of them, at the same moment."""
        killed = list(nodes) or self.running
        for node in killed:
            assert node.process is not None
            node.process.kill()
        for node in killed:
            node.kill()

    def restart(self) -> None:
        """Starts the nodes that don't run, all at once, and waits until each partition is served where it should be."""
        stopped = [node for node in self.nodes if not node.running]
        for node in stopped:
            node.spawn()
        for node in stopped:
            node.await_ready()
        self.await_settled()

    @contextlib.contextmanager
    def settled(self) -> Iterator["Cluster"]:
        """Runs it, whole and settled at first, as long as the block does."""
        try:
            self.start().await_settled()
            yield self
        finally:
            self.end()

    @property
    def running(self) -> list[Member]:
        """The nodes whose process lives."""
        return [node for node in self.nodes if node.running]

    def node(self, name: str) -> Member:
        """Returns the node of this name."""
        return next(node for node in self.nodes if node.name == name)

    def views(self, node: Member | None = None) -> dict[int, Any]:
        """Returns the views of all partitions by their number: of the newest that the running nodes know, or one's."""
        newest: dict[int, tuple[int, Any]] = {}
        for asked in [node] if node is not None else self.running:
            report = asked.report()
            for partition in report["partitions"] if report else ():
                known = newest.get(partition["id"], (-1, None))
                if partition["view"] is not None and partition["view_version"] > known[0]:
                    newest[partition["id"]] = partition["view_version"], partition["view"]
        return {number: view for number, (_, view) in sorted(newest.items())}

    def led_by(self, node: Member) -> list[int]:
        """Returns the partitions whose primary a node is."""
        return [number for number, view in self.views().items() if view["primary"]["node"] == node.name]

    def primary_of(self, key: bytes) -> Member:
        """Returns the node that is primary for a key."""
        return self.node(self.views()[partition_of(key)]["primary"]["node"])

    def backup_of(self, key: bytes) -> Member:
        """Returns a node that is in sync for a key, and not primary."""
        view = self.views()[partition_of(key)]
        return self.node(next(each["node"] for each in view["in_sync"] if each["node"] != view["primary"]["node"]))

    def await_whole(
        self, copies: int | None = None, seconds: float = WHOLE_SECONDS, members: Sequence[Member] | None = None
    ) -> float:
        """Waits until every partition has so many copies (three, or one a node), all in sync; returns the seconds."""
        among = {node.name for node in (members or self.running)}
        wanted = min(3, len(among)) if copies is None else copies

        def whole() -> bool:
            views = self.views()
            return len(views) == PARTITIONS and all(
                len(view["in_sync"]) == len(view["replicas"]) == wanted
                and {each["node"] for each in view["in_sync"]} == set(view["replicas"]) <= among
                for view in views.values()
            )

        return self.await_true(whole, f"{wanted} copies of every partition, in sync, on {sorted(among)}", seconds)

    def await_settled(self, seconds: float = WHOLE_SECONDS) -> float:
        """Waits until the cluster is whole and each partition is served by the node it should be; returns the seconds.

        A move that is under way would change epochs by itself.
        """

        def settled() -> bool:
            views = self.views()
            return all(
                view["primary"]["node"] == view["replicas"][0] and view["min_in_sync"] == min(2, len(self.running))
                for view in views.values()
            ) and all(self.serves(self.node(view["primary"]["node"]), partition) for partition, view in views.items())

        whole = self.await_whole(seconds=seconds)
        return whole + self.await_true(settled, "each partition is served by the node it should be", seconds)

    def serves(self, node: Member, partition: int) -> bool:
        """Says whether a node serves a partition, by its own word."""
        report = node.report()
        return report is not None and any(
            each["id"] == partition and each["role"] == "primary" for each in report["partitions"]
        )

    def epochs(self) -> dict[int, int]:
        """Returns the epoch of each partition."""
        return {number: view["epoch"] for number, view in self.views().items()}

    def await_spread(self, seconds: float = WHOLE_SECONDS) -> float:
        """Waits until every running node is primary of something; returns the seconds."""

        def spread() -> bool:
            return {view["primary"]["node"] for view in self.views().values()} == {node.name for node in self.running}

        return self.await_true(spread, "primaries on every node", seconds)

    def await_true(self, true: Callable[[], bool], what: str, seconds: float = WHOLE_SECONDS) -> float:
        """Waits for a condition; returns the seconds. Fails the test with what the views are."""
        began = time.monotonic()
        while not true():
            for node in self.nodes:
                ended = node.process is not None and node.process.poll() not in (None, 0, -signal.SIGKILL)
                assert not ended, f"{node.name} ended by itself:\n{node.log()[-4000:]}"
            assert time.monotonic() < began + seconds, f"not within {seconds} s: {what}\n{self.told()}"
            time.sleep(0.02)
        return time.monotonic() - began

    def let_pass(self, seconds: float, since: float | None = None) -> None:
        """Lets time pass, counted from a moment or from now, and sees that no node ends by itself meanwhile."""
        end = seconds + (time.monotonic() if since is None else since)
        self.await_true(lambda: time.monotonic() >= end, "time to pass", seconds + 1)

    def told(self) -> str:
        """Returns what the running nodes say, a line a partition."""
        lines = []
        for node in self.running:
            report = node.report()
            for partition in report["partitions"] if report else ():
                view = partition["view"] or {}
                lines.append(
                    f"{node.name} partition {partition['id']} {partition['role']}: version {partition['view_version']} "
                    f"epoch {view.get('epoch')} primary {(view.get('primary') or {}).get('node')} "
                    f"in_sync {[each['node'] for each in view.get('in_sync', ())]} replicas {view.get('replicas')} "
                    f"min {view.get('min_in_sync')} sequence {partition['last_sequence']} commit "
                    f"{partition['commit_point']} applied {partition['applied']} lag {partition['lag']}"
                )
        return "\n".join(lines)

    def end(self, show: bool = True) -> None:
        """Ends what is left, and shows the logs."""
        for node in self.nodes:
            node.end()
            if show:
                sys.stdout.write(f"--- log of {node.name}\n{node.log()[-20_000:]}\n")
