"""`corecache status`: the cluster, its nodes and its partitions, as tables, or as the API's JSON.

The node that is asked says who is there and what is ordered; the others add what each of them knows best
(`survey.py`). With `--json` all of it is one object: the fields of /v1/cluster, and `orders` as /v1/cluster/orders has
them, or null if the coordinator can't be asked.
"""

from typing import TYPE_CHECKING

import msgspec
import typer

from corecache.cli.node import AsJson, Endpoints, connect
from corecache.cli.octets import say
from corecache.cli.survey import surveyed
from corecache.cli.tables import print_json, print_table
from corecache.errors import CoreCacheError
from corecache.identity import NodeId
from corecache.reports import ClusterReport, MemberReport, NodeReport, OrdersReport, PartitionReport

if TYPE_CHECKING:
    from corecache.client import Client


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(status)


def status(context: typer.Context, as_json: AsJson = False, endpoint: Endpoints = None) -> None:
    """Show the cluster: nodes, partitions, how far copies lag, what is ordered and moved."""
    with connect(context, endpoint) as client:
        report, silent = surveyed(client.cluster())
        orders = _orders(client)
    if as_json:
        shown = orders if isinstance(orders, OrdersReport) else None
        print_json(msgspec.structs.asdict(report) | {"orders": shown})
        return
    say(f"cluster {report.name}, as node {report.node} knows it")
    for line in _ordered(orders) if isinstance(orders, OrdersReport) else [f"what is ordered is not known: {orders}"]:
        say(line)
    for node in silent:
        say(f"{node} does not answer: what it leads is shown as others know it")
    _print_nodes(report, orders)
    heard = {node.id for node in report.nodes if node.alive} - set(silent)
    _print_partitions(report, heard)


def _orders(client: "Client") -> OrdersReport | str:
    """Returns what is ordered, or why it can't be said."""
    try:
        return client.orders()
    except CoreCacheError as error:
        return error.message


def _ordered(orders: OrdersReport) -> list[str]:
    least = "left to the cluster"
    if orders.min_in_sync:
        left = orders.min_in_sync_left
        least = f"{orders.min_in_sync}" + (f", which {left} partitions do not have yet" if left else "")
    moving = ", ".join(map(str, orders.moving)) or "none"
    return [
        f"controller: {orders.controller or 'none'}",
        f"rebalancing: {'on' if orders.rebalancing else 'off'}; min_in_sync: {least}",
        f"partitions being copied: {moving}; moves left: {orders.moves_left}",
    ]


def _print_nodes(report: ClusterReport, orders: OrdersReport | str) -> None:
    draining = orders.draining if isinstance(orders, OrdersReport) else ()
    words = {each.node: ", drained" if each.drained else ", draining" for each in draining}
    rows = [
        (
            node.id,
            ("alive" if node.alive else "gone") + words.get(node.id, ""),
            node.zone,
            node.version,
            str(node.incarnation),
            str(node.holds),
            str(node.leads),
            _addresses(node),
        )
        for node in report.nodes
    ]
    columns = ("node", "state", "zone", "version", "start", "replicas", "primaries", "addresses")
    print_table("Nodes", columns, rows, numbers=("start", "replicas", "primaries"))


def _print_partitions(report: ClusterReport, heard: set[NodeId]) -> None:
    columns = ("partition", "slots", "epoch", "primary", "in sync", "wanted", "min", "committed", "others: lag")
    rows = [_row(partition, heard) for partition in report.partitions]
    print_table("Partitions", columns, rows, numbers=("partition", "epoch", "min", "committed"))


def _row(partition: PartitionReport, heard: set[NodeId]) -> tuple[str, ...]:
    slots, view = f"{partition.first_slot}-{partition.last_slot}", partition.view
    if view is None:
        return str(partition.id), slots, "", "not known", "", "", "", "", ""
    leads = partition.role == "primary"
    standing = "not serving" if view.primary.node in heard else "not heard"
    return (
        str(partition.id),
        slots,
        str(view.epoch),
        view.primary.node if leads else f"{view.primary.node}: {standing}",
        ", ".join(member.node for member in view.in_sync),
        ", ".join(view.replicas),
        str(view.min_in_sync),
        f"{partition.commit_point:,}" if leads else "",
        ", ".join(map(_lag, partition.members)),
    )


def _lag(member: MemberReport) -> str:
    lag = f"{member.node}: {member.lag:,}"
    return lag if member.in_sync else f"{lag} ({member.stage})"


def _addresses(node: NodeReport) -> str:
    return ", ".join(
        where if where.startswith(f"{protocol}://") else f"{protocol} {where}"
        for protocol, where in sorted(node.addresses.items())
    )
