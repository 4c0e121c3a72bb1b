"""Disks that fail, hang or fill up under a running node: a clear error, nothing acknowledged lost, no lie told.

Failures are made by the preloaded shim (`corecache.chaos.disk`), at a chosen moment and in the real process; a full
disk is a small file system of the test's own. Each test ends with a restart and compares everything that a client was
told.
"""

import concurrent.futures
import errno
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.node_harness import REQUEST_SECONDS, Answer, Node, Shim, wait_until
from integration.small_disk import SmallDisk, mounted

KIB = 1024
MIB = 1024 * KIB
WAL = ".log"
"""What the names of the write-ahead log's files end in."""


def outcome(answer: Answer) -> str:
    """Returns what a client was told of its write: done, not_done or unknown."""
    if answer.status == 204:
        return "done"
    assert answer.status in (500, 503, 504, 507), answer
    problem = answer.json
    assert problem["detail"], "an error without a sentence"
    told = str(problem["outcome"])
    assert told in ("not_done", "unknown"), problem
    if answer.status in (503, 507):
        assert told == "not_done", problem
    return told


class Oracle:
    """What each key may hold, by what its only writer was told."""

    def __init__(self) -> None:
        self.possible: dict[bytes, set[bytes | None]] = {}
        self.told: list[str] = []

    def put(self, node: Node, key: bytes, value: bytes) -> Answer:
        """Puts, and notes what may be stored from now on."""
        before = self.possible.get(key, {None})
        self.possible[key] = before | {value}
        answer = node.put(key, value)
        self.told.append(outcome(answer))
        if self.told[-1] == "done":
            self.possible[key] = {value}
        elif self.told[-1] == "not_done":
            self.possible[key] = before
        return answer

    def compare(self, node: Node) -> None:
        """Reads everything; what is found is what is known from now on."""
        for key, values in self.possible.items():
            found = node.value(key)
            assert found in values, f"{key!r} holds {found!r}; what may be is {values}; told was {self.told}"
            self.possible[key] = {found}


@pytest.mark.parametrize(
    ("calls", "error"),
    [(Shim.SYNC, errno.EIO), (Shim.WRITE, errno.EIO), (Shim.WRITE, errno.ENOSPC), (Shim.SYNC, errno.ENOSPC)],
    ids=["sync EIO", "write EIO", "write ENOSPC", "sync ENOSPC"],
)
@pytest.mark.parametrize("times", [1, -1], ids=["once", "for ever"])
def test_after_a_failed_write_nothing_is_acknowledged_and_nothing_lost(
    new_node: Callable[..., Node], shim: Shim, calls: int, error: int, times: int
) -> None:
    """The write in flight is told the truth, later ones are refused, readiness says why, a restart finds the rest."""
    node = new_node(shim=shim).start()
    oracle = Oracle()
    for number in range(20):
        assert oracle.put(node, b"before-%d" % number, b"safe").status == 204
    shim.fail(calls, error, WAL, times=times)
    first = oracle.put(node, b"during", b"in flight")
    assert outcome(first) == "unknown", first
    assert shim.hits >= 1
    shim.disarm()
    # The disk is well again, but what it holds is not known: acknowledging anything from now on would be a guess.
    for number in range(10):
        assert outcome(oracle.put(node, b"before-%d" % number, b"refused")) == "not_done"
        assert outcome(oracle.put(node, b"after-%d" % number, b"refused")) == "not_done"
    readiness = node.ask("GET", "/readyz")
    assert readiness.status == 503
    assert any(word in readiness.body.lower() for word in (b"disk", b"write", b"sync", b"storage", b"log")), readiness
    assert node.ask("GET", "/healthz").status in (200, 503)
    for number in range(20):
        read = node.get(b"before-%d" % number)
        assert read.status in (200, 500, 503), read
        assert read.status != 200 or read.body == b"safe"
    assert "Traceback" not in node.log()
    node.terminate()
    node.await_end()
    node.start()
    oracle.compare(node)
    assert oracle.put(node, b"during", b"again").status == 204
    assert oracle.put(node, b"after-1", b"again").status == 204
    node.kill()
    node.start()
    oracle.compare(node)


@pytest.mark.parametrize("calls", [Shim.SYNC, Shim.WRITE], ids=["sync", "write"])
def test_a_failed_write_under_load_loses_nothing_acknowledged(
    new_node: Callable[..., Node], shim: Shim, calls: int
) -> None:
    """Eight clients write when the disk fails; each was told the truth about every one of its writes."""
    node = new_node(shim=shim).start()
    refused = threading.Barrier(9)
    oracles = [Oracle() for _ in range(8)]

    def work(client: int) -> None:
        for number in itertools.count():
            key = b"%d/%d" % (client, number % 20)
            if oracles[client].put(node, key, b"value %d" % number).status != 204:
                break
        refused.wait(REQUEST_SECONDS)

    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        clients = [threads.submit(work, client) for client in range(8)]
        wait_until(lambda: sum(len(oracle.told) for oracle in oracles) > 200, "200 writes", REQUEST_SECONDS)
        shim.fail(calls, errno.EIO, WAL, times=1)
        refused.wait(REQUEST_SECONDS)
        for client in clients:
            client.result(REQUEST_SECONDS)
    node.kill()
    shim.disarm()
    node.start()
    for oracle in oracles:
        oracle.compare(node)


@pytest.mark.parametrize("calls", [Shim.SYNC, Shim.WRITE], ids=["sync", "write"])
def test_a_failed_flush_loses_nothing(new_node: Callable[..., Node], shim: Shim, calls: int) -> None:
    """When an SSTable can't be written the order is answered with an error, and every key is there after a restart."""
    node = new_node(shim=shim).start()
    oracle = Oracle()
    for number in range(50):
        assert oracle.put(node, b"%d" % number, b"value").status == 204
    shim.fail(calls, errno.EIO, ".sst")
    answer = node.ask("POST", "/v1/storage/flush")
    assert answer.status in (500, 503), answer
    assert answer.json["detail"]
    assert shim.hits >= 1
    for number in range(10):
        oracle.put(node, b"%d" % number, b"later")
    shim.disarm()
    node.terminate()
    node.await_end()
    node.start()
    oracle.compare(node)
    node.storage("flush")
    oracle.compare(node)


def test_a_write_whose_disk_hangs_is_unknown_at_its_deadline(new_node: Callable[..., Node], shim: Shim) -> None:
    """A put that was begun ends as 504 and may be found later; one that only waited is not done, and never found."""
    node = new_node(shim=shim).start()
    shim.hold(Shim.SYNC, WAL)
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        first = threads.submit(node.put, b"{tag}first", b"value", X_CoreCache_Timeout="1500")
        shim.await_hit()
        second = threads.submit(node.put, b"{tag}second", b"value", X_CoreCache_Timeout="300")
        assert (second.result(REQUEST_SECONDS).status, outcome(second.result())) == (503, "not_done")
        assert (first.result(REQUEST_SECONDS).status, outcome(first.result())) == (504, "unknown")
    shim.disarm()
    wait_until(lambda: node.put(b"{tag}third", b"value").status == 204, "writes go on")
    assert node.value(b"{tag}second") is None
    assert node.value(b"{tag}first") == b"value"
    assert node.ask("GET", "/readyz").status == 200


# A full disk.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 160 MiB at the data directory of the node called `node`."""
    with mounted(tmp_path / "node" / "data", 160 * MIB) as disk:
        yield disk


def fill(node: Node, oracle: Oracle, puts_max: int) -> Answer:
    """Puts incompressible values of 32 KiB until one is not acknowledged, and returns that answer."""
    dice = random.Random(7)
    for number in range(puts_max):
        answer = oracle.put(node, b"fill-%d" % number, dice.randbytes(32 * KIB))
        if answer.status != 204:
            return answer
    raise AssertionError(f"{puts_max} puts fitted")


# The reserve is wide: what one client writes between two looks at the disk must fit in it.
RESERVE: dict[str, str | int] = {"storage.disk_reserve_bytes": 96 * MIB, "storage.memory_bytes": 32 * MIB}


def full_disk_scene(node: Node) -> None:
    """Fills a node to its budget, and sees that it refuses puts, serves the rest, and recovers by itself."""
    oracle = Oracle()
    node.start()
    answer = fill(node, oracle, 160 * MIB // (32 * KIB))
    assert (answer.status, outcome(answer), answer.json["code"]) == (507, "not_done", "disk_full"), answer
    filled = [key for key, values in oracle.possible.items() if values != {None}]
    assert len(filled) >= 200
    report = node.storage()
    assert report["disk_used_bytes"] <= report["disk_budget_bytes"]
    assert node.ask("GET", "/readyz").status == 200
    oracle.compare(node)
    assert node.delete(filled[0]).status == 204
    oracle.possible[filled[0]] = {None}
    node.kill()
    node.start()
    oracle.compare(node)
    for key in filled[5:]:
        assert node.delete(key).status == 204
        oracle.possible[key] = {None}
    node.storage("compact")
    wait_until(lambda: node.put(b"room", b"again").status == 204, "puts are accepted again")
    assert oracle.put(node, filled[9], b"written again").status == 204
    node.stop()
    node.start()
    oracle.compare(node)


def test_the_disk_budget_refuses_puts_and_recovers(new_node: Callable[..., Node]) -> None:
    """Near `storage.disk_bytes` puts are 507, reads and deletes go on, and room makes puts succeed again."""
    full_disk_scene(new_node(settings=RESERVE | {"storage.disk_bytes": 160 * MIB}))


def test_a_nearly_full_file_system_refuses_puts_and_recovers(
    new_node: Callable[..., Node], small_disk: SmallDisk
) -> None:
    """The same without a budget: what counts is what the file system has left."""
    full_disk_scene(new_node(settings=RESERVE, command=small_disk.command))


def test_a_full_file_system_loses_nothing_acknowledged(new_node: Callable[..., Node], small_disk: SmallDisk) -> None:
    """Without any reserve the system itself says ENOSPC: told truly, and all is there once the disk has grown."""
    settings: dict[str, str | int] = {"storage.disk_reserve_bytes": 0, "storage.memory_bytes": 32 * MIB}
    node = new_node(settings=settings, command=small_disk.command).start()
    oracle = Oracle()
    fill(node, oracle, 160 * MIB // (32 * KIB))
    for number in range(5):
        oracle.put(node, b"more-%d" % number, bytes(MIB))
    node.kill()
    small_disk.resize(512 * MIB)
    node.start()
    oracle.compare(node)
    assert oracle.put(node, b"room", b"again").status == 204
