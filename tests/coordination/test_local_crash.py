"""The embedded coordinator's process is killed, at any moment and between any two system calls: what is found then."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from coordination.coordinator_lab import opened

CHILD = """
import asyncio, os, sys
from pathlib import Path
from corecache.coordination.local import LocalCoordinator
from corecache.identity import *
from corecache.placement.partition_map import ClusterFacts
from corecache.placement.view import View

path, die_at = Path(sys.argv[1]), int(sys.argv[2])
steps = 0

def deadly(call):
    def called(*arguments, **options):
        global steps
        for moment in (1, 2):
            steps += 1
            if steps == die_at:
                os.kill(os.getpid(), 9)
            if moment == 1:
                result = call(*arguments, **options)
        return result
    return called

async def main():
    coordinator = await LocalCoordinator.open(path)
    views = await coordinator.views()
    member = Member(NodeId("n1"), ReplicaId("r1"))
    fresh = View(Lineage(0), Epoch(0), member, Incarnation(1), (member,), (member.node,))
    await coordinator.create(ClusterFacts("red", 4), {PartitionId(n): fresh for n in range(4)})
    versions = {n: found.version for n, found in (await coordinator.views()).items()}
    if die_at:
        os.fsync, os.replace, os.open, os.close = map(deadly, (os.fsync, os.replace, os.open, os.close))
    print("ready", flush=True)

    async def propose(partition):
        while True:
            won = await coordinator.propose(partition, fresh, versions[partition])
            versions[partition] = won.version
            os.write(1, f"{partition} {won.version}\\n".encode())

    await asyncio.gather(*(propose(PartitionId(n)) for n in range(4)))

asyncio.run(main())
"""


def killed_child(path: Path, die_at: int, lines: int) -> dict[int, int]:
    """Runs a proposing child until it dies at a step, or has said so many lines; returns what it was answered."""
    answered: dict[int, int] = {}
    with subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(die_at)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for count, line in enumerate(child.stdout):
            if count:
                partition, version = map(int, line.split())
                answered[partition] = version
            if count == lines:
                child.kill()
    assert child.returncode == -9
    return answered


def found_versions(path: Path) -> dict[int, int]:
    """Returns every partition's version as a fresh start finds it."""

    async def scene() -> dict[int, int]:
        return {partition: found.version for partition, found in (await (await opened(path)).views()).items()}

    return asyncio.run(scene())


def test_kill_nine_never_takes_a_version_back(tmp_path: Path) -> None:
    """Twenty times a child is killed among its proposals: each answered one is there, at most one more for each."""
    dice = random.Random(20_262)
    before = dict.fromkeys(range(4), 0)
    for _ in range(20):
        answered = killed_child(tmp_path / "coordinator.json", 0, dice.randrange(1, 200))
        after = found_versions(tmp_path / "coordinator.json")
        for partition in range(4):
            known = answered.get(partition, before[partition])
            assert known >= before[partition]
            assert known <= after[partition] <= known + 1
        before = after


@pytest.mark.parametrize("step", range(1, 11))
def test_a_crash_between_any_two_steps_leaves_the_old_or_the_new(tmp_path: Path, step: int) -> None:
    """The child dies before or after each system call of a write; the next start finds all views old or all new."""
    answered = killed_child(tmp_path / "coordinator.json", step, 1000)
    after = found_versions(tmp_path / "coordinator.json")
    assert set(after.values()) in ({0}, {1})
    assert all(after[partition] >= version for partition, version in answered.items())
