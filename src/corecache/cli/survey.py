"""What all nodes of a cluster say, put together: each knows best what it leads.

A node knows the newest views of the partitions that it holds; of others it may know older ones. How far a replica lags,
its primary alone can tell. So everybody is asked, all at once and not for long: who does not answer is left out, and
named.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from corecache.errors import CoreCacheError
from corecache.identity import NodeId
from corecache.reports import ClusterReport, NodeReport, PartitionReport

_TIMEOUT_SECONDS = 2.0
_THREADS_MAX = 32


def surveyed(report: ClusterReport) -> tuple[ClusterReport, list[NodeId]]:
    """Returns a node's report with what the others know better, and those that are alive and did not answer."""
    others = [node for node in report.nodes if node.alive and node.id != report.node]
    with ThreadPoolExecutor(_THREADS_MAX) as threads:
        answers = list(threads.map(_asked, others))
    silent = [node.id for node, answer in zip(others, answers, strict=True) if answer is None]
    known = [report, *(answer for answer in answers if answer is not None)]
    partitions = tuple(_best(known, number) for number in range(len(report.partitions)))
    nodes = tuple(_counted(node, partitions) for node in report.nodes)
    return msgspec.structs.replace(report, nodes=nodes, partitions=partitions), silent


def _asked(node: NodeReport) -> ClusterReport | None:
    from corecache.client import Client

    where = node.addresses.get("http")
    if where is None:
        return None
    try:
        with Client(where, timeout_s=_TIMEOUT_SECONDS, rounds_max=1) as client:
            return client.cluster()
    except CoreCacheError:
        return None


def _best(known: Sequence[ClusterReport], number: int) -> PartitionReport:
    """Returns the newest view of a partition that anybody knows, with what its primary says of it."""
    told = {report.node: report.partitions[number] for report in known}
    newest = max(told.values(), key=lambda each: each.view_version)
    if newest.view is None or newest.view.primary.node not in told:
        return newest
    primary = told[newest.view.primary.node]
    return msgspec.structs.replace(primary, view=newest.view, view_version=newest.view_version)


def _counted(node: NodeReport, partitions: tuple[PartitionReport, ...]) -> NodeReport:
    views = [partition.view for partition in partitions if partition.view is not None]
    return msgspec.structs.replace(
        node,
        holds=sum(any(member.node == node.id for member in view.in_sync) for view in views),
        leads=sum(view.primary.node == node.id for view in views),
    )
