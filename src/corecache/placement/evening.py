"""Which single shift comes next when loads are evened out: the algorithm for copies and for primaries alike.

Nodes have loads, and some shifts of one unit from a node to another are possible. A shift from a node to one with at
least two fewer makes the loads more even (it lowers the sum of their squares). Where no such shift is left, a chain of
shifts may do it: a → b and b → c, though a → c is impossible. When no chain is left either, the loads are as even as
the possible shifts allow: this is a flow problem, and a flow that no cycle improves is the best one.

Rule 1: the next shift depends on the present loads and possibilities alone, so that whoever starts again in the middle
goes on the same way.

Rule 2: of the shortest chain the *last* shift comes first. All nodes between its ends have a load in the middle (or a
part of the chain would do), so this shift makes nothing less even, and the rest of the chain is one shorter: evening
out ends.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from corecache.identity import NodeId, PartitionId

Possible: TypeAlias = Callable[[NodeId, NodeId], PartitionId | None]
"""Names the partition by which a unit of load can be shifted from the first node to the second; None: none can."""

Shift: TypeAlias = tuple[PartitionId, NodeId, NodeId]
"""By this partition, from this node, to that node."""


def next_shift(nodes: Sequence[NodeId], loads: Mapping[NodeId, int], possible: Possible) -> Shift | None:
    """Returns the next shift on the shortest way to even loads, None if they are as even as they can be."""
    fullest_first = sorted(nodes, key=lambda node: (-loads[node], node))
    emptiest_first = sorted(nodes, key=lambda node: (loads[node], node))
    if not nodes or loads[fullest_first[0]] - loads[emptiest_first[0]] < 2:
        return None
    for source in fullest_first:
        for target in emptiest_first:
            if loads[source] - loads[target] < 2:
                break
            partition = possible(source, target)
            if partition is not None:
                return partition, source, target
    return _last_of_shortest_chain(fullest_first, loads, possible)


def _last_of_shortest_chain(
    fullest_first: Sequence[NodeId], loads: Mapping[NodeId, int], possible: Possible
) -> Shift | None:
    """Returns the last shift of the shortest chain that makes the loads more even, None if there is no chain.

    Requires: no single shift does.
    """
    best: tuple[int, Shift] | None = None
    for load in dict.fromkeys(loads[node] for node in fullest_first):
        between = [node for node in fullest_first if loads[node] == load - 1]
        targets = sorted(node for node in fullest_first if loads[node] == load - 2)
        if not between or not targets:
            continue
        reached = [node for node in fullest_first if loads[node] == load]
        length = 1
        while reached and (best is None or length < best[0]):
            found = _first_possible(reached, targets, possible)
            if found is not None:
                best = (length, found)
                break
            following = [node for node in between if any(possible(source, node) is not None for source in reached)]
            between = [node for node in between if node not in following]
            reached = following
            length += 1
    return best[1] if best is not None else None


def _first_possible(sources: Sequence[NodeId], targets: Sequence[NodeId], possible: Possible) -> Shift | None:
    for source in sources:
        for target in targets:
            partition = possible(source, target)
            if partition is not None:
                return partition, source, target
    return None
