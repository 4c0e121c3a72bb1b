"""The part of the benchmark that is beside Redis: what its load generators count, and that it runs on little.

A load generator that takes a refusal for an answer, or half an answer for a whole one, would flatter whom it measures;
so it is let loose on servers that do such things.
"""

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from benchmarks.closed_loop import Load, ask, key
from benchmarks.redis_benchmark import RedisBenchmark, printed_run
from benchmarks.report import AgainstRedis, Driven, Report, RespSpeed, Settings
from benchmarks.wrk import LoadError, Run

from benchmarks import bench, redis_benchmark, resp, resp_tables, servers, tables, wrk
from corecache.wire.resp_command import command

needs_redis = pytest.mark.skipif(
    not (shutil.which("redis-server") and shutil.which("redis-benchmark")),
    reason="Redis is not installed (scripts/bench.sh does it)",
)
PING = command(b"PING")


@contextmanager
def answering(*parts: bytes) -> Iterator[int]:
    """Answers everything that comes on one connection with these parts, each in a packet; without any, closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, suppress(ConnectionError):
                while connection.recv(65_536) and parts:
                    for part in parts:
                        connection.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def driven(rate: float, p50_ms: float) -> Driven:
    """Returns what a side did in a second."""
    return Driven(Run(int(rate), 1.0, rate, p50_ms, p50_ms, p50_ms, p50_ms, p50_ms), 10.0, 0.5)


def against(what: str, ratio: float, ours_ms: float = 1.0, theirs_ms: float = 1.0) -> AgainstRedis:
    """Returns a comparison with this ratio, and these latencies."""
    return AgainstRedis(what, driven(1000.0 * ratio, ours_ms), driven(1000.0, theirs_ms), ratio)


def test_an_answer_in_two_parts_is_one_answer() -> None:
    """What is answered bit by bit counts once, with ordered latencies, and the rate is requests by time."""
    with answering(b"+O", b"K\r\n:2\r\n") as port:
        run = Load({port: [PING]}, b"+OK\r\n:2\r\n", 1).drive(1)
    assert run.requests > 0
    assert run.seconds >= 1
    assert run.per_second == pytest.approx(run.requests / run.seconds)
    assert 0 < run.p50_ms <= run.p95_ms <= run.p99_ms <= run.max_ms


@pytest.mark.parametrize("parts", [(b"-ERR no\r\n",), (b"+OK\r\n:1\r\n",), (b"+OK\r\n:2\r\n+OK\r\n",), ()])
def test_any_other_answer_is_no_measurement(parts: tuple[bytes, ...]) -> None:
    """An error, a replica too few, an answer too many, or none at all, ends the run."""
    with answering(*parts) as port, pytest.raises(LoadError, match=r"was answered|was closed"):
        Load({port: [PING]}, b"+OK\r\n:2\r\n", 1).drive(1)


@needs_redis
def test_both_load_generators_measure_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They find the keys that were written, and end with an error when the server is gone."""
    (port,) = servers.free_ports(1)
    value = b"v" * 10
    with servers.redis(tmp_path, port):
        assert set(ask(port, [command(b"SET", key(number), value) for number in range(250)])) == {b"+OK"}
        gets = Load({port: [command(b"GET", key(number)) for number in range(250)]}, b"$10\r\n%b\r\n" % value, 4)
        assert gets.drive(1).requests > 0
        run = RedisBenchmark(port, "GET", pipeline=4, connections=4, keys=250, value_bytes=10).drive(1)
        assert run.requests / run.seconds == pytest.approx(run.per_second)
        assert 0 < run.p50_ms <= run.p95_ms <= run.p99_ms <= run.max_ms
        assert ask(port, [command(b"DBSIZE")]) == [b":250"]
    monkeypatch.setattr(redis_benchmark, "PATIENCE_SECONDS", 1)
    with pytest.raises(LoadError, match="redis-benchmark"):
        RedisBenchmark(port, "GET", pipeline=1, connections=1, keys=1, value_bytes=1).drive(1)


def test_a_csv_without_the_test_is_an_error() -> None:
    """Nothing is made up where redis-benchmark said nothing."""
    head = '"test","rps",' + ",".join(f'"{each}_latency_ms"' for each in ("avg", "min", "p50", "p95", "p99", "max"))
    run = printed_run(f'{head}\n"SET","2000.00","2","1","3","4","5","6"\n', "SET", 1000)
    assert run == Run(1000, 0.5, 2000.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    with pytest.raises(LoadError, match="no line of GET"):
        printed_run(f"{head}\n", "GET", 1000)


def test_the_bounds_are_those_that_were_asked() -> None:
    """Half of Redis's rate, three tenths in a pipeline, its rate with three nodes, and one client sooner than there."""
    speed = RespSpeed(
        "7.0.15",
        [against("SET", 0.5), against("GET", 0.4), against("SET, pipeline 16", 0.3), against("GET, pipeline 16", 0.2)],
        [against("SET, 64 connections", 1.0), against("SET, one client", 2.0, 1.5, 1.2)],
        {"GET": driven(9000.0, 0.1)},
    )
    assert [bound.met for bound in resp.bounds(speed)] == [True, False, True, False, True, False]
    for head, rows in (resp_tables.one_node(speed), resp_tables.three_nodes(speed), resp_tables.generator(speed)):
        assert {len(row) for row in rows} == {len(head)}


@pytest.mark.parametrize("arguments", [["resp"], ["--only", "resp"], ["resp", "--only", "resp"]])
def test_a_part_is_named_by_itself_or_with_only(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both run that part and no other, and give the same command in the report."""
    asked: list[tuple[str, list[str]]] = []

    def measure(settings: Settings, parts: list[str], _: object) -> Report:
        asked.append((settings.command, parts))
        raise LoadError("enough")

    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(shutil, "which", lambda _: "there")
    assert bench.main([*arguments, "--seconds", "1"]) == 1
    assert asked == [("scripts/bench.sh --seconds 1 --only resp", ["resp"])]


def test_two_parts_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """One part, or all."""
    with pytest.raises(SystemExit, match="2"):
        bench.main(["resp", "--only", "speed"])
    assert "name one part" in capsys.readouterr().err


@needs_redis
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_the_part_runs_on_little(tmp_path: Path, little: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every comparison is made, with both sides at work, and no file is left behind. None takes longer than it must."""
    monkeypatch.setattr(resp, "KEYS", 500)
    monkeypatch.setattr(wrk, "WARM_SECONDS", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report = bench.measure(msgspec.structs.replace(little, seconds=0), ["resp"], lambda _: None)
    assert report.resp is not None
    assert [each.what for each in report.resp.one_node] == ["SET", "GET", "SET, pipeline 16", "GET, pipeline 16"]
    assert len(report.resp.three_nodes) == 4
    for each in (*report.resp.one_node, *report.resp.three_nodes):
        assert each.corecache.run.requests > 0
        assert each.redis.run.requests > 0
    assert len(report.bounds) == 8
    assert "SET, one client" in tables.markdown(report)
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    assert list(tmp_path.iterdir()) == []
