"""The benchmark runs, small: its parts start, measure and report. No time is judged here, and no ratio.

What can be wrong in a benchmark without anybody seeing it is that it counts failures as work, or leaves a server
behind; both are checked. The parts need wrk, which `scripts/bench.sh` installs; where it is absent they are skipped.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from benchmarks.filling import fill
from benchmarks.report import Report
from benchmarks.servers import Server
from benchmarks.wrk import Load, LoadError, Run

from benchmarks import servers, tables, wrk

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (scripts/bench.sh does it)")


@pytest.fixture
def ceiling(tmp_path: Path) -> Iterator[Server]:
    """The stack's ceiling, running on an empty database."""
    with servers.ceiling(tmp_path) as running:
        yield running


def run_of(requests: int, rate: float, longest_ms: float) -> Run:
    """Returns a run in which all latencies but the longest are 1 ms."""
    return Run(requests, requests / rate, rate, 1.0, 1.0, 1.0, 1.0, longest_ms)


def test_the_ceiling_stores_what_it_is_given(ceiling: Server) -> None:
    """A value that was put is got back, byte for byte, and a key that was not is 404."""
    with httpx.Client(base_url=f"http://127.0.0.1:{ceiling.port}") as client:
        value = bytes(range(256)) * 1000
        assert client.put("/v1/kv/some", content=value).status_code == 204
        answer = client.get("/v1/kv/some")
        assert (answer.status_code, answer.content) == (200, value)
        assert client.get("/v1/kv/other").status_code == 404


def test_the_ceiling_keeps_what_it_acknowledged_when_it_is_killed(ceiling: Server) -> None:
    """Its PUTs are as durable as the node's, or the comparison would flatter neither."""
    fill(ceiling.port, Load("PUT", records=500, value_bytes=10, connections=16))
    ceiling.kill()
    ceiling.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{ceiling.port}") as client:
        assert {client.get(f"/v1/kv/{key:012d}").status_code for key in range(500)} == {200}


@needs_wrk
def test_wrk_measures_the_ceiling(ceiling: Server) -> None:
    """One second of PUT and of GET gives requests, a rate and ordered percentiles."""
    load = Load("PUT", records=200, value_bytes=100, connections=4)
    fill(ceiling.port, load)
    for each in (load, msgspec.structs.replace(load, method="GET")):
        run = wrk.drive(ceiling.port, each, seconds=1)
        assert run.requests > 0
        assert run.per_second == pytest.approx(run.requests / run.seconds)
        assert 0 < run.p50_ms <= run.p95_ms <= run.p99_ms <= run.max_ms


@needs_wrk
def test_a_run_with_refused_requests_is_no_measurement(ceiling: Server) -> None:
    """Reads of keys that are not there end the run with an error."""
    with pytest.raises(LoadError, match="answered with an error"):
        wrk.drive(ceiling.port, Load("GET", records=10, value_bytes=1, connections=2), seconds=1)


def test_several_runs_become_one() -> None:
    """Requests add up, the longest latency is the longest of all, the rate is the median."""
    summary = wrk.summary([run_of(100, 10.0, 5.0), run_of(300, 30.0, 9.0), run_of(200, 20.0, 7.0)])
    assert (summary.requests, summary.per_second, summary.max_ms) == (600, 20.0, 9.0)


def test_results_replace_those_of_the_last_time(tmp_path: Path) -> None:
    """Only what stands between a page's marks changes, or a part's own; a page without them is refused."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    tables.write_between_marks(page, "new")
    assert page.read_text() == f"before\n{tables.BEGIN}\n\nnew\n\n{tables.END}\nafter\n"
    page.write_text(f"{tables.BEGIN}old{tables.END}<!-- results of resp: begin -->old<!-- results of resp: end -->")
    tables.write_between_marks(page, "new", "resp")
    assert page.read_text().startswith(f"{tables.BEGIN}old{tables.END}<!-- results of resp: begin -->\n\nnew\n\n<!--")
    tables.write_between_marks(page, "newer", "speed")
    assert page.read_text().startswith(f"{tables.BEGIN}\n\nnewer\n\n{tables.END}<!-- results of resp: begin -->\n\nnew")
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no lines"):
        tables.write_between_marks(page, "new")


def test_the_page_has_a_place_for_the_results() -> None:
    """`--write-docs` finds its marks in docs/benchmarks.md."""
    text = (servers.ROOT / "docs" / "benchmarks.md").read_text()
    assert text.index(tables.BEGIN) < text.index(tables.END)
    assert text.index("<!-- results of resp: begin -->") < text.index("<!-- results of resp: end -->")


@needs_wrk
@pytest.mark.parametrize("part", ["speed", "flush", "memory", "catch-up"])
def test_a_part_of_the_benchmark_runs_on_little(part: str, run_bench: Callable[..., tuple[Report, str]]) -> None:
    """It leaves a report in which it has measured, and no file or server behind."""
    little = ["--seconds", "1", "--connections", "4", "--records", "3000", "--pairs", "1"]
    report, printed = run_bench(*little, "--catch-up-bytes", "1000000", "--only", part)
    if part == "speed":
        assert report.speed is not None
        assert report.speed.put.node.requests > 0
        assert report.speed.get.ceiling.requests > 0
        assert len(report.bounds) == 2
    elif part == "flush":
        assert report.flushes is not None
        assert report.flushes.flushes > 0
    elif part == "memory":
        assert report.memory is not None
        assert report.memory.peak_rss_bytes > 0
        assert len(report.bounds) == 3
    else:
        assert report.catch_up is not None
        assert report.catch_up.filling.requests > 0
    assert ("| Date | Version |" in printed) == (part != "catch-up")
