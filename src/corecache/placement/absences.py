"""For how long nodes have not been seen alive, as the controller of this moment has watched them.

A controller that was just elected knows of no absence: it begins to count when it first misses a node. So a node is
replaced late after a change of controllers, never early. The same after the coordinator was out of sight: the list of
the living that comes back first may lack nodes that are only about to register again (R19), so the caller says
`restart`.

It remembers the entries of nodes that it has seen, for the zones of those that are away.
"""

from collections.abc import Mapping

from corecache.identity import Milliseconds, NodeId, PartitionId
from corecache.placement.partition_map import NodeEntry
from corecache.placement.view import VersionedView


class Absences:
    """Since when each node is missed that some view names. `known` has the newest entry of each node seen alive."""

    __slots__ = ("_since", "known")

    def __init__(self) -> None:
        """Misses nobody yet."""
        self.known: dict[NodeId, NodeEntry] = {}
        self._since: dict[NodeId, Milliseconds] = {}

    def note(
        self, alive: Mapping[NodeId, NodeEntry], views: Mapping[PartitionId, VersionedView], now: Milliseconds
    ) -> None:
        """Takes the list of the living: misses whoever a view names and who is not on it."""
        self.known.update(alive)
        named = [node for held in views.values() for node in held.view.replicas]
        named += [member.node for held in views.values() for member in held.view.in_sync]
        missing = [node for node in dict.fromkeys(named) if node not in alive]
        self._since = {node: self._since.get(node, now) for node in missing}

    def gone(self, now: Milliseconds, grace_ms: Milliseconds) -> tuple[NodeId, ...]:
        """Returns the nodes that have been missed for so long, sorted."""
        return tuple(sorted(node for node, since in self._since.items() if now - since >= grace_ms))

    def restart(self) -> None:
        """Counts from the next look on, for everybody: this node has not seen the living for a while itself."""
        self._since.clear()
