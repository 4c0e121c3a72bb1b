"""`corecache chaos`, as a user sees it: a short campaign, Ctrl-C, wrong usage."""

import json
import signal
import subprocess
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


def test_ctrl_c_ends_it_with_what_it_has(command: Command, tmp_path: Path) -> None:
    """And with the cluster."""
    output = tmp_path / "campaign"
    process = command.process(
        "chaos", "--duration", "600", "--zookeepers", "1", "--output", str(output), stdin=subprocess.DEVNULL
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b" s  " in line and b"starting" not in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, (out, err)
    assert out.startswith(b"VOID: interrupted")
    assert b"Traceback" not in err


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
