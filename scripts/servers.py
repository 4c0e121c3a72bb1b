"""Starts and stops nodes in the background: what `start_server.sh` and `stop_server.sh` do once .venv is there.

A node that was started has a record in `run/`: its process, its data directory, its addresses, its log.

Without ZooKeeper there is one node a data directory: starting a second time finds the record and says so. As a member
of a cluster (`--zookeeper`, or a configuration that names one) every start without a data directory starts one more
node, in the lowest numbered directory that no node uses (`corecache-data-1`, …). A directory that belonged to a cluster
of another ZooKeeper is passed over: a node would take its replicas for strangers, and empty them.

Rule: whoever starts a node waits until it is ready. If that fails, or is interrupted, the node is ended again.

The ports are read from the node's log, because the node itself chooses them. How processes are recognised, and that
one start happens at a time, is in `processes.py`.
"""

import fcntl
import hashlib
import http.client
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from processes import CHECKOUT, RUN, STOP_MARGIN_SECONDS, Parser, Process, Refusal, lock, run, spawn, until

CLUSTER = RUN / "cluster"
"""Where `cluster.sh` keeps its ZooKeeper, and where the nodes that join it have their data."""

READY_TIMEOUT_SECONDS = 120.0
ZOOKEEPER_PORT = 2181

_ADDRESS = re.compile(
    r"""\bready\b.*\bhttp"?[=:] ?"?(?P<url>http://[^\s"]+)|"http": ?"(?P<json>http://[^\s"]+)".*\bready\b"""
)
_PEER = re.compile(r"""\bpeers?"?[=:] ?"?(?P<address>[^\s",}]+)""")
_RESP = re.compile(r"""\bresp"?[=:] ?"?(?P<address>[^\s",}]+)""")
_ASK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Node(Process):
    """A node that was started here, as its record tells. Its addresses are empty until it has been ready.

    `options` are those that it was started with; `zookeeper` is empty for a node with its coordinator inside.
    """

    data_dir: str
    stop_seconds: float
    options: dict[str, str] = field(default_factory=dict)
    url: str = ""
    peer: str = ""
    resp: str = ""
    zookeeper: str = ""
    cluster: str = ""

    @property
    def record(self) -> Path:
        """Returns the file of the record."""
        return RUN / f"{_name(Path(self.data_dir))}.json"

    def save(self) -> None:
        """Writes the record, all or nothing."""
        new = self.record.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=2) + "\n")
        new.replace(self.record)


@dataclass
class Place:
    """Where and how a node is to be started. `data_dir` None: the lowest free one; `settled`: the options name it."""

    data_dir: Path | None
    settled: bool
    stop_seconds: float
    environ: dict[str, str]
    zookeeper: str
    cluster: str


def start(arguments: list[str]) -> None:
    """Starts a node, or finds it running, waits until it is ready, and says where it is.

    Raises: Refusal.
    """
    arguments = _with_zookeeper(arguments)
    options = _options(arguments)
    if options.help:
        print("usage: scripts/start_server.sh [--zooKeeperHost H --zooKeeperPort P] [options of `corecache serve`]")
        print(
            "Starts a node in the background; with ZooKeeper, one more node of its cluster at each call.\n", flush=True
        )
        subprocess.run([_program(), "serve", "--help"], check=True)
        return
    with lock():
        node, running = begin(arguments)
    if running and options.port not in (None, "0") and not node.url.endswith(f":{options.port}"):
        raise Refusal(f"the node of {node.data_dir} runs already, at {node.url}: stop it first to change its port")
    _announce(node, "runs already" if running else "runs")
    new = [name for name, value in _given(arguments).items() if node.options.get(name) != value]
    if running and (left_out := [name for name in new if name not in ("--data-dir", "--port")]):
        note = f"start_server: not applied, since the node runs already: {', '.join(left_out)}; stop it first"
        print(note, file=sys.stderr)


def begin(arguments: list[str]) -> tuple[Node, bool]:
    """Starts a node and waits until it is ready; returns it, and whether it ran before. The lock must be held.

    Raises: Refusal, and then nothing is left of a node that was begun.
    """
    place = _place(_options(arguments))
    data_dir = place.data_dir or _free_directory(place)
    node = next((node for node in nodes() if node.data_dir == str(data_dir)), None)
    running = node is not None
    if node is None:
        chosen = [] if place.settled else ["--data-dir", str(data_dir)]
        log = RUN / f"{_name(data_dir)}.log"
        begun = spawn([_program(), "serve", *arguments, *chosen], log, place.environ)
        node = Node(
            **asdict(begun),
            data_dir=str(data_dir),
            stop_seconds=place.stop_seconds,
            options=_given(arguments),
            zookeeper=place.zookeeper,
            cluster=place.cluster,
        )
    try:
        node.save()
        _await_ready(node)
    except BaseException:
        if not running:
            end(node)
        raise
    node.save()
    if node.zookeeper:
        settle(data_dir, node.zookeeper)
    return node, running


def stop(arguments: list[str]) -> None:
    """Stops what was started, or what listens on `--port`, one after another, and waits until it has ended.

    Raises: Refusal.
    """
    parser = Parser(prog="scripts/stop_server.sh", description="Stops the nodes that start_server.sh started.")
    parser.add_argument("--port", type=int, metavar="N", help="only the node whose HTTP port this is")
    port: int | None = parser.parse_args(arguments).port
    with lock():
        chosen = [node for node in nodes() if port is None or node.url.endswith(f":{port}")]
        if not chosen:
            print("Nothing is running" + (f" on port {port}." if port is not None else "."))
        late = [node for node in chosen if not _stopped(node)]
    if late:
        raise Refusal(
            "; ".join(
                f"process {node.pid} has not ended within {node.stop_seconds:.0f} s; its log is {node.log}"
                for node in late
            )
        )


def end(node: Node) -> None:
    """Ends a node, by force if need be, and its record."""
    if not node.end(signal.SIGTERM, node.stop_seconds):
        node.end(signal.SIGKILL, STOP_MARGIN_SECONDS)
    node.record.unlink(missing_ok=True)


def settle(path: Path, zookeeper: str) -> None:
    """Notes to which ZooKeeper a directory belongs."""
    _home(path).write_text(canonical(zookeeper) + "\n")


def canonical(zookeeper: str) -> str:
    """Returns what two ways to write the same ZooKeeper servers have in common."""
    hosts, slash, chroot = zookeeper.lower().replace("localhost:", "127.0.0.1:").partition("/")
    return ",".join(sorted(hosts.split(","))) + slash + chroot.rstrip("/")


def nodes() -> list[Node]:
    """Returns the nodes that run, and removes the records of those that don't."""
    found = []
    for record in sorted(RUN.glob("*.json"), key=_numbers_by_value):
        try:
            node = Node(**json.loads(record.read_text()))
        except (ValueError, TypeError):
            record.unlink(missing_ok=True)
            continue
        if node.is_alive():
            found.append(node)
        else:
            record.unlink(missing_ok=True)
    return found


def is_ready(url: str) -> bool:
    """Says whether a node answers that it is ready."""
    try:
        with _ASK.open(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def command(words: str) -> str:
    """Returns a command of this checkout, such as can be pasted where the caller is."""
    program, _, rest = words.partition(" ")
    path = program if Path.cwd() == CHECKOUT else shlex.quote(str(CHECKOUT / program))
    return f"{path} {rest}".strip()


def _with_zookeeper(arguments: list[str]) -> list[str]:
    """Returns the arguments with one --zookeeper in place of host and port. Raises: Refusal."""
    parser = Parser(prog="scripts/start_server.sh", add_help=False)
    parser.add_argument("--zooKeeperHost", dest="host")
    parser.add_argument("--zooKeeperPort", dest="port")
    given, others = parser.parse_known_args(arguments)
    if given.host is None and given.port is None:
        return arguments
    if any(other.partition("=")[0] == "--zookeeper" for other in others):
        raise Refusal("--zookeeper and --zooKeeperHost say the same: give one of them", 2)
    port = str(ZOOKEEPER_PORT) if given.port is None else given.port
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise Refusal(f"--zooKeeperPort {port}: must be a port, 1 to 65535", 2)
    return [*others, "--zookeeper", f"{given.host or 'localhost'}:{port}"]


def _options(arguments: list[str]) -> Namespace:
    """Returns the options that matter here; all of them, and the rest, are for `corecache serve` to judge."""
    parser = Parser(prog="scripts/start_server.sh", add_help=False)
    for name in ("--config", "--data-dir", "--port", "--zookeeper", "--cluster"):
        parser.add_argument(name)
    parser.add_argument("-h", "--help", action="store_true")
    return parser.parse_known_args(arguments)[0]


def _given(arguments: list[str]) -> dict[str, str]:
    """Returns each option that stands in the arguments, and its value."""
    given = {}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if argument.startswith("--"):
            name, separator, value = argument.partition("=")
            given[name] = value if separator else following
    return given


def _place(options: Namespace) -> Place:
    """Returns what options, environment and configuration file together say. Raises: Refusal."""
    from corecache.config import Config, ConfigError
    from corecache.settings import load

    given = (
        ("node", "data_dir", options.data_dir),
        ("coordination", "zookeeper", options.zookeeper),
        ("cluster", "name", options.cluster),
    )
    overrides = {section: {name: value} for section, name, value in given if value is not None}
    try:
        config = load(Path(options.config) if options.config else None, overrides, os.environ)
    except ConfigError as error:
        raise Refusal(str(error), 2) from error
    environ = dict(os.environ)
    if config.log.level not in ("debug", "info"):
        environ["CORECACHE_LOG__LEVEL"] = "info"
    data_dir: Path | None = Path(config.node.data_dir).resolve()
    settled = config.node.data_dir != Config().node.data_dir or options.data_dir is not None
    if not settled:
        data_dir = None if config.coordination.zookeeper else (CHECKOUT / config.node.data_dir).resolve()
    stop_seconds = config.node.stop_timeout_ms / 1000 + STOP_MARGIN_SECONDS
    return Place(data_dir, settled, stop_seconds, environ, config.coordination.zookeeper, config.cluster.name)


def _free_directory(place: Place) -> Path:
    """Returns the lowest numbered data directory that no node uses and no other ZooKeeper's cluster has used."""
    servers = canonical(place.zookeeper)
    ours = CLUSTER / "zookeeper"
    folder = (
        CLUSTER if ours.is_dir() and _home(ours).is_file() and _home(ours).read_text().strip() == servers else CHECKOUT
    )
    used = {node.data_dir for node in nodes()}
    for number in itertools.count(1):
        data_dir = folder / f"{place.cluster}-data-{number}"
        home = _home(data_dir)
        elsewhere = folder == CHECKOUT and home.is_file() and home.read_text().strip() != servers
        if str(data_dir) not in used and not _is_locked(data_dir) and not (elsewhere and data_dir.exists()):
            return data_dir
    raise AssertionError("unreachable")


def _is_locked(data_dir: Path) -> bool:
    """Says whether a process that was not started here uses a data directory."""
    try:
        with (data_dir / "lock").open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _home(data_dir: Path) -> Path:
    """Returns the file that says which ZooKeeper a directory belongs to."""
    return RUN / f"{_name(data_dir)}.zookeeper"


def _await_ready(node: Node) -> None:
    """Waits until the node answers that it is ready, and notes its addresses.

    Raises: Refusal with the node's own reason and, if it was started by this process, its own exit code.
    """

    def ready() -> bool:
        if not node.is_alive():
            raise Refusal(f"the node did not start: {_reason(Path(node.log))}", node.exit_code())
        if not node.url:
            node.url, node.peer, node.resp = _addresses(Path(node.log))
        return bool(node.url) and is_ready(node.url)

    if not until(ready, READY_TIMEOUT_SECONDS):
        raise Refusal(f"the node was not ready within {READY_TIMEOUT_SECONDS:.0f} s: {_reason(Path(node.log))}")


def _stopped(node: Node) -> bool:
    """Stops a node gracefully, and says whether it has ended."""
    if not node.end(signal.SIGTERM, node.stop_seconds):
        return False
    node.record.unlink(missing_ok=True)
    print(f"Stopped {node.url or 'the node of ' + node.data_dir} (process {node.pid}).", flush=True)
    return True


def _announce(node: Node, verb: str) -> None:
    print(f"CoreCache {verb} at {node.url} (process {node.pid}).")
    stop = command("scripts/stop_server.sh")
    lines = [("redis", node.resp), ("data", node.data_dir), ("log", node.log), ("stop", stop)]
    words: Sequence[str] = ("put greeting 'Hello, world'", "get greeting", "delete greeting")
    if node.zookeeper:
        lines = [("cluster", f"{node.cluster}, by ZooKeeper at {node.zookeeper}"), ("peers", node.peer), *lines]
        lines[-1] = ("stop", f"{lines[-1][1]} --port {node.url.rpartition(':')[2]}")
        words = (*words[:2], "status")
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"  {name:{width}}  {value}")
    print("\nTry:")
    for each in words:
        print(f"  {command('.venv/bin/corecache ' + each)} --endpoint {node.url}")


def _addresses(log: Path) -> tuple[str, str, str]:
    """Returns the addresses, of HTTP, for peers and of Redis's protocol, that a log says the node is ready at."""
    for line in log.read_text(errors="replace").splitlines():
        if found := _ADDRESS.search(line):
            peer, resp = _PEER.search(line), _RESP.search(line)
            url = found["url"] or found["json"]
            return url, peer["address"] if peer else "", resp["address"] if resp else ""
    return "", "", ""


def _reason(log: Path) -> str:
    """Returns the line of a node's log that says why it ended: the last that the command line wrote, or the last."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix("corecache: ") for line in lines if line.startswith("corecache: ")]
    return (said or lines or ["it said nothing"])[-1] + f" (log: {log})"


def _name(path: Path) -> str:
    """Returns the name of a directory's record and log: readable, and different for different directories."""
    if path.parent == CHECKOUT and path.name.startswith("corecache-data"):
        return path.name
    return f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _numbers_by_value(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _program() -> str:
    return str(Path(sys.executable).with_name("corecache"))


if __name__ == "__main__":
    sys.exit(run("{}_server", {"start": start, "stop": stop}, sys.argv[1:]))
