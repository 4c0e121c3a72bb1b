"""`corecache simulate`, as a user and CI see it: numbers, exit codes, a failing run that can be repeated, Ctrl-C."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from cli.command import Command

SMALL = ("--nodes", "3", "--partitions", "1", "--duration", "3")


@pytest.fixture(scope="module")
def command() -> Command:
    """The command line; no node is asked."""
    return Command("http://127.0.0.1:1")


def test_one_seed_tells_its_numbers_and_its_trace(command: Command) -> None:
    """Twice the same; with --trace every line before it."""
    first, again = (command("simulate", "--seed", "3", *SMALL) for _ in range(2))
    assert first.code == 0
    assert first.out.startswith(b"PASSED seed=3 nodes=3 partitions=1 ")
    assert first.out == again.out
    traced = command("simulate", "--seed", "3", *SMALL, "--trace")
    assert traced.out.splitlines()[-1] == first.out.strip()
    assert len(traced.out.splitlines()) > 100


def test_many_seeds_tell_their_sum(command: Command) -> None:
    """In several processes as in one."""
    sums = [
        json.loads(command("simulate", "--seeds", "4-6", *SMALL, "--jobs", jobs, "--json").out) for jobs in ("1", "2")
    ]
    for each in sums:
        assert each["seeds"] == 3
        assert each["failed"] == []
        del each["seconds"]
    assert sums[0] == sums[1]


def test_fresh_seeds_say_where_they_began(command: Command) -> None:
    """So that they can be repeated."""
    ended = command("simulate", "--for", "0.1", *SMALL)
    assert (ended.code, ended.err.startswith("fresh seeds from ")) == (0, True)


def test_a_broken_rule_is_shown_and_can_be_repeated(command: Command) -> None:
    """Exit code 1, the end of the trace, what is wrong, and a command that fails in the same way."""
    ended = command("simulate", "--seeds", "40", "--canary", "wiped-node-trusted")
    assert ended.code == 1
    replay = next(line for line in ended.out.decode().splitlines() if line.startswith("replay: corecache "))
    again = command(*replay.removeprefix("replay: corecache ").split())
    assert (again.code, again.err) == (1, ended.err)
    listed = command("simulate", "--canary", "list")
    assert b"wiped-node-trusted" in listed.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--seed", "1", "--seeds", "3"),
        ("--seeds", "x"),
        ("--seeds", "5-3"),
        ("--trace",),
        ("--canary", "dodo"),
        ("--jobs", "0"),
    ],
)
def test_wrong_usage_is_exit_code_2(command: Command, arguments: tuple[str, ...]) -> None:
    """One line that says what is wrong."""
    ended = command("simulate", *arguments)
    assert (ended.code, ended.out) == (2, b"")
    assert ended.err.startswith("corecache: ")


def test_ctrl_c_ends_it_at_once_with_what_there_is(command: Command) -> None:
    """A run that would go on for long is not waited for."""
    process = command.process(
        "simulate", "--seeds", "2", "--jobs", "2", "--nodes", "7", "--duration", "3600", stdin=subprocess.DEVNULL
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        while len(children.read_text().split()) < 2:
            assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, b"")
    assert out.startswith(b"INTERRUPTED seeds=0 ")
