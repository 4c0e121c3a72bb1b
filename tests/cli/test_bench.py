"""`corecache bench` against a real node and a real Redis, from its begin to its end."""

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from cli.command import PROGRAM, RUN_SECONDS, Command, Ended
from cli.test_reports_commands import table_rows
from integration.node_harness import Node
from integration.resp_harness import RedisServer, RespConnection, RespNode

SMALL = ("--keys", "50", "--connections", "3", "--value-bytes", "10-20", "--warm-up", "0")
SHORT = (*SMALL, "--seconds", "0.3")


@pytest.fixture(scope="module")
def resp_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RespNode]:
    """A node that speaks both protocols."""
    node = RespNode(tmp_path_factory.mktemp("bench") / "node")
    try:
        node.start()
        yield node
    finally:
        node.end()


@pytest.fixture(scope="module")
def bench(resp_node: RespNode) -> Command:
    """Runs commands against the node that speaks both."""
    return Command(f"http://127.0.0.1:{resp_node.port}")


def figures(ended: Ended) -> dict[str, Any]:
    """Returns what a bench printed with --json, which must have ended well."""
    assert ended.code == 0, ended
    told: dict[str, Any] = json.loads(ended.out)
    return told


def counted(node: Node, method: str) -> int:
    """Returns how many requests for keys the node has answered."""
    text = node.ask("GET", "/metrics").body.decode()
    pattern = rf'^corecache_http_requests_total{{method="{method}",route="/v1/kv/{{key}}",.*}} (\S+)$'
    return int(sum(map(float, re.findall(pattern, text, re.MULTILINE))))


@pytest.mark.parametrize(
    ("workload", "protocol"),
    [("a", "http"), ("a", "resp"), ("d", "http"), ("d", "resp"), ("e", "http"), ("f", "http"), ("f", "resp")],
)
def test_operations_are_counted_and_keys_removed(bench: Command, workload: str, protocol: str) -> None:
    """So many operations are exactly these, none failed, none found nothing, and no key stays."""
    wish = ("bench", "--workload", workload, "--protocol", protocol, "--operations", "237", *SMALL)
    told = figures(bench(*wish, "--json"))
    assert (told["workload"], told["protocol"], told["done"]) == (workload, protocol, 237)
    assert (told["failed"], told["absent"], told["failures"]) == (0, 0, {})
    assert sum(each["done"] for each in told["operations"]) == told["total"]["done"] == 237
    assert sum(second["done"] for second in told["timeline"]) == 237
    for each in (*told["operations"], told["total"]):
        assert 0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"] <= each["p999_ms"] <= each["max_ms"]
    assert bench("scan", "--prefix", "corecache-bench/").out == b""


def test_it_really_asks(bench: Command, resp_node: RespNode) -> None:
    """What the node counts is what the bench says that it did."""
    before = counted(resp_node, "PUT"), counted(resp_node, "GET")
    told = figures(bench("bench", "--workload", "a", "--operations", "300", *SMALL, "--json"))
    done = {each["operation"]: each["done"] for each in told["operations"]}
    assert (counted(resp_node, "PUT") - before[0], counted(resp_node, "GET") - before[1]) == (
        done["update"],
        done["read"],
    )


def test_processes_and_pipelines_share_the_load(bench: Command) -> None:
    """Two processes with pipelines do exactly what was asked for, inserts included."""
    wish = ("bench", "--protocol", "resp", "--processes", "2", "--pipeline", "4", "--workload", "d")
    told = figures(bench(*wish, "--operations", "501", *SMALL, "--json"))
    assert (told["done"], told["failed"], told["absent"]) == (501, 0, 0)
    assert bench("scan", "--prefix", "corecache-bench/").out == b""


def test_an_open_loop_does_what_is_due(bench: Command) -> None:
    """A hundred a second for half a second is fifty, however fast the node is."""
    told = figures(bench("bench", "--rate", "100", "--seconds", "0.5", *SMALL, "--json"))
    assert (told["done"], told["failed"]) == (50, 0)
    assert told["rate"] == 100


def test_what_was_due_in_the_warm_up_does_not_take_the_time_that_is_measured(bench: Command) -> None:
    """More is asked than any node can do, from the warm-up on: what is done in the measured time is told."""
    wish = ("bench", "--workload", "put", "--rate", "200000", "--warm-up", "0.5", "--seconds", "0.5")
    ended = bench(*wish, "--keys", "50", "--connections", "3", "--json")
    told = json.loads(ended.out)
    assert ended.code == 0
    assert told["done"] > 0
    assert told["done"] + told["failures"]["not_sent"] == 100_000


def test_keys_are_kept_and_found_again(bench: Command) -> None:
    """--keep leaves them, --no-load reads them and leaves them; without them reads find nothing, which is said."""
    assert bench("bench", *SHORT, "--keep").code == 0
    assert bench("scan", "--prefix", "corecache-bench/", "--keys-only").out.count(b"\n") == 50
    told = figures(bench("bench", "--workload", "c", "--no-load", *SHORT, "--json"))
    assert told["absent"] == 0
    assert bench("scan", "--prefix", "corecache-bench/", "--keys-only").out.count(b"\n") == 50
    assert bench("bench", *SHORT).code == 0
    ended = bench("bench", "--workload", "c", "--no-load", *SHORT, "--json")
    told = figures(ended)
    assert told["absent"] == told["done"] > 0
    assert "found no record" in ended.err


@pytest.mark.parametrize("protocol", ["http", "resp"])
def test_a_run_leaves_alone_what_another_has_inserted(bench: Command, resp_node: RespNode, protocol: str) -> None:
    """Both with the same seed: the first keeps what it inserted, the second inserts and removes its own."""
    wish = ("bench", "--workload", "d", "--protocol", protocol, "--operations", "400", *SMALL, "--json")
    first = figures(bench(*wish, "--keep"))
    kept = bench("scan", "--prefix", "corecache-bench/").out
    try:
        inserted = {each["operation"]: each["done"] for each in first["operations"]}["insert"]
        assert kept.count(b"\n") == 50 + inserted > 50
        second = figures(bench(*wish, "--no-load"))
        assert (second["absent"], second["failed"]) == (0, 0)
        assert bench("scan", "--prefix", "corecache-bench/").out == kept
    finally:
        for key in bench("scan", "--prefix", "corecache-bench/", "--keys-only").out.splitlines():
            resp_node.delete(key)


def test_the_table(bench: Command) -> None:
    """A row for each kind of operation and one for all."""
    header, *rows = table_rows(bench("bench", *SHORT).out)
    assert header[:3] == ["operation", "done", "per second"]
    assert [row[0] for row in rows] == ["read", "update", "all"]
    counts = [int(row[1].replace(",", "")) for row in rows]
    assert counts[0] + counts[1] == counts[2] > 0


def test_histograms_are_hdrs(bench: Command, tmp_path: Path) -> None:
    """HdrHistogram's own reader finds in the log what was done; the percentiles end with all of it."""
    log, percentiles = tmp_path / "h.hlog", tmp_path / "h.hgrm"
    told = figures(bench("bench", *SMALL, "--operations", "200", "--histogram", str(log), "--json"))
    reader = HistogramLogReader(str(log), HdrHistogram(1, 60_000_000, 3))
    counted = 0
    while (interval := reader.get_next_interval_histogram()) is not None:
        counted += interval.get_total_count()
    reader.close()
    assert counted == told["done"] == 200
    assert bench("bench", *SMALL, "--operations", "200", "--histogram", str(percentiles)).code == 0
    assert re.search(r"1\.000000000000\s+200\s", percentiles.read_text())


@pytest.mark.parametrize(("name", "magic"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml"), ("p.pdf", b"%PDF")])
def test_a_picture(bench: Command, tmp_path: Path, name: str, magic: bytes) -> None:
    """The file is of the kind that its name says, and not empty."""
    assert bench("bench", *SHORT, "--plot", str(tmp_path / name)).code == 0
    drawn = (tmp_path / name).read_bytes()
    assert drawn.startswith(magic)
    assert len(drawn) > 5000


@pytest.mark.parametrize(
    ("option", "name"), [("--histogram", "h.hgrm"), ("--histogram", "h.hlog"), ("--plot", "p.png")]
)
def test_figures_are_told_though_a_file_can_not_be_written(
    bench: Command, tmp_path: Path, option: str, name: str
) -> None:
    """A full disk: one line says so, and no key stays."""
    (tmp_path / name).symlink_to("/dev/full")
    ended = bench("bench", *SMALL, "--operations", "200", option, str(tmp_path / name), "--json")
    assert (ended.code, ended.err.count("\n")) == (5, 1)
    assert "No space left" in ended.err
    assert json.loads(ended.out)["done"] == 200
    assert bench("scan", "--prefix", "corecache-bench/").out == b""


def test_with_a_bar_the_figures_go_to_standard_output_all_the_same(bench: Command) -> None:
    """Standard error is a terminal, standard output is not."""
    ours, theirs = os.openpty()
    try:
        ended = subprocess.run(
            [*PROGRAM, "bench", *SMALL, "--operations", "200", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=RUN_SECONDS,
            env=bench.environment,
            check=True,
        )
        assert b"loading" in os.read(ours, 65_536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert json.loads(ended.stdout)["done"] == 200


def test_a_plain_redis(tmp_path: Path) -> None:
    """Any server of Redis's protocol will do, by host and port."""
    with RedisServer(tmp_path / "redis") as redis:
        command = Command(f"127.0.0.1:{redis.resp_port}")
        told = figures(
            command("bench", "--protocol", "resp", "--pipeline", "8", *SMALL, "--operations", "500", "--json")
        )
        assert (told["done"], told["failed"]) == (500, 0)
        with contextlib.closing(RespConnection(redis.resp_port)) as connection:
            assert connection.ask("DBSIZE").value == 0


def test_a_port_of_another_protocol_is_wrong_usage(bench: Command, resp_node: RespNode) -> None:
    """HTTP's port asked in Redis's protocol: one line that says so."""
    code, out, err = bench("bench", "--protocol", "resp", "--endpoint", f"127.0.0.1:{resp_node.port}", *SHORT)
    assert (code, out) == (2, b"")
    assert "does not speak Redis's protocol" in err
    assert err.count("\n") == 1


def test_an_endpoint_that_is_silent_is_left_out(bench: Command, resp_node: RespNode) -> None:
    """The others take the load, and the user is told."""
    good, bad = f"http://127.0.0.1:{resp_node.port}", "http://127.0.0.1:9"
    ended = bench("bench", "--endpoint", bad, "--endpoint", good, *SHORT, "--json")
    assert figures(ended)["targets"] == [f"127.0.0.1:{resp_node.port}"]
    assert bad in ended.err
