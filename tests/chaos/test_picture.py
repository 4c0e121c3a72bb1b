"""The picture: it is written in both formats, names what it shows, and says in one line what it lacks."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest

from chaos.made_reports import campaign
from corecache.chaos.picture import draw
from corecache.chaos.report import Fault, Report
from corecache.errors import CallerFault

SVG = "{http://www.w3.org/2000/svg}"


def texts_of(report: Report, path: Path) -> list[str]:
    """Draws the report as SVG and returns every text in it."""
    draw(report, path)
    return ["".join(element.itertext()) for element in ElementTree.parse(path).iter(f"{SVG}text")]


def test_a_png_is_a_png(tmp_path: Path) -> None:
    """Its signature, and a width that holds the details."""
    path = tmp_path / "campaign.png"
    draw(campaign(120), path)
    written = path.read_bytes()
    assert written[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(written[16:20], "big") == 1540


@pytest.mark.parametrize("seconds", [30, 3_600])
def test_it_names_the_verdict_the_seed_and_every_kind_of_fault_with_its_count(seconds: int, tmp_path: Path) -> None:
    """With few faults and with hundreds."""
    report = campaign(seconds, seed=4712, verdict="violation")
    texts = texts_of(report, tmp_path / "campaign.svg")
    kinds = [fault.kind for fault in report.faults]
    assert {"VIOLATION", report.why, *kinds} <= set(texts)
    assert any(text.startswith("seed 4712 ") for text in texts)
    assert any(report.replay in text for text in texts)
    assert {str(kinds.count(kind)) for kind in kinds} <= set(texts)
    assert any("a point is 4 s" in text for text in texts) == (seconds == 3_600)


def test_what_missed_its_moment_has_a_lane_of_its_own(tmp_path: Path) -> None:
    """An outage needs its reason, and the kind must not be credited with it."""
    missed = [Fault("kill-in-catch-up", "n1", 20, 21, 1.5)]
    report = msgspec.structs.replace(campaign(60, faults=[Fault("kill", "n1", 10, 11, 1.0)]), missed=missed)
    texts = texts_of(report, tmp_path / "campaign.svg")
    assert {"kill", "(kill-in-catch-up)"} <= set(texts)
    assert "kill-in-catch-up" not in texts


def test_few_faults_are_named_by_whom_they_struck_and_many_are_not(tmp_path: Path) -> None:
    """A name beside each bar would hide the other bars."""
    few = [Fault("kill", f"node-{number}", 20 * number, 20 * number + 1, 1.5) for number in range(5)]
    many = [Fault("kill", f"node-{number}", number, number + 0.5, 1.5) for number in range(100)]
    assert {f"node-{number}" for number in range(5)} <= set(texts_of(campaign(120, faults=few), tmp_path / "few.svg"))
    assert not any("node-" in text for text in texts_of(campaign(120, faults=many), tmp_path / "many.svg"))


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_campaign_without_faults_or_even_calls_is_drawn(seconds: int, tmp_path: Path) -> None:
    """What did not happen leaves its place empty."""
    texts = texts_of(campaign(seconds, faults=[], verdict="void"), tmp_path / "empty.svg")
    assert {"VOID", "no faults"} <= set(texts)


def test_what_is_drawn_from_the_same_report_is_the_same(tmp_path: Path) -> None:
    """No date, no dice."""
    for name in ("one.svg", "two.svg"):
        draw(campaign(60), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and no file."""
    monkeypatch.setattr(sys, "path", [])
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(CallerFault, match=r"pip install 'corecache\[plots\]'"):
        draw(campaign(10), tmp_path / "campaign.png")
    assert not list(tmp_path.iterdir())
