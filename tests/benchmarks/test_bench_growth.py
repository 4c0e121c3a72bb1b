"""The growth part of the benchmark, small: it measures, its report can be read back, and its picture shows all of it.

No time is judged here, and no rate. Sections are run by themselves, on as little as they can do with.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from benchmarks.growth_report import AtKeys, AtSize, Growth, Recovery, Takeover
from benchmarks.report import Report, Settings
from benchmarks.wrk import Load, Run

from benchmarks import growth, growth_cluster, growth_keys, growth_plots, growth_tables, wrk
from corecache.placement.slots import partition_of

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (scripts/bench.sh does it)")

its_own_zookeeper = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
"""The scripts let a server go on by itself, and end it by its number."""

RUN = Run(1000, 1.0, 1000.0, 1.0, 1.0, 1.0, 2.0, 3.0)


def at_keys(keys: int, ratio: float) -> AtKeys:
    """Returns a step whose reads in memory had this ratio to those of a small node."""
    recoveries = [Recovery(1024 * 1024, 0.5), Recovery(9 * 1024 * 1024, 0.75)]
    return AtKeys(keys, keys * 112, 1.0, RUN, RUN, ratio, RUN, RUN, 10**8, 10**7, 4.5, 12.3, recoveries)


def whole_growth() -> Growth:
    """Returns what all sections together might leave."""
    sizes = [AtSize(3, count, RUN, RUN, 90.0 + count, 20.0, 10**8) for count in (1, 4)]
    takeovers = [Takeover(4, [900.0, 1000.0], [50.0, 60.0]), Takeover(4, [950.0], [40.0, 45.0, 70.0])]
    return Growth(10_000, 10**8, [at_keys(10_000, 1.0), at_keys(100_000, 0.9)], sizes, sizes, takeovers)


def test_the_steps_are_tenfold_and_end_with_the_most() -> None:
    """The most is always measured, also if it is not a power of ten, or less than the first step."""
    assert growth_keys.steps(10_000_000) == [10_000, 100_000, 1_000_000, 10_000_000]
    assert growth_keys.steps(250_000) == [10_000, 100_000, 250_000]
    assert growth_keys.steps(2000) == [2000]


def test_reads_in_memory_are_held_against_the_bound() -> None:
    """What counts is the slowest by the fastest of the large steps; with one of them there is nothing to compare."""
    whole = msgspec.structs.replace(
        whole_growth(), keys=[at_keys(10_000, 2.0), at_keys(100_000, 1.0), at_keys(1_000_000, 0.7)]
    )
    (bound,) = growth.bounds(whole)
    assert (bound.value, bound.met) == (0.7, False)
    assert growth.bounds(whole_growth()) == []


def test_the_tables_and_the_picture_have_every_section(tmp_path: Path) -> None:
    """Keys, disk and memory, partitions, nodes, failovers: five tables, fourteen panels, the longest times in them."""
    tables = growth_tables.all_tables(whole_growth())
    assert [len(rows) for _, rows in tables] == [2, 2, 2, 2, 1]
    assert tables[1][1][1][-4:] == ("4.5", "12.3", "0.75 s", "9 MiB")
    assert tables[4][1] == [("4", "2", "950 ms", "1000 ms", "70 ms")]
    pytest.importorskip("matplotlib")
    picture = tmp_path / "growth.svg"
    growth_plots.draw(whole_growth(), picture)
    drawn = picture.read_text()
    assert drawn.count('<g id="axes_') == 14
    for by in ("partitions, three nodes", "nodes, 1 partitions, one machine"):
        panels = (f"Rate by {by}", f"p99 by {by}", f"Peak resident set of a node by {by.partition(',')[0]}")
        assert [f"<!-- {panel} -->" in drawn for panel in panels] == [True, True, True]
    growth_plots.draw(whole_growth(), picture)
    assert picture.read_text() == drawn
    growth_plots.draw(msgspec.structs.replace(whole_growth(), keys=[], nodes=[]), picture)
    assert picture.read_text().count('<g id="axes_') == 5


def test_a_key_of_each_partition_is_found() -> None:
    """The clients that time a failover write where they say they do."""
    keys = growth_cluster.keys_of_each(64)
    assert [partition_of(key.encode(), 64) for key in keys] == list(range(64))


def test_what_the_warm_up_writes_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what it leaves in memory, to be flushed later: each request is a byte of the log, and one of the flush."""
    on_the_disk, in_memory = 0, 0

    def drive(port: int, load: Load, seconds: int) -> Run:
        nonlocal on_the_disk, in_memory
        on_the_disk, in_memory = on_the_disk + RUN.requests, in_memory + RUN.requests
        return RUN

    def rest(port: int) -> None:
        nonlocal on_the_disk, in_memory
        on_the_disk, in_memory = on_the_disk + in_memory, 0

    monkeypatch.setattr(wrk, "drive", drive)
    monkeypatch.setattr(growth_keys, "_rest", rest)
    monkeypatch.setattr(growth_keys, "written_bytes", lambda pid: on_the_disk)
    run, written = growth_keys.overwritten(1, 8000, Load("PUT", 1000, 100, 4), 8, 3)
    assert (run.requests, written) == (3 * RUN.requests, 3 * 2 * RUN.requests)


@needs_wrk
def test_a_node_grows(run_bench: Callable[..., tuple[Report, str]]) -> None:
    """The command measures reads, writes, memory, disk and recovery at the one step, and leaves nothing behind."""
    little = ["--sections", "keys", "--keys-max", "2000", "--seconds", "1", "--pairs", "1", "--connections", "4"]
    report, printed = run_bench("growth", *little)
    assert report.growth is not None
    (step,) = report.growth.keys
    assert step.keys == 2000
    assert min(run.requests for run in (step.hot, step.reference, step.spread, step.writes)) > 0
    # Nothing that was accepted can be on the disk in fewer bytes: values are random, and written to a log at first.
    assert step.load_amplification > 1
    assert step.writes_amplification > 1
    assert all(each.log_bytes > 0 and each.seconds > 0 for each in step.recoveries)
    assert "| 2,000 |" in printed
    assert [*report.growth.partitions, *report.growth.nodes, *report.growth.takeovers] == []


@needs_wrk
@its_own_zookeeper
def test_a_cluster_is_measured(tmp_path: Path, little: Settings) -> None:
    """One node and two partitions give rates, and what a request took of the processor."""
    at = growth_cluster.at_size(tmp_path / "cluster", 1, 2, little, 1, lambda _: None)
    assert (at.nodes, at.partitions) == (1, 2)
    assert min(at.put.requests, at.get.requests, at.put_cpu_us, at.get_cpu_us, at.rss_bytes) > 0


@its_own_zookeeper
def test_a_kill_is_timed_in_every_partition(tmp_path: Path, little: Settings) -> None:
    """Each partition has its pause: those that the dead node led, and the others."""
    (kill,) = growth_cluster.takeovers(tmp_path / "cluster", 4, 1, little, lambda _: None)
    assert len(kill.led_ms) in (1, 2)
    assert len(kill.led_ms) + len(kill.other_ms) == 4
    assert min(kill.led_ms + kill.other_ms) > 0
