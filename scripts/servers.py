"""Starts and stops nodes in the background: what `start_server.sh` and `stop_server.sh` do once .venv is there.

A node that was started has a record in `run/`: its process, its data directory, its address, its log. One node a data
directory: starting a second time finds the record and says so.

Rule 1: one start or stop at a time in a checkout (a lock that the system takes back from the dead).
Rule 2: a record speaks of a process and the moment of its birth. A number that another process has got since is no
node, and a node that was killed is none either; nothing is ever sent to a process that was not started here.
Rule 3: whoever starts a node waits until it is ready. If that fails, or is interrupted, the node is ended again.

The port is read from the node's log, because the node itself chooses it. Only the standard library is imported at the
top, so that a node can be stopped after .venv has gone.
"""

import argparse
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

CHECKOUT = Path(__file__).resolve().parent.parent
RUN = CHECKOUT / "run"

READY_TIMEOUT_SECONDS = 120.0
STOP_MARGIN_SECONDS = 30.0
POLL_SECONDS = 0.05

_ADDRESS = re.compile(
    r"""\bready\b.*\bhttp"?[=:] ?"?(?P<url>http://[^\s"]+)|"http": ?"(?P<json>http://[^\s"]+)".*\bready\b"""
)
_EXIT_CODES: dict[int, int] = {}
_ASK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Refusal(Exception):
    """What was asked can't be done: one line for the user, and the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Parser(argparse.ArgumentParser):
    """Reads options exactly as they are called; what is wrong with them is one line, like every other refusal."""

    def __init__(self, **about: Any) -> None:
        super().__init__(allow_abbrev=False, **about)

    def error(self, message: str) -> NoReturn:
        """Raises: Refusal."""
        raise Refusal(f"{message}; try --help", 2)


@dataclass
class Node:
    """A node that was started here, as its record tells. `url` is empty until it has been ready.

    `options` are those that it was started with.
    """

    pid: int
    birth: str
    data_dir: str
    log: str
    stop_seconds: float
    options: dict[str, str] = field(default_factory=dict)
    url: str = ""

    @property
    def record(self) -> Path:
        """Returns the file of the record."""
        return RUN / f"{_name(Path(self.data_dir))}.json"

    def is_alive(self) -> bool:
        """Says whether the very process that was started still runs."""
        return _birth(self.pid) == self.birth

    def save(self) -> None:
        """Writes the record, all or nothing."""
        new = self.record.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=2) + "\n")
        new.replace(self.record)

    def end(self, number: signal.Signals, seconds: float) -> bool:
        """Sends a signal and waits; returns whether the process has ended within the time."""
        with contextlib.suppress(ProcessLookupError):
            if self.is_alive():
                os.kill(self.pid, number)
        return _until(lambda: not self.is_alive(), seconds)


def start(arguments: list[str]) -> None:
    """Starts a node, or finds it running, waits until it is ready, and says where it is.

    Raises: Refusal.
    """
    options, _ = _options(arguments)
    given = _given(arguments)
    if options.help:
        print("usage: scripts/start_server.sh [options of `corecache serve`, in the background]\n", flush=True)
        subprocess.run([_program(), "serve", "--help"], check=True)
        return
    if options.zookeeper or options.zooKeeperHost or options.zooKeeperPort:
        raise Refusal("clusters with ZooKeeper come with the next version; without that option, one node starts", 2)
    data_dir, environ, stop_seconds, chosen = _settled(options)
    with _lock():
        node = next((node for node in _nodes() if node.data_dir == str(data_dir)), None)
        running = node is not None
        if node is None:
            node = _spawn(["serve", *arguments, *chosen], data_dir, environ, stop_seconds)
            node.options = given
        try:
            _await_ready(node)
        except BaseException:
            if not running:
                _abandon(node)
            raise
        node.save()
    if running and options.port not in (None, "0") and not node.url.endswith(f":{options.port}"):
        raise Refusal(f"the node of {data_dir} runs already, at {node.url}: stop it first to change its port")
    _announce(node, "runs already" if running else "runs")
    new = [name for name, value in given.items() if node.options.get(name) != value]
    if left_out := [name for name in new if name not in ("--data-dir", "--port")]:
        note = f"start_server: not applied, since the node runs already: {', '.join(left_out)}; stop it first"
        print(note, file=sys.stderr)


def stop(arguments: list[str]) -> None:
    """Stops what was started, or what listens on `--port`, and waits until it has ended. Raises: Refusal."""
    parser = Parser(prog="scripts/stop_server.sh", description="Stops the nodes that start_server.sh started.")
    parser.add_argument("--port", type=int, metavar="N", help="only the node whose HTTP port this is")
    port: int | None = parser.parse_args(arguments).port
    with _lock():
        nodes = [node for node in _nodes() if port is None or node.url.endswith(f":{port}")]
        if not nodes:
            print("Nothing is running" + (f" on port {port}." if port is not None else "."))
        for node in nodes:
            if not node.end(signal.SIGTERM, node.stop_seconds):
                raise Refusal(
                    f"process {node.pid} has not ended within {node.stop_seconds:.0f} s; its log is {node.log}"
                )
            node.record.unlink(missing_ok=True)
            print(f"Stopped {node.url or 'the node of ' + node.data_dir} (process {node.pid}).")


def _options(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the options that matter here; all of them, and the rest, are for `corecache serve` to judge."""
    parser = Parser(prog="scripts/start_server.sh", add_help=False)
    for name in ("--config", "--data-dir", "--port", "--zookeeper", "--zooKeeperHost", "--zooKeeperPort"):
        parser.add_argument(name)
    parser.add_argument("-h", "--help", action="store_true")
    return parser.parse_known_args(arguments)


def _given(arguments: list[str]) -> dict[str, str]:
    """Returns each option that stands in the arguments, and its value."""
    given = {}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if argument.startswith("--"):
            name, separator, value = argument.partition("=")
            given[name] = value if separator else following
    return given


def _settled(options: argparse.Namespace) -> tuple[Path, dict[str, str], float, list[str]]:
    """Returns the data directory, the node's environment, how long its stop may take, and the options to add."""
    from corecache.config import Config, ConfigError
    from corecache.settings import load

    given = {"node": {"data_dir": options.data_dir}} if options.data_dir is not None else {}
    try:
        config = load(Path(options.config) if options.config else None, given, os.environ)
    except ConfigError as error:
        raise Refusal(str(error), 2) from error
    environ = dict(os.environ)
    if config.log.level not in ("debug", "info"):
        environ["CORECACHE_LOG__LEVEL"] = "info"
    stop_seconds = config.node.stop_timeout_ms / 1000 + STOP_MARGIN_SECONDS
    if config.node.data_dir == Config().node.data_dir and options.data_dir is None:
        data_dir = CHECKOUT / config.node.data_dir
        return data_dir.resolve(), environ, stop_seconds, ["--data-dir", str(data_dir)]
    return Path(config.node.data_dir).resolve(), environ, stop_seconds, []


def _spawn(arguments: list[str], data_dir: Path, environ: dict[str, str], stop_seconds: float) -> Node:
    """Starts the process, away from this terminal, and records it. The log before this one is kept."""
    log = RUN / f"{_name(data_dir)}.log"
    if log.exists():
        log.replace(log.with_suffix(".log.previous"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [_program(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ,
            start_new_session=True,
        )
    node = Node(process.pid, _birth(process.pid) or "ended", str(data_dir), str(log), stop_seconds)
    node.save()
    return node


def _await_ready(node: Node) -> None:
    """Waits until the node answers that it is ready, and notes its address.

    Raises: Refusal with the node's own reason and, if it was started by this process, its own exit code.
    """

    def is_ready() -> bool:
        if not node.is_alive():
            raise Refusal(f"the node did not start: {_reason(Path(node.log))}", _exit_code(node.pid))
        node.url = node.url or _address(Path(node.log))
        return bool(node.url) and _answers(f"{node.url}/readyz")

    if not _until(is_ready, READY_TIMEOUT_SECONDS):
        raise Refusal(f"the node was not ready within {READY_TIMEOUT_SECONDS:.0f} s: {_reason(Path(node.log))}")


def _abandon(node: Node) -> None:
    """Ends a node whose start failed, and its record."""
    if not node.end(signal.SIGTERM, node.stop_seconds):
        node.end(signal.SIGKILL, STOP_MARGIN_SECONDS)
    node.record.unlink(missing_ok=True)


def _announce(node: Node, verb: str) -> None:
    inside = Path.cwd() == CHECKOUT
    command = ".venv/bin/corecache" if inside else shlex.quote(str(CHECKOUT / ".venv/bin/corecache"))
    stop_command = "scripts/stop_server.sh" if inside else shlex.quote(str(CHECKOUT / "scripts/stop_server.sh"))
    print(f"CoreCache {verb} at {node.url} (process {node.pid}).")
    print(f"  data  {node.data_dir}")
    print(f"  log   {node.log}")
    print(f"  stop  {stop_command}")
    print("\nTry:")
    for words in ("put greeting 'Hello, world'", "get greeting", "delete greeting"):
        print(f"  {command} {words} --endpoint {node.url}")


def _nodes() -> list[Node]:
    """Returns the nodes that run, and removes the records of those that don't."""
    nodes = []
    for record in sorted(RUN.glob("*.json")):
        try:
            node = Node(**json.loads(record.read_text()))
        except (ValueError, TypeError):
            record.unlink(missing_ok=True)
            continue
        if node.is_alive():
            nodes.append(node)
        else:
            record.unlink(missing_ok=True)
    return nodes


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Lets one start or stop through at a time."""
    RUN.mkdir(exist_ok=True)
    with (RUN / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _collect(pid: int) -> None:
    """Takes the exit code of a child that has ended, so that nothing is left of it."""
    with contextlib.suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _EXIT_CODES[pid] = os.waitstatus_to_exitcode(status)


def _exit_code(pid: int) -> int:
    """Returns the exit code of a child that has ended, 1 if it had none that speaks of a failure."""
    _collect(pid)
    return max(_EXIT_CODES.get(pid, 1), 1)


def _birth(pid: int) -> str | None:
    """Returns what tells a living process from every other that had or will have its number, None if it has ended."""
    _collect(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
        return asked.stdout.strip() or None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{boot} {started}"


def _address(log: Path) -> str:
    """Returns the address that a node's log says it is ready at, or nothing."""
    for line in log.read_text(errors="replace").splitlines():
        if found := _ADDRESS.search(line):
            return found["url"] or found["json"]
    return ""


def _reason(log: Path) -> str:
    """Returns the line of a node's log that says why it ended: the last that the command line wrote, or the last."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix("corecache: ") for line in lines if line.startswith("corecache: ")]
    return (said or lines or ["it said nothing"])[-1] + f" (log: {log})"


def _answers(url: str) -> bool:
    try:
        with _ASK.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def _until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _name(data_dir: Path) -> str:
    """Returns the name of a data directory's record and log: readable, and different for different directories."""
    if data_dir == CHECKOUT / "corecache-data":
        return data_dir.name
    return f"{data_dir.name}-{hashlib.sha256(str(data_dir).encode()).hexdigest()[:8]}"


def _program() -> str:
    return str(Path(sys.executable).with_name("corecache"))


def _interrupted(number: int, _: FrameType | None) -> NoReturn:
    raise Refusal(f"interrupted by {signal.Signals(number).name}", 128 + number)


def main() -> int:
    """Runs `start` or `stop`; returns the exit code."""
    verb, *arguments = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        {"start": start, "stop": stop}[verb](arguments)
    except Refusal as refusal:
        print(f"{verb}_server: {refusal}", file=sys.stderr)
        return refusal.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
