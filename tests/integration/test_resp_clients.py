"""The clients that people have, against one node: Redis's own programs, redis-py, valkey-py, node-redis; HTTP beside.

Nothing is taken from the clients but what their documentation promises. What a client does in an everyday life is in
`resp_users.py` and `resp_node.js`.
"""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import valkey

from integration.resp_harness import (
    CLIENT_SECONDS,
    OK,
    Reply,
    RespConnection,
    RespNode,
    encoded,
    node_redis,
    program,
    run,
    running,
)
from integration.resp_users import (
    AWARE_LIVES,
    LONG_PIPELINES,
    PIPELINE,
    PLAIN,
    benchmark,
    closed,
    done,
    everyday,
    fill_pipeline,
    live,
    live_by_the_map,
)

MIB = 1 << 20
VALUE_BYTES_MAX = 8 * MIB
TOO_LONG = Reply("error", b"ERR string exceeds maximum allowed size (proto-max-bulk-len)")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RespNode]:
    """A node; each test has keys of its own."""
    with running(RespNode(tmp_path_factory.mktemp("clients") / "node")) as node:
        yield node


def cli(node: RespNode, *words: str, given: bytes = b"") -> str:
    """Runs redis-cli and returns what it printed."""
    return run("redis-cli", "-p", node.resp_port, *words, given=given)


def test_redis_cli_samples_the_keys(node: RespNode) -> None:
    """`--bigkeys` and `--memkeys` walk over all keys, by SCAN, TYPE, STRLEN, MEMORY USAGE and DBSIZE.

    First of all tests here, for the others leave many keys.
    """
    assert cli(node, "SET", "sampled", "x" * 9000) == "OK\n"
    assert "strings with" in cli(node, "--bigkeys")
    assert "strings with" in cli(node, "--memkeys")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", PLAIN)
def test_a_python_client_lives_its_everyday_life(node: RespNode, name: str, protocol: int) -> None:
    """Calls, pipelines, transactions, iteration, expiry."""
    made = PLAIN[name]
    tag = f"{name}{protocol}"

    async def life() -> None:
        client = made(host="127.0.0.1", port=node.resp_port, protocol=protocol)
        other = made(host="127.0.0.1", port=node.resp_port, protocol=protocol)
        try:
            assert await done(client.ping())
            await live(client, everyday(tag))
            await fill_pipeline(lambda: client.pipeline(transaction=False), f"{tag}:")
            await _transactions(client, other, f"{{{tag}}}")
            found = client.scan_iter(match=f"{tag}:*", count=1000)
            keys = {key async for key in found} if hasattr(found, "__aiter__") else set(found)
            assert keys == {f"{tag}:{number}".encode() for number in range(PIPELINE)}
            await done(client.set(f"{tag} soon", "x", px=60_000))
            assert 0 < await done(client.pttl(f"{tag} soon")) <= 60_000
            assert await done(client.pexpire(f"{tag} soon", 40))
            await asyncio.sleep(0.1)
            assert await done(client.get(f"{tag} soon")) is None
        finally:
            for each in (client, other):
                await closed(each)

    asyncio.run(life())


async def _transactions(client: Any, other: Any, tag: str) -> None:
    """One that succeeds, one that another's write undoes, and one as long as a pipeline."""
    await done(client.set(f"{tag}w", "1"))
    for interferes in (False, True):
        pipe = client.pipeline()
        await done(pipe.watch(f"{tag}w"))
        before = int(await done(pipe.get(f"{tag}w")))
        if interferes:
            await done(other.set(f"{tag}w", "77"))
        pipe.multi()
        pipe.set(f"{tag}w", before + 1)
        pipe.get(f"{tag}w")
        if interferes:
            with pytest.raises((redis.WatchError, valkey.WatchError)):
                await done(pipe.execute())
            assert await done(client.get(f"{tag}w")) == b"77"
        else:
            assert await done(pipe.execute()) == [True, b"2"]
        await done(pipe.reset())
    pipe = client.pipeline()
    for number in range(1000):
        pipe.incrby(f"{tag}sum", number)
    assert (await done(pipe.execute()))[-1] == sum(range(1000))


@pytest.mark.parametrize(("name", "protocol"), AWARE_LIVES)
def test_a_cluster_client_takes_one_node_for_a_cluster(node: RespNode, name: str, protocol: int) -> None:
    """Whose map has one primary."""
    asyncio.run(live_by_the_map(name, protocol, node.resp_port, [f"aware {name}{protocol}"]))


@pytest.mark.parametrize("scene", ["single", "clustered"])
def test_node_redis_lives_its_everyday_life(node: RespNode, scene: str) -> None:
    """With createClient and createCluster: calls, pipelines, transactions, iteration, expiry; in RESP2 and RESP3."""
    assert "as it should be" in node_redis(scene, node.resp_port)


# Redis's own programs


@pytest.mark.parametrize("protocol", ["-2", "-3"])
def test_redis_cli_asks_and_shows(node: RespNode, protocol: str) -> None:
    """Single commands, values from standard input, lines of commands, a transaction, and its own iteration."""
    prefix = f"cli{protocol}:"
    assert cli(node, protocol, "PING") == "PONG\n"
    assert cli(node, protocol, "-x", "SET", f"{prefix}a", given=b"from a pipe") == "OK\n"
    assert cli(node, protocol, "--no-raw", "GET", f"{prefix}a") == '"from a pipe"\n'
    assert cli(node, protocol, "--no-raw", "GET", f"{prefix}absent") == "(nil)\n"
    assert cli(node, protocol, "--no-raw", "STRLEN", f"{prefix}a") == "(integer) 11\n"
    lines = f"MULTI\nSET {prefix}n 1\nINCR {prefix}n\nEXEC\nINCR {prefix}a\nnosuch\nGET {prefix}n\n"
    said = cli(node, protocol, given=lines.encode())
    assert said.splitlines() == [
        *("OK", "QUEUED", "QUEUED", "OK", "2", "ERR value is not an integer or out of range", ""),
        *("ERR unknown command 'nosuch', with args beginning with: ", "", "2"),
    ]
    assert sorted(cli(node, protocol, "--scan", "--pattern", f"{prefix}*").split()) == [f"{prefix}a", f"{prefix}n"]
    assert cli(node, protocol, "-r", "5", "INCR", f"{prefix}n").split() == ["3", "4", "5", "6", "7"]


def test_redis_cli_inserts_in_bulk(node: RespNode) -> None:
    """`--pipe`: raw commands by the thousand, and a count of answers and errors at the end."""
    commands = b"".join(encoded("SET", f"pipe:{number}", number) for number in range(PIPELINE))
    assert f"errors: 0, replies: {PIPELINE}" in cli(node, "--pipe", given=commands)
    assert cli(node, "GET", f"pipe:{PIPELINE - 1}") == f"{PIPELINE - 1}\n"


@pytest.mark.parametrize(
    "options",
    [[], ["-P", "16"], ["-P", "16", "-3"], ["-r", "1000", "-d", "1000", "-c", "64"], LONG_PIPELINES],
)
def test_redis_benchmark_runs_through(node: RespNode, options: list[str]) -> None:
    """With and without pipelining, in either protocol."""
    benchmark(node.resp_port, *options)


def test_redis_benchmark_wants_no_cluster_of_one(node: RespNode) -> None:
    """By a rule of its own, whoever serves: it has understood the map, counts one node, and ends."""
    words = [program("redis-benchmark"), "-p", str(node.resp_port), "--cluster", "-n", "10", "-t", "set"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=CLIENT_SECONDS)
    assert (ended.returncode, ended.stderr) == (1, "Invalid cluster: 1 node(s).\n")


# HTTP beside


@pytest.fixture(params=[2, 3])
def connection(node: RespNode, request: pytest.FixtureRequest) -> Iterator[RespConnection]:
    """A raw connection in each protocol."""
    with node.resp(request.param) as connection:
        yield connection


def test_a_value_is_the_same_in_both_protocols(node: RespNode, connection: RespConnection) -> None:
    """Written here, read there, deleted here, with any bytes in keys and values, in listings of both."""
    key, value = b"both/\xff\x00 %\r\n", bytes(range(256))
    assert node.put(key, value).status == 204
    assert connection.ask("GET", key) == Reply("bulk", value)
    assert connection.ask("DEL", key) == Reply("integer", 1)
    assert node.value(key) is None
    assert connection.ask("SET", key, value[::-1]) == OK
    assert node.value(key) == value[::-1]
    assert key in connection.ask("KEYS", b"both/*").plain
    assert node.delete(key).status == 204
    assert connection.ask("GET", key).value is None
    assert connection.ask("SET", "both/text", "x") == OK
    assert [item["key"] for item in node.ask("GET", "/v1/kv?prefix=both/").json["items"]] == ["both/text"]
    assert connection.ask("DEL", "both/text") == Reply("integer", 1)


def test_a_time_to_live_is_the_same_in_both_protocols(node: RespNode, connection: RespConnection) -> None:
    """To the millisecond, whichever protocol set it, and gone for both at once."""
    assert node.put(b"ttl", b"x", query="?ttl=100").status == 204
    expires = int(node.get(b"ttl").headers["x-corecache-expires"])
    assert connection.ask("PEXPIRETIME", "ttl") == Reply("integer", expires)
    assert 99 <= connection.ask("TTL", "ttl").value <= 100
    assert connection.ask("PEXPIREAT", "ttl", expires + 5000) == Reply("integer", 1)
    assert int(node.get(b"ttl").headers["x-corecache-expires"]) == expires + 5000
    assert connection.ask("PERSIST", "ttl") == Reply("integer", 1)
    assert "x-corecache-expires" not in node.get(b"ttl").headers
    assert connection.ask("SET", "ttl", "y", "PX", 60_000) == OK
    told = node.get(b"ttl").headers
    assert int(told["x-corecache-expires"]) == int(told["x-corecache-timestamp"]) + 60_000
    assert connection.ask("PEXPIRE", "ttl", 80) == Reply("integer", 1)
    time.sleep(0.15)
    assert node.value(b"ttl") is None
    assert connection.ask("TTL", "ttl") == Reply("integer", -2)


def test_a_version_is_the_same_in_both_protocols(node: RespNode, connection: RespConnection) -> None:
    """Each write over RESP gives a new ETag, no read does; a WATCH sees writes by HTTP."""
    connection.ask("SET", "version", "1")
    versions = [node.get(b"version").version]
    for words in (["SET", "version", "1"], ["INCR", "version"], ["APPEND", "version", "0"], ["GETSET", "version", "2"]):
        connection.ask(*words)
        versions.append(node.get(b"version").version)
    assert versions == sorted(set(versions))
    for words in (["GET", "version"], ["TTL", "version"], ["SET", "version", "3", "NX"], ["SETNX", "version", "3"]):
        connection.ask(*words)
        assert node.get(b"version").version == versions[-1], words
    assert node.put(b"version", b"3", if_match=f'"{versions[0]}"').status == 412
    for interferes in (False, True):
        connection.ask("WATCH", "version")
        if interferes:
            assert node.put(b"version", b"by HTTP").status == 204
        connection.ask("MULTI")
        connection.ask("SET", "version", "by RESP")
        done = connection.ask("EXEC")
        assert (done.kind == "array") != interferes
        assert node.value(b"version") == (b"by HTTP" if interferes else b"by RESP")


def test_a_value_is_as_long_at_most_in_both_protocols(node: RespNode, connection: RespConnection) -> None:
    """The longest is stored and read back; one byte more is refused before it is read, as a frame that is too long."""
    longest = b"x" * VALUE_BYTES_MAX
    assert connection.ask("SET", "long", longest) == OK
    assert node.value(b"long") == longest
    with node.resp() as doomed:
        doomed.send(encoded("SET", "long", longest + b"y")[:40])
        assert doomed.read_all() == [Reply("error", b"ERR Protocol error: invalid bulk length")]
    assert connection.ask("APPEND", "long", "y") == TOO_LONG
    assert connection.ask("SETRANGE", "long", VALUE_BYTES_MAX, "y") == TOO_LONG
    assert node.put(b"long", longest + b"y").status == 413
    assert connection.ask("STRLEN", "long") == Reply("integer", VALUE_BYTES_MAX)
    assert connection.ask("DEL", "long") == Reply("integer", 1)


def test_a_key_is_as_long_at_most_in_both_protocols(node: RespNode, connection: RespConnection) -> None:
    """8,192 bytes, and not none."""
    refused = Reply("error", b"ERR invalid key: a key has 1 to 8192 bytes")
    for command in (["GET"], ["SET", "x"], ["DEL"], ["EXISTS"], ["INCR"]):
        name, *rest = command
        assert connection.ask(name, b"k" * 8193, *rest) == refused
        assert connection.ask(name, b"", *rest) == refused
    assert connection.ask("SET", b"k" * 8192, "x") == OK
    assert node.value(b"k" * 8192) == b"x"
    assert connection.ask("DEL", b"k" * 8192) == Reply("integer", 1)


def test_a_pipeline_is_answered_in_order(connection: RespConnection) -> None:
    """10,000 commands in one go, some of them wrong."""
    connection.ask("DEL", "order")
    commands = [("INCR", "order") if number % 10 else ("GET",) for number in range(PIPELINE)]
    answers = connection.ask_all(commands)
    count = 0
    for command, answer in zip(commands, answers, strict=True):
        count += len(command) - 1
        wrong = Reply("error", b"ERR wrong number of arguments for 'get' command")
        assert answer == (Reply("integer", count) if len(command) == 2 else wrong)
