"""Every fuzz target keeps its invariant for its corpus and a fixed number of inputs, and the runner tells if not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in (ROOT / "fuzz").glob("fuzz_*.py"))
SEED = 20_261_123
INPUTS = 1000
FEWER_INPUTS = {"resp_server": 200}
"""Each is said to a node twice, which takes longer than to parse it."""


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m fuzz` as a user does: in the checkout's directory."""
    places = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    order = [sys.executable, "-m", "fuzz", *arguments]
    return subprocess.run(order, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "canary"])
def test_a_target_keeps_its_invariant(target: str, tmp_path: Path) -> None:
    """Whatever bytes arrive, the parser parses them or raises the error that it declares."""
    inputs = FEWER_INPUTS.get(target, INPUTS)
    run = fuzz(target, "--inputs", str(inputs), "--seed", str(SEED), "--keep", str(tmp_path))
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"held for {inputs:,} inputs" in run.stdout


def test_the_runner_finds_what_is_broken(tmp_path: Path) -> None:
    """The canary fails: its shortest failing input is kept, and the same seed fails at the same input again."""
    runs = [fuzz("canary", "--inputs", str(INPUTS), "--seed", str(SEED), "--keep", str(tmp_path)) for _ in range(2)]
    assert [run.returncode for run in runs] == [1, 1], runs
    assert runs[0].stdout == runs[1].stdout
    (kept,) = tmp_path.iterdir()
    assert bytes.fromhex(kept.read_text("ascii")) == b"airgas"


def test_every_parser_has_a_target() -> None:
    """The list of targets is complete, each one with a corpus to begin with."""
    assert {
        "answers",
        "batch",
        "config",
        "coordinator",
        "directory",
        "keyspace",
        "link",
        "parameters",
        "resp",
        "resp_server",
    } <= set(TARGETS)
    assert fuzz("list").stdout.split() == TARGETS
    assert [target for target in TARGETS if not any((ROOT / "fuzz" / "corpus" / target).iterdir())] == []
