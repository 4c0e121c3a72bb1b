"""`corecache get`, `put`, `delete` and `scan` against a real node, byte for byte."""

import base64
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.command import Command
from integration.node_harness import Node

ALL_BYTES = bytes(range(256))


def test_a_value_argument_comes_back_without_a_byte_added(run: Command) -> None:
    """Get prints the value and nothing else; put prints nothing."""
    assert run("put", "argument", "red") == (0, b"", "")
    assert run("get", "argument") == (0, b"red", "")


@pytest.mark.parametrize(
    ("way", "value"),
    [("pipe", b""), ("pipe", b"x" * 1_000_000), ("dash", ALL_BYTES), ("file", ALL_BYTES), ("file-dash", b"\n")],
)
def test_values_come_from_pipes_and_files_exactly(run: Command, tmp_path: Path, value: bytes, way: str) -> None:
    """Standard input and files hold any bytes, and get gives them back."""
    (tmp_path / "value").write_bytes(value)
    extra = {"pipe": (), "dash": ("-",), "file": ("--file", str(tmp_path / "value")), "file-dash": ("--file", "-")}[way]
    assert run("put", f"from-{way}", *extra, given=b"" if way == "file" else value).code == 0
    assert run("get", f"from-{way}").out == value


def test_bytes_of_arguments_are_those_of_the_shell(run: Command, node: Node) -> None:
    """A key and a value that are no UTF-8 are stored as they were typed."""
    assert run("put", b"typed-\xff", b"\xfe").code == 0
    assert node.value(b"typed-\xff") == b"\xfe"


def test_keys_in_base64(run: Command, node: Node) -> None:
    """--key-base64 names keys of any bytes; what is no base64 is wrong usage."""
    key = base64.b64encode(b"\0\n/..").decode()
    assert run("put", "--key-base64", key, "v").code == 0
    assert node.value(b"\0\n/..") == b"v"
    assert run("get", "--key-base64", key).out == b"v"
    assert run("delete", "--key-base64", key).code == 0
    assert run("get", "--key-base64", "?").code == 2


@pytest.mark.parametrize("key", ["..", "a/../b//", "%2F\n", "-"])
def test_awkward_keys(run: Command, node: Node, key: str) -> None:
    """Keys that mean something to shells, paths and percent signs are just keys."""
    assert run("put", key, "v").code == 0
    assert node.value(key.encode()) == b"v"
    assert run("delete", key).code == 0
    assert node.value(key.encode()) is None


def test_the_answer_no_is_exit_code_1(run: Command) -> None:
    """An absent key is 1 for get and delete, with an empty standard output and a word on standard error."""
    for command in ("get", "delete"):
        code, out, err = run(command, "absent")
        assert (code, out) == (1, b"")
        assert err == "corecache: key not found: absent\n"


def test_conditions(run: Command, node: Node) -> None:
    """A condition that does not hold is 1; --print-version gives what the next condition needs."""
    code, version, _ = run("put", "condition", "1", "--if-absent", "--print-version")
    assert code == 0
    assert run("put", "condition", "2", "--if-absent").code == 1
    code, newer, _ = run("put", "condition", "2", "--if-version", version.decode().strip(), "--print-version")
    assert code == 0
    assert run("delete", "condition", "--if-version", version.decode().strip()).code == 1
    assert node.value(b"condition") == b"2"
    assert run("delete", "condition", "--if-version", newer.decode().strip()).code == 0


def test_json_shows_version_and_dates(run: Command, node: Node) -> None:
    """Get --json has what the listing of the API has, the expiry included."""
    run("put", "json", "v", "--ttl", "100.5")
    item = json.loads(run("get", "json", "--json").out)
    assert (item["key"], item["value"]) == ("json", "v")
    assert item["expires"] - item["timestamp"] == 100_500
    node.put(b"json", b"\xff")
    assert json.loads(run("get", "json", "--json").out)["value_base64"] == "/w=="


def test_scan_prints_one_record_a_line(run: Command, node: Node) -> None:
    """Keys and values are escaped, so that a line is a record and no byte reaches the terminal as a command."""
    node.put(b"scan/\xff", b"1\n2")
    node.put(b"scan/a\tb", b"\x1b[31m\\")
    node.put("scan/ü".encode(), "ö\x7f".encode())
    assert run("scan", "--prefix", "scan/").out.decode() == (
        "scan/a\\tb\t\\x1b[31m\\\\\nscan/ü\tö\\x7f\nscan/\\xff\t1\\n2\n"
    )


def test_scan_selects(run: Command, node: Node) -> None:
    """prefix, start, end, limit and keys-only do what they say."""
    for key in (b"sel/a", b"sel/b", b"sel/c", b"sel/d"):
        node.put(key, b"v")
    assert run("scan", "--prefix", "sel/", "--keys-only").out == b"sel/a\nsel/b\nsel/c\nsel/d\n"
    assert run("scan", "--start", "sel/b", "--end", "sel/d", "--keys-only").out == b"sel/b\nsel/c\n"
    assert run("scan", "--prefix", "sel/", "--limit", "1").out == b"sel/a\tv\n"
    assert run("scan", "--prefix", "none/") == (0, b"", "")


def test_scan_for_programs(run: Command, node: Node) -> None:
    """--json prints an object a line, bytes that are no text in base64."""
    node.put(b"program/\xff", b"\xfe")
    node.put(b"program/a", b"b")
    items = [json.loads(line) for line in run("scan", "--prefix", "program/", "--json").out.splitlines()]
    assert [item.get("key") for item in items] == ["program/a", None]
    assert base64.b64decode(items[1]["key_base64"]) == b"program/\xff"
    assert base64.b64decode(items[1]["value_base64"]) == b"\xfe"


def test_a_reader_that_stops_reading_ends_a_scan_quietly(run: Command, node: Node) -> None:
    """`scan | head` says nothing about the pipe, and its code is that of a program ended by SIGPIPE."""
    for number in range(20):
        node.put(b"pipe/%d" % number, b"x" * 100_000)
    scan = run.process("scan", "--prefix", "pipe/", stdin=subprocess.DEVNULL)
    assert scan.stdout is not None
    assert scan.stderr is not None
    scan.stdout.read(10)
    scan.stdout.close()
    assert scan.stderr.read() == b""
    scan.stderr.close()
    assert scan.wait() == 141


@pytest.mark.parametrize("command", ["get full", "get overfull", "scan --prefix full", "storage"])
def test_a_full_disk_below_standard_output_is_an_error(run: Command, node: Node, command: str) -> None:
    """Output that can't be written is not success, whether that is seen at once or in the end."""
    node.put(b"full", b"v")
    node.put(b"overfull", bytes(100_000))
    with Path("/dev/full").open("wb") as full:
        ended = run.process(*command.split(), stdin=subprocess.DEVNULL, stdout=full.fileno())
        _, err = ended.communicate()
    assert ended.returncode == 5
    assert err == b"corecache: standard output: No space left on device\n"


def test_put_in_a_terminal_does_not_wait_silently(run: Command) -> None:
    """Without a value, in a terminal, put refuses and says where a value can come from."""
    ours, theirs = pty.openpty()
    put = run.process("put", "terminal", stdin=theirs)
    _, err = put.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert put.returncode == 2
    assert err == b"corecache: no value: give it as an argument, with --file FILE, or through a pipe\n"


def test_ctrl_c_ends_with_130(run: Command, node: Node) -> None:
    """Put - in a terminal says that it reads, and Ctrl-C ends it without a traceback and without a write."""
    ours, theirs = pty.openpty()
    put = run.process("put", "interrupted", "-", stdin=theirs)
    assert put.stderr is not None
    assert put.stderr.readline() == b"corecache: reading the value from the terminal; end it with Ctrl-D\n"
    put.send_signal(signal.SIGINT)
    _, err = put.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (put.returncode, err) == (130, b"")
    assert node.value(b"interrupted") is None


@pytest.mark.parametrize(
    ("command", "code"), [("put closed <&-", 2), ("get closed >&-", 5), ("put closed v <&- >&-", 0)]
)
def test_closed_streams(run: Command, node: Node, command: str, code: int) -> None:
    """Without standard input there is no value, without standard output nowhere to print to: both are said."""
    node.put(b"closed", b"v")
    script = f'"$0" -c "from corecache.cli import main; main()" {command}'
    shell = ["sh", "-c", script, sys.executable]
    ended = subprocess.run(shell, capture_output=True, env=run.environment, check=False, timeout=60)
    assert ended.returncode == code, ended
    assert b"Traceback" not in ended.stderr
    assert bool(ended.stderr) == (code != 0)
