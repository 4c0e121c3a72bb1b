"""The page of text: each part is there, in its place, and the page stays a page."""

from pathlib import Path

import msgspec
import pytest

from chaos.made_reports import KINDS, campaign
from corecache.chaos.page import page
from corecache.chaos.report import Fault, Verdict, Violation


def line_with(text: str, wanted: str) -> str:
    """Returns the one line that contains what is wanted."""
    (line,) = [line for line in text.splitlines() if wanted in line]
    return line


@pytest.mark.parametrize(("verdict", "word"), [("passed", "PASSED"), ("violation", "VIOLATION"), ("void", "VOID")])
def test_the_verdict_and_its_reason_come_first(verdict: Verdict, word: str) -> None:
    """Whoever reads one line has read the most important one."""
    report = campaign(60, verdict=verdict)
    assert page(report).splitlines()[0] == f"{word}: {report.why}"


def test_it_tells_what_was_run_and_how_to_run_it_again() -> None:
    """Length, rounds, nodes, the seed, and a command to copy."""
    report = campaign(3_723, seed=99)
    text = page(report)
    assert line_with(text, "Campaign").split("   ")[-1].strip().startswith("1 h 2 min 3 s, 62 rounds, ")
    assert "3 nodes, 1 ZooKeeper server, CoreCache 0.5.0" in line_with(text, "Cluster")
    assert line_with(text, "Seed").split() == ["Seed", "99"]
    assert line_with(text, "Run again").endswith(report.replay)


def test_it_tells_calls_by_outcome_and_protocol() -> None:
    """With thousands separated, and their share of all."""
    report = msgspec.structs.replace(
        campaign(60),
        operations={"done": 9_000, "failed": 500, "not_done": 400, "unknown": 100},
        protocols={"http": 4_000, "resp": 6_000},
    )
    text = page(report)
    assert line_with(text, "  done ").split()[:3] == ["done", "9,000", "90.00%"]
    assert line_with(text, "  failed ").split()[:3] == ["failed", "500", "5.00%"]
    assert line_with(text, "  not done ").split()[:4] == ["not", "done", "400", "4.00%"]
    assert line_with(text, "  unknown ").split()[:3] == ["unknown", "100", "1.00%"]
    assert "4,000 over HTTP, 6,000 over RESP" in text
    assert "10,000 calls" in line_with(text, "Campaign")


def test_it_tells_each_kind_of_fault_with_its_median_and_longest_outage_the_worst_kind_first() -> None:
    """And where to look for the longest in the picture."""
    faults = [
        Fault("delay", "all links", 1, 2, 0),
        Fault("kill", "n1", 10, 11, 1.0),
        Fault("kill", "n2", 70, 71, 4.5),
        Fault("kill", "n3", 90, 91, 2.0),
    ]
    lines = page(campaign(120, faults=faults)).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("Faults")) + 2
    assert lines[first].split() == ["kill", "3", "2.00", "s", "4.50", "s", "0:01:10", "n2"]
    assert lines[first + 1].split() == ["delay", "1", "none", "none", "0:00:01", "all", "links"]


def test_what_missed_its_moment_is_told_apart_from_its_kind() -> None:
    """With how often it was tried."""
    hit = [Fault("kill-in-catch-up", "n1", 10, 11, 1.0)] * 2
    missed = [Fault("kill-in-catch-up", "n1", 20, 21, 1.0), Fault("kill-in-hand-over", "n2", 30, 31, 1.0)]
    text = page(msgspec.structs.replace(campaign(60, faults=hit), missed=missed))
    assert line_with(text, "Aimed") == "Aimed, missed: kill-in-catch-up 1 of 3 times, kill-in-hand-over 1 of 1 time"
    assert line_with(text, "  kill-in-catch-up").split()[1] == "2"
    assert "Aimed" not in page(campaign(60))


def test_what_was_not_run_is_named_with_the_reason_said_once() -> None:
    """Kinds that share a reason share a line."""
    text = page(campaign(60, not_run={"delay": "no namespaces", "loss": "no namespaces", "wipe": "not asked for"}))
    assert "  delay, loss: no namespaces\n  wipe: not asked for\n" in text
    assert "Not run" not in page(campaign(60, not_run={}))


def test_a_violation_is_told_with_the_history_that_shows_it() -> None:
    """As it was written, line by line, before everything that matters less."""
    report = campaign(60, verdict="violation")
    text = page(report)
    (violation,) = report.violations
    at = [text.index(f"Violation of {violation.rule}, {violation.subject}: "), *map(text.index, violation.history)]
    assert [*at, text.index("Calls ")] == sorted([*at, text.index("Calls ")])


def test_many_violations_and_long_histories_are_cut_and_counted() -> None:
    """The page says how much more there is."""
    violations = [
        Violation("linearizability", f"key k{number}", "it can't be", [f"k{number} call {line}" for line in range(20)])
        for number in range(5)
    ]
    text = page(msgspec.structs.replace(campaign(60, verdict="violation"), violations=violations))
    assert "k2 call 11\n" in text
    assert "k2 call 12" not in text
    assert text.count("… and 8 more in the JSON") == 3
    assert "key k3" not in text
    assert "And 2 more violations: see the JSON." in text


@pytest.mark.parametrize("seconds", [1, 120, 3_600])
def test_a_page_stays_a_page(seconds: int) -> None:
    """However long the campaign was: 48 lines hold all kinds of faults, and none is wider than 100 columns."""
    report = campaign(seconds)
    lines = page(report, [Path("chaos-4711.json"), Path("chaos-4711.png")]).splitlines()
    assert len(lines) <= 48
    assert max(map(len, lines)) <= 100
    assert lines[-1] == "Written: chaos-4711.json, chaos-4711.png"
    assert {line.split()[0] for line in lines if line.startswith("  ")} >= {fault.kind for fault in report.faults}
    assert seconds < 3_600 or len({fault.kind for fault in report.faults}) == len(KINDS)


def test_a_campaign_in_which_nothing_happened_has_a_page_too() -> None:
    """No call, no fault, no second."""
    report = msgspec.structs.replace(
        campaign(0, faults=[], verdict="void"),
        operations={"done": 0, "failed": 0, "not_done": 0, "unknown": 0},
        protocols={},
    )
    text = page(report)
    assert "Faults: none" in text
    assert line_with(text, "  done ").split()[:3] == ["done", "0", "0.00%"]
