"""Whose a data directory is: what must be true before a node may start with it.

A directory started with the wrong coordinator would not be refused by anything else. Its replicas are in nobody's view
there, so they would be dropped as leftovers; or, where there is no cluster yet, made into one that nobody wanted. And
a node that only registers under a name that is not its own shuts the true owner out (R14).

Rule: all of this is looked at before anything is written, here or there.

A directory belongs to a cluster by its name and by its *creation*, which the coordinator draws; that of a cluster of
one to nothing but itself, as long as it has granted no lease. One whose content the cluster's views count on is the
cluster's: its start ended after it had created the cluster, and before it could note that.
"""

from collections.abc import Mapping

from corecache.config import Config
from corecache.errors import CallerFault
from corecache.identity import Member, PartitionId
from corecache.placement.partition_map import ClusterFacts
from corecache.placement.view import VersionedView
from corecache.replication.recovered import NodeFacts, Recovered


def is_member(known: NodeFacts) -> bool:
    """Says whether a directory was ever a member's of a cluster with ZooKeeper."""
    return bool(known.creation) or known.largest_grant_ms > 0


def check_cluster(config: Config, found: ClusterFacts | None) -> None:
    """Raises: CallerFault if the cluster that the coordinator has is not the one that is configured."""
    cluster = config.cluster
    if found is not None and (found.name, found.partitions) != (cluster.name, cluster.partitions):
        raise CallerFault(
            "other_cluster" if found.name != cluster.name else "other_partitions",
            f"the cluster is {found.name!r} with {found.partitions} partitions, and the configuration says "
            f"{cluster.name!r} with {cluster.partitions}: set cluster.name and cluster.partitions to what it is.",
        )


def check_directory(config: Config, known: NodeFacts, found: ClusterFacts | None) -> None:
    """Raises: CallerFault if a directory with these facts is not for this configuration, and the cluster found."""
    node = config.node
    for setting, wanted, present in (
        ("cluster.name", config.cluster.name, known.cluster),
        ("cluster.partitions", config.cluster.partitions, known.partitions),
        ("node.id", node.id or known.node, known.node),
    ):
        if wanted != present:
            raise _of_another(
                f"{node.data_dir} was made with {setting} = {present!r}, and the configuration says {wanted!r}: "
                "set it back, or choose another node.data_dir."
            )
    reason = _other_origin(config, known, found)
    if reason:
        raise _of_another(f"{node.data_dir} {reason}")


def check_content(
    config: Config,
    known: NodeFacts,
    recovered: Mapping[PartitionId, Recovered],
    views: Mapping[PartitionId, VersionedView],
) -> None:
    """Raises: CallerFault if a cluster with these views would drop what is in a directory that was never a member's."""
    filled = {partition: each for partition, each in recovered.items() if each.applied.sequence or each.entries}
    counts = any(
        partition in views and Member(known.node, each.facts.replica) in views[partition].view.in_sync
        for partition, each in filled.items()
    )
    if filled and not counts:
        raise _of_another(
            f"{config.node.data_dir} holds the data of a cluster of one, which the cluster {config.cluster.name!r} at "
            f"{config.coordination.zookeeper} would drop: choose another node.data_dir; without "
            "coordination.zookeeper this one can still be started and read."
        )


def _other_origin(config: Config, known: NodeFacts, found: ClusterFacts | None) -> str:
    """Returns why a directory whose settings are right is not this cluster's, "" if it is."""
    who, servers = f"node {known.node} of a cluster {known.cluster!r}", config.coordination.zookeeper
    if not servers:
        reason = f"belongs to {who}, and its views are in ZooKeeper: set coordination.zookeeper."
        return reason if is_member(known) else ""
    if found is None:
        reason = (
            f"belongs to {who}, and at {servers} there is none of this name: point coordination.zookeeper at "
            "the directory's own, with its path if it has one, or restore ZooKeeper from a copy."
        )
        return reason if known.creation else ""
    if known.creation and known.creation != found.creation:
        return (
            f"belongs to {who} (creation {known.creation}), and the one at {servers} is another of the same name "
            f"(creation {found.creation}): point coordination.zookeeper at the directory's own, or choose "
            "another node.data_dir."
        )
    return ""


def _of_another(message: str) -> CallerFault:
    return CallerFault("data_dir_of_another", message)
