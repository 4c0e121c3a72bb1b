"""`python -m fuzz TARGET [--seconds N | --inputs N] [--seed N] [--keep DIR]`: runs one target, `list` names them all.

Exit codes: 0 the invariant held for every input, 1 an input broke it, 2 wrong usage. A failing input is shrunk and
kept as a `.hex` file in the target's corpus (or in DIR): the next run begins with it, and it is committed with the
repair. The seed is printed at the start; with the same seed and corpus the same inputs come again.
"""

import argparse
import hashlib
import importlib
import random
import sys
import time
import traceback
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from fuzz.engine import Engine, Target, failure_of, shrunk

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"


def targets() -> list[str]:
    """Returns the names of all targets."""
    return sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def corpus_of(name: str) -> list[bytes]:
    """Returns the inputs that a target begins with, in the order of their files' names."""
    inputs = []
    for path in sorted((CORPUS / name).glob("*")):
        if path.suffix == ".hex":
            inputs.append(bytes.fromhex(path.read_text("ascii")))
        elif path.suffix == ".txt":
            inputs.append(path.read_bytes().removesuffix(b"\n"))
        else:
            raise SystemExit(f"{path} is neither .txt nor .hex: rename it")
    return inputs


def run(name: str, seconds: float, inputs: int | None, seed: int, keep: Path) -> int:
    """Runs a target for a time or, if given, a number of inputs; returns the exit code."""
    module = importlib.import_module(f"fuzz.fuzz_{name}")
    target: Target = module.target
    words: Sequence[bytes] = module.WORDS
    _say(f"{name}: seed {seed}")
    until = time.monotonic() + seconds
    for number, octets in zip(count(1), Engine(corpus_of(name), words, seed).inputs(), strict=False):
        if failure_of(target, octets) is not None:
            return _report(name, target, octets, number, keep)
        if number == inputs or (inputs is None and number % 64 == 0 and time.monotonic() > until):
            _say(f"{name}: the invariant held for {number:,} inputs")
            return 0
    raise AssertionError("inputs never end")


def _report(name: str, target: Target, octets: bytes, number: int, keep: Path) -> int:
    shortest = shrunk(target, octets)
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"failed-{hashlib.sha256(shortest).hexdigest()[:12]}.hex"
    path.write_text(shortest.hex() + "\n", "ascii")
    error = failure_of(target, shortest)
    assert error is not None, "a shrunk input fails as the long one did"
    _say("".join(traceback.format_exception(error)))
    _say(f"{name}: input {number:,} broke the invariant; shrunk to {len(shortest)} bytes: {shortest[:200]!r}")
    _say(f"kept as {path}")
    return 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main(arguments: Sequence[str]) -> int:
    """Runs what the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzzes one parser.")
    parser.add_argument("target", choices=["list", *targets()], metavar="TARGET", help="one of %(choices)s")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--inputs", type=int, help="how many inputs, instead of a time")
    parser.add_argument("--seed", type=int, help="repeats a run (drawn)")
    parser.add_argument("--keep", type=Path, help="where a failing input is kept (the target's corpus)")
    asked = parser.parse_args(arguments)
    if asked.target == "list":
        _say("\n".join(targets()))
        return 0
    seed = random.SystemRandom().randrange(2**32) if asked.seed is None else asked.seed
    return run(asked.target, asked.seconds, asked.inputs, seed, asked.keep or CORPUS / asked.target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
