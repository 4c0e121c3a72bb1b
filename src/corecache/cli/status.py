"""`corecache status`: the cluster, its nodes and its partitions, as tables, or as the API's JSON.

Shown is what the node asked knows: its own replicas' sequences, and everybody's views.
"""

import typer

from corecache.cli.node import AsJson, Endpoints, connect
from corecache.cli.octets import say
from corecache.cli.tables import print_json, print_table
from corecache.reports import ClusterReport


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(status)


def status(context: typer.Context, as_json: AsJson = False, endpoint: Endpoints = None) -> None:
    """Show the cluster: nodes, partitions, how far copies lag."""
    with connect(context, endpoint) as client:
        report = client.cluster()
    if as_json:
        print_json(report)
        return
    say(f"cluster {report.name}, as node {report.node} knows it")
    _print_nodes(report)
    _print_partitions(report)


def _print_nodes(report: ClusterReport) -> None:
    rows = [
        (
            node.id,
            "alive" if node.alive else "gone",
            str(node.incarnation),
            node.version,
            ", ".join(_address(protocol, where) for protocol, where in sorted(node.addresses.items())),
        )
        for node in report.nodes
    ]
    print_table("Nodes", ("node", "state", "start", "version", "addresses"), rows)


def _print_partitions(report: ClusterReport) -> None:
    rows = [
        (
            str(partition.id),
            f"{partition.first_slot}-{partition.last_slot}",
            partition.view.primary.node if partition.view else "none",
            str(partition.view.epoch if partition.view else 0),
            str(len(partition.view.in_sync) if partition.view else 0),
            partition.role,
            f"{partition.commit_point:,}",
            f"{partition.lag:,}",
        )
        for partition in report.partitions
    ]
    columns = ("partition", "slots", "primary", "epoch", "in sync", "here", "committed", "lag")
    print_table("Partitions", columns, rows, numbers=("partition", "epoch", "in sync", "committed", "lag"))


def _address(protocol: str, where: str) -> str:
    return where if where.startswith(f"{protocol}://") else f"{protocol} {where}"
