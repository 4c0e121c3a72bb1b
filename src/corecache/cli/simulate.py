"""`corecache simulate`: runs the simulator on one seed, on many, or on fresh ones for a time.

The numbers go to standard output, progress to standard error if that is a terminal. A failing run prints the end of
its trace and the command that goes through it again; the exit code is 1 then. `docs/simulator.md` says what is run.
"""

import itertools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from corecache.cli.exits import INTERRUPTED, NO, complain
from corecache.cli.node import AsJson
from corecache.cli.octets import say
from corecache.cli.tables import print_json

if TYPE_CHECKING:
    from corecache.simulator.campaign import Totals
    from corecache.simulator.run import Outcome

_FRESH_BELOW = 1_000_000_000
_SEEDS_BY_DEFAULT = 100


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(simulate)


def simulate(
    seed: Annotated[int | None, typer.Option(min=0, help="Run this seed alone.", show_default=False)] = None,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="A-B", help="Run these seeds; N stands for 0 to N - 1. Else 100.", show_default=False),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--for", min=0.1, help="Run fresh seeds for so many seconds.", show_default=False)
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, max=1000, help="Else drawn: 3 to 7.", show_default=False)] = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, max=16_384, help="Else drawn: 1 to 4.", show_default=False)
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(min=0.1, max=86_400, help="Simulated seconds of faults. Else drawn.", show_default=False),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 1,
    trace: Annotated[bool, typer.Option("--trace", help="Print every line of the trace (with --seed).")] = False,
    canary: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Break this rule on purpose; 'list' shows which there are.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Try the protocol's rules in a simulated cluster, under faults.

    The same seed gives the same run, everywhere. Exit code 1: a rule was broken.
    """
    from corecache.simulator.campaign import Wish, campaign, one
    from corecache.simulator.canaries import CANARIES, named

    if canary == "list":
        for each in CANARIES:
            say(f"{each.name:28} {each.rule:8} within {each.seeds:3} seeds of {', '.join(each.faults)}: {each.breaks}")
        return 0
    if canary is not None and named(canary) is None:
        raise typer.BadParameter(f"there is no canary {canary!r}; 'list' shows them.", param_hint="--canary")
    if sum(given is not None for given in (seed, seeds, seconds)) > 1:
        raise typer.BadParameter("--seed, --seeds and --for exclude each other.")
    if trace and seed is None:
        raise typer.BadParameter("--trace is for one --seed.")
    wish = Wish(nodes, partitions, int(duration * 1000) if duration is not None else None, canary)
    if seed is not None:
        return _tell_one(one(seed, wish, say if trace else None), as_json, canary)
    numbers = _fresh() if seconds is not None else _named(seeds)
    progress = _progress if sys.stderr is not None and sys.stderr.isatty() else _in_silence
    totals = campaign(numbers, wish, jobs, seconds, progress)
    if progress is _progress:
        sys.stderr.write("\n")
    return _tell_many(totals, as_json, canary)


def _fresh() -> Iterator[int]:
    """Returns seeds from one that nobody has tried, and says which."""
    import secrets

    first = secrets.randbelow(_FRESH_BELOW)
    if sys.stderr is not None:
        sys.stderr.write(f"fresh seeds from {first} on\n")
    return itertools.count(first)


def _named(seeds: str | None) -> Iterator[int]:
    first, dash, last = (seeds or str(_SEEDS_BY_DEFAULT)).partition("-")
    if not first.isdecimal() or not (last.isdecimal() or not dash) or (dash and int(last) < int(first)):
        raise typer.BadParameter(f"{seeds!r} is neither a number of seeds nor a range A-B.", param_hint="--seeds")
    return iter(range(int(first), int(last) + 1)) if dash else iter(range(int(first)))


def _tell_one(outcome: "Outcome", as_json: bool, canary: str | None) -> int:
    if as_json:
        print_json(outcome)
    else:
        for line in outcome.lines:
            say(line)
        say(
            f"{'PASSED' if outcome.violation is None else 'FAILED'} seed={outcome.options.seed} "
            f"nodes={outcome.options.nodes} partitions={outcome.options.partitions} events={outcome.events:,} "
            f"faults={sum(outcome.faults.values()):,} operations={outcome.operations:,} views={outcome.views:,} "
            f"simulated={outcome.simulated_ms / 1000:g}s trace={outcome.trace}"
        )
    return _judged(outcome, as_json, canary)


def _judged(outcome: "Outcome", as_json: bool, canary: str | None) -> int:
    if outcome.violation is None:
        return 0
    if not as_json:
        complain(f"seed {outcome.options.seed}: {outcome.violation}")
        say(f"replay: {outcome.replay}{f' --canary {canary}' if canary else ''}")
    return NO


def _tell_many(totals: "Totals", as_json: bool, canary: str | None) -> int:
    if as_json:
        print_json(totals)
        return _ended(totals)
    for outcome in totals.failed:
        for line in outcome.lines:
            say(line)
        _judged(outcome, as_json, canary)
    word = "FAILED" if totals.failed else "INTERRUPTED" if totals.interrupted else "PASSED"
    say(
        f"{word} seeds={totals.seeds:,} events={totals.events:,} "
        f"faults={sum(totals.faults.values()):,} operations={totals.operations:,} (done {totals.succeeded:,}, not done "
        f"{totals.not_done:,}, unknown {totals.unknown:,}) undecided={totals.undecided:,} views={totals.views:,} "
        f"simulated={totals.simulated_ms / 1000:,.0f}s in {totals.seconds:.0f}s"
    )
    return _ended(totals)


def _ended(totals: "Totals") -> int:
    if totals.failed:
        return NO
    return INTERRUPTED if totals.interrupted else 0


def _progress(totals: "Totals") -> None:
    rate = totals.events / max(totals.seconds, 0.001)
    sys.stderr.write(f"\r{totals.seeds:,} seeds, {totals.events:,} events, {rate:,.0f} a second ")
    sys.stderr.flush()


def _in_silence(totals: "Totals") -> None:
    """Says nothing: nobody looks."""
