"""Every mistake of a user is one or two lines on standard error and an exit code, never a traceback."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.command import PROGRAM, Command
from corecache import __version__
from corecache.cli import main
from integration.node_harness import Node


def unused_url() -> str:
    """Returns the address of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("get",),
        ("get", "k", "--frobnicate"),
        ("put", "k", "v", "extra"),
        ("put", "k", "-5"),
        ("put", "k", "v", "--ttl", "soon"),
        ("put", "k", "v", "--ttl", "0"),
        ("put", "k", "v", "--ttl", "-1"),
        ("put", "k", "v", "--ttl", "nan"),
        ("put", "k", "v", "--if-version", "x"),
        ("put", "k", "v", "--if-version", "-1"),
        ("delete", "k", "--if-version", "0"),
        ("put", "k", "v", "--if-absent", "--if-version", "1"),
        ("put", "k", "v", "--file", "f"),
        ("put", "k", "--file", "/nonexistent/f"),
        ("put", "k", "--file", "/"),
        ("put", "", "v"),
        ("get", "x" * 8193),
        ("scan", "--limit", "0"),
        ("storage", "frobnicate"),
        ("bench", "--workload", "frobnicate"),
        ("bench", "--connections", "0"),
        ("bench", "--rate", "0"),
        ("bench", "--poisson"),
        ("bench", "--pipeline", "2"),
        ("bench", "--processes", "2", "--connections", "1"),
        ("bench", "--processes", "2", "--operations", "1"),
        ("bench", "--value-bytes", "20-10"),
        ("bench", "--value-bytes", "9000000"),
        ("bench", "--value-bytes", "-1"),
        ("bench", "--workload", "e", "--protocol", "resp"),
        ("bench", "--plot", "picture.txt"),
        ("bench", "--plot", "/nonexistent/picture.png"),
        ("bench", "--histogram", "/nonexistent/h.hgrm"),
        ("bench", "--protocol", "resp", "--endpoint", "ftp://h"),
        ("get", "k", "--endpoint", "localhost"),
        ("get", "k", "--endpoint", "ftp://h"),
        ("serve", "--port", "70000"),
        ("serve", "--port", "x"),
        ("serve", "--cluster", "bad name"),
        ("serve", "--config", "/nonexistent/corecache.toml"),
        ("serve", "--zookeeper", "localhost"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is asked wrongly is said in one or two lines, and nothing is printed on standard output."""
    monkeypatch.setattr(sys, "argv", ["corecache", *arguments])
    # No node can be asked: what is wrong is seen before.
    monkeypatch.setenv("CORECACHE_ENDPOINTS", unused_url())
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("corecache: ")
    assert 1 <= err.count("\n") <= 2


def test_options_name_the_command_whose_help_explains_them(run: Command) -> None:
    """An unknown option leads to the help of its command."""
    assert run("put", "k", "--foo").err == "corecache: No such option: --foo\nTry: corecache put --help\n"


@pytest.mark.parametrize(
    "command", [("put", "k", "v"), ("storage", "flush"), ("bench",), ("bench", "--protocol", "resp")]
)
def test_an_unreachable_node_is_exit_code_3(run: Command, command: tuple[str, ...]) -> None:
    """Where nobody listens nothing happened: try again, says the code, and the line says what to check."""
    code, out, err = run(*command, "--endpoint", unused_url())
    assert (code, out) == (3, b"")
    assert "check that it runs" in err
    assert err.count("\n") == 1


def test_a_name_that_nobody_has_is_exit_code_3(run: Command) -> None:
    """A host that does not resolve is not reached, and is named."""
    code, _, err = run("get", "k", "--endpoint", "http://nobody.invalid:8000")
    assert code == 3
    assert "nobody.invalid" in err


def test_a_server_that_is_no_node_is_said_to_be_none(run: Command, tmp_path: Path) -> None:
    """Another program's 404 is not "key not found"."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        get = run.process("get", "k", "--endpoint", f"http://127.0.0.1:{listening.getsockname()[1]}", stdin=0)
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            out, err = get.communicate(timeout=60)
    assert (get.returncode, out) == (2, b"")
    assert b"not as a CoreCache node does" in err


def test_an_answer_lost_is_exit_code_4(run: Command) -> None:
    """A put that was sent and got no answer has an unknown outcome, and says so."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        put = run.process("put", "k", "v", "--endpoint", f"http://127.0.0.1:{listening.getsockname()[1]}", stdin=0)
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
        out, err = put.communicate(timeout=60)
    assert (put.returncode, out) == (4, b"")
    assert b"it may have happened" in err


def test_a_value_over_the_limit_is_refused_with_the_nodes_words(run: Command) -> None:
    """The node's sentence about a too large value reaches the user."""
    code, _, err = run("put", "large", given=bytes(9 * 1024 * 1024))
    assert code == 2
    assert "limits.value_bytes_max" in err


def test_endpoints_come_from_options_then_from_the_environment(run: Command, node: Node) -> None:
    """--endpoint, before or after the command, goes before CORECACHE_ENDPOINTS; each may name several nodes."""
    node.put(b"endpoints", b"v")
    good, bad = f"http://127.0.0.1:{node.port}", unused_url()
    assert run("get", "endpoints", environment={"CORECACHE_ENDPOINTS": f" {bad} , {good}/ "}).out == b"v"
    assert run("get", "endpoints", "--endpoint", bad, "--endpoint", good).out == b"v"
    assert run("--endpoint", good, "get", "endpoints", environment={"CORECACHE_ENDPOINTS": bad}).out == b"v"
    assert run("--endpoint", bad, "get", "endpoints", "--endpoint", good).out == b"v"
    assert run("--endpoint", bad, "get", "endpoints").code == 3
    assert run("storage", "--endpoint", good, "show", environment={"CORECACHE_ENDPOINTS": bad}).code == 0


def test_versions(run: Command) -> None:
    """`version` and `--version` print the same line."""
    expected = f"corecache {__version__}\n".encode()
    assert run("version") == (0, expected, "")
    assert run("version", "--endpoint", unused_url()) == (0, expected, "")
    assert run("--version") == (0, expected, "")


def test_help_lists_all_commands(run: Command) -> None:
    """--help succeeds; without a command the same page is shown, as wrong usage."""
    code, page, err = run("--help")
    assert (code, err) == (0, "")
    for command in ("serve", "get", "put", "delete", "scan", "status", "storage", "bench", "version"):
        assert f" {command} ".encode() in page
    code, alone, _ = run()
    assert (code, alone.split()) == (2, page.split())


@pytest.mark.parametrize(
    "command", ["get", "put", "delete", "scan", "status", "storage", "bench", "version", "serve", "storage flush"]
)
def test_help_shows_a_flag_as_a_flag(run: Command, command: str) -> None:
    """Every command's help shows what its options take: a flag nothing, an endpoint an address."""
    code, page, err = run(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert b"bool" not in page
    assert (b"--endpoint URL" in page) == (command != "serve")


def test_a_second_node_on_the_same_data_is_refused(run: Command, node: Node) -> None:
    """Serve says in one line why it can't start: the directory, or the port, is in use."""
    code, _, err = run("serve", "--data-dir", str(node.data_dir))
    assert code == 2
    assert "in use" in err
    code, _, err = run("serve", "--data-dir", str(node.directory / "other"), "--port", str(node.port))
    assert code == 2
    assert f"Port {node.port} is in use" in err


def test_commands_do_not_load_the_server() -> None:
    """Asking a key loads neither RocksDB nor the server nor Rich's tables."""
    program = (
        "import sys, runpy; sys.argv = ['corecache', 'version']\n"
        "from corecache.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('rocksdict', 'uvicorn', 'starlette', 'rich.table', 'httpx')))"
    )
    assert subprocess.run([PROGRAM[0], "-c", program], check=False, capture_output=True).returncode == 0
