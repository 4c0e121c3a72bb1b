"""Starts that can't be: each is refused with one line that names the culprit and the cure, and changes nothing.

The reasons are made for real: bytes of files changed while no node runs, another process on the directory, permissions,
a port that is taken. After each, with the reason gone, the node starts and has everything.
"""

import contextlib
import errno
import json
import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.node_harness import Node, Shim


def wal_files(node: Node) -> list[Path]:
    """Returns the write-ahead log's files that hold something, oldest first."""
    return sorted(path for path in node.data_dir.rglob("*.log") if path.stat().st_size)


def loaded(node: Node) -> None:
    """Starts a node, writes 200 values, and kills it: all of them are in the write-ahead log."""
    node.start()
    for number in range(200):
        assert node.put(b"key-%d" % number, b"value %d " % number * 10).status == 204
    node.kill()


def assert_one_clear_line(said: str, *words: str) -> None:
    """Sees that a refused start says what is wrong in one line, with these words, and shows no trace of our code."""
    assert "Traceback" not in said, said
    lines = [line for line in said.splitlines() if all(word.lower() in line.lower() for word in words)]
    assert lines, f"no line with {words}: {said}"


@pytest.mark.parametrize("place", [0.3, 0.7, 0.999])
def test_a_rotten_log_record_is_refused_or_truncated_as_ordered(new_node: Callable[..., Node], place: float) -> None:
    """By default the start is refused with the cure; with `damaged_log = "truncate"` it starts with a prefix."""
    node = new_node()
    loaded(node)
    path = wal_files(node)[-1]
    text = bytearray(path.read_bytes())
    where = int(len(text) * place) - 1
    text[where] ^= 0xFF
    path.write_bytes(text)
    code, said = node.refused_start()
    assert code not in (0, -9)
    assert_one_clear_line(said, "storage.damaged_log", "truncate")
    code, said = node.refused_start()
    assert code != 0, "the second start after a refusal must be refused too"
    node.settings["storage.damaged_log"] = "truncate"
    node.start()
    held = [node.value(b"key-%d" % number) for number in range(200)]
    kept = sum(value is not None for value in held)
    assert kept < 200 or place > 0.99
    assert held == [b"value %d " % number * 10 if number < kept else None for number in range(200)]
    assert node.put(b"key-199", b"anew").status == 204
    del node.settings["storage.damaged_log"]
    node.stop()
    node.start()
    assert node.value(b"key-199") == b"anew"


@pytest.mark.parametrize("cut_bytes", [1, 7, 40])
def test_a_log_cut_short_at_its_end_starts(new_node: Callable[..., Node], cut_bytes: int) -> None:
    """What a power cut leaves of a write that nobody was told of is dropped without asking; all before it is there."""
    node = new_node()
    loaded(node)
    path = wal_files(node)[-1]
    os.truncate(path, path.stat().st_size - cut_bytes)
    node.start()
    for number in range(199):
        assert node.value(b"key-%d" % number) == b"value %d " % number * 10
    assert node.value(b"key-199") in (b"value 199 " * 10, None)


def test_a_rotten_sstable_is_never_served(new_node: Callable[..., Node]) -> None:
    """After a byte of an SSTable has changed, each key reads its own value or a documented error, or nothing starts."""
    node = new_node().start()
    for number in range(200):
        assert node.put(b"key-%d" % number, b"value %d " % number * 10).status == 204
    node.storage("flush")
    node.storage("compact")
    node.stop()
    path = max(node.data_dir.rglob("*.sst"), key=lambda file: file.stat().st_size)
    text = bytearray(path.read_bytes())
    for where in range(0, len(text) // 2, 500):
        text[where] ^= 0x01
    path.write_bytes(text)
    node.spawn()
    with contextlib.suppress(AssertionError):
        node.await_ready()
    if not node.running:
        assert "Traceback" not in node.log()
        return
    errors = 0
    for number in range(200):
        answer = node.get(b"key-%d" % number)
        assert answer.status in (200, 500), answer
        if answer.status == 200:
            assert answer.body == b"value %d " % number * 10
        else:
            errors += 1
            assert answer.json["detail"]
    assert errors > 0


def test_a_damaged_coordinator_file_is_refused_by_name(new_node: Callable[..., Node]) -> None:
    """The start names the file; with the file as it was, everything is there."""
    node = new_node()
    loaded(node)
    (path,) = node.data_dir.rglob("coordinator.json")
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 2])
    code, said = node.refused_start()
    assert code not in (0, -9)
    assert_one_clear_line(said, "coordinator.json", "damaged")
    path.write_bytes(text)
    node.start()
    assert node.value(b"key-7") == b"value 7 " * 10


def test_a_lost_coordinator_file_is_made_anew(new_node: Callable[..., Node]) -> None:
    """A cluster of one knows enough by its database: nothing is lost with the file."""
    node = new_node()
    loaded(node)
    (path,) = node.data_dir.rglob("coordinator.json")
    path.unlink()
    node.start()
    assert node.value(b"key-7") == b"value 7 " * 10
    assert node.put(b"key-7", b"anew").status == 204
    node.kill()
    node.start()
    assert node.value(b"key-7") == b"anew"


@pytest.mark.parametrize("fresh", [True, False], ids=["first start", "later start"])
def test_a_coordinator_file_that_cannot_be_written_is_refused(
    new_node: Callable[..., Node], shim: Shim, fresh: bool
) -> None:
    """A node that can't keep its views does not start, says in a line which file it is, and loses nothing by it."""
    node = new_node(shim=shim)
    if not fresh:
        loaded(node)
    shim.fail(Shim.SYNC, errno.EIO, "coordinator.json")
    code, said = node.refused_start()
    assert code not in (0, -9)
    assert shim.hits >= 1
    assert_one_clear_line(said, "coordinator.json", "input/output error")
    shim.disarm()
    node.start()
    assert node.value(b"key-7") == (None if fresh else b"value 7 " * 10)


def test_a_proposal_that_fails_once_is_made_again(new_node: Callable[..., Node], shim: Shim) -> None:
    """A node whose views could not be written once, in the middle of its start, gets ready all the same."""
    node = new_node(shim=shim)
    loaded(node)
    # The file is written at its opening, for the new incarnation, and then for the views.
    shim.fail(Shim.SYNC, errno.EIO, "coordinator.json", skip=2, times=1)
    node.start()
    assert shim.hits == 1
    assert node.value(b"key-7") == b"value 7 " * 10
    assert node.put(b"key-7", b"anew").status == 204


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_power_cut_in_the_middle_of_a_start_is_survived(new_node: Callable[..., Node], shim: Shim, step: int) -> None:
    """Whether it hits while views are read, the incarnation registered or epochs proposed: the next start works.

    It counts one more: an incarnation under which something may have been said is never given out again.
    """
    node = new_node(shim=shim)
    loaded(node)
    shim.hold(Shim.SYNC, "coordinator.json", skip=step)
    node.spawn()
    shim.await_hit()
    node.kill()
    shim.disarm()
    shim.cut_power(node.data_dir)
    registered = json.loads((node.data_dir / "coordinator.json").read_text())["ledger"]["incarnations"]
    node.start()
    (known,) = node.ask("GET", "/v1/cluster").json["nodes"]
    assert max(registered.values()) < known["incarnation"] <= 3
    assert [node.value(b"key-%d" % number) for number in range(200)] == [b"value %d " % n * 10 for n in range(200)]


def test_a_second_process_on_the_directory_is_refused(new_node: Callable[..., Node]) -> None:
    """It says that the directory is in use, and the first goes on undisturbed."""
    first = new_node("first").start()
    assert first.put(b"key", b"value").status == 204
    second = new_node("second")
    second.data_dir = first.data_dir
    code, said = second.refused_start()
    assert code not in (0, -9)
    assert_one_clear_line(said, str(first.data_dir))
    assert first.put(b"key", b"later").status == 204
    first.kill()
    first.start()
    assert first.value(b"key") == b"later"


def test_another_number_of_partitions_is_refused(new_node: Callable[..., Node]) -> None:
    """What is fixed when a cluster is created can't be changed by a setting, and the setting is named."""
    node = new_node(settings={"cluster.partitions": 8})
    loaded(node)
    node.settings["cluster.partitions"] = 16
    code, said = node.refused_start()
    assert code not in (0, -9)
    assert_one_clear_line(said, "cluster.partitions", "8")
    node.settings["cluster.partitions"] = 8
    node.start()
    assert node.value(b"key-7") == b"value 7 " * 10


def test_a_directory_of_somebody_else_is_refused_untouched(new_node: Callable[..., Node]) -> None:
    """A directory that holds other files and no database of ours is neither used nor changed."""
    node = new_node()
    node.data_dir.mkdir(parents=True)
    (node.data_dir / "thesis.txt").write_text("three years of work")
    code, said = node.refused_start()
    assert code not in (0, -9)
    assert_one_clear_line(said, str(node.data_dir))
    assert [path.name for path in node.data_dir.iterdir()] == ["thesis.txt"]


def test_a_newer_format_is_refused_untouched(new_node: Callable[..., Node]) -> None:
    """A directory whose format file names a later version is left alone, and the sentence says what to do."""
    node = new_node()
    loaded(node)
    path = node.data_dir / "format"
    text = path.read_bytes()
    path.write_bytes(text.replace(b"format 2", b"format 3"))
    before = {file: file.stat().st_mtime_ns for file in node.data_dir.rglob("*") if file.is_file()}
    code, said = node.refused_start()
    assert code not in (0, -9)
    assert_one_clear_line(said, "newer")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    path.write_bytes(text)
    node.start()
    assert node.value(b"key-7") == b"value 7 " * 10


def without_privilege() -> list[str]:
    """Returns a command that lets file permissions bind root too; skips where that is not to be had."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere, and setpriv is not there to change that")
    capabilities = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]


@pytest.mark.parametrize("existing", [False, True], ids=["not to be made", "not to be written"])
def test_an_unwritable_directory_is_refused(new_node: Callable[..., Node], existing: bool) -> None:
    """Whether it can't be made or can't be written: one line that names it, and nothing is changed."""
    node = new_node(command=without_privilege())
    if existing:
        loaded(node)
    closed = node.data_dir if existing else node.directory / "closed"
    closed.mkdir(exist_ok=True)
    folders = [closed, *(path for path in closed.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    try:
        if not existing:
            node.data_dir = closed / "data"
        code, said = node.refused_start()
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert code not in (0, -9)
    assert_one_clear_line(said, str(node.data_dir), "permission denied")
    if existing:
        node.start()
        assert node.value(b"key-7") == b"value 7 " * 10
    else:
        assert list(closed.iterdir()) == []


def test_a_port_in_use_is_refused_by_number(new_node: Callable[..., Node]) -> None:
    """The line names the port; the directory is not left locked."""
    node = new_node()
    with socket.create_server(("127.0.0.1", node.port)):
        code, said = node.refused_start()
    assert code not in (0, -9)
    assert_one_clear_line(said, str(node.port), "in use")
    node.start()


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_as_configuration_are_refused(new_node: Callable[..., Node], seed: int) -> None:
    """The line names the file, and no data directory is made."""
    node = new_node()
    path = node.directory / "random.toml"
    path.write_bytes(random.Random(seed).randbytes(4096))
    code, said = node.refused_start("--config", str(path))
    assert code not in (0, -9)
    assert_one_clear_line(said, str(path))
    assert not node.data_dir.exists()


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("storage", "memory_bytes", "-1"),
        ("storage", "memory_bytes", "much"),
        ("http", "prot", "80"),
        ("node", "id", "a b"),
    ],
)
def test_a_bad_setting_is_refused_by_name_and_value(
    new_node: Callable[..., Node], section: str, name: str, value: str
) -> None:
    """The line names the setting, in the form in which it was given, and the value; no data directory is made."""
    node = new_node(settings={f"{section}.{name}": value})
    code, said = node.refused_start()
    assert code not in (0, -9)
    assert_one_clear_line(said, section, name, value)
    assert not node.data_dir.exists()


def test_a_missing_configuration_file_is_refused(new_node: Callable[..., Node]) -> None:
    """A file that is named must be there."""
    node = new_node()
    code, said = node.refused_start("--config", "nowhere.toml")
    assert code not in (0, -9)
    assert_one_clear_line(said, "nowhere.toml")
