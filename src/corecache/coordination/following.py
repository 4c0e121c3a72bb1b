"""Which partitions a node follows, and who is to be told of their views: the same for every coordinator.

Rule 1: a watcher hears only of followed partitions, and the versions that it hears of one grow: what arrives late or
twice is dropped here, so a coordinator may read and tell in any order and as often as it likes.
Rule 2: a partition that begins to be followed, also again, is told once whatever its version: the coordinator reads it.

It does nothing by itself: no loop, no thread. Whoever calls `tell` does so on the event loop, and not from inside a
call of the one who is told.
"""

from collections.abc import Callable, Sequence

from corecache.identity import PartitionId
from corecache.placement.view import VersionedView

NEVER_TOLD = -1
"""Below every version."""


class Following:
    """The followed partitions, the version last told of each, and the watchers."""

    def __init__(self) -> None:
        self._told: dict[PartitionId, int] = {}
        self._watchers: list[Callable[[PartitionId, VersionedView], None]] = []

    def __contains__(self, partition: PartitionId) -> bool:
        return partition in self._told

    def watch(self, changed: Callable[[PartitionId, VersionedView], None]) -> None:
        """Has `changed` called for what is told from now on."""
        self._watchers.append(changed)

    def follow(self, partitions: Sequence[PartitionId]) -> list[PartitionId]:
        """Follows these partitions and no others; returns those that were not followed before."""
        fresh = [partition for partition in dict.fromkeys(partitions) if partition not in self._told]
        self._told = {partition: self._told.get(partition, NEVER_TOLD) for partition in partitions}
        return fresh

    def partitions(self) -> list[PartitionId]:
        """Returns the followed partitions."""
        return list(self._told)

    def tell(self, partition: PartitionId, confirmed: VersionedView) -> None:
        """Calls the watchers, if the partition is followed and they know no such version of it yet."""
        if confirmed.version > self._told.get(partition, confirmed.version):
            self._told[partition] = confirmed.version
            for changed in list(self._watchers):
                changed(partition, confirmed)

    def end(self) -> None:
        """Follows nothing and tells nobody any more."""
        self._told.clear()
        self._watchers.clear()
