"""The Python clients that people have, and what their users do every day, as a table: blocking and asyncio alike.

The tables are of method, arguments, and what it returns; all keys of a table are of one hash tag. The tests of one node
and of a cluster run the same.
"""

import csv
import inspect
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import redis
import redis.asyncio
import valkey
import valkey.asyncio
import valkey.asyncio.cluster

from integration.resp_harness import Word, run

PIPELINE = 10_000
LONG_PIPELINES = ["-P", str(PIPELINE), "-n", str(2 * PIPELINE), "-c", "1"]
"""Of redis-benchmark, with one client. Of several, one that is through counts on while it waits for the others, 10,000
at a time, until the count overflows; then it asks for more, and redis-benchmark aborts: with Redis, too."""

PLAIN: dict[str, Callable[..., Any]] = {
    "redis-py": redis.Redis,
    "redis-py asyncio": redis.asyncio.Redis,
    "valkey-py": valkey.Valkey,
    "valkey-py asyncio": valkey.asyncio.Valkey,
}
"""Those that ask one node for everything."""
AWARE: dict[str, Callable[..., Any]] = {
    "redis-py": redis.RedisCluster,
    "redis-py asyncio": redis.asyncio.RedisCluster,
    "valkey-py": valkey.ValkeyCluster,
    "valkey-py asyncio": valkey.asyncio.cluster.ValkeyCluster,
}
"""Those that follow the map."""
AWARE_LIVES = [("redis-py", 2), ("redis-py", 3), ("redis-py asyncio", 3), ("valkey-py", 2), ("valkey-py asyncio", 3)]
"""Of these, which in which protocol."""


class Call(NamedTuple):
    """A method with its arguments, and what must come back: a value, or a predicate of it."""

    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    returns: Any


def call(method: str, *arguments: Any, returns: Any, **options: Any) -> Call:
    """Returns a call."""
    return Call(method, arguments, options, returns)


def everyday(tag: str) -> list[Call]:
    """Returns what is done in an everyday life, with keys of a tag that are absent before and after."""
    a, b, c, absent = (f"{{{tag}}}{name}" for name in ("a", "b\xff", "c", "absent"))
    return [
        call("set", a, "schön", returns=True),
        call("get", a, returns="schön".encode()),
        call("get", absent, returns=None),
        call("set", a, "x", nx=True, returns=None),
        call("set", a, b"\0\xff\r\n", xx=True, get=True, returns="schön".encode()),
        call("getset", a, "1", returns=b"\0\xff\r\n"),
        call("incr", a, returns=2),
        call("incrby", a, 40, returns=42),
        call("decr", a, returns=41),
        call("incrbyfloat", a, 0.5, returns=41.5),
        call("append", a, "!", returns=5),
        call("strlen", a, returns=5),
        call("getrange", a, 0, 3, returns=b"41.5"),
        call("setrange", a, 4, "?", returns=5),
        call("mset", {b: "1", c: "2"}, returns=True),
        call("msetnx", {c: "3", absent: "3"}, returns=lambda answer: not answer),
        call("mget", [a, b, absent, c], returns=[b"41.5?", b"1", None, b"2"]),
        call("exists", a, b, absent, returns=2),
        call("expire", b, 1000, returns=True),
        call("ttl", b, returns=lambda answer: 990 < answer <= 1000),
        call("pttl", b, returns=lambda answer: 990_000 < answer <= 1_000_000),
        call("persist", b, returns=True),
        call("ttl", b, returns=-1),
        call("ttl", absent, returns=-2),
        call("getex", c, ex=500, returns=b"2"),
        call("expiretime", c, returns=lambda answer: answer > 1_700_000_000),
        call("type", a, returns=b"string"),
        call("rename", a, absent, returns=True),
        call("copy", absent, a, returns=True),
        call("touch", a, absent, returns=2),
        call("getdel", absent, returns=b"41.5?"),
        call("unlink", a, returns=1),
        call("delete", a, b, c, returns=2),
    ]


async def live(client: Any, calls: Sequence[Call]) -> None:
    """Makes the calls, one after another, whether the client blocks or is to be awaited."""
    for each in calls:
        answer = await done(getattr(client, each.method)(*each.arguments, **each.options))
        right = each.returns(answer) if callable(each.returns) else answer == each.returns
        assert right, (each, answer)


async def fill_pipeline(pipeline: Callable[[], Any], prefix: str) -> None:
    """Writes and reads back with two pipelines of 10,000 commands."""
    writing, reading = pipeline(), pipeline()
    for number in range(PIPELINE):
        writing.set(f"{prefix}{number}", f"value {number}")
        reading.get(f"{prefix}{number}")
    for queued, expected in (
        (writing, [True] * PIPELINE),
        (reading, [b"value %d" % number for number in range(PIPELINE)]),
    ):
        assert await done(queued.execute()) == expected


async def done(answer: Any) -> Any:
    """Returns an answer, awaited if it has to be."""
    return await answer if inspect.isawaitable(answer) else answer


async def closed(client: Any) -> None:
    """Closes a client."""
    await done(client.aclose() if hasattr(client, "aclose") else client.close())


async def live_by_the_map(name: str, protocol: int, port: int, tags: Sequence[str]) -> None:
    """A cluster client's everyday calls on keys of all tags, pipelines of 10,000, and all keys, each found once."""
    client = AWARE[name](host="127.0.0.1", port=port, protocol=protocol)
    try:
        for tag in tags:
            await live(client, everyday(tag))
        prefix = f"aware {name}{protocol}:"
        await fill_pipeline(client.pipeline, prefix)
        if hasattr(client, "scan_iter"):
            found = client.scan_iter(match=f"{prefix}*", count=1000)
            keys = [key async for key in found] if hasattr(found, "__aiter__") else list(found)
            assert sorted(keys) == sorted(f"{prefix}{number}".encode() for number in range(PIPELINE))
    finally:
        await closed(client)


def benchmark(port: int, *options: Word) -> None:
    """Runs redis-benchmark's SET, GET and INCR to their end; it ends with an error at the first one it is answered."""
    said = run("redis-benchmark", "-p", port, "-n", 2000, "--csv", "-t", "set,get,incr", *options)
    rows = list(csv.DictReader(io.StringIO(said[said.index('"test"') :])))
    assert {row["test"] for row in rows} >= {"SET", "GET", "INCR"}, said
    assert all(float(row["rps"]) > 0 for row in rows), said
