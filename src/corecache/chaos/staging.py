"""Sets the stage for a campaign with all that this machine has, runs it, and writes down what came of it.

What is missing (`missing`) takes the faults that need it out of the plan, and is named in the report.
"""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from corecache import __version__
from corecache.chaos import disk, network, power
from corecache.chaos.campaign import Campaign, Wish
from corecache.chaos.cluster import ChaosCluster
from corecache.chaos.ground import Ground
from corecache.chaos.network import Network
from corecache.chaos.node import PROGRAM
from corecache.chaos.page import page
from corecache.chaos.picture import draw
from corecache.chaos.plan import KINDS, Means, sort_out
from corecache.chaos.power import PowerGrid
from corecache.chaos.report import Fault, Report, Verdict
from corecache.chaos.timeline import Timeline
from corecache.errors import CallerFault
from corecache.placement.slots import partition_of

DISK_BYTES: Final = 1 << 30
"""Of each node's disk. The files are sparse; a node keeps a quarter of it free."""


class Stage(msgspec.Struct, frozen=True):
    """What a campaign is to stand on: nodes, ZooKeeper servers, the kinds of faults wanted (all, if none is named).

    `program` starts a node; `settings` are all nodes', as `{"section.name": value}`.
    """

    nodes: int
    zookeepers: int
    only: Sequence[str] = ()
    program: Sequence[str] = PROGRAM
    settings: dict[str, str | int] = {}


def missing(zookeepers: int) -> dict[Means, str]:
    """Returns what can't be had here, and why."""
    reasons: dict[Means, str | None] = {
        "network": network.why_not(),
        "disk": disk.why_not(),
        "power": power.why_not(),
        "ensemble": None if zookeepers > 1 else "there is one ZooKeeper server; --zookeepers 3 has an ensemble",
    }
    return {means: reason for means, reason in reasons.items() if reason is not None}


def run(wish: Wish, stage: Stage, directory: Path, replay: str, tell: Callable[[str], None]) -> Report:
    """Runs a campaign in a directory that is there and empty, and returns its report.

    The history is written there, and below `ground` are the nodes' logs and data, unless it has passed. Interrupted, it
    reports how far it came. Raises: GroundError.
    """
    # Nodes run in directories of their own, where a relative path means something else.
    ground = directory.absolute() / "ground"
    ground.mkdir()
    lacking = missing(stage.zookeepers)
    kinds, not_run = sort_out(lacking, stage.only)
    timeline = Timeline(lambda key: partition_of(key.encode(), int(cluster.settings["cluster.partitions"])))
    campaign: Campaign | None = None
    why = ""
    try:
        with ExitStack() as stack:
            net = None
            if "network" not in lacking:
                net = stack.enter_context(Network(seed=wish.seed))
            grid = None
            if "power" not in lacking:
                grid = stack.enter_context(PowerGrid(ground / "disks", (), DISK_BYTES))
            shim = disk.compile_shim(ground) if "disk" not in lacking else None
            cluster = ChaosCluster(
                ground, stage.nodes, stage.zookeepers, net, shim, stage.settings, stage.program, grid
            )
            stack.enter_context(cluster)
            tell(f"starting ZooKeeper (servers: {stage.zookeepers}) and {stage.nodes} nodes")
            cluster.start()
            campaign = Campaign(wish, Ground(cluster, net, grid), kinds, timeline, directory / "history.jsonl", tell)
            try:
                asyncio.run(campaign.run())
            except KeyboardInterrupt:
                why = "interrupted"
    finally:
        if campaign is None:
            shutil.rmtree(ground, ignore_errors=True)
    report = _report(campaign, timeline, stage, replay, not_run, why)
    if report.verdict == "passed":
        shutil.rmtree(ground)
    return report


def write(report: Report, directory: Path, tell: Callable[[str], None]) -> list[Path]:
    """Writes a report as JSON, as text and as a picture, and returns the files.

    Without matplotlib there is no picture, and somebody is told.
    """
    files = [directory / "report.json", directory / "report.txt"]
    files[0].write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    files[1].write_text(page(report))
    drawn = directory / "picture.png"
    try:
        draw(report, drawn)
        files.append(drawn)
    except CallerFault as missing:
        tell(missing.message)
    return files


def _report(
    campaign: Campaign, timeline: Timeline, stage: Stage, replay: str, not_run: dict[str, str], interrupted: str
) -> Report:
    totals = campaign.totals
    verdict: Verdict = "passed"
    why = "what the clients were told is what one correct store would have told them"
    if totals.violations:
        verdict, why = "violation", f"{totals.violations[0].rule}: {totals.violations[0].sentence}"
    elif interrupted or totals.why_void:
        verdict, why = "void", interrupted or totals.why_void
    struck = {fault.kind for fault in totals.faults}
    missed = {fault.kind for fault in totals.missed}
    for kind in KINDS:
        if times := totals.skipped.get(kind):
            turns = sum(each.kind == kind for each in (*totals.faults, *totals.missed))
            not_run[kind] = f"skipped {times} of {times + turns} times"
        elif kind not in struck and kind in missed:
            not_run[kind] = "it was aimed at its moment, and missed it"
        elif kind not in struck and kind not in not_run:
            not_run[kind] = "its turn did not come in this time"

    def felt(faults: Sequence[Fault]) -> list[Fault]:
        return [
            msgspec.structs.replace(each, unavailable_s=timeline.unavailable_s(each.began_s, each.ended_s))
            for each in faults
        ]

    return Report(
        seed=campaign.wish.seed,
        nodes=stage.nodes,
        zookeepers=stage.zookeepers,
        verdict=verdict,
        why=why,
        seconds=campaign.seconds,
        rounds=totals.rounds,
        operations=timeline.counts(),
        protocols=timeline.protocols(),
        faults=felt(totals.faults),
        missed=felt(totals.missed),
        not_run=not_run,
        violations=totals.violations,
        timeline=timeline.seconds(),
        replay=replay,
        version=__version__,
    )
