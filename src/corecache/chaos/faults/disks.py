"""Faults of disks: slow, full, failing; and power that goes, with all that was not synced."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from corecache.chaos.cluster import ChaosNode
from corecache.chaos.disk import Shim
from corecache.chaos.faults.deed import Struck
from corecache.chaos.faults.processes import await_started, down
from corecache.chaos.ground import Ground, SkippedError
from corecache.chaos.plan import Planned

_SLOW_MICROSECONDS: Final = 20_000


async def slow(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Has each write and each sync of a node take longer."""
    with ground.take(planned.roll) as node, _disk(node) as disk:
        struck(node.name)
        disk.slow(Shim.WRITE | Shim.SYNC, _SLOW_MICROSECONDS, _part_of(node))
        await asyncio.sleep(planned.seconds)


async def fill(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Has a node's disk be full; then there is room again, and an operator starts the node once more."""
    await _break(ground, planned, struck, lambda disk, part: disk.fill(part))


async def fail_syncs(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Has a node's syncs fail; then the disk is good again, and an operator starts the node once more."""
    await _break(ground, planned, struck, lambda disk, part: disk.fail_syncs(part))


async def _break(ground: Ground, planned: Planned, struck: Struck, broken: Callable[[Shim, str], None]) -> None:
    with ground.take(planned.roll) as node:
        with _disk(node) as disk:
            struck(node.name)
            broken(disk, _part_of(node))
            await asyncio.sleep(planned.seconds)
        node.kill()
        node.spawn()
        await await_started([node])


def _part_of(node: ChaosNode) -> str:
    """Returns what the paths of a node's data have in common, and no others."""
    return f"/{node.name}/{node.data_dir.name}/"


@contextlib.contextmanager
def _disk(node: ChaosNode) -> Iterator[Shim]:
    """Gives the control of a node's disk, which is good again in the end.

    Raises: SkippedError if the node did not come to ask its disk for anything.
    """
    assert node.disk is not None, "this kind needs the shim"
    try:
        yield node.disk
    finally:
        node.disk.disarm()
    if not node.disk.hits:
        raise SkippedError(f"{node.name} asked nothing of its disk")


async def cut_power(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Takes a node's power."""
    with ground.take(planned.roll) as node:
        await _cut(ground, planned, [node], node.name, struck)


async def cut_all_power(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Takes the power of all nodes at one instant."""
    with ground.take_all() as nodes:
        await _cut(ground, planned, nodes, "all", struck)


async def lose_all(ground: Ground, planned: Planned, struck: Struck) -> None:
    """Has all disks die while the nodes go on: no sync succeeds, and what is written is never there again."""
    with ground.take_all() as nodes:
        assert ground.grid is not None, "this kind needs disks whose power can be cut"
        names = [node.name for node in nodes]
        struck("all")
        try:
            await asyncio.to_thread(ground.grid.cut, names)
            await asyncio.sleep(planned.seconds)
        finally:
            async with down(*nodes):
                await asyncio.to_thread(ground.grid.restore, names)
        await await_started(nodes)


async def _cut(ground: Ground, planned: Planned, nodes: list[ChaosNode], target: str, struck: Struck) -> None:
    assert ground.grid is not None, "this kind needs disks whose power can be cut"
    struck(target)
    names = [node.name for node in nodes]
    # The disks go a moment before the processes: nothing that a node did after the cut may be seen by anybody.
    for node in nodes:
        node.pause()
    dice = Random(planned.roll)  # noqa: S311 (lots, not secrets)
    try:
        if dice.randrange(2):
            await asyncio.to_thread(ground.grid.write_some, names, dice)
        await asyncio.to_thread(ground.grid.cut, names)
        async with down(*nodes):
            await asyncio.sleep(planned.seconds)
            await asyncio.to_thread(ground.grid.restore, names)
    finally:
        for node in nodes:
            node.resume()
    await await_started(nodes)
