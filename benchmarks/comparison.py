"""Three nodes beside three members of etcd: PUT and GET with the same wrk, in turns, and one client by itself.

Both clusters run at the same time and hold the same keys. wrk spreads its connections over all members of one cluster,
then of the other, again and again; each pair of runs gives a ratio, and the median of them is the result (`speed.py`
says why). Keys are *spread* over all partitions, or *tagged*: one hash tag puts all of them into one partition.

Then CoreCache alone, with 1, 16, 64 and 256 partitions: what a partition costs.
"""

import base64
import http.client
import itertools
import json
import threading
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec

from benchmarks import clusters, servers, wrk
from benchmarks.clusters import Group
from benchmarks.report import Against, Bound, ByPartitions, ClusterSpeed, Settings
from benchmarks.wrk import Load, LoadError, Run

PARTITIONS = 8
PARTITION_COUNTS = (1, 16, 64, 256)
KEYS = 10_000
PREFIXES = {"spread": "", "tagged": "{tag}."}
FILLERS = 12
PUT_ASKED, GET_ASKED = 2.0, 3.0


def measure(directory: Path, settings: Settings, say: Callable[[str], None]) -> ClusterSpeed:
    """Starts the clusters with their files below the directory, measures, and stops them."""
    load = Load("PUT", KEYS, settings.value_bytes, settings.connections)
    compared: list[Against] = []
    with (
        clusters.corecache(directory / "corecache", PARTITIONS, settings.memory_bytes) as ours,
        clusters.etcd(directory / "etcd") as theirs,
    ):
        for keys, prefix in PREFIXES.items():
            tagged = msgspec.structs.replace(load, prefix=prefix)
            say(f"both clusters: write {KEYS:,} keys, {keys}")
            _fill(ours, tagged)
            _fill(theirs, _of_etcd(tagged))
            for method in ("PUT", "GET"):
                wanted = msgspec.structs.replace(tagged, method=method)
                compared.append(_compare(f"{method}, {keys} keys", ours, theirs, wanted, settings, say))
        alone = msgspec.structs.replace(load, connections=1)
        compared.append(_compare("PUT, one client", ours, theirs, alone, settings, say))
    counted = [_with_partitions(directory, count, load, settings, say) for count in PARTITION_COUNTS]
    return ClusterSpeed(clusters.etcd_version(), PARTITIONS, compared, counted)


def bounds(speed: ClusterSpeed) -> list[Bound]:
    """Holds the ratios against what was promised."""
    found = []
    for each in speed.compared:
        if each.what == "PUT, one client":
            ours, theirs = each.corecache.p99_ms, each.etcd.p99_ms
            found.append(
                Bound("p99 of one client's PUT, ms", ours, f"below etcd's {theirs:.2f}, in the same run", ours < theirs)
            )
        else:
            asked = PUT_ASKED if each.what.startswith("PUT") else GET_ASKED
            what = f"{each.what}, by etcd's rate"
            found.append(Bound(what, each.ratio, f"at least {asked:.0f}", each.ratio >= asked))
    return found


def _compare(
    what: str, ours: Group, theirs: Group, load: Load, settings: Settings, say: Callable[[str], None]
) -> Against:
    runs: dict[str, list[Run]] = {ours.name: [], theirs.name: []}
    spent = dict.fromkeys(runs, 0.0)
    for number in range(settings.pairs + 1):
        for group, wanted in ((ours, load), (theirs, _of_etcd(load))):
            ports = group.ports if load.connections > 1 else group.ports[:1]
            before = _cpu_seconds(group)
            run = wrk.drive(ports, wanted, settings.seconds if number else wrk.WARM_SECONDS)
            if number:
                runs[group.name].append(run)
                spent[group.name] += _cpu_seconds(group) - before
        if number:
            mine, other = runs[ours.name][-1], runs[theirs.name][-1]
            say(
                f"{what}, pair {number} of {settings.pairs}: CoreCache {mine.per_second:,.0f}/s, "
                f"etcd {other.per_second:,.0f}/s, ratio {mine.per_second / other.per_second:.2f}"
            )
    pairs = zip(runs[ours.name], runs[theirs.name], strict=True)
    of_ours, of_theirs = wrk.summary(runs[ours.name]), wrk.summary(runs[theirs.name])
    return Against(
        what=what,
        corecache=of_ours,
        etcd=of_theirs,
        ratio=median(mine.per_second / other.per_second for mine, other in pairs),
        corecache_cpu_us=spent[ours.name] / of_ours.requests * 1e6,
        etcd_cpu_us=spent[theirs.name] / of_theirs.requests * 1e6,
    )


def _with_partitions(
    directory: Path, count: int, load: Load, settings: Settings, say: Callable[[str], None]
) -> ByPartitions:
    with clusters.corecache(directory / f"corecache{count}", count, settings.memory_bytes) as group:
        _fill(group, load)
        wrk.drive(group.ports, load, wrk.WARM_SECONDS)
        put = wrk.drive(group.ports, load, settings.seconds)
        get = wrk.drive(group.ports, msgspec.structs.replace(load, method="GET"), settings.seconds)
    say(f"{count} partitions: PUT {put.per_second:,.0f}/s, GET {get.per_second:,.0f}/s")
    return ByPartitions(count, put, get)


def _cpu_seconds(group: Group) -> float:
    return sum(servers.cpu_seconds(pid) for pid in group.pids)


def _of_etcd(load: Load) -> Load:
    return msgspec.structs.replace(load, dialect="etcd")


def _fill(group: Group, load: Load) -> None:
    """Writes every key once, through all members. Raises: LoadError."""
    numbers = itertools.count()
    failures: list[str] = []
    threads = [
        threading.Thread(target=_fill_through, args=(port, load, numbers, failures))
        for port in itertools.islice(itertools.cycle(group.ports), FILLERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise LoadError(f"writing the keys of {group.name} failed: {failures[0]}")


def _fill_through(port: int, load: Load, numbers: "itertools.count[int]", failures: list[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for number in numbers:
            if number >= load.records or failures:
                break
            key = f"{load.prefix}{number:012d}"
            connection.request(*_put(load, key, b"v" * load.value_bytes))
            answer = connection.getresponse()
            said = answer.read()
            if answer.status >= 300:
                failures.append(f"{answer.status} {said[:300]!r}")
    except (OSError, http.client.HTTPException) as error:
        failures.append(repr(error))
    finally:
        connection.close()


def _put(load: Load, key: str, value: bytes) -> tuple[str, str, str | bytes]:
    """Returns method, path and body."""
    if load.dialect == "etcd":
        named = {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(value).decode()}
        return "POST", "/v3/kv/put", json.dumps(named)
    return "PUT", f"/v1/kv/{urllib.parse.quote(key, safe='')}", value
