"""`start_server.sh` and `stop_server.sh`, as a user runs them: in a clone of the repository, with a home of its own.

The clone's `.venv` is a link to the environment that these tests run in, if `install.sh` made that; the clone's own
source is put before it. So the real scripts start the real program without installing it for each test; that they
install it from nothing is shown by CI, which begins without `.venv`.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PORT_RANGE_FIRST = 18_000
COMMAND_SECONDS = 120.0

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv/installed-dev").exists() or Path(sys.prefix).resolve() != (ROOT / ".venv").resolve(),
    reason="runs in the environment that scripts/install.sh --dev makes (use scripts/test.sh)",
)


def until(true: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Returns as soon as a condition holds; fails the test with `what` if it does not within the time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Checkout:
    """A clone of the repository, with the scripts and the source as they are now, and nothing installed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run(["git", "clone", "--quiet", "--local", str(ROOT), str(path)], check=True)
        for part in ("scripts", "src", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
            subprocess.run(["cp", "-R", f"{ROOT / part}", str(path)], check=True)
        (path / ".venv").symlink_to((ROOT / ".venv").resolve())
        home = path.with_name("home")
        home.mkdir()
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
        self.environ = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(path / "src"),
            "CORECACHE_HTTP__PORT_RANGE_FIRST": str(PORT_RANGE_FIRST + worker * 100),
            "CORECACHE_HTTP__PORT_RANGE_LAST": str(PORT_RANGE_FIRST + worker * 100 + 99),
        }

    def command(self, script: str, arguments: Sequence[str] = ()) -> list[str]:
        """Returns the command that runs a script of this clone."""
        return [str(self.path / "scripts" / script), *arguments]

    def run(
        self, script: str, *arguments: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script to its end: also to that of its output, which a node in the background must not keep open."""
        return subprocess.run(
            self.command(script, arguments),
            cwd=cwd or self.path,
            env={**self.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def start(self, *arguments: str) -> str:
        """Starts a node and returns its address; fails the test if that does not succeed."""
        done = self.run("start_server.sh", *arguments)
        assert done.returncode == 0, done.stderr
        return address_in(done.stdout)

    def nodes(self) -> list[dict[str, object]]:
        """Returns the records of the nodes that were started."""
        return [json.loads(record.read_text()) for record in sorted((self.path / "run").glob("*.json"))]

    def only_pid(self) -> int:
        """Returns the process of the one node that was started."""
        (node,) = self.nodes()
        assert isinstance(node["pid"], int)
        return node["pid"]


def address_in(output: str) -> str:
    """Returns the address that start_server.sh printed."""
    return next(word for word in output.split() if word.startswith("http://"))


def answers(url: str) -> bool:
    """Says whether a node is ready at an address."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def runs(pid: int) -> bool:
    """Says whether a process runs: one that has ended and was not collected by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A clone, whose nodes are ended after the test."""
    made = Checkout(tmp_path / "a clone")
    try:
        yield made
    finally:
        done = made.run("stop_server.sh")
        assert done.returncode == 0, done.stderr


def test_start_try_stop(checkout: Checkout) -> None:
    """A start ends with a node that is ready; the printed commands work when pasted; a stop ends it; data stays."""
    done = checkout.run("start_server.sh")
    assert (done.returncode, done.stderr) == (0, "")
    url = address_in(done.stdout)
    assert answers(url)
    assert str(checkout.path / "corecache-data") in done.stdout
    assert str(checkout.path / "run/corecache-data.log") in done.stdout
    tries = done.stdout.partition("Try:\n")[2].splitlines()
    assert len(tries) == 3
    printed = [
        subprocess.run(["bash", "-c", line], cwd=checkout.path, env=checkout.environ, capture_output=True, check=True)
        for line in tries
    ]
    assert printed[1].stdout.startswith(b"Hello, world")
    pid = checkout.only_pid()

    subprocess.run(["bash", "-c", tries[0]], cwd=checkout.path, env=checkout.environ, capture_output=True, check=True)
    stopped = checkout.run("stop_server.sh")
    assert (stopped.returncode, stopped.stdout) == (0, f"Stopped {url} (process {pid}).\n")
    assert not runs(pid)
    assert checkout.nodes() == []

    again = checkout.start()
    got = subprocess.run(
        ["bash", "-c", tries[1].replace(url, again)],
        cwd=checkout.path,
        env=checkout.environ,
        capture_output=True,
        check=True,
    )
    assert got.stdout.startswith(b"Hello, world")


def test_started_again_it_says_so(checkout: Checkout) -> None:
    """A second start finds the node, says where it is and ends with 0; another port than it has is refused."""
    url = checkout.start()
    pid = checkout.only_pid()
    again = checkout.run("start_server.sh")
    assert again.returncode == 0
    assert again.stdout.startswith(f"CoreCache runs already at {url} (process {pid}).")
    other = checkout.run("start_server.sh", "--port", "1")
    assert other.returncode == 1
    assert "stop it first" in other.stderr
    assert checkout.only_pid() == pid


def test_started_again_with_other_options_it_says_that_they_were_not_applied(checkout: Checkout) -> None:
    """Options that the node was not started with are named; those that it was started with are not."""
    assert checkout.run("start_server.sh", "--node-id", "n1").stderr == ""
    again = checkout.run("start_server.sh", "--node-id=n1")
    assert (again.returncode, again.stderr) == (0, "")
    other = checkout.run("start_server.sh", "--node-id", "n2", "--cluster", "red")
    assert other.returncode == 0
    assert "runs already" in other.stdout
    assert other.stderr == (
        "start_server: not applied, since the node runs already: --node-id, --cluster; stop it first\n"
    )


def test_nothing_to_stop(checkout: Checkout) -> None:
    """A stop without a node says so and ends with 0."""
    done = checkout.run("stop_server.sh")
    assert (done.returncode, done.stdout) == (0, "Nothing is running.\n")


def test_two_nodes_and_a_stop_of_one(checkout: Checkout, tmp_path: Path) -> None:
    """Another data directory is another node, on the next free port; `--port` stops that one alone."""
    first = checkout.start()
    second = checkout.start("--data-dir", str(tmp_path / "second"))
    assert first != second
    port = second.rpartition(":")[2]
    done = checkout.run("stop_server.sh", "--port", port)
    assert done.returncode == 0
    assert f"Stopped {second} " in done.stdout
    assert first not in done.stdout
    assert answers(first)
    assert not answers(second)


def test_concurrent_starts_make_one_node(checkout: Checkout) -> None:
    """Starts at the same time end with 0 and name the same process."""
    starts = [
        subprocess.Popen(
            checkout.command("start_server.sh"),
            cwd=checkout.path,
            env=checkout.environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    printed = [start.communicate(timeout=COMMAND_SECONDS)[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0, 0]
    assert {line.partition("(")[2] for line in (text.splitlines()[0] for text in printed)} == {
        f"process {checkout.only_pid()})."
    }


def test_a_killed_node_is_started_anew(checkout: Checkout) -> None:
    """After kill -9 the record is stale: a stop finds nothing, and a start starts."""
    checkout.start()
    pid = checkout.only_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid), "the node has ended")
    assert answers(checkout.start())
    assert checkout.only_pid() != pid


def test_a_number_that_another_process_has_got_is_no_node(checkout: Checkout) -> None:
    """A record whose process number now belongs to another process is stale, and that process is left alone."""
    checkout.start()
    record = next((checkout.path / "run").glob("*.json"))
    checkout_node = json.loads(record.read_text())
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        stale = checkout_node | {"pid": stranger.pid}
        os.kill(checkout_node["pid"], signal.SIGKILL)
        until(lambda: not runs(checkout_node["pid"]), "the node has ended")
        record.write_text(json.dumps(stale))
        done = checkout.run("stop_server.sh")
        assert (done.returncode, done.stdout) == (0, "Nothing is running.\n")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "\x00"])
def test_a_damaged_record_is_no_node(checkout: Checkout, content: str) -> None:
    """Whatever a record holds, scripts go on without it."""
    (checkout.path / "run").mkdir(exist_ok=True)
    (checkout.path / "run/corecache-data.json").write_text(content)
    done = checkout.run("stop_server.sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Nothing is running.\n", "")


_SHORT = {"CORECACHE_COORDINATION__START_TIMEOUT_MS": "1000"}


@pytest.mark.parametrize(
    ("arguments", "environ", "reason"),
    [
        (["--nonsense"], {}, "--nonsense"),
        (["--prot", "1"], {}, "--prot"),
        (["--data-dir"], {}, "--data-dir: expected one argument; try --help"),
        (["--port", "99999"], {}, "http.port = 99999: must be"),
        (["--config", "none.toml"], {}, "none.toml: the configuration file can't be read"),
        (["--data-dir", "/dev/null/x"], {}, "/dev/null/x"),
        ([], {"CORECACHE_HTTP_PORT": "1"}, "did you mean CORECACHE_HTTP__PORT?"),
        (["--zooKeeperHost", "127.0.0.1", "--zooKeeperPort", "1"], _SHORT, "127.0.0.1:1"),
        (["--zookeeper", "127.0.0.1:1"], _SHORT, "127.0.0.1:1"),
        (["--zookeeper", "nowhere"], {}, "coordination.zookeeper"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(
    checkout: Checkout, arguments: list[str], environ: dict[str, str], reason: str
) -> None:
    """A start that is asked for wrongly gives one line with the reason and code 2, and no process or record stays."""
    done = checkout.run("start_server.sh", *arguments, environ=environ)
    assert done.returncode == 2
    assert done.stdout == ""
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert checkout.nodes() == []


def test_a_port_that_is_taken_says_why(checkout: Checkout, tmp_path: Path) -> None:
    """A port that another node has is the reason that is given, and the other node stays."""
    url = checkout.start()
    done = checkout.run("start_server.sh", "--data-dir", str(tmp_path / "second"), "--port", url.rpartition(":")[2])
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert url.rpartition(":")[2] in done.stderr
    assert answers(url)
    assert len(checkout.nodes()) == 1


def test_an_interrupted_start_leaves_nothing(checkout: Checkout) -> None:
    """A start that is interrupted while it waits ends the node that it began."""
    begun = subprocess.Popen(
        checkout.command("start_server.sh"), cwd=checkout.path, env=checkout.environ, stderr=subprocess.PIPE, text=True
    )
    until(lambda: bool(list((checkout.path / "run").glob("*.json"))), "the node has a record")
    pid = checkout.only_pid()
    begun.send_signal(signal.SIGTERM)
    _, said = begun.communicate(timeout=COMMAND_SECONDS)
    assert begun.returncode == 128 + signal.SIGTERM
    assert "interrupted by SIGTERM" in said
    assert not runs(pid)
    assert checkout.nodes() == []


def test_settings_come_from_the_file_and_directories_from_where_one_is(checkout: Checkout, tmp_path: Path) -> None:
    """`--config` and `--data-dir` are relative to the current directory; a log level or format hides no address."""
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "my.toml").write_text('[node]\ndata_dir = "mine"\n[log]\nlevel = "error"\nformat = "json"\n')
    done = checkout.run("start_server.sh", "--config", "my.toml", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert answers(address_in(done.stdout))
    assert (elsewhere / "mine").is_dir()
    assert not (checkout.path / "corecache-data").exists()
    first = done.stdout.partition("Try:\n")[2].splitlines()[0]
    assert Path(shlex.split(first)[0]) == checkout.path / ".venv/bin/corecache"


@pytest.mark.parametrize("arguments", [["--port"], ["--port", "x"], ["--prot", "1"]])
def test_a_stop_that_is_asked_for_wrongly_says_so(checkout: Checkout, arguments: list[str]) -> None:
    """A wrong option gives one line that names it, and code 2."""
    done = checkout.run("stop_server.sh", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert arguments[0] in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_starts_nothing(checkout: Checkout) -> None:
    """`--help` of both scripts explains and ends with 0."""
    helped = checkout.run("start_server.sh", "--help")
    assert helped.returncode == 0
    assert "--data-dir" in helped.stdout
    assert "--port" in checkout.run("stop_server.sh", "--help").stdout
    assert checkout.nodes() == []
