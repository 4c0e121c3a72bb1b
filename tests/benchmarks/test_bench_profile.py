"""The profile part of the benchmark: samples become processor time of layers, and a picture of all of it.

What a sampler wrote is given here line by line; one run with the real one is at the end, where it is installed and may
look into other processes.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from benchmarks.closed_loop import Load
from benchmarks.profile_folded import DISK, LAYERS, LOOP, NODE, PARSER, ROCKSDB, SERVING, SOCKETS, Thread
from benchmarks.report import Settings

from benchmarks import bench, flame_graph, profile_folded, profile_paths, servers, tables

MAIN = "thread (10): MainThread;<module> (<string>:1);run_forever (loop.c:33397);uv_run (core.c:452);"
SYNC = "thread (11): sync;Thread.run (threading.py:9);Syncer._work (corecache/storage/threads.py:8);"
RAW = f"""\
{MAIN}Connection.run (corecache/serving/resp/connection.py:12);write (loop.c:9);write (libc.so.6) 30
{MAIN}Connection.run (corecache/serving/resp/connection.py:14);Node.peek (corecache/node/node.py:3) 6
{MAIN}Connection.run (corecache/serving/resp/connection.py:15);Node.peek (corecache/node/node.py:4) 4
{MAIN}Connection.run (corecache/serving/resp/connection.py:15);Requests.next (/home/somebody/hiredis/hiredis.py:4) 10
{SYNC}rocksdb::Sync (rocksdict.so);fdatasync (libc.so.6) 1
{SYNC}PyThread_acquire_lock_timed (python3);0x7f (libc.so.6) 500
"""
THREADS = {10: Thread("python", 6.0, 2.0), 11: Thread("python", 0.0, 1.0), 12: Thread("rocksdb:low", 1.0, 0.0)}

may_sample = pytest.mark.skipif(
    (shutil.which("py-spy") is None and not Path(sys.executable).with_name("py-spy").exists()) or os.getuid() != 0,
    reason="py-spy is not installed, or may not look into other processes",
)


def test_samples_are_worth_what_the_kernel_counted() -> None:
    """However often a thread was seen: waiting, it takes nothing, and without samples it has its time all the same."""
    stacks = profile_folded.weighed(RAW, THREADS, 100.0)
    spent = profile_folded.layers(stacks)
    assert sum(spent.values()) == pytest.approx(100.0)
    assert {layer: us for layer, us in spent.items() if us} == {
        SOCKETS: pytest.approx(20.0),
        NODE: pytest.approx(30.0),
        PARSER: pytest.approx(30.0),
        DISK: pytest.approx(10.0),
        ROCKSDB: pytest.approx(10.0),
    }


def test_a_stack_is_of_the_innermost_that_tells() -> None:
    """The interpreter's and libc's functions belong to who called them, except for calls of the kernel."""
    serving = "Connection.run (corecache/serving/resp/connection.py)"
    assert profile_folded.layer_of([serving, "malloc (libc.so.6)"]) == SERVING
    assert profile_folded.layer_of([serving, "UVStream_write (loop.c)"]) == LOOP
    assert profile_folded.layer_of([serving, "UVStream_write (loop.c)", "write (libc.so.6)"]) == SOCKETS
    assert profile_folded.layer_of([serving, "rocksdb::Put (rocksdict.so)", "write (libc.so.6)"]) == DISK
    assert profile_folded.layer_of(["thread x"]) == LAYERS[-1]


def test_a_frame_tells_neither_line_nor_place() -> None:
    """What is outside the loop is left out, and so is where a package lies on the machine."""
    stack = ["main (cli.py:1)", "run_forever (loop.c:33)", "uv_run (core.c:2)", "f (/opt/x/site-packages/a/b.py:7)"]
    assert profile_folded.cleaned(stack) == ("uv_run (core.c)", "f (a/b.py)")
    assert profile_folded.cleaned([*stack, "g (corecache/x.py:8)", "g (corecache/x.py:9)"]) == (
        "f (a/b.py)",
        "g (corecache/x.py)",
    )
    assert profile_folded.cleaned(["0x7efcd3 (libc.so.6)", "f (/home/me/b.py:7)"]) == ("(libc.so.6)", "f (b.py)")


def test_a_flame_graph_has_a_box_for_each_frame(tmp_path: Path) -> None:
    """Boxes of the same callers are one, as wide as all that they called."""
    stacks = profile_folded.weighed(RAW, THREADS, 100.0)
    root = flame_graph.tree(stacks)
    main = root.calls["thread MainThread"]
    assert main.us == pytest.approx(80.0)
    assert list(main.calls) == ["Connection.run (corecache/serving/resp/connection.py)"]
    flame_graph.draw(stacks, "SET & GET", tmp_path / "flame.svg")
    drawn = (tmp_path / "flame.svg").read_text()
    assert "<title>Node.peek (corecache/node/node.py): 30.00 µs</title>" in drawn
    assert "SET &amp; GET" in drawn
    assert "somebody" not in drawn


@may_sample
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_real_operations_are_profiled(tmp_path: Path, little: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read and a replicated write, one by each protocol: their time is that of the layers together.

    All four kinds of request are answered as they should be; two of them are enough to see the sampler at work.
    """
    all_loads = profile_paths._loads

    def answered(*given: Any) -> dict[str, Load]:
        loads = all_loads(*given)
        assert all(load.drive(0).requests for load in loads.values())
        assert len(loads) == 4
        return {what: loads[what] for what in ("GET, HTTP", "SET, Redis's protocol")}

    monkeypatch.setattr(profile_paths, "_loads", answered)
    monkeypatch.setattr(profile_paths, "WARM_SECONDS", 0)
    monkeypatch.setattr(profile_paths, "KEYS", 200)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report = bench.measure(little, ["profile"], lambda _: None)
    assert report.profile is not None
    assert len(report.profile.paths) == 2
    for path in report.profile.paths:
        assert path.run.requests > 0
        assert sum(path.layers.values()) == pytest.approx(path.cpu_us)
        # Samples are few here: of a replicated write, what serves the protocol is so little that none may have met it.
        assert sum(path.layers[layer] for layer in (NODE, SERVING, SOCKETS)) > 0
        assert not any(str(servers.ROOT) in frame for stack in path.stacks for frame in stack.frames)
    assert "| RocksDB |" in tables.markdown(report)
    assert list(tmp_path.iterdir()) == []
