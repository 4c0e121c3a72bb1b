"""Redis's protocol: CoreCache beside Redis itself, in turns, with the same load generator on both sides.

One node beside one Redis that syncs its AOF before it answers, SET and GET, one request at a time and 16 in a pipeline,
by redis-benchmark. Then three nodes beside a Redis with two replicas, where a `WAIT 2` follows each SET and its answer
is waited for: only then have the replicas got it. redis-benchmark can't send that, `closed_loop.py` can; what it does
at most is measured on the same Redis, without WAIT.

Clients of CoreCache are plain ones, which ask any node for any key, or *cluster-aware* ones, which ask each key's
primary. All clients of Redis ask its primary. All keys are written before.
"""

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec

from benchmarks import clusters, servers, wrk
from benchmarks.closed_loop import Load, ask, key
from benchmarks.clusters import Group
from benchmarks.redis_benchmark import RedisBenchmark
from benchmarks.report import AgainstRedis, Bound, Driven, RespSpeed, Settings
from benchmarks.servers import Server
from benchmarks.wrk import LoadError, Run
from corecache.wire.resp_command import command

KEYS = 10_000
PARTITIONS = 8
PIPELINE = 16
TESTS: tuple[Literal["SET", "GET"], ...] = ("SET", "GET")
ALONE_ASKED, PIPELINED_ASKED, THREE_ASKED = 0.5, 0.3, 1.0
ONE_CLIENT = "SET, one client"
AWARE = ", cluster-aware"
WAIT = command(b"WAIT", b"2", b"0")


class Side(msgspec.Struct, frozen=True):
    """One of the two: its processes, and what drives it for so many seconds."""

    pids: list[int]
    drive: Callable[[int], Run]


def measure(directory: Path, settings: Settings, say: Callable[[str], None]) -> RespSpeed:
    """Starts the servers with their files below the directory, measures, and stops them."""
    one_node = _one_node(directory / "one", settings, say)
    three_nodes, generator = _three_nodes(directory / "three", settings, say)
    return RespSpeed(servers.redis_version(), one_node, three_nodes, generator)


def bounds(speed: RespSpeed) -> list[Bound]:
    """Holds the ratios, and one client's time, against what was promised."""
    found = []
    for each in speed.one_node:
        asked = PIPELINED_ASKED if "pipeline" in each.what else ALONE_ASKED
        found.append(_rate_bound("one node", each, asked))
    for each in speed.three_nodes:
        if each.what.startswith(ONE_CLIENT):
            ours, theirs = each.corecache.run.p50_ms, each.redis.run.p50_ms
            what, asked_of = f"three nodes, {each.what}, p50 in ms", f"below Redis's {theirs:.2f}, in the same run"
            found.append(Bound(what, ours, asked_of, ours < theirs))
        else:
            found.append(_rate_bound("three nodes", each, THREE_ASKED))
    return found


def _rate_bound(where: str, compared: AgainstRedis, asked: float) -> Bound:
    return Bound(
        f"{where}, {compared.what}, by Redis's rate", compared.ratio, f"at least {asked}", compared.ratio >= asked
    )


def _one_node(directory: Path, settings: Settings, say: Callable[[str], None]) -> list[AgainstRedis]:
    (port,) = servers.free_ports(1)
    with (
        servers.node(directory / "corecache", settings.memory_bytes) as node,
        servers.redis(directory / "redis", port) as redis,
    ):
        say(f"one node and one Redis: write {KEYS:,} keys")
        for server in (node, redis):
            _fill(server.resp_ports[0], settings)
        compared = []
        for pipeline in (1, PIPELINE):
            for test in TESTS:
                what = test if pipeline == 1 else f"{test}, pipeline {pipeline}"
                ours, theirs = (_by_redis_benchmark(server, test, pipeline, settings) for server in (node, redis))
                compared.append(_compare(what, ours, theirs, settings, say))
    return compared


def _by_redis_benchmark(server: Server, test: Literal["SET", "GET"], pipeline: int, settings: Settings) -> Side:
    (port,) = server.resp_ports
    load = RedisBenchmark(port, test, pipeline, settings.connections, KEYS, settings.value_bytes)
    return Side([server.pid], load.drive)


def _three_nodes(
    directory: Path, settings: Settings, say: Callable[[str], None]
) -> tuple[list[AgainstRedis], dict[str, Driven]]:
    with (
        clusters.corecache(directory / "corecache", PARTITIONS, settings.memory_bytes) as ours,
        clusters.redis(directory / "redis") as theirs,
    ):
        say(f"three nodes and three Redis servers: write {KEYS:,} keys")
        primary = theirs.ports[0]
        _fill(ours.servers[0].resp_ports[0], settings)
        _fill(primary, settings)
        if ask(primary, [WAIT]) != [b":2"]:
            raise LoadError("Redis has not got two replicas")
        sets = _sets(settings)
        plain = dict.fromkeys((server.resp_ports[0] for server in ours.servers), sets)
        aware = _by_primary(ours, sets)
        waited = {primary: [each + WAIT for each in sets]}
        compared = []
        for connections in sorted({settings.connections, 1}, reverse=True):
            who = ONE_CLIENT if connections == 1 else f"SET, {connections} connections"
            redis = Side(theirs.pids, Load(waited, b"+OK\r\n:2\r\n", connections).drive)
            for requests, how in ((plain, ""), (aware, AWARE)):
                corecache = Side(ours.pids, Load(requests, b"+OK\r\n", connections).drive)
                compared.append(_compare(who + how, corecache, redis, settings, say))
        return compared, _fastest(theirs, sets, settings, say)


def _fastest(redis: Group, sets: list[bytes], settings: Settings, say: Callable[[str], None]) -> dict[str, Driven]:
    """Returns what the load generator does with a Redis that need not wait for its replicas."""
    primary = redis.ports[0]
    gets = [command(b"GET", key(number)) for number in range(KEYS)]
    found = b"$%d\r\n%b\r\n" % (settings.value_bytes, _value(settings))
    loads = {
        "SET without WAIT": Load({primary: sets}, b"+OK\r\n", settings.connections),
        "GET": Load({primary: gets}, found, settings.connections),
    }
    fastest = {}
    for what, load in loads.items():
        load.drive(wrk.WARM_SECONDS)
        fastest[what] = _driven([_timed(Side(redis.pids, load.drive), settings.seconds)])
        say(f"{what}: the load generator and Redis {fastest[what].run.per_second:,.0f}/s")
    return fastest


def _compare(what: str, ours: Side, theirs: Side, settings: Settings, say: Callable[[str], None]) -> AgainstRedis:
    for side in (ours, theirs):
        side.drive(wrk.WARM_SECONDS)
    mine, others, ratios = [], [], []
    for number in range(1, settings.pairs + 1):
        mine.append(_timed(ours, settings.seconds))
        others.append(_timed(theirs, settings.seconds))
        rates = [runs[-1].run.per_second for runs in (mine, others)]
        ratios.append(rates[0] / rates[1])
        say(
            f"{what}, pair {number} of {settings.pairs}: CoreCache {rates[0]:,.0f}/s, "
            f"Redis {rates[1]:,.0f}/s, ratio {ratios[-1]:.2f}"
        )
    return AgainstRedis(what, _driven(mine), _driven(others), median(ratios))


def _timed(side: Side, seconds: int) -> Driven:
    before, loading = _cpu_seconds(side), _load_seconds()
    run = side.drive(seconds)
    return Driven(
        run=run,
        cpu_us=(_cpu_seconds(side) - before) / run.requests * 1e6,
        load_busy=(_load_seconds() - loading) / run.seconds,
    )


def _driven(runs: list[Driven]) -> Driven:
    """Returns several runs as one."""
    return Driven(
        run=wrk.summary([each.run for each in runs]),
        cpu_us=median(each.cpu_us for each in runs),
        load_busy=median(each.load_busy for each in runs),
    )


def _cpu_seconds(side: Side) -> float:
    return sum(servers.cpu_seconds(pid) for pid in side.pids)


def _load_seconds() -> float:
    """Returns the processor time of this process and of those that it has run and that have ended."""
    return sum(os.times()[:4])


def _fill(port: int, settings: Settings) -> None:
    """Writes every key once. Raises: LoadError, OSError."""
    for answer in ask(port, _sets(settings)):
        if answer != b"+OK":
            raise LoadError(f"writing the keys failed: {answer.decode(errors='replace')}")


def _by_primary(group: Group, sets: list[bytes]) -> dict[int, list[bytes]]:
    """Returns for each node's port those requests that it does not send elsewhere. Raises: LoadError, OSError."""
    ports = [server.resp_ports[1] for server in group.servers]
    answers = {port: ask(port, sets) for port in ports}
    taken = {port: [sets[at] for at, answer in enumerate(answers[port]) if answer == b"+OK"] for port in ports}
    if sum(map(len, taken.values())) != len(sets):
        raise LoadError(f"of {len(sets)} keys the nodes take {[len(each) for each in taken.values()]}")
    return taken


def _sets(settings: Settings) -> list[bytes]:
    return [command(b"SET", key(number), _value(settings)) for number in range(KEYS)]


def _value(settings: Settings) -> bytes:
    return b"v" * settings.value_bytes
