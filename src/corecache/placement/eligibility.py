"""Which nodes may hold copies: who may receive new ones, who keeps what it has, and whose are to go.

A node that is known is in one of four states:

* *alive* and not draining: it may receive copies, and be preferred as primary;
* *away*: not alive, but not for long. It keeps what is wanted of it, so that a restart moves nothing, and gets nothing;
* *gone*: not alive for so long that its copies are made anew elsewhere, where there is an elsewhere;
* *draining*, alive or not: an operator wants it to hold nothing.

A partition is left alone while its primary is not alive: its backups have to settle that first (R9), and nobody could
act on another placement before. How long is "long" is not judged here.
"""

from collections.abc import Collection, Mapping

import msgspec

from corecache.identity import NodeId
from corecache.placement.partition_map import NodeEntry, Orders


class Eligibility(msgspec.Struct, frozen=True):
    """The judgement on all nodes. `receiving` is sorted; `zones` has those of nodes that were ever seen alive."""

    receiving: tuple[NodeId, ...]
    alive: frozenset[NodeId]
    draining: frozenset[NodeId]
    gone: frozenset[NodeId]
    zones: Mapping[NodeId, str]

    @classmethod
    def judged(
        cls,
        alive: Mapping[NodeId, NodeEntry],
        gone: Collection[NodeId],
        orders: Orders,
        known: Mapping[NodeId, NodeEntry],
    ) -> "Eligibility":
        """Returns the judgement; a node that is alive is not gone, whoever says so. `known`: entries of other nodes."""
        zones = {node: entry.zone for node, entry in known.items()}
        zones |= {node: entry.zone for node, entry in alive.items()}
        draining = frozenset(orders.draining)
        receiving = tuple(sorted(node for node in alive if node not in draining))
        return cls(receiving, frozenset(alive), draining, frozenset(gone) - frozenset(alive), zones)

    def may_receive(self, node: NodeId) -> bool:
        """Says whether a node may be given copies and primaries."""
        return node in self.alive and node not in self.draining

    def may_keep(self, node: NodeId) -> bool:
        """Says whether what a node holds may stay with it."""
        return node not in self.draining and node not in self.gone

    def zone(self, node: NodeId) -> str:
        """Returns a node's zone; one that was never seen alive has one of its own, so that nothing moves for it."""
        known = self.zones.get(node)
        return f"\0{node}" if known is None else known
