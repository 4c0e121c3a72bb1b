"""The embedded coordinator's file: what it survives, what it refuses, and what it answers when the disk fails.

What a crash leaves is asked in `test_local_crash.py`.
"""

import asyncio
import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from coordination.coordinator_lab import NODE, opened, view
from corecache.coordination.local import LocalCoordinator
from corecache.errors import Broken, CallerFault, NotDone, OutcomeUnknown
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.placement.partition_map import ClusterFacts, NodeEntry, Orders
from corecache.placement.view import VersionedView

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
ONE = PartitionId(1)
VERSION_1 = b"""{"format": "corecache-coordinator", "version": 1,
 "checksum": "4b76e2c9e54615630e442746ee8e8e77632b92b99fc2bb6f57ef0263631f557a",
 "ledger": {"cluster": "corecache", "partitions": 1, "incarnations": {"n-4f1c": 1}, "views": {"0": {"view": {
  "lineage": 0, "epoch": 1, "primary": {"node": "n-4f1c", "replica": "9a0e"}, "incarnation": 1,
  "in_sync": [{"node": "n-4f1c", "replica": "9a0e"}], "replicas": ["n-4f1c"], "min_in_sync": 1}, "version": 1}}}}"""


async def reopened_version(path: Path) -> int:
    """Returns the version of partition 1's view that a fresh start finds."""
    return (await (await LocalCoordinator.open(path)).views())[ONE].version


def registered(incarnation: int) -> NodeEntry:
    """Returns the node as it registers."""
    return NodeEntry(NODE, Incarnation(incarnation))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A place for the file."""
    return tmp_path / "coordinator.json"


class Faults:
    """Makes a chosen system call of this process fail: the disk's part is played, CoreCache's is the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = ""
        self.syncs = 0
        self._fsync, self._replace, self._open = os.fsync, os.replace, os.open
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)
        monkeypatch.setattr(os, "open", self.open)

    def fsync(self, descriptor: int) -> None:
        directory = os.path.isdir(f"/proc/self/fd/{descriptor}")
        self.syncs += not directory
        self._check("sync directory" if directory else "sync file")
        self._fsync(descriptor)

    def replace(self, old: Any, new: Any, **where: Any) -> None:
        self._check("rename")
        self._replace(old, new, **where)
        self._check("lost answer to rename")

    def open(self, name: Any, flags: int, *mode: Any, **where: Any) -> int:
        if flags & os.O_DIRECTORY:
            self._check("open directory")
        return self._open(name, flags, *mode, **where)

    def _check(self, step: str) -> None:
        if step == self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """A disk that can be told to fail."""
    return Faults(monkeypatch)


def test_views_and_incarnations_outlive_the_process(path: Path) -> None:
    """What was answered is found by the next opening: views, versions, incarnations, facts, orders."""

    async def scene() -> None:
        first = await opened(path)
        await first.register(registered(7))
        await first.propose(ONE, view(1), 0)
        await first.order(Orders(rebalancing=False), 0)
        await first.close()
        second = await LocalCoordinator.open(path)
        assert (await second.views())[ONE] == VersionedView(view(1), 1)
        assert await second.facts() == ClusterFacts("red", 4)
        assert await second.orders() == (Orders(rebalancing=False), 1)
        assert await second.register(registered(2)) == 7
        with pytest.raises(CallerFault, match="'red'"):
            await second.create(ClusterFacts("blue", 4), {PartitionId(number): view(0) for number in range(4)})

    asyncio.run(scene())


def test_proposals_made_at_once_share_a_write(path: Path, faults: Faults) -> None:
    """Two hundred and fifty-six proposals of one turn cost one sync of the file."""

    async def scene() -> None:
        coordinator = await opened(path, 256)
        before = faults.syncs
        won = await asyncio.gather(*(coordinator.propose(PartitionId(n), view(1), 0) for n in range(256)))
        assert all(won)
        assert faults.syncs == before + 1

    asyncio.run(scene())


def test_what_changes_nothing_writes_nothing(path: Path, faults: Faults) -> None:
    """A lost proposal, a repeated creation and a repeated registration leave the file alone."""

    async def scene() -> None:
        coordinator = await opened(path)
        await coordinator.register(registered(1))
        before = faults.syncs
        assert await coordinator.propose(ONE, view(1), 3) is None
        await coordinator.register(registered(1))
        await opened_again(coordinator)
        assert faults.syncs == before

    async def opened_again(coordinator: LocalCoordinator) -> None:
        await coordinator.create(ClusterFacts("red", 4), {PartitionId(number): view(0) for number in range(4)})

    asyncio.run(scene())


def test_a_failure_before_the_rename_is_not_done(path: Path, faults: Faults) -> None:
    """The old view stands in memory and in the file, and the same proposal succeeds when the disk is well again."""

    async def scene() -> None:
        coordinator = await opened(path)
        faults.failing = "sync file"
        with pytest.raises(NotDone, match="Input/output error"):
            await coordinator.propose(ONE, view(1), 0)
        assert (await coordinator.views())[ONE].version == 0
        faults.failing = ""
        assert await reopened_version(path) == 0
        assert await coordinator.propose(ONE, view(1), 0) == VersionedView(view(1), 1)
        assert await reopened_version(path) == 1

    asyncio.run(scene())


def test_a_new_file_that_cannot_be_made_is_not_done(path: Path) -> None:
    """Where the new file can't even be opened nothing happened, and the sentence names the file."""

    async def scene() -> None:
        coordinator = await opened(path)
        obstacle = path.with_name(path.name + ".new")
        obstacle.mkdir()
        with pytest.raises(NotDone, match=r"coordinator\.json\.new"):
            await coordinator.propose(ONE, view(1), 0)
        obstacle.rmdir()
        assert await coordinator.propose(ONE, view(1), 0) == VersionedView(view(1), 1)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("failing", "version"),
    [("rename", 0), ("lost answer to rename", 1), ("open directory", 1), ("sync directory", 1)],
)
def test_a_failure_from_the_rename_on_is_unknown_until_settled(
    path: Path, faults: Faults, failing: str, version: int
) -> None:
    """The proposer is told *unknown*; nothing is answered while the disk fails; then the file's truth is."""

    async def scene() -> None:
        coordinator = await opened(path)
        heard: list[tuple[PartitionId, VersionedView]] = []
        coordinator.watch(lambda partition, confirmed: heard.append((partition, confirmed)))
        coordinator.follow([ONE])
        faults.failing = failing
        with pytest.raises(OutcomeUnknown, match="Input/output error"):
            await coordinator.propose(ONE, view(1), 0)
        with pytest.raises(NotDone):
            await coordinator.views()
        with pytest.raises(NotDone):
            await coordinator.propose(ONE, view(2), 0)
        faults.failing = ""
        found = (await coordinator.views())[ONE]
        assert found == VersionedView(view(version), version)
        assert await reopened_version(path) == version
        assert await coordinator.propose(ONE, view(5), version) == VersionedView(view(5), version + 1)
        await asyncio.sleep(0)
        assert [confirmed.version for _, confirmed in heard] == list(range(version + 2))

    asyncio.run(scene())


def test_a_caller_who_gave_up_disturbs_nobody(path: Path) -> None:
    """A cancelled proposal may stand; the one beside it is answered."""

    async def scene() -> None:
        coordinator = await opened(path)
        given_up = asyncio.create_task(coordinator.propose(ONE, view(1), 0))
        beside = asyncio.create_task(coordinator.propose(PartitionId(2), view(1), 0))
        await asyncio.sleep(0)
        given_up.cancel()
        assert await beside == VersionedView(view(1), 1)
        assert given_up.cancelled()

    asyncio.run(scene())


def test_closing_finishes_what_was_begun(path: Path) -> None:
    """A proposal under way when the coordinator is closed is written and answered."""

    async def scene() -> None:
        coordinator = await opened(path)
        under_way = asyncio.create_task(coordinator.propose(ONE, view(1), 0))
        await asyncio.sleep(0)
        await coordinator.close()
        assert await under_way == VersionedView(view(1), 1)
        assert await reopened_version(path) == 1

    asyncio.run(scene())


def written(path: Path) -> bytes:
    """Returns the text of a small file as a coordinator leaves it."""

    async def scene() -> None:
        coordinator = await opened(path, 2)
        await coordinator.register(registered(3))
        await coordinator.close()

    asyncio.run(scene())
    return path.read_bytes()


def refusal(path: Path, text: bytes) -> Exception | None:
    """Returns what opening a file with this text raises, None if it opens with the ledger that `written` leaves."""
    path.write_bytes(text)
    refused: Broken | CallerFault | None = None
    try:
        coordinator = asyncio.run(LocalCoordinator.open(path))
    except (Broken, CallerFault) as error:
        refused = error
    if refused is not None:
        assert path.name in refused.message
        assert path.read_bytes() == text
        return refused
    assert asyncio.run(coordinator.views()) == {PartitionId(n): VersionedView(view(0), 0) for n in range(2)}
    return None


def test_a_file_cut_short_is_refused_as_damaged(path: Path) -> None:
    """No beginning of a file passes for a file, the empty one included; the file is left as it is."""
    text = written(path)
    for length in range(0, len(text.rstrip()), 7):
        assert isinstance(refusal(path, text[:length]), Broken)


def test_a_changed_byte_is_refused_or_changes_nothing(path: Path) -> None:
    """Whichever byte of the file rots: the start is refused, or (white space) the ledger is the one written."""
    text = written(path)
    dice = random.Random(20_261)
    refused = 0
    for place in range(0, len(text), 3):
        rotten = bytearray(text)
        rotten[place] ^= 1 << dice.randrange(8)
        refused += refusal(path, bytes(rotten)) is not None
    assert refused > len(text) // 10


def test_a_ledger_that_was_edited_is_refused(path: Path) -> None:
    """Valid JSON with another incarnation, or with a field more, fails its checksum, and the sentence says so."""
    for name, value in (("incarnations", {"n1": 4}), ("another", 1)):
        document = json.loads(written(path))
        document["ledger"][name] = value
        error = refusal(path, json.dumps(document).encode())
        assert isinstance(error, Broken)
        assert "checksum" in error.message
        path.unlink()


def test_a_file_in_another_layout_is_the_same_file(path: Path) -> None:
    """Whoever reformats the JSON by hand changes nothing."""
    assert refusal(path, json.dumps(json.loads(written(path)), indent=None).encode()) is None


def test_a_newer_format_is_refused(path: Path) -> None:
    """The sentence names both versions, and says what to start instead."""
    document = json.loads(written(path))
    document["version"] = 3
    error = refusal(path, json.dumps(document).encode())
    assert isinstance(error, CallerFault)
    assert (error.code, "version 3" in error.message) == ("coordinator_newer", True)


def test_a_file_of_version_1_opens(path: Path) -> None:
    """What the first release wrote is taken over: what it did not know of takes its default; the next is version 2."""
    path.write_bytes(VERSION_1)

    async def scene() -> None:
        coordinator = await LocalCoordinator.open(path)
        assert await coordinator.facts() == ClusterFacts("corecache", 1, 3)
        assert await coordinator.orders() == (Orders(), 0)
        assert (await coordinator.views())[PartitionId(0)].version == 1
        assert await coordinator.register(NodeEntry(NodeId("n-4f1c"), Incarnation(1))) == 1

    asyncio.run(scene())
    assert json.loads(path.read_bytes())["version"] == 2


@pytest.mark.parametrize("text", [b"{}", b"[1]", b'"text"', b'{"format": "other", "version": 1}'])
def test_a_foreign_file_is_refused(path: Path, text: bytes) -> None:
    """Any other JSON is not touched: it is somebody's."""
    error = refusal(path, text)
    assert isinstance(error, CallerFault)
    assert error.code == "coordinator_foreign"


def test_a_foreign_format_with_our_fields_is_refused(path: Path) -> None:
    """The format's name decides, not its likeness."""
    document = json.loads(written(path))
    document["format"] = "other"
    error = refusal(path, json.dumps(document).encode())
    assert isinstance(error, CallerFault)
    assert error.code == "coordinator_foreign"


def test_a_place_that_cannot_be_used_is_refused(path: Path) -> None:
    """A directory where the file should be, and an obstacle to writing, are named when the node starts."""
    path.mkdir()
    with pytest.raises(CallerFault, match="Is a directory"):
        asyncio.run(LocalCoordinator.open(path))
    path.rmdir()
    written(path)
    path.with_name(path.name + ".new").mkdir()
    with pytest.raises(CallerFault, match=r"coordinator\.json\.new"):
        asyncio.run(LocalCoordinator.open(path))


def test_the_documented_example_is_such_a_file(path: Path) -> None:
    """The example of docs/formats.md opens, and is written again as it stands there, byte for byte."""
    section = DOCUMENT.read_text(encoding="utf-8").partition("## The embedded coordinator's file\n")[2]
    example = section.partition("```json\n")[2].partition("```")[0].encode()
    path.write_bytes(example)
    assert asyncio.run(asyncio.run(LocalCoordinator.open(path)).views()).keys() == {0}
    assert path.read_bytes() == example
