"""Kills that are aimed at a moment, on a real cluster that is written to: a hit is one, and a miss is told.

That a hit is one is seen by what the deed does not look at: the node's own log, and its answers.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pytest

from chaos.traffic import asked_all_the_time
from corecache.chaos.cluster import ChaosCluster, ChaosNode
from corecache.chaos.faults import DEEDS, aimed
from corecache.chaos.ground import Ground, MissedError, SkippedError, until
from corecache.chaos.plan import Planned
from corecache.reports import PartitionReport, StorageReport

pytestmark = pytest.mark.campaign

TURNS = 6
"""So many times may a fault strike, each with its tries, until it hits."""

WHOLE_SECONDS = 60.0


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Three nodes."""
    with ChaosCluster(tmp_path_factory.mktemp("ground"), 3, 1) as cluster:
        cluster.start()
        yield Ground(cluster, None, None)


class Witness:
    """Sees whom a fault kills while they stand still, and what they had said until then."""

    def __init__(self, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ground = ground
        self.killed: ChaosNode | None = None
        self.log = ""
        """What the node had said in that life."""

        self.without: list[int] = []
        """The partitions whose primaries had it in no view."""

        self.answers: list[bool] = []
        """Whether each order to compact was answered."""

        self.compactions: list[int] = []
        """How many compactions went on at each look."""

        kill, storage, tree, spawn = ChaosNode.kill, ChaosNode.storage, ChaosNode.tree, ChaosNode.spawn
        begins: dict[str, int] = {}

        def seen_spawn(node: ChaosNode) -> None:
            begins[node.name] = len(log_of(node))
            spawn(node)

        def seen_kill(node: ChaosNode) -> None:
            if node.running and state_of(node) == "T":
                self.killed, self.log = node, log_of(node)[begins.get(node.name, 0) :]
                self.without = [
                    each.id
                    for other in ground.present
                    for each in self.told(other, node)
                    if each.role == "primary"
                    and each.view is not None
                    and node.name not in [member.node for member in each.view.in_sync]
                ]
            kill(node)

        def seen_storage(node: ChaosNode, order: Literal["flush", "compact"]) -> bool:
            self.answers.append(storage(node, order))
            return self.answers[-1]

        def seen_tree(node: ChaosNode) -> StorageReport | None:
            found = tree(node)
            if found is not None:
                self.compactions.append(found.running_compactions)
            return found

        monkeypatch.setattr(ChaosNode, "spawn", seen_spawn)
        monkeypatch.setattr(ChaosNode, "kill", seen_kill)
        monkeypatch.setattr(ChaosNode, "storage", seen_storage)
        monkeypatch.setattr(ChaosNode, "tree", seen_tree)

    def told(self, node: ChaosNode, killed: ChaosNode) -> Sequence[PartitionReport]:
        """Returns what a node that still goes on says of all partitions."""
        report = node.report() if node is not killed else None
        return report.partitions if report is not None else ()

    def sees(self, kind: str, turns: int = TURNS) -> bool:
        """Lets a fault strike while clients ask, until it says that it hit; says whether it did."""

        async def strike() -> bool:
            async with asked_all_the_time(self.ground):
                for roll in range(turns):
                    assert await until(self.ground.is_whole, WHOLE_SECONDS)
                    planned = Planned(kind, 1.0, roll, 0.0, together=False)
                    try:
                        await DEEDS[kind](self.ground, planned, lambda target: None)
                    except (MissedError, SkippedError):
                        continue
                    return True
            return False

        hit = asyncio.run(strike())
        assert all(node.running for node in self.ground.present)
        assert self.ground.is_undisturbed()
        return hit


def log_of(node: ChaosNode) -> str:
    """Returns what a node has said in all its lives."""
    return node.process.log.read_text() if node.process.log.exists() else ""


def state_of(node: ChaosNode) -> str:
    """Returns what the kernel says that a node does: T stands still."""
    return Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def witness(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Witness:
    """Sees what happens to the nodes of this test."""
    return Witness(ground, monkeypatch)


def test_a_node_that_is_killed_while_it_catches_up_was_not_in_sync_everywhere(witness: Witness) -> None:
    """By the views that their primaries act on."""
    assert witness.sees("kill-in-catch-up")
    assert witness.killed is not None
    assert witness.without


def test_a_node_that_is_killed_while_it_hands_over_was_stopping_and_had_not_stopped(witness: Witness) -> None:
    """By its own log; and the one that is not killed so ends in peace, and says it."""
    assert witness.sees("kill-in-hand-over")
    assert "stopping" in witness.log
    assert "stopped" not in witness.log


def test_a_node_that_is_killed_while_it_compacts_never_answers_the_order(witness: Witness) -> None:
    """And had said that it compacts when it was looked at last."""
    assert witness.sees("kill-in-compaction")
    assert witness.killed is not None
    assert witness.answers[-1] is False
    assert witness.compactions[-1] > 0


@pytest.mark.parametrize("kind", ["kill-in-catch-up", "kill-in-hand-over", "kill-in-compaction"])
def test_who_comes_too_late_says_that_it_has_missed(
    witness: Witness, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is killed then, and what was asked of the node is done."""
    monkeypatch.setattr(aimed, "_TRIES", 2)
    spawn, terminate, storage, tree = ChaosNode.spawn, ChaosNode.terminate, ChaosNode.storage, ChaosNode.tree
    compacted = threading.Event()

    def spawn_and_wait(node: ChaosNode) -> None:
        spawn(node)
        witness.ground.cluster.await_whole()

    def terminate_and_wait(node: ChaosNode) -> None:
        terminate(node)
        node.wait(WHOLE_SECONDS)

    def compact_and_tell(node: ChaosNode, order: Literal["flush", "compact"]) -> bool:
        compacted.clear()
        done = storage(node, order)
        compacted.set()
        return done

    def tree_afterwards(node: ChaosNode) -> StorageReport | None:
        assert compacted.wait(WHOLE_SECONDS)
        return tree(node)

    if kind == "kill-in-catch-up":
        monkeypatch.setattr(ChaosNode, "spawn", spawn_and_wait)
    monkeypatch.setattr(ChaosNode, "terminate", terminate_and_wait)
    monkeypatch.setattr(ChaosNode, "storage", compact_and_tell)
    monkeypatch.setattr(ChaosNode, "tree", tree_afterwards)
    assert not witness.sees(kind, turns=1)
    assert witness.killed is None
    assert all(witness.answers)
