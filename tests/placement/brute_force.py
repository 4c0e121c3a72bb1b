"""The dumb twin of a rebalance: all placements there are, for clusters with a handful of nodes and partitions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from corecache.identity import NodeId, PartitionId
from corecache.placement.eligibility import Eligibility


def squares(loads: Mapping[NodeId, int]) -> int:
    """Returns how uneven loads are; with an equal sum, fewer is more even."""
    return sum(load * load for load in loads.values())


def best_copies(
    placements: Mapping[PartitionId, Sequence[NodeId]], nodes: Eligibility, replication_factor: int
) -> tuple[int, int]:
    """Returns how uneven the copies are at best, and how few must be moved for that.

    Among the placements in which each partition is spread over the zones as well as can be.
    """
    everywhere = list(combinations(nodes.receiving, min(replication_factor, len(nodes.receiving))))
    crowds = [squares(Counter(NodeId(nodes.zone(node)) for node in chosen)) for chosen in everywhere]
    choices = [chosen for chosen, crowd in zip(everywhere, crowds, strict=True) if crowd == min(crowds)]
    return _best(placements, nodes.receiving, dict.fromkeys(placements, choices))


def best_primaries(placements: Mapping[PartitionId, Sequence[NodeId]], nodes: Eligibility) -> tuple[int, int]:
    """Returns how uneven preferred primaries are at best where the copies are, and how few must change for that."""
    choices = {partition: [(node,) for node in wanted] for partition, wanted in placements.items()}
    return _best({partition: wanted[:1] for partition, wanted in placements.items()}, nodes.receiving, choices)


def _best(
    placements: Mapping[PartitionId, Sequence[NodeId]],
    nodes: Sequence[NodeId],
    choices: Mapping[PartitionId, Sequence[tuple[NodeId, ...]]],
) -> tuple[int, int]:
    fewest = {(0,) * len(nodes): 0}
    for partition, present in placements.items():
        following: dict[tuple[int, ...], int] = {}
        for loads, moved in fewest.items():
            for chosen in choices[partition]:
                after = tuple([load + (node in chosen) for node, load in zip(nodes, loads, strict=True)])
                cost = moved + sum(node not in present for node in chosen)
                following[after] = min(cost, following.get(after, cost))
        fewest = following
    return min((sum(load * load for load in loads), moved) for loads, moved in fewest.items())
