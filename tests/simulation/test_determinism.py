"""The same seed gives the same run, whatever the process's hash seed: else no failure could be gone through again."""

import os
import subprocess
import sys

COMMAND = [sys.executable, "-c", "from corecache.cli import main; main()", "simulate", "--seed"]


def told(seed: str, hash_seed: str) -> str:
    """Returns what a run in a process of its own prints: numbers, and the hash over all that happened."""
    environ = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run([*COMMAND, seed], capture_output=True, text=True, check=True, env=environ)
    return done.stdout


def test_a_seed_gives_the_same_trace_under_different_hash_seeds() -> None:
    """Three hash seeds, one trace; another seed gives another."""
    first, *others = [told("8", hash_seed) for hash_seed in ("0", "1", "12345")]
    assert "PASSED seed=8" in first
    assert "trace=" in first
    assert others == [first, first]
    assert told("9", "0").partition("trace=")[2] != first.partition("trace=")[2]
