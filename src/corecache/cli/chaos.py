"""`corecache chaos`: a real cluster on this machine, faults from a seed, and a judge. All that is in `chaos/`."""

import itertools
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from corecache.cli.exits import BROKEN, NO, complain
from corecache.cli.node import AsJson
from corecache.cli.octets import say
from corecache.cli.tables import print_json

VOID = 2
_SEEDS_BELOW = 10**9


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(chaos)


def chaos(
    seed: Annotated[
        int | None, typer.Option(min=0, help="What all is drawn from; else a new one.", show_default=False)
    ] = None,
    nodes: Annotated[int, typer.Option(min=3, max=9, help="Nodes at the start.")] = 3,
    zookeepers: Annotated[int, typer.Option(min=1, max=5, help="ZooKeeper servers: 1, 3 or 5.")] = 3,
    duration: Annotated[
        float, typer.Option(min=5, max=7 * 86_400, metavar="SECONDS", help="How long faults go on.")
    ] = 60.0,
    clients: Annotated[int, typer.Option(min=2, max=200, help="Half of them by HTTP, half by Redis's protocol.")] = 16,
    rate: Annotated[float, typer.Option(min=10, max=10_000, help="Calls a second, of all clients together.")] = 300.0,
    fault: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only this kind, or these.", show_default=False)
    ] = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="List the kinds of faults, and which can't be had here.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where history, report, picture and logs go; else corecache-chaos/SEED.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Prove a cluster by faults: kill, cut off and starve real nodes, and judge what their clients saw.

    Starts nodes and ZooKeeper servers of its own on this machine, in a directory of its own; nothing else is touched.
    As root on Linux it cuts networks and power too; what can't be done here is named in the report.
    Exit codes: 0 passed, 1 a violation, 2 void (too little was asked, or it was ended early) or wrong usage, 5 no
    cluster to be had here.
    """
    from corecache.chaos import plan, staging
    from corecache.chaos.campaign import Wish
    from corecache.chaos.page import page
    from corecache.chaos.processes import GroundError

    lacking = staging.missing(zookeepers)
    if faults:
        for kind, sentence in plan.described(lacking):
            say(f"{kind:<20}{sentence}")
        return 0
    unknown = [name for name in fault or () if name not in plan.KINDS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is no kind of fault; --faults lists them.", param_hint="--fault")
    if zookeepers % 2 == 0:
        raise typer.BadParameter("an ensemble has an odd number of servers.", param_hint="--zookeepers")
    kinds, cannot = plan.sort_out(lacking, fault or ())
    if not kinds:
        raise typer.BadParameter(cannot[(fault or ["kill"])[0]], param_hint="--fault")
    drawn = secrets.randbelow(_SEEDS_BELOW) if seed is None else seed
    directory = output or _unused(Path("corecache-chaos") / str(drawn))
    _make_empty(directory)
    replay = f"corecache chaos --seed {drawn} --nodes {nodes} --zookeepers {zookeepers} --duration {duration:g}"
    replay += f" --clients {clients} --rate {rate:g}" + "".join(f" --fault {name}" for name in fault or ())
    wish = Wish(drawn, duration, (clients + 1) // 2, clients // 2, rate)
    stage = staging.Stage(nodes, zookeepers, fault or ())
    began = time.monotonic()

    def tell(what: str) -> None:
        if not as_json:
            sys.stderr.write(f"{time.monotonic() - began:7.1f} s  {what}\n")

    # As Ctrl-C: a campaign that is told to end tells how far it came. Also where the shell has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        report = staging.run(wish, stage, directory, replay, tell)
    except GroundError as error:
        complain(f"the campaign could not go on, and says nothing: {error}")
        return BROKEN
    files = staging.write(report, directory, tell)
    if as_json:
        print_json(report)
    else:
        say(page(report, files))
    return {"passed": 0, "violation": NO, "void": VOID}[report.verdict]


def _unused(directory: Path) -> Path:
    """Returns this directory or, if it is taken, the first of those with a number behind that is not."""
    tried = (directory.with_name(f"{directory.name}-{number}") for number in itertools.count(2))
    return directory if not directory.exists() else next(each for each in tried if not each.exists())


def _make_empty(directory: Path) -> None:
    """Makes the directory for a campaign's files. Raises: BadParameter if something is in it."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise typer.BadParameter(f"{directory} is not empty; name another, or remove it.", param_hint="--output")
