"""Redis's clients against three nodes: plain ones at any of them, those that follow the map, and a SIGKILL.

A plain client is forwarded for; one that came to the port that the map names, or that has asked for the map, gets
MOVED. What a client does in an everyday life is in `resp_users.py` and `resp_node.js`.
"""

import asyncio
import csv
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio
import valkey.asyncio.cluster

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import Member, slot_of
from integration.resp_harness import (
    NODE_MODULES,
    NODE_SCRIPT,
    OK,
    QUEUED,
    Reply,
    RespCluster,
    Word,
    eventually,
    node_redis,
    program,
    run,
)
from integration.resp_users import PIPELINE, everyday, fill_pipeline, live

TAGS = [f"tag{number}" for number in range(12)]
"""Enough for keys on every node."""
PAUSE_SECONDS_MAX = 15.0
CROSS_SLOT = Reply("error", b"CROSSSLOT Keys in request don't hash to the same slot")

PLAIN: dict[str, Callable[..., Any]] = {
    "redis-py": redis.Redis,
    "redis-py asyncio": redis.asyncio.Redis,
    "valkey-py": valkey.Valkey,
}
AWARE: dict[str, Callable[..., Any]] = {
    "redis-py": redis.RedisCluster,
    "redis-py asyncio": redis.asyncio.RedisCluster,
    "valkey-py": valkey.ValkeyCluster,
    "valkey-py asyncio": valkey.asyncio.cluster.ValkeyCluster,
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, zookeeper: ZooKeeperServer) -> Iterator[RespCluster]:
    """Three nodes. Each test leaves them running, whole and settled."""
    directory = tmp_path_factory.mktemp("resp")
    cluster = RespCluster(directory, f"{zookeeper.address}/{directory.name}")
    with cluster.settled():
        cluster.await_spread()
        yield cluster


async def _closed(client: Any) -> None:
    closing = client.aclose() if hasattr(client, "aclose") else client.close()
    if hasattr(closing, "__await__"):
        await closing


def key_of(cluster: RespCluster, node: Member, name: str = "key") -> bytes:
    """Returns a key whose primary is a node."""
    return next(key for number in range(1000) if cluster.primary_of(key := b"%s-%d" % (name.encode(), number)) is node)


def test_redis_cli_follows(cluster: RespCluster) -> None:
    """`redis-cli -c` at a node that sends it elsewhere, and its check of the cluster.

    First of all tests here, for the check counts the keys, and the others leave many.
    """
    for number, port in enumerate(cluster.mapped_ports):
        given = "".join(f"SET cli-{tag} {number}\nGET cli-{tag}\n" for tag in TAGS)
        said = run("redis-cli", "-c", "-p", port, given=given.encode()).splitlines()
        assert [line for line in said if not line.startswith("->")] == ["OK", str(number)] * len(TAGS), said
    assert "[OK] All 16384 slots covered." in run(
        "redis-cli", "--cluster", "check", f"127.0.0.1:{cluster.plain_ports[0]}"
    )


# Plain clients


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_client_is_served_by_any_node(cluster: RespCluster, name: str) -> None:
    """Everyday calls on keys of all nodes, and pipelines of 10,000."""

    async def life() -> None:
        for number, port in enumerate(cluster.plain_ports):
            client = PLAIN[name](host="127.0.0.1", port=port, protocol=2 + number % 2)
            try:
                for tag in TAGS[:6]:
                    await live(client, everyday(tag))
                if number == 1:
                    await fill_pipeline(partial(client.pipeline, transaction=False), f"plain {name}:")
            finally:
                await _closed(client)

    asyncio.run(life())


def test_a_plain_client_never_hears_of_the_cluster(cluster: RespCluster) -> None:
    """Reads, writes, transactions with WATCH, in one pipeline, wherever the keys are; all keys in one iteration."""
    keys = [b"far-%d" % number for number in range(300)]
    for node in cluster.nodes:
        with cluster.connect(node) as connection:
            assert set(connection.ask_all([("SET", key, node.name) for key in keys])) == {OK}
            assert {each.value for each in connection.ask_all([("GET", key) for key in keys])} == {node.name.encode()}
            for key in keys[:12]:
                assert connection.ask("WATCH", key) == OK
                assert connection.ask("MULTI") == OK
                assert connection.ask("SET", key, "t") == QUEUED
                assert connection.ask("APPEND", key, "u") == QUEUED
                assert connection.ask("EXEC") == Reply("array", (OK, Reply("integer", 2)))
            assert connection.ask("MGET", "far-0", "far-1") == CROSS_SLOT
            assert set(connection.ask("KEYS", "far-*").plain) == set(keys)
            found, cursor = set(), b"0"
            while True:
                cursor, page = connection.ask("SCAN", cursor, "MATCH", "far-*", "COUNT", 50).plain
                found.update(page)
                if cursor == b"0":
                    break
            assert found == set(keys)


def test_a_transaction_is_guarded_across_nodes(cluster: RespCluster) -> None:
    """WATCH at one node sees what is written at another."""
    one, two, _ = cluster.nodes
    for key in (b"{guard%d}" % number for number in range(6)):
        with cluster.connect(one) as watching, cluster.connect(two) as writing:
            assert watching.ask("WATCH", key) == OK
            assert writing.ask("SET", key, "changed") == OK
            assert watching.ask("MULTI") == OK
            assert watching.ask("SET", key, "mine") == QUEUED
            assert watching.ask("EXEC") == Reply("null array")
            assert watching.ask("GET", key) == Reply("bulk", b"changed")


@pytest.mark.parametrize("mapped", [False, True])
def test_wait_counts_the_copies_in_sync(cluster: RespCluster, mapped: bool) -> None:
    """Every answered write is on as many nodes as are in sync; who waits is told how many besides the primary."""
    node = cluster.nodes[0]
    with cluster.connect(node, mapped) as connection:
        assert connection.ask("SET", key_of(cluster, node), "x") == OK
        assert connection.ask("WAIT", 2, 1000) == Reply("integer", 2)
        assert connection.ask("WAIT", 0, 0) == Reply("integer", 2)
        assert connection.ask("WAITAOF", 1, 2, 1000) == Reply("array", (Reply("integer", 1), Reply("integer", 2)))


# The map, and who follows it


def test_the_map_is_whole_and_names_the_second_ports(cluster: RespCluster) -> None:
    """SLOTS, SHARDS and NODES of each node agree with each other, with the views, and with MOVED."""
    ports = {node.name: cluster.mapped_port(node) for node in cluster.nodes}
    leaders = {number: view["primary"]["node"] for number, view in cluster.views().items()}
    for node in cluster.nodes:
        with cluster.connect(node) as connection:
            by_slot: dict[int, int] = {}
            for first, last, primary, *_ in connection.ask("CLUSTER", "SLOTS").plain:
                assert primary[0] == b"127.0.0.1"
                by_slot |= dict.fromkeys(range(first, last + 1), primary[1])
            assert by_slot == {slot: ports[leaders[slot * 8 // 16384]] for slot in range(16384)}
            assert connection.ask("CLUSTER", "MYID").value in connection.ask("CLUSTER", "NODES").value
        with cluster.connect(node) as connection:
            shards: dict[int, int] = {}
            for shard in connection.ask("CLUSTER", "SHARDS").plain:
                fields = dict(zip(shard[::2], shard[1::2], strict=True))
                first_node = dict(zip(fields[b"nodes"][0][::2], fields[b"nodes"][0][1::2], strict=True))
                for first, last in zip(fields[b"slots"][::2], fields[b"slots"][1::2], strict=True):
                    shards |= dict.fromkeys(range(first, last + 1), int(first_node[b"port"]))
            assert shards == by_slot
            nodes = connection.ask("CLUSTER", "NODES").value.decode().splitlines()
            assert len(nodes) == 3
            assert sum("myself" in line for line in nodes) == 1
            assert all(f"127.0.0.1:{port}@" in "\n".join(nodes) for port in ports.values())
            assert b"cluster_state:ok\r\n" in connection.ask("CLUSTER", "INFO").value


def test_who_follows_the_map_is_sent_to_the_primary(cluster: RespCluster) -> None:
    """MOVED for a connection that has asked for the map, or came where the map sends; for no other."""
    one, two, _ = cluster.nodes
    key = key_of(cluster, two)
    moved = Reply("error", b"MOVED %d 127.0.0.1:%d" % (slot_of(key), cluster.mapped_port(two)))
    with cluster.connect(one) as connection:
        assert connection.ask("SET", key, "x") == OK
        connection.ask("CLUSTER", "NODES")
        connection.ask("CLUSTER", "INFO")
        assert connection.ask("GET", key) == Reply("bulk", b"x")
        assert connection.ask("CLUSTER", "SLOTS").kind == "array"
        assert connection.ask("GET", key) == moved
        assert connection.ask("SET", key, "y") == moved
        assert connection.ask("WATCH", key) == moved
        assert connection.ask("MULTI") == OK
        assert connection.ask("SET", key, "y") == moved
        assert connection.ask("EXEC").value.startswith(b"EXECABORT")
    with cluster.connect(one) as connection:
        connection.ask("CLUSTER", "SHARDS")
        assert connection.ask("GET", key) == moved
    with cluster.connect(one, mapped=True) as connection:
        assert connection.ask("GET", key) == moved
        assert connection.ask("MGET", "a", "b") == CROSS_SLOT
        assert connection.ask("GET", key_of(cluster, one, "own")).kind == "null bulk"
    with cluster.connect(two, mapped=True) as connection:
        assert connection.ask("GET", key) == Reply("bulk", b"x")
        assert connection.ask("DEL", key) == Reply("integer", 1)


def test_who_asks_for_stale_reads_is_answered_by_a_backup(cluster: RespCluster) -> None:
    """READONLY: reads here, soon as new as they get, but no writes; READWRITE ends it."""
    one, two, _ = cluster.nodes
    key = key_of(cluster, two, "stale")
    with cluster.connect(one, mapped=True) as backup, cluster.connect(two, mapped=True) as primary:
        assert primary.ask("SET", key, "new") == OK
        assert backup.ask("GET", key).value.startswith(b"MOVED ")
        assert backup.ask("READONLY") == OK
        for _ in eventually(5.0):
            reply = backup.ask("GET", key)
            assert reply.kind in ("bulk", "null bulk")
            if reply.value == b"new":
                break
        assert backup.ask("GET", key) == Reply("bulk", b"new")
        assert backup.ask("SET", key, "newer").value.startswith(b"MOVED ")
        assert backup.ask("READWRITE") == OK
        assert backup.ask("GET", key).value.startswith(b"MOVED ")


# Clients that follow the map


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("redis-py", 2), ("redis-py", 3), ("redis-py asyncio", 3), ("valkey-py", 2), ("valkey-py asyncio", 3)],
)
def test_a_cluster_client_goes_straight_to_the_primaries(cluster: RespCluster, name: str, protocol: int) -> None:
    """From any node's plain port: everyday calls, pipelines of 10,000, all keys of all nodes, each once."""

    async def life() -> None:
        client = AWARE[name](host="127.0.0.1", port=cluster.plain_ports[protocol % 3], protocol=protocol)
        try:
            for tag in TAGS[:6]:
                await live(client, everyday(tag))
            prefix = f"aware {name}{protocol}:"
            await fill_pipeline(client.pipeline, prefix)
            if hasattr(client, "scan_iter"):
                found = client.scan_iter(match=f"{prefix}*", count=1000)
                keys = [key async for key in found] if hasattr(found, "__aiter__") else list(found)
                assert sorted(keys) == sorted(f"{prefix}{number}".encode() for number in range(PIPELINE))
        finally:
            await _closed(client)

    asyncio.run(life())


def test_node_redis_goes_straight_to_the_primaries(cluster: RespCluster) -> None:
    """createCluster: everyday calls, pipelines of 10,000; in RESP2 and RESP3."""
    assert "as it should be" in node_redis("clustered", *cluster.plain_ports)


@pytest.mark.parametrize("options", [[], ["-P", "16"]])
def test_redis_benchmark_follows(cluster: RespCluster, options: list[str]) -> None:
    """`redis-benchmark --cluster`, at every primary with its own slots; it ends at the first error."""
    words: list[Word] = [
        "--cluster",
        "-p",
        cluster.plain_ports[0],
        "-n",
        3000,
        "-c",
        12,
        "--csv",
        "-t",
        "set,get,incr",
        *options,
    ]
    said = run("redis-benchmark", *words)
    rows = list(csv.DictReader(io.StringIO(said[said.index('"test"') :])))
    assert {row["test"] for row in rows} == {"SET", "GET", "INCR"}, said


# A primary dies


class Writer:
    """A client in a thread of its own that counts up its keys, one after another, and notes what was acknowledged."""

    def __init__(self, name: str, connect: Callable[[], Any]) -> None:
        self.name = name
        self.acknowledged: dict[str, int] = {}
        self.tried: dict[str, int] = {}
        self.moments: dict[str, float] = {}
        """When each key's last acknowledged write began."""
        self.failures: list[str] = []
        self._connect = connect
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._life(),), daemon=True)

    def start(self) -> None:
        """Starts the client."""
        self._thread.start()

    def stop(self) -> None:
        """Stops it, and waits for its end."""
        self._stopping.set()
        self._thread.join(60.0)
        assert not self._thread.is_alive(), f"{self.name} does not end"

    async def _life(self) -> None:
        client = self._connect()
        keys = [f"{self.name}/{tag}" for tag in TAGS]
        turn = 0
        while not self._stopping.is_set():
            turn += 1
            for key in keys:
                began = time.monotonic()
                self.tried[key] = turn
                try:
                    answer = client.set(key, turn)
                    if hasattr(answer, "__await__"):
                        answer = await answer
                except (redis.RedisError, valkey.ValkeyError, OSError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}"[:200])
                    await asyncio.sleep(0.02)
                    continue
                assert answer
                self.acknowledged[key] = turn
                self.moments[key] = began
        await _closed(client)

    def resumed(self, since: float) -> bool:
        """Says whether each key had a write that began after a moment and was acknowledged."""
        return len(self.moments) == len(TAGS) and all(moment > since for moment in self.moments.values())


class NodeWriter:
    """node-redis, doing the same in a process of its own."""

    def __init__(self, ports: list[int]) -> None:
        self._process = subprocess.Popen(
            [program("node"), str(NODE_SCRIPT), "steady", *map(str, ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"NODE_PATH": str(NODE_MODULES)},
        )

    def stop(self) -> tuple[dict[str, int], dict[str, int]]:
        """Ends it; returns by key what was acknowledged, and what was tried last."""
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, said
        told = json.loads(said.splitlines()[-1])
        sys.stdout.write(f"node-redis: {told['failures']} failures, {told['last']}\n")
        return told["acknowledged"], told["tried"]

    def end(self) -> None:
        """Ends whatever is left."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def _writers(cluster: RespCluster, victim: Member) -> list[Writer]:
    """One of each client: plain ones at nodes that live on, cluster-aware ones that began anywhere."""
    alive = next(node for node in cluster.nodes if node is not victim)
    starts: dict[str, Callable[[], Any]] = {}
    for name, made in PLAIN.items():
        starts[f"plain {name}"] = partial(made, host="127.0.0.1", port=cluster.plain_port(alive))
    for name, made in AWARE.items():
        starts[f"aware {name}"] = partial(made, host="127.0.0.1", port=cluster.plain_port(victim))
    return [Writer(name, connect) for name, connect in starts.items()]


def test_a_primary_dies_and_every_client_goes_on(cluster: RespCluster) -> None:
    """SIGKILL under writes of all clients: all resume, and every acknowledged write is there at every node."""
    victim = cluster.nodes[1]
    assert cluster.led_by(victim)
    writers = _writers(cluster, victim)
    steady = NodeWriter(cluster.plain_ports)
    try:
        for writer in writers:
            writer.start()
        cluster.await_true(lambda: all(writer.resumed(0.0) for writer in writers), "writes of all clients", 20.0)
        victim.kill()
        killed = time.monotonic()
        for writer in writers:
            passed = cluster.await_true(partial(writer.resumed, killed), f"{writer.name} to resume", 45.0)
            assert passed < PAUSE_SECONDS_MAX, (writer.name, passed, writer.failures[-3:])
        for writer in writers:
            writer.stop()
            sys.stdout.write(f"{writer.name}: {len(writer.failures)} failures, {writer.failures[-1:]}\n")
        acknowledged, tried = steady.stop()
    finally:
        steady.end()
    for writer in writers:
        acknowledged |= writer.acknowledged
        tried |= writer.tried
    for node in cluster.running:
        with cluster.connect(node) as connection:
            for key, turn in acknowledged.items():
                assert turn <= int(connection.ask("GET", key).value) <= tried[key], key
    victim.start()
    cluster.await_settled()
    with cluster.connect(victim) as connection:
        for key, turn in acknowledged.items():
            assert turn <= int(connection.ask("GET", key).value) <= tried[key], key
