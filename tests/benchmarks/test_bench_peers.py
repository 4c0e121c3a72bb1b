"""The part of the benchmark that is beside all peers: what it counts as success, and that it runs on little.

A comparison is worth what its answers are worth: a failure that is taken for an answer flatters whoever fails. So the
judges of answers are shown what is wrong, and the small run is of real servers.
"""

import base64
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.peers_report import PeerCell, PeersSpeed
from benchmarks.report import Report
from benchmarks.systems import catalog
from benchmarks.systems.dialects import CoreCacheHttp, Dialect, EtcdHttp, Resp, RespThenWait, of_http
from benchmarks.systems.wire import Cell
from benchmarks.wrk import LoadError, Run

from benchmarks import bench, peers, peers_chart, peers_tables, servers, tables

_COMMANDS = ("wrk", "etcd", "redis-server", "redis-benchmark", "java")
needs_peers = pytest.mark.skipif(
    not all(shutil.which(command) for command in _COMMANDS) or not Path("/usr/share/java/zookeeper.jar").exists(),
    reason="not all peers are installed (scripts/bench.sh peers does it)",
)
TITLES = {name: each.title for name, each in catalog.SYSTEMS.items()}


def run_of(rate: float, p50_ms: float = 1.0) -> Run:
    """Returns a run of a second."""
    return Run(int(rate), 1.0, rate, p50_ms, p50_ms, p50_ms, p50_ms, p50_ms)


def cell_of(system: str, operation: str, clients: int, *runs: Run | None, busy: float = 0.5) -> PeerCell:
    """Returns a cell of 100 bytes with these rounds."""
    return PeerCell(system, operation, 100, clients, list(runs), busy, ["no answer"] * runs.count(None))


def speed_of(*cells: PeerCell) -> PeersSpeed:
    """Returns a report of these cells."""
    systems = [each for name, each in catalog.SYSTEMS.items() if name in {cell.system for cell in cells}]
    clients = sorted({cell.clients for cell in cells})
    return PeersSpeed(
        rounds=len(cells[0].runs),
        seconds=1,
        keys=10,
        versions={},
        idle_cores=[0.1],
        systems=systems,
        clients=clients,
        sizes=[100],
        cells=list(cells),
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nvalue",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nETag: x\r\n\r\nvalue",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nvalue\r\n0\r\n\r\n",
    ],
)
def test_an_http_answer_is_whole_only_at_its_end(answer: bytes) -> None:
    """Each part of it is not enough, be its length told or not."""
    whole = of_http(b"value")
    assert [whole(answer[:end]) for end in range(1, len(answer) + 1)] == [False] * (len(answer) - 1) + [True]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nvalue",
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nvalue and more",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_a_wrong_http_answer_is_no_success(answer: bytes) -> None:
    """A refusal, another value, more than was told, or nothing where a value was asked for."""
    with pytest.raises(LoadError, match="was answered"):
        of_http(b"value")(answer)


def test_a_write_without_content_is_done() -> None:
    """CoreCache answers a PUT with 204 and no body."""
    assert CoreCacheHttp().written()(b'HTTP/1.1 204 No Content\r\nETag: "7"\r\n\r\n')


def test_etcd_is_asked_in_base64() -> None:
    """The gateway wants it so, and gives values back so."""
    assert EtcdHttp().write(1, b"\xff").endswith(b'{"key":"a2V5OjAwMDAwMDAwMDAwMQ==","value":"/w=="}')
    body = b'{"kvs":[{"value":"/w=="}]}'
    assert EtcdHttp().found([b"\xff"])(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def test_two_replicas_are_waited_for() -> None:
    """The WAIT is part of the request, and its answer of the right one."""
    assert RespThenWait().write(1, b"v").endswith(b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$1\r\n0\r\n")
    assert RespThenWait().written() == b"+OK\r\n:2\r\n"


def test_all_systems_belong_to_one_family() -> None:
    """Each is started by one, and says what it promises."""
    assert sorted(system for family in catalog.FAMILIES for system in family.systems) == sorted(catalog.SYSTEMS)
    assert all(each.writes and each.reads for each in catalog.SYSTEMS.values())


def test_a_ratio_is_the_median_of_the_rounds_that_have_both() -> None:
    """A round that failed on one side says nothing; without any there is no ratio."""
    speed = speed_of(
        cell_of("corecache3-http", "write", 64, run_of(300.0), run_of(200.0), None, run_of(100.0)),
        cell_of("etcd3", "write", 64, run_of(100.0), run_of(200.0), run_of(50.0), run_of(10.0)),
        cell_of("zookeeper3", "write", 64, None, None, None, None),
    )
    assert peers.ratio(speed, "corecache3-http", "etcd3", "write", 100, 64) == 3.0
    assert peers.ratio(speed, "corecache3-http", "zookeeper3", "write", 100, 64) is None
    assert peers.ratio(speed, "corecache3-http", "etcd3", "read", 100, 64) is None


def test_the_bounds_are_those_that_were_asked() -> None:
    """Three times etcd's writes, Redis's writes, four times etcd's reads, and one client sooner than both."""
    speed = speed_of(
        cell_of("corecache3-http", "write", 64, run_of(300.0)),
        cell_of("corecache3-resp", "write", 64, run_of(99.0)),
        cell_of("etcd3", "write", 64, run_of(100.0)),
        cell_of("redis3", "write", 64, run_of(100.0)),
        cell_of("corecache3-http", "read", 64, run_of(399.0)),
        cell_of("etcd3", "read", 64, run_of(100.0)),
        cell_of("corecache3-http", "write", 1, run_of(10.0, 1.0)),
        cell_of("corecache3-resp", "write", 1, run_of(10.0, 0.9)),
        cell_of("etcd3", "write", 1, run_of(10.0, 2.0)),
        cell_of("redis3", "write", 1, run_of(10.0, 1.0)),
    )
    assert [(round(bound.value, 2), bound.met) for bound in peers.bounds(speed)] == [
        (3.0, True),
        (0.99, False),
        (3.99, False),
        (1.0, False),
        (0.9, True),
    ]
    assert peers.bounds(speed_of(cell_of("etcd3", "write", 1, run_of(10.0)))) == []


def test_failures_are_told_in_the_tables() -> None:
    """A cell whose rounds all failed has no number, and one of which some failed says how many."""
    speed = speed_of(
        cell_of("etcd3", "write", 64, None, run_of(100.0)),
        cell_of("redis3", "write", 64, None, None),
    )
    head, rows = peers_tables.all_of(speed)[-2]
    assert {len(row) for row in rows} == {len(head)}
    assert rows == [
        (TITLES["etcd3"], "100 · 1.00 · 1.00 ms (1 of 2 failed)"),
        (TITLES["redis3"], "failed"),
    ]


def test_a_busy_load_generator_is_told_in_the_tables() -> None:
    """A cell in which it had no time to wait is marked, and what the mark means is said."""
    speed = speed_of(cell_of("redis1", "read", 64, run_of(100.0), busy=0.95))
    _, rows = peers_tables.all_of(speed)[-1]
    assert rows == [(TITLES["redis1"], "100 · 1.00 · 1.00 ms ▲")]
    assert "▲ marks a cell" in peers_tables.opening(speed)


def test_each_round_begins_with_another_system() -> None:
    """So none always follows the same one."""
    orders = [peers.rotated(["a", "b", "c"], number) for number in range(4)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_the_chart_has_a_line_for_each_system(tmp_path: Path) -> None:
    """It is a picture of the format that its name says, the same for the same numbers."""
    pytest.importorskip("matplotlib")
    speed = speed_of(
        *(
            cell_of(name, operation, clients, run_of(1000.0 * clients))
            for name in catalog.SYSTEMS
            for operation in peers.OPERATIONS
            for clients in (1, 64)
        )
    )
    first, again = tmp_path / "first.svg", tmp_path / "again.svg"
    for path in (first, again):
        peers_chart.draw(speed, path)
    assert first.read_bytes() == again.read_bytes()
    drawn = first.read_text()
    for title in TITLES.values():
        assert f"<!-- {title.replace('`', '')} -->" in drawn


def test_the_page_has_a_place_for_the_results() -> None:
    """`--write-docs` finds its marks in docs/benchmarks.md."""
    text = (servers.ROOT / "docs" / "benchmarks.md").read_text()
    assert text.index("<!-- results of peers: begin -->") < text.index("<!-- results of peers: end -->")


def test_a_system_that_nobody_knows_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """And so is no number of clients."""
    for wrong in (["--systems", "etcd3,memcached"], ["--clients", "0"]):
        with pytest.raises(SystemExit, match="2"):
            bench.main(["peers", *wrong])
    assert "memcached" in capsys.readouterr().err


def test_values_of_a_size_are_the_same_everywhere() -> None:
    """Who fills, who writes and who reads agree, and nobody can compress them, not even all of them together."""
    values = Cell("write", 100, 1, 0).values
    assert values == Cell("read", 100, 64, 0).values
    assert len(zlib.compress(b"".join(values))) >= 100 * len(values)


@pytest.mark.parametrize("dialect", [CoreCacheHttp(), EtcdHttp(), Resp()])
def test_any_of_the_values_is_a_right_answer_and_no_other(dialect: Dialect) -> None:
    """As soon as it is whole, in each protocol."""
    whole = dialect.found([b"one", b"two"])
    for value, right in ((b"two", True), (b"six", False)):
        if isinstance(dialect, Resp):
            answer = b"$3\r\n%b\r\n" % value
        else:
            body = b'{"value":"%b"}' % base64.b64encode(value) if isinstance(dialect, EtcdHttp) else value
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        assert not any(whole(answer[:end]) for end in range(1, len(answer)))
        if right:
            assert whole(answer)
        else:
            with pytest.raises(LoadError, match="was answered"):
                whole(answer)


def test_an_error_of_redis_is_no_value() -> None:
    """It is shorter than a value, and nothing is waited for."""
    with pytest.raises(LoadError, match="CLUSTERDOWN"):
        Resp().found([b"one"])(b"-CLUSTERDOWN\r\n")


@needs_peers
def test_the_part_runs_on_little(run_bench: Callable[..., tuple[Report, str]]) -> None:
    """Every system works in both operations, nothing fails, and no file or server is left behind."""
    report, printed = run_bench("peers", "--seconds", "1", "--pairs", "1", "--clients", "4", "--sizes", "100")
    assert report.peers is not None
    assert [each.name for each in report.peers.systems] == list(catalog.SYSTEMS)
    assert {(cell.system, cell.operation) for cell in report.peers.cells} == {
        (system, operation) for system in catalog.SYSTEMS for operation in peers.OPERATIONS
    }
    for cell in report.peers.cells:
        assert not cell.failures
        assert all(run is not None and run.requests > 0 for run in cell.runs)
    assert tables.markdown(report) in printed
    assert report.settings.command == "scripts/bench.sh --seconds 1 --pairs 1 --clients 4 --sizes 100 --only peers"
