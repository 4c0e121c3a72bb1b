"""Faults of the network: cuts, whole and one way, delay, loss. Clients reach every node all the time."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from corecache.chaos.faults.deed import Struck
from corecache.chaos.ground import Ground
from corecache.chaos.network import Network
from corecache.chaos.plan import Planned

Direction = tuple[str, str]
"""A sender and a receiver."""

_SHARED: Final = "network"
_DELAY_MS: Final = (75.0, 50.0)
_LOSS: Final = 0.05


async def cut_zookeeper(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Cuts a node off from ZooKeeper, and from nothing else, mostly for longer than its session."""
    with ground.hold(_SHARED), ground.take(planned.roll) as node:
        struck(node.name)
        await _cut(ground, planned, _between([node.name], ground.zookeepers))


async def cut_minority(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Cuts one node off from all the others and from ZooKeeper."""
    with ground.hold(_SHARED), ground.take(planned.roll) as node:
        struck(node.name)
        others = [name for name in ground.names if name != node.name]
        await _cut(ground, planned, _between([node.name], [*others, *ground.zookeepers]))


async def cut_majority(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Leaves one node alone with ZooKeeper; the others have each other, and no more."""
    with ground.hold(_SHARED):
        alone = ground.names[planned.roll % len(ground.names)]
        struck(f"all but {alone}")
        others = [name for name in ground.names if name != alone]
        await _cut(ground, planned, _between(others, [alone, *ground.zookeepers]))


async def cut_one_way(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Lets nothing that one node sends reach another."""
    with ground.hold(_SHARED), ground.take(planned.roll) as node:
        others = [name for name in ground.names if name != node.name]
        other = others[planned.roll // 64 % len(others)]
        struck(f"{node.name} to {other}")
        await _cut(ground, planned, [(node.name, other)])


async def cut_ring(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Lets each node hear only the one before it, in a ring."""
    with ground.hold(_SHARED):
        struck("all")
        names = ground.names
        open_ways = set(zip(names, [*names[1:], names[0]], strict=True))
        await _cut(ground, planned, [way for way in _ways(names) if way not in open_ways])


async def delay(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Delays everything between nodes."""
    with ground.hold(_SHARED):
        struck("all")
        await _behave(ground, planned, _ways(ground.names), lambda network, way: network.delay(*way, *_DELAY_MS))


async def lose(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Loses some packets between nodes."""
    with ground.hold(_SHARED):
        struck("all")
        await _behave(ground, planned, _ways(ground.names), lambda network, way: network.loss(*way, _LOSS))


async def _cut(ground: Ground, planned: Planned, ways: Iterable[Direction]) -> None:
    await _behave(ground, planned, ways, lambda network, way: network.cut(*way))


async def _behave(
    ground: Ground, planned: Planned, ways: Iterable[Direction], behave: Callable[[Network, Direction], None]
) -> None:
    """Has the network behave badly for a while. One fault at a time has it, so that all of it is healed in the end."""
    assert ground.network is not None, "this kind needs a network"
    try:
        for way in ways:
            behave(ground.network, way)
        await asyncio.sleep(planned.seconds)
    finally:
        ground.network.heal()


def _between(some: Iterable[str], others: Iterable[str]) -> list[Direction]:
    """Returns the ways from some to others, and back."""
    others = list(others)
    return [way for one in some for other in others for way in ((one, other), (other, one))]


def _ways(names: list[str]) -> list[Direction]:
    return [(one, other) for one in names for other in names if one != other]
