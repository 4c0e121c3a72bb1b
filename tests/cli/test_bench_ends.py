"""`corecache bench` that is interrupted, or whose node dies or stands still in the middle."""

import asyncio
import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.command import RUN_SECONDS, Command
from cli.test_bench import SMALL, counted
from corecache.loadgen.bench import Interrupted, Phase, Watcher, Wish, run
from corecache.loadgen.figures import Figures
from corecache.loadgen.workloads import Distribution
from integration.node_harness import Node, wait_until


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[Node]:
    """A node that the test may kill."""
    node = Node(tmp_path / "node")
    try:
        yield node.start()
    finally:
        node.end()


@contextlib.contextmanager
def under_way(node: Node, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a bench that has begun to measure."""
    command = Command(f"http://127.0.0.1:{node.port}")
    running = command.process("bench", "--workload", "put", "--json", *SMALL, *options, stdin=subprocess.DEVNULL)
    with running:
        try:
            wait_until(lambda: counted(node, "PUT") > 20, "the bench to begin")
            yield running
        finally:
            running.kill()


def test_ctrl_c_prints_what_was_measured(own_node: Node) -> None:
    """And removes the keys, and ends with 130."""
    with under_way(own_node, "--seconds", "600") as running:
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, b"")
    told = json.loads(out)
    assert told["interrupted"]
    assert told["done"] > 0
    assert own_node.ask("GET", "/v1/kv?prefix=corecache-bench/").json["items"] == []


class Seen(Watcher):
    """Notes what a bench tells, and does what a test wants as soon as a phase begins."""

    def __init__(self, phase: Phase, then: Callable[[], None]) -> None:
        self.told: list[str | int] = []
        self._phase = phase
        self._then = then

    def begins(self, phase: Phase, amount: float) -> None:
        self.told.append(phase)
        if phase == self._phase:
            self._then()

    def measured(self, figures: Figures) -> None:
        self.told.append(figures.done)

    def says(self, line: str) -> None:
        self.told.append(line)


def run_here(node: Node, seen: Seen, seconds: float = 600.0, operations: int | None = None) -> None:
    """Runs a bench in this process. Raises: what it raises."""
    wish = Wish(
        endpoints=(f"http://127.0.0.1:{node.port}",),
        protocol="http",
        workload="mixed",
        distribution=Distribution.UNIFORM,
        keys=50,
        value_bytes=(10, 10),
        connections=3,
        pipeline=1,
        processes=2,
        warm_up_s=0.0,
        seconds=seconds,
        operations=operations,
        rate=None,
        poisson=False,
        seed=0,
        load=True,
        keep=False,
        histogram=None,
    )

    async def patiently() -> None:
        async with asyncio.timeout(RUN_SECONDS):
            await run(wish, seen)

    asyncio.run(patiently())


def test_a_node_that_dies_before_the_keys_are_removed(own_node: Node) -> None:
    """What was measured has been told by then."""
    seen = Seen("removing", own_node.kill)
    run_here(own_node, seen, operations=100)
    assert seen.told[:4] == ["loading", "measuring", 100, "removing"]
    (line,) = seen.told[4:]
    assert str(line).startswith("the keys were not removed: ")


def test_ctrl_c_twice_while_the_keys_are_removed(own_node: Node) -> None:
    """It ends at once; what was measured has been told by then."""

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    seen = Seen("removing", twice)
    with pytest.raises(asyncio.CancelledError):
        run_here(own_node, seen, operations=100)
    assert seen.told == ["loading", "measuring", 100, "removing"]


@pytest.mark.parametrize("phase", ["loading", "measuring", "removing"])
def test_ctrl_c_at_the_begin_of_each_phase(own_node: Node, phase: Phase) -> None:
    """Also after the workers were told when to begin, and before they do: all keys are removed."""
    seen = Seen(phase, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        run_here(own_node, seen, operations=100 if phase == "removing" else None)
    assert (
        seen.told
        == {
            "loading": ["loading", "removing"],
            "measuring": ["loading", "measuring", 0, "removing"],
            "removing": ["loading", "measuring", 100, "removing"],
        }[phase]
    )
    assert own_node.ask("GET", "/v1/kv?prefix=corecache-bench/").json["items"] == []


def test_a_node_that_is_killed_and_comes_back(own_node: Node) -> None:
    """What was under way is lost and counted, the connections are made anew, and the rest succeeds."""
    with under_way(own_node, "--operations", "5000") as running:
        own_node.kill()
        own_node.start()
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    told = json.loads(out)
    assert told["failures"]["connection_lost"] >= 1
    assert told["done"] + told["failed"] == 5000
    assert b"operations failed: " in err


def test_a_node_that_is_killed_for_good(own_node: Node) -> None:
    """The figures until then, one line on the failures, and one on the keys that could not be removed."""
    with under_way(own_node, "--seconds", "2") as running:
        own_node.kill()
        out, err = running.communicate(timeout=90)
    assert running.returncode == 0, err
    assert json.loads(out)["failures"]["connection_lost"] >= 3
    assert err.count(b"\n") == 2
    assert b"keys were not removed" in err


def test_an_open_loop_charges_a_stall_to_all_that_were_due(own_node: Node) -> None:
    """A node that stands still delays far more operations than it has connections; all of them are counted as late."""
    with under_way(own_node, "--rate", "200", "--operations", "1000") as running:
        assert own_node.process is not None
        own_node.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(1.0)
        finally:
            own_node.process.send_signal(signal.SIGCONT)
        told = json.loads(running.communicate(timeout=60)[0])
    assert (told["done"], told["failed"]) == (1000, 0)
    late = [percent for percent, ms in told["total"]["percentiles"] if ms >= 250]
    # Of the 200 that were due while it stood, those of its first three quarters waited for a quarter at least.
    assert min(late) <= 88
    assert told["total"]["max_ms"] >= 900
