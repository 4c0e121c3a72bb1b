"""Which replicas are wanted: from the present placement to the even one, in the fewest steps, one partition a step.

What is wanted of each partition, the first before the next:

1. `replication_factor` copies on different nodes that may hold them, or as many as there are such nodes;
2. in different zones, or as evenly over the zones as their nodes allow;
3. copies evenly spread over the nodes: they differ by one, or by as little as the zones allow;
4. preferred primaries as evenly spread as the places of the copies allow;
5. as few copies moved as possible, then as few preferred primaries changed.

Rule 1: **each step depends on the wanted replicas alone**, and on who may hold copies; not on steps before it, and on
who is in sync only for a partition that lacks copies. So whoever plans needs no memory: planning again in the middle
goes on with the very steps that a plan from the beginning had in its second half, and a preview is what is then done.

Rule 2: a copy on a node that is gone stays wanted until another node can take its place, for it may yet come back.

A copy that is in sync costs nothing: where one is missing, members in sync that are not wanted are taken back first.
"""

from collections.abc import Iterator, Mapping
from enum import Enum

import msgspec

from corecache.identity import NodeId, PartitionId
from corecache.placement.eligibility import Eligibility
from corecache.placement.evening import next_shift
from corecache.placement.spread import Spread


class Holding(msgspec.Struct, frozen=True):
    """How a partition is placed: who is wanted, the preferred primary first; who is in sync; who is primary."""

    replicas: tuple[NodeId, ...]
    in_sync: tuple[NodeId, ...]
    primary: NodeId


class Cause(Enum):
    """Why a step is taken."""

    TAKEN_BACK = "rebalancing is stopped, and the copy under way is not in sync yet"
    COPIES = "copies are missing, or on nodes that are gone or drained"
    ZONES = "copies share a zone"
    EVEN_COPIES = "copies are evened out"
    EVEN_PRIMARIES = "primaries are evened out"


class Step(msgspec.Struct, frozen=True):
    """A change of what is wanted of one partition."""

    partition: PartitionId
    before: tuple[NodeId, ...]
    after: tuple[NodeId, ...]
    cause: Cause


def target(
    holdings: Mapping[PartitionId, Holding], nodes: Eligibility, replication_factor: int, even: bool = True
) -> dict[PartitionId, tuple[NodeId, ...]]:
    """Returns the wanted replicas of each partition after all steps."""
    wanted = {partition: holding.replicas for partition, holding in holdings.items()}
    for step in steps(holdings, nodes, replication_factor, even):
        wanted[step.partition] = step.after
    return wanted


def steps(
    holdings: Mapping[PartitionId, Holding], nodes: Eligibility, replication_factor: int, even: bool = True
) -> Iterator[Step]:
    """Yields the steps, in their order. Not `even`: only what is lost or drained is replaced, moves are taken back."""
    fixed = frozenset(partition for partition, holding in holdings.items() if holding.primary not in nodes.alive)
    spread = Spread({partition: holding.replicas for partition, holding in holdings.items()}, fixed, nodes)
    movable = {partition: holdings[partition] for partition in sorted(holdings) if partition not in fixed}
    if not even:
        yield from _taken_back(movable, spread, nodes)
    yield from _mended(movable, spread, nodes, replication_factor)
    if even:
        yield from _spread_over_zones(movable, spread)
        yield from _evened_copies(spread, nodes)
        yield from _evened_primaries(spread, nodes)


def _change(spread: Spread, partition: PartitionId, after: tuple[NodeId, ...], cause: Cause) -> Iterator[Step]:
    before = spread.replicas[partition]
    if after != before:
        spread.change(partition, after)
        yield Step(partition, before, after, cause)


def _taken_back(movable: Mapping[PartitionId, Holding], spread: Spread, nodes: Eligibility) -> Iterator[Step]:
    """Puts members in sync that are no longer wanted back in the places of those that are not in sync yet."""
    for partition, holding in movable.items():
        unwanted = [node for node in holding.in_sync if node not in holding.replicas and nodes.may_receive(node)]
        after = list(holding.replicas)
        for place, node in enumerate(holding.replicas):
            if node not in holding.in_sync and unwanted:
                after[place] = unwanted.pop(0)
        yield from _change(spread, partition, tuple(after), Cause.TAKEN_BACK)


def _mended(
    movable: Mapping[PartitionId, Holding], spread: Spread, nodes: Eligibility, replication_factor: int
) -> Iterator[Step]:
    """Gives each partition its copies, those with the fewest in sync first."""
    lacking = {
        partition for partition in movable if sum(map(nodes.may_keep, spread.replicas[partition])) < replication_factor
    }
    # A node that many of those hold already is open to few of them: whoever can fill it should.
    closed = dict.fromkeys(nodes.receiving, 0)
    for node in (node for partition in movable if partition in lacking for node in spread.replicas[partition]):
        closed[node] = closed.get(node, 0) + 1

    def rank(partition: PartitionId) -> tuple[int, PartitionId]:
        return sum(map(nodes.may_keep, movable[partition].in_sync)), partition

    for partition in sorted(movable, key=rank):
        if partition in lacking:
            for node in spread.replicas[partition]:
                closed[node] -= 1
        wanted = _complete(movable[partition], spread.replicas[partition], spread, nodes, replication_factor, closed)
        yield from _change(spread, partition, wanted, Cause.COPIES)


def _complete(
    holding: Holding,
    replicas: tuple[NodeId, ...],
    spread: Spread,
    nodes: Eligibility,
    replication_factor: int,
    closed: Mapping[NodeId, int],
) -> tuple[NodeId, ...]:
    """Returns as many replicas as there should be, on nodes that may hold them."""
    kept = [node for node in replicas if nodes.may_keep(node)]
    while len(kept) > replication_factor:
        kept.remove(_surplus(holding, kept, spread, nodes))
    wanted = list(kept)
    for node in holding.in_sync:
        if len(wanted) < replication_factor and node not in wanted and nodes.may_receive(node):
            wanted.append(node)
    while len(wanted) < replication_factor:
        added = spread.emptiest(tuple(wanted), closed)
        if added is None:
            break
        wanted.append(added)
    gone = [node for node in replicas if node in nodes.gone and node not in nodes.draining]
    wanted += gone[: replication_factor - len(wanted)]
    if not wanted:
        # Somebody has to be wanted, and nobody else is there.
        return replicas
    if wanted[0] == replicas[0] and nodes.may_keep(wanted[0]):
        return tuple(wanted)
    return _preferring(_heir(holding, kept, wanted, spread, nodes), wanted)


def _surplus(holding: Holding, kept: list[NodeId], spread: Spread, nodes: Eligibility) -> NodeId:
    """Returns whom to want no longer when there are too many: not the preferred, rather one that is not in sync yet."""
    zoned = spread.zoned(tuple(kept))

    def rank(node: NodeId) -> tuple[bool, int, int, NodeId]:
        return node not in holding.in_sync, zoned[nodes.zone(node)], spread.copies.get(node, 0), node

    return max(kept[1:], key=rank)


def _heir(holding: Holding, kept: list[NodeId], wanted: list[NodeId], spread: Spread, nodes: Eligibility) -> NodeId:
    """Returns who is preferred when the one who was is wanted no more: the primary as it is, or who leads least."""
    able = [node for node in kept if nodes.may_receive(node)] or [node for node in wanted if nodes.may_receive(node)]
    if holding.primary in able:
        return holding.primary
    return min(able, key=lambda node: (spread.primaries[node], node), default=wanted[0])


def _spread_over_zones(movable: Mapping[PartitionId, Holding], spread: Spread) -> Iterator[Step]:
    """Moves copies that share a zone though another zone has fewer."""
    for partition in movable:
        while (crowded := spread.crowded(partition)) is not None:
            yield from _change(spread, partition, _moved(spread, partition, *crowded), Cause.ZONES)


def _evened_copies(spread: Spread, nodes: Eligibility) -> Iterator[Step]:
    while (shift := next_shift(nodes.receiving, spread.copies, spread.copy_to_move)) is not None:
        yield from _change(spread, shift[0], _moved(spread, *shift), Cause.EVEN_COPIES)


def _evened_primaries(spread: Spread, nodes: Eligibility) -> Iterator[Step]:
    while (shift := next_shift(nodes.receiving, spread.primaries, spread.primary_to_move)) is not None:
        partition, _, preferred = shift
        wanted = _preferring(preferred, list(spread.replicas[partition]))
        yield from _change(spread, partition, wanted, Cause.EVEN_PRIMARIES)


def _moved(spread: Spread, partition: PartitionId, source: NodeId, added: NodeId) -> tuple[NodeId, ...]:
    """Returns the replicas with one in another's place; if that was preferred, the one that leads least is now.

    Not the new one, if there is an old one: it would have to wait for its copy, and the primary would change twice.
    """
    replicas = spread.replicas[partition]
    moved = [added if node == source else node for node in replicas]
    if replicas[0] != source:
        return tuple(moved)
    able = [node for node in replicas[1:] if node in spread.primaries] or [added]
    return _preferring(min(able, key=lambda node: (spread.primaries[node], node)), moved)


def _preferring(preferred: NodeId, replicas: list[NodeId]) -> tuple[NodeId, ...]:
    return (preferred, *[node for node in replicas if node != preferred])
