"""`corecache chaos`, as a user sees it: each way in which a campaign ends, and its exit code; wrong usage."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.command import Command

SHORT = ("--duration", "5", "--zookeepers", "1", "--fault", "kill", "--fault", "pause-short")


@pytest.fixture(scope="module")
def command() -> Command:
    """The command line; no node is asked."""
    return Command("http://127.0.0.1:1")


def test_a_short_campaign_passes_and_leaves_its_report(command: Command, tmp_path: Path) -> None:
    """With every call in the history; of the cluster nothing is left."""
    output = tmp_path / "campaign"
    ended = command("chaos", "--seed", "7", *SHORT, "--output", str(output))
    assert ended.code == 0, (ended.out.decode(), ended.err)
    assert ended.out.startswith(b"PASSED: ")
    assert "corecache chaos --seed 7 " in ended.out.decode()
    assert {path.name for path in output.iterdir()} == {"history.jsonl", "picture.png", "report.json", "report.txt"}
    report = json.loads((output / "report.json").read_bytes())
    assert report["verdict"] == "passed"
    assert {fault["kind"] for fault in report["faults"]} <= {"kill", "pause-short"}
    assert report["not_run"]["wipe"] == "not asked for"
    calls = [json.loads(line) for line in (output / "history.jsonl").read_bytes().splitlines()]
    assert len([call for call in calls if call["client"] >= 0]) == sum(report["operations"].values())
    assert {call["protocol"] for call in calls} == {"http", "resp"}


@contextmanager
def begun(command: Command, output: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a campaign in which nobody is killed; gives it when the first fault has struck."""
    options = ("--zookeepers", "1", "--fault", "pause-short", "--output", str(output), *options)
    with command.process("chaos", *options, stdin=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"pause-short" in line:
                break
        try:
            yield process
        finally:
            process.kill()


def nodes_of(campaign: int) -> list[int]:
    """Returns the process ids of a campaign's nodes."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            command = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # It has ended.
        if parent == campaign and b"serve" in command:
            found.append(int(place.name))
    return found


def test_a_node_that_somebody_else_kills_is_a_violation(command: Command, tmp_path: Path) -> None:
    """The code is 1, the page says what was broken, and logs and data are kept."""
    output = tmp_path / "campaign"
    with begun(command, output, "--duration", "5") as process:
        os.kill(nodes_of(process.pid)[0], signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 1, (out, err)
    assert out.startswith(b"VIOLATION: nodes don't end by themselves: it ended with -9")
    assert json.loads((output / "report.json").read_bytes())["verdict"] == "violation"
    assert (output / "ground" / "n1" / "log").exists()
    assert b"Traceback" not in err


def test_a_machine_without_zookeeper_says_so_and_begins_nothing(command: Command, tmp_path: Path) -> None:
    """The code is 5: it can't be had here, which says nothing of the store."""
    output = tmp_path / "campaign"
    (tmp_path / "bin").mkdir()
    ended = command("chaos", *SHORT, "--output", str(output), environment={"PATH": str(tmp_path / "bin")})
    assert ended.code == 5, (ended.out, ended.err)
    assert "the campaign could not go on, and says nothing: ZooKeeper is not installed" in ended.err
    assert list(output.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_campaign_that_is_told_to_end_tells_how_far_it_came(
    command: Command, tmp_path: Path, number: signal.Signals
) -> None:
    """And ends with the cluster."""
    with begun(command, tmp_path / "campaign", "--duration", "600") as process:
        nodes = nodes_of(process.pid)
        assert len(nodes) == 3
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2, (out, err)
    assert out.startswith(b"VOID: interrupted")
    assert b"Traceback" not in err
    assert not any(Path(f"/proc/{node}").exists() for node in nodes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fault", "earthquake"], "'earthquake' is no kind of fault; --faults lists them."),
        (["--zookeepers", "2"], "an ensemble has an odd number of servers."),
        (["--zookeepers", "1", "--fault", "zookeeper-leader"], "there is one ZooKeeper server"),
        (["--nodes", "2"], "Invalid value for '--nodes'"),
        (["--duration", "1"], "Invalid value for '--duration'"),
        (["--rate", "fast"], "Invalid value for '--rate'"),
    ],
)
def test_wrong_usage_is_one_line(command: Command, tmp_path: Path, options: list[str], said: str) -> None:
    """And begins nothing."""
    ended = command("chaos", *options, "--output", str(tmp_path / "campaign"))
    assert ended.code == 2
    assert said in ended.err
    assert not (tmp_path / "campaign").exists()


def test_a_directory_with_something_in_it_is_left_alone(command: Command, tmp_path: Path) -> None:
    """Another campaign's evidence, for example."""
    (tmp_path / "report.json").write_text("{}")
    ended = command("chaos", "--output", str(tmp_path))
    assert ended.code == 2
    assert "is not empty" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_the_kinds_of_faults_are_listed(command: Command) -> None:
    """Each with what it does."""
    listed = command("chaos", "--faults").out.decode().splitlines()
    assert any(line.startswith("kill ") for line in listed)
    assert all(len(line.split(maxsplit=1)) == 2 for line in listed)
