"""The picture of a bench, drawn from figures."""

from pathlib import Path

from corecache.loadgen.figures import Figures, Second
from corecache.loadgen.histograms import Ledger, figures
from corecache.loadgen.picture import NOTHING, draw
from corecache.loadgen.tally import Tick


def measured(tick: Tick) -> Figures:
    """Returns the figures of a bench of one second."""
    ledger = Ledger(1, log=False)
    ledger.add(0, tick)
    total = figures("all", ledger.total, 1.0)
    return Figures(
        workload="a",
        distribution="zipfian",
        protocol="http",
        targets=["127.0.0.1:7070"],
        connections=1,
        pipeline=1,
        processes=1,
        keys=1,
        value_bytes=(1, 1),
        rate=10.0,
        poisson=False,
        seed=0,
        interrupted=True,
        seconds=1.0,
        done=total.done,
        failed=sum(ledger.failures.values()),
        absent=0,
        per_second=total.per_second,
        busy=0.0,
        failures=ledger.failures,
        total=total,
        operations=ledger.kinds(1.0),
        timeline=ledger.timeline,
        version="1",
    )


def test_without_an_operation_the_picture_says_so(tmp_path: Path) -> None:
    """Failures alone, or nothing at all: no warning, and a sentence in place of lines."""
    for failures in ({}, {"no_lease": 3}):
        draw(measured(Tick(0, {}, failures, 0)), tmp_path / "p.svg")
        assert NOTHING in (tmp_path / "p.svg").read_text()


def test_with_operations_it_does_not(tmp_path: Path) -> None:
    """Also if there is only one, and a second without any."""
    told = measured(Tick(0, {"read": {100: 1}}, {}, 0))
    told.timeline.append(Second(1, 0, 0, 0.0, 0.0, 0.0))
    draw(told, tmp_path / "p.svg")
    assert NOTHING not in (tmp_path / "p.svg").read_text()
