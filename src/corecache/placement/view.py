"""A view: who is primary of a partition and who is in sync, as the coordinator holds it.

Rule 1: a view changes only by compare-and-set on its version in the coordinator (`ports.Coordinator`), and is never
deleted. Whoever holds an older version learns of it by losing.

Rule 2: `in_sync` contains the primary, and only a member of it may become primary next (R9 of `docs/protocol.md`).

Views are values: a change is a new one. How they are stored is the coordinators' business.
"""

import msgspec

from corecache.identity import Epoch, Incarnation, Lineage, Member, NodeId


class View(msgspec.Struct, frozen=True):
    """Who holds a partition.

    `primary` leads under `incarnation`, in `epoch`. `in_sync` are the members that hold every committed entry;
    `replicas` is the placement wanted, the node that should be primary first; `min_in_sync` (1 or more) is how many
    members must hold an entry before its write is a success.
    """

    lineage: Lineage
    epoch: Epoch
    primary: Member
    incarnation: Incarnation
    in_sync: tuple[Member, ...]
    replicas: tuple[NodeId, ...]
    min_in_sync: int = 1

    def __post_init__(self) -> None:
        """Refuses a view that breaks rule 2: ValueError, which msgspec turns into its own error on decoding."""
        if self.primary not in self.in_sync:
            raise ValueError(f"the primary {self.primary.node} is not in in_sync")
        if self.min_in_sync < 1:
            raise ValueError(f"min_in_sync is {self.min_in_sync}; it must be 1 or more")

    def names(self, node: NodeId) -> bool:
        """Says whether a node is to hold a copy, or is in sync with one."""
        return node in self.replicas or any(member.node == node for member in self.in_sync)


class VersionedView(msgspec.Struct, frozen=True):
    """A view with the version under which the coordinator holds it. Versions grow with each change, from 0."""

    view: View
    version: int
