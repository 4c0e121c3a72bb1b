"""Makes `benchmarks`, which is not installed, importable however pytest was started, with the scripts that it uses.

And what its tests share: settings for a measurement on little, and the command as a user runs it.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

_CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_CHECKOUT), str(_CHECKOUT / "scripts")]

from benchmarks.report import Report, Settings  # noqa: E402 importable from here on


@pytest.fixture
def little() -> Settings:
    """As little as the parts can do with."""
    return Settings(
        seconds=1,
        connections=4,
        value_bytes=100,
        records=1000,
        keys=1000,
        pairs=1,
        memory_bytes=64 * 1024 * 1024,
        catch_up_bytes=1000,
        kills=1,
        command="scripts/bench.sh",
        systems=[],
        clients=[],
        sizes=[],
        keys_max=2000,
        sections=[],
    )


@pytest.fixture
def run_bench(tmp_path: Path) -> Callable[..., tuple[Report, str]]:
    """Runs scripts/bench.sh with some arguments; returns the report that it wrote, and what it printed.

    It has to succeed, and to leave no file behind.
    """

    def run(*arguments: str) -> tuple[Report, str]:
        results, scratch = tmp_path / "results.json", tmp_path / "scratch"
        scratch.mkdir()
        ended = subprocess.run(
            [_CHECKOUT / "scripts" / "bench.sh", *arguments, "--json", str(results)],
            env=os.environ | {"PYTHON": sys.executable, "TMPDIR": str(scratch)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr
        assert list(scratch.iterdir()) == []
        return msgspec.json.decode(results.read_bytes(), type=Report), ended.stdout

    return run
