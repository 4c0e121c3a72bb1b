"""Who may speak to whom: what a node says when it dials another, and how it judges those who dial it.

The dialer says who it is and whom it wants; the other welcomes it, or refuses with a word for programs and a sentence
that tells an operator what to do. Nobody is refused for good: the dialer tries again, at its leisure.

No sockets here: `accepted.py` and `dialled.py` carry the words.
"""

import msgspec

from corecache.declaration import shown
from corecache.identity import Incarnation, NodeId
from corecache.wire.link_codec import VERSION, Hello, Refusal

_REASON_CHARACTERS_MAX = 400


class Local(msgspec.Struct, frozen=True):
    """The node here, as it presents itself."""

    cluster: str
    partitions: int
    node: NodeId
    incarnation: Incarnation


def hello(local: Local, wanted: NodeId, bulk: bool) -> Hello:
    """Returns what this node says to one that it dials."""
    return Hello(VERSION, local.cluster, local.partitions, local.node, local.incarnation, wanted, bulk)


def other_version(version: int) -> Refusal:
    """Returns the refusal of a node that speaks another version of the link's protocol."""
    return Refusal(
        "other_version",
        f"The node speaks version {version} of the link's protocol, this one {VERSION}: install the same release of "
        "CoreCache on both.",
    )


def refusal_of(local: Local, caller: Hello, connected: Incarnation, full: bool) -> Refusal | None:
    """Returns why a node may not connect, None if it may.

    `connected` is the incarnation under which the same node is connected now, 0 if it is not; `full`: there are as many
    connections as are allowed.
    """
    node = shown(caller.node)
    if caller.cluster != local.cluster:
        return Refusal(
            "other_cluster",
            f"Node {node} is of cluster {shown(caller.cluster)}, this is {shown(local.cluster)}: give it the right "
            "cluster.name, or its own ZooKeeper path (coordination.zookeeper).",
        )
    if caller.partitions != local.partitions:
        return Refusal(
            "other_partitions",
            f"Node {node} counts {caller.partitions:,} partitions, this cluster has {local.partitions:,}: give it the "
            "same cluster.partitions.",
        )
    if caller.node == local.node:
        return Refusal(
            "itself",
            f"Node {node} has called itself, or two nodes have this id: give each its own node.id and node.data_dir, "
            "and its own address (node.advertise_host).",
        )
    if caller.wanted != local.node:
        return Refusal(
            "other_node",
            f"Node {node} wants {shown(caller.wanted)}, but here is {shown(local.node)}: the address has gone to "
            "another node, or two nodes advertise the same (node.advertise_host).",
        )
    if caller.incarnation < connected:
        return Refusal(
            "old_incarnation",
            f"Node {node} has been started again since (incarnation {connected}, not {caller.incarnation}): stop the "
            "older process.",
        )
    if full:
        return Refusal(
            "too_many", "There are as many connections as are allowed here: raise link.connections_max, two for a node."
        )
    return None


def readable(reason: str) -> str:
    """Returns a sentence that another has sent so that a log may show it: on one line, not too long."""
    text = reason if reason.isprintable() else repr(reason)
    return text if len(text) <= _REASON_CHARACTERS_MAX else text[: _REASON_CHARACTERS_MAX - 1] + "…"
