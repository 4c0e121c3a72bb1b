"""What the tests of the embedded coordinator share: the cluster "red" of one node, and its views."""

from pathlib import Path

from corecache.coordination.local import LocalCoordinator
from corecache.identity import Epoch, Incarnation, Lineage, Member, NodeId, PartitionId, ReplicaId
from corecache.placement.partition_map import ClusterFacts
from corecache.placement.view import View

NODE = NodeId("n1")


def view(epoch: int) -> View:
    """Returns the view of a cluster of one in an epoch."""
    member = Member(NODE, ReplicaId("r1"))
    return View(Lineage(0), Epoch(epoch), member, Incarnation(1), (member,), (NODE,))


async def opened(path: Path, partitions: int = 4) -> LocalCoordinator:
    """Opens a coordinator and creates its cluster if that is missing."""
    coordinator = await LocalCoordinator.open(path)
    views = {PartitionId(number): view(0) for number in range(partitions)}
    await coordinator.create(ClusterFacts("red", partitions), views)
    return coordinator
