"""`corecache cluster`: what an operator orders of the cluster. Any node can be asked.

An order stands until another one is given, whoever gave it and however this command ended: `drain` only watches, as a
rule, until the node holds nothing. What is ordered, and how far it is, `corecache status` shows too.
"""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from corecache.cli.exits import NO, complain
from corecache.cli.node import ROUNDS_MAX, AsJson, Endpoints, connect
from corecache.cli.octets import say
from corecache.cli.tables import print_json, print_table
from corecache.errors import CallerFault
from corecache.reports import MoveReport, OrdersReport

if TYPE_CHECKING:
    from corecache.client import Client

_LOOK_SECONDS = 0.5

Node = Annotated[str, typer.Argument(metavar="NODE", help="A node's id, as status shows it.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be moved.")]


def add_to(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(help="Give the cluster an order: drain, rebalance, set, recover.", rich_markup_mode=None)
    for command in (drain, rebalance, recover):
        group.command()(command)
    settings = typer.Typer(help="Set what holds for the whole cluster.", rich_markup_mode=None)
    settings.command(name="min-in-sync")(set_min_in_sync)
    group.add_typer(settings, name="set")
    app.add_typer(group, name="cluster")


def drain(
    context: typer.Context,
    node: Node,
    cancel: Annotated[bool, typer.Option("--cancel", help="Let the node hold something again.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until the node holds nothing.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    endpoint: Endpoints = None,
) -> None:
    """Move all that a node holds to others, so that it can be stopped.

    Waits until the node holds nothing. The order stands when this command is ended early.
    """
    _at_most_one({"--cancel": cancel, "--dry-run": dry_run})
    with connect(context, endpoint) as client:
        if dry_run:
            _print_moves(client.moves(node), as_json)
            return
        report = client.drain(node, cancel)
        if not (cancel or no_wait):
            report = _until_drained(client, node, report, quiet=as_json)
    if as_json:
        print_json(report)
    elif cancel:
        say(f"{node} may hold partitions again.")
    elif no_wait:
        say(f"The drain of {node} is ordered; {_progress(report, node)}")


def _until_drained(client: "Client", node: str, report: OrdersReport, quiet: bool) -> OrdersReport:
    """Looks again and again until a node holds nothing, and says how far it is whenever that changes."""
    said = ""
    while True:
        if all(each.node != node for each in report.draining):
            complain(f"the drain of {node} was cancelled by somebody else")
            raise typer.Exit(NO)
        words = _progress(report, node)
        if words != said and not quiet:
            say(words)
        said = words
        if any(each.node == node and each.drained for each in report.draining):
            return report
        time.sleep(_LOOK_SECONDS)
        report = client.orders()


def _progress(report: OrdersReport, node: str) -> str:
    for each in report.draining:
        if each.node == node and each.drained:
            return f"{node} holds nothing and can be stopped."
        if each.node == node:
            copied = f"{len(report.moving)} are being copied, {report.moves_left} moves wait"
            return f"{node} holds {each.holds} partitions; {copied}."
    return f"{node} is not drained."


def rebalance(
    context: typer.Context,
    dry_run: DryRun = False,
    run: Annotated[bool, typer.Option("--run", help="Even out, now and whenever nodes come or go.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Move nothing more for this.")] = False,
    as_json: AsJson = False,
    endpoint: Endpoints = None,
) -> None:
    """Even out copies and primaries over the nodes, or show what that would move.

    A copy under way is taken back by --cancel; who had it keeps it. Lost copies are always made anew.
    """
    if _at_most_one({"--dry-run": dry_run, "--run": run, "--cancel": cancel}) != 1:
        raise typer.BadParameter("say what to do: --dry-run, --run or --cancel")
    with connect(context, endpoint) as client:
        if dry_run:
            _print_moves(client.moves(), as_json)
            return
        report = client.rebalance(run)
    if as_json:
        print_json(report)
    elif run:
        say(f"Ordered: {len(report.moving)} partitions are being copied, {report.moves_left} moves wait.")
    else:
        say("Nothing more is moved to even out copies and primaries.")


def set_min_in_sync(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="N", help="1 or more; 0: what the cluster finds right.")],
    as_json: AsJson = False,
    endpoint: Endpoints = None,
) -> None:
    """Say how many copies must be in sync for a write to succeed."""
    with connect(context, endpoint) as client:
        report = client.require_in_sync(number)
    if as_json:
        print_json(report)
    elif number == 0:
        say("min_in_sync is left to the cluster; it stays as it is until that raises it.")
    else:
        left = report.min_in_sync_left
        waits = f"{left} partitions do not have it yet, and get it when so many of their copies are in sync"
        say(f"min_in_sync {number} is ordered; {waits if left else 'every partition has it'}.")


def recover(
    context: typer.Context,
    partition: Annotated[int, typer.Argument(metavar="PARTITION", help="Its number.", show_default=False)],
    node: Annotated[str, typer.Option("--from", metavar="NODE", help="Whose copy is to go on.", show_default=False)],
    accept_data_loss: Annotated[
        bool, typer.Option("--accept-data-loss", help="Lose what that copy does not have. Else only say what it has.")
    ] = False,
    as_json: AsJson = False,
    endpoint: Endpoints = None,
) -> None:
    """Have a partition whose copies in sync are all lost go on from another copy.

    What only the lost ones had is lost for good. Their nodes must be stopped, or come back empty.
    """
    from corecache.client import Client

    with connect(context, endpoint) as client:
        where = next((each.addresses.get("http") for each in client.cluster().nodes if each.id == node), None)
    if where is None:
        raise CallerFault("node_unknown", f"no node {node!r} with an address is known: see corecache status")
    with Client(where, rounds_max=ROUNDS_MAX) as client:
        report = client.recover(partition, node, accept_data_loss)
    if as_json:
        print_json(report)
    else:
        say(
            f"Partition {partition} goes on from {node}, with {report.records:,} records, in lineage {report.lineage}. "
            "Writes wait until min_in_sync copies are there."
        )


def _print_moves(moves: list[MoveReport], as_json: bool) -> None:
    if as_json:
        print_json(moves)
    elif not moves:
        say("Nothing would be moved.")
    else:
        rows = [(str(move.partition), *_places(move), move.reason) for move in moves]
        print_table("Moves", ("partition", "from", "to", "primary", "why"), rows, numbers=("partition",))


def _places(move: MoveReport) -> tuple[str, str, str]:
    """Returns who loses a copy, who gets one, and how the preferred primary changes."""
    lost = ", ".join(node for node in move.before if node not in move.after)
    gained = ", ".join(node for node in move.after if node not in move.before)
    first, then = move.before[0], move.after[0]
    return lost, gained, f"{first} → {then}" if first != then else first


def _at_most_one(given: dict[str, bool]) -> int:
    """Returns how many of some options are given. Raises: BadParameter if they are more than one."""
    chosen = [name for name, is_given in given.items() if is_given]
    if len(chosen) > 1:
        raise typer.BadParameter(f"{' and '.join(chosen)} exclude each other")
    return len(chosen)
