"""Redis's clients against three nodes: plain ones at any of them, and those that follow the map.

A plain client is forwarded for; one that came to the port that the map names, or that has asked for the map, gets
MOVED. What a client does in an everyday life is in `resp_users.py` and `resp_node.js`.
"""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from corecache.chaos.zookeeper import ZooKeeperServer
from integration.cluster_harness import Member, slot_of
from integration.resp_harness import (
    OK,
    QUEUED,
    Reply,
    RespCluster,
    encoded,
    eventually,
    node_redis,
    run,
    spread_cluster,
)
from integration.resp_users import (
    AWARE_LIVES,
    LONG_PIPELINES,
    PIPELINE,
    PLAIN,
    benchmark,
    closed,
    everyday,
    fill_pipeline,
    live,
    live_by_the_map,
)

TAGS = [f"tag{number}" for number in range(12)]
"""Enough for keys on every node."""
BENCHMARKS = [["-c", "12"], ["-c", "12", "-P", "16"]]
CROSS_SLOT = Reply("error", b"CROSSSLOT Keys in request don't hash to the same slot")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, zookeeper: ZooKeeperServer) -> Iterator[RespCluster]:
    """Three nodes. Each test leaves them running, whole and settled."""
    with spread_cluster(tmp_path_factory.mktemp("resp"), zookeeper.address) as cluster:
        yield cluster


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
                await closed(client)

    asyncio.run(life())


def test_node_redis_is_served_by_any_node(cluster: RespCluster) -> None:
    """At a node that leads some of the keys: createClient's calls, pipelines of 10,000, transactions, iteration."""
    assert "as it should be" in node_redis("single", cluster.plain_ports[1])


def test_redis_cli_is_served_by_any_node(cluster: RespCluster) -> None:
    """Without `-c`, on keys of all nodes, one by one and with `--pipe` by the thousand."""
    for number, port in enumerate(cluster.plain_ports):
        given = "".join(f"SET plain-{tag} {number}\nGET plain-{tag}\nINCR plain-{tag}\n" for tag in TAGS)
        said = run("redis-cli", "-p", port, given=given.encode()).splitlines()
        assert said == ["OK", str(number), str(number + 1)] * len(TAGS)
    commands = b"".join(encoded("SET", f"pipe:{number}", number) for number in range(PIPELINE))
    assert f"errors: 0, replies: {PIPELINE}" in run("redis-cli", "-p", cluster.plain_ports[0], "--pipe", given=commands)
    with cluster.connect(cluster.nodes[1]) as connection:
        answers = connection.ask_all([("GET", f"pipe:{number}") for number in range(PIPELINE)])
    assert [answer.value for answer in answers] == [b"%d" % number for number in range(PIPELINE)]


@pytest.mark.parametrize(("number", "options"), list(enumerate([*BENCHMARKS, LONG_PIPELINES])))
def test_redis_benchmark_is_served_by_any_node(cluster: RespCluster, number: int, options: list[str]) -> None:
    """With keys of all nodes; with and without pipelining."""
    benchmark(cluster.plain_ports[number], "-r", 1000, *options)


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


@pytest.mark.parametrize(("name", "protocol"), AWARE_LIVES)
def test_a_cluster_client_goes_straight_to_the_primaries(cluster: RespCluster, name: str, protocol: int) -> None:
    """From any node's plain port: everyday calls, pipelines of 10,000, all keys of all nodes, each once."""
    asyncio.run(live_by_the_map(name, protocol, cluster.plain_ports[protocol % 3], TAGS[:6]))


def test_node_redis_goes_straight_to_the_primaries(cluster: RespCluster) -> None:
    """createCluster: everyday calls, pipelines of 10,000; in RESP2 and RESP3."""
    assert "as it should be" in node_redis("clustered", *cluster.plain_ports)


@pytest.mark.parametrize("options", BENCHMARKS)
def test_redis_benchmark_follows(cluster: RespCluster, options: list[str]) -> None:
    """`redis-benchmark --cluster`, at every primary with its own slots.

    Not in long pipelines: those need one client alone, which stays at the node it was told of and follows none.
    """
    benchmark(cluster.plain_ports[0], "--cluster", *options)
