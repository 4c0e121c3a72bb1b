"""The cluster as a whole: its facts, its living nodes, and what its operators have ordered.

Values only; who holds what is decided in `controller.py` and `rebalance.py`, and changed by the coordinator.
"""

from collections.abc import Mapping

import msgspec

from corecache.identity import Incarnation, NodeId


class ClusterFacts(msgspec.Struct, frozen=True):
    """What is fixed when a cluster is created.

    `creation` tells this cluster from any other of the same name: the coordinator draws it. A cluster of one has none.
    """

    name: str
    partitions: int
    replication_factor: int = 3
    creation: str = ""


class NodeEntry(msgspec.Struct, frozen=True):
    """A node as the list of the living has it. `addresses`: "http" → URL, "peer" → host:port."""

    node: NodeId
    incarnation: Incarnation
    addresses: Mapping[str, str] = {}
    zone: str = ""
    version: str = ""


class Orders(msgspec.Struct, frozen=True):
    """What operators have ordered, and what stands until they order otherwise.

    `draining` nodes are to hold nothing. `rebalancing`: whether replicas and primaries are evened out. `min_in_sync`: 0
    for the ratchet (1, then 2 when a cluster of three copies has them), else what every view is to have.
    """

    draining: tuple[NodeId, ...] = ()
    rebalancing: bool = True
    min_in_sync: int = 0
