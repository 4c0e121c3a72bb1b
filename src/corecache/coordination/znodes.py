"""Where everything is in ZooKeeper, and what its bytes mean: paths and content of every znode, and nothing else.

Under the chroot of `coordination.zookeeper`, a cluster named "red" has, all content being JSON:

* /corecache/red/cluster: the facts, and which creation's views are the cluster's. It is written last: where it is, all
  views are; what a creation that ended halfway left behind is named by nobody.
* /corecache/red/partitions/CREATION/17: partition 17's view; the znode's version is the view's.
* /corecache/red/nodes/n1: the highest incarnation of node n1, which never goes back.
* /corecache/red/alive/n1: node n1 while its session lives (ephemeral).
* /corecache/red/controller: the controller, while its session lives (ephemeral).
* /corecache/red/orders: what operators have ordered, once they have.

Rule 1: what makes no sense raises Broken `znode_malformed` with its path, whatever the bytes; nothing is guessed.
Rule 2: unknown fields are passed over, so that nodes of two releases can share a cluster; a change that an older
release must not pass over raises `FORMAT`, and the older one refuses the cluster.

`docs/formats.md` shows an example of each.
"""

from typing import TypeVar
from urllib.parse import quote, unquote

import msgspec

from corecache.errors import Broken, CallerFault
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.placement.partition_map import ClusterFacts

FORMAT = 1

Content = TypeVar("Content")


class ClusterContent(msgspec.Struct, frozen=True):
    """The content of /cluster. `creation` names the folder that has the cluster's views."""

    format: int
    name: str
    partitions: int
    replication_factor: int
    creation: str

    def __post_init__(self) -> None:
        """Refuses what no creation writes: ValueError, which msgspec turns into its own error on decoding."""
        if not 1 <= self.partitions <= 16_384 or self.replication_factor < 1:
            raise ValueError("partitions must be 1 to 16,384, replication_factor 1 or more")
        if not self.creation.isalnum():
            raise ValueError("creation must be letters and digits")

    def facts(self) -> ClusterFacts:
        """Returns the cluster's facts."""
        return ClusterFacts(self.name, self.partitions, self.replication_factor, self.creation)


class NodeContent(msgspec.Struct, frozen=True):
    """The content of /nodes/NODE."""

    incarnation: Incarnation


class ControllerContent(msgspec.Struct, frozen=True):
    """The content of /controller."""

    node: NodeId


class Layout:
    """The paths of one cluster under a chroot ("" or "/some/path")."""

    def __init__(self, chroot: str, cluster: str) -> None:
        self.root = f"{chroot.rstrip('/')}/corecache/{_segment(cluster)}"
        self.cluster = f"{self.root}/cluster"
        self.partitions = f"{self.root}/partitions"
        self.nodes = f"{self.root}/nodes"
        self.alive = f"{self.root}/alive"
        self.controller = f"{self.root}/controller"
        self.orders = f"{self.root}/orders"

    def node(self, node: NodeId) -> str:
        """Returns the path of a node's highest incarnation."""
        return f"{self.nodes}/{_segment(node)}"

    def living(self, node: NodeId) -> str:
        """Returns the path of a node while it is alive."""
        return f"{self.alive}/{_segment(node)}"

    def creation(self, creation: str) -> str:
        """Returns the folder of the views of one creation."""
        return f"{self.partitions}/{creation}"

    def partition(self, creation: str, partition: PartitionId) -> str:
        """Returns the path of a partition's view."""
        return f"{self.partitions}/{creation}/{partition}"

    def partition_of(self, path: str) -> PartitionId | None:
        """Returns the partition whose view is at a path, None if there is none."""
        if not path.startswith(self.partitions + "/"):
            return None
        number = path.rpartition("/")[2]
        return PartitionId(int(number)) if number.isascii() and number.isdigit() else None

    def folders(self) -> list[str]:
        """Returns the paths that must be there before anything else, each after the one it is in."""
        parts = self.root.split("/")[1:]
        return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))] + [
            self.partitions,
            self.nodes,
            self.alive,
        ]


def _segment(name: str) -> str:
    """Returns a name as one part of a path. ZooKeeper refuses "." and ".." there."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")


def node_named(segment: str) -> NodeId:
    """Returns the node that a part of a path names."""
    return NodeId(unquote(segment))


def encode(content: object) -> bytes:
    """Returns the bytes of a znode."""
    return msgspec.json.encode(content)


def decode(path: str, content: bytes, kind: type[Content]) -> Content:
    """Returns what a znode says. Raises: Broken, with its path."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # The reason may quote the content, and that may hold what would move a terminal's cursor.
        reason = "".join(letter if letter.isprintable() else "?" for letter in str(error))
        raise Broken(
            "znode_malformed", f"the znode {path} makes no sense ({reason}): restore its content from a copy"
        ) from error


def decode_cluster(path: str, content: bytes) -> ClusterContent:
    """Returns what /cluster says. Raises: Broken; CallerFault if a newer release wrote it."""
    if decode(path, content, _Format).format > FORMAT:
        raise CallerFault(
            "cluster_newer", f"the znode {path} was written by a newer CoreCache: start that one, or a newer one"
        )
    return decode(path, content, ClusterContent)


class _Format(msgspec.Struct):
    format: int
