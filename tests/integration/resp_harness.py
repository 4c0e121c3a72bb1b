"""Redis's protocol from outside: real servers of it, a connection on a raw socket, a decoder that keeps types apart.

The decoder is the tests' own, so that no client's kindness hides what was sent: `+1`, `:1` and `$1` are three answers.
What is compared is compared as `Reply`, which has the kind beside the value.

Programs that are not there fail the test that wants them, and say how to get them: none is skipped.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from corecache.chaos.processes import PortLease
from corecache.wire.resp_command import command
from integration.cluster_harness import Cluster, Member
from integration.node_harness import Node, wait_until

ANSWER_SECONDS = 30.0
CLIENT_SECONDS = 120.0
SHOWN_MAX = 12
SHOWN_CHARACTERS_MAX = 300
NODE_MODULES = Path(__file__).parents[2] / "run" / "node" / "node_modules"
NODE_SCRIPT = Path(__file__).with_name("resp_node.js")

Word = bytes | str | int | float


class Reply(NamedTuple):
    """An answer: its kind, and what it says. What is inside an array, a set, a push or a map are replies too."""

    kind: str
    value: Any = None

    def __str__(self) -> str:
        if isinstance(self.value, tuple):
            inside = " ".join(
                f"{each[0]}={each[1]}" if self.kind == "map" else str(each) for each in self.value[:SHOWN_MAX]
            )
            return f"{self.kind}({inside}{' …' if len(self.value) > SHOWN_MAX else ''})"
        return f"{self.kind} {self.value!r}"[:SHOWN_CHARACTERS_MAX] if self.value is not None else self.kind

    @property
    def plain(self) -> Any:
        """What it says without the kinds: bytes, numbers, None, lists, and a map as a list of its keys and values."""
        if self.kind in ("array", "set", "push"):
            return [each.plain for each in self.value]
        if self.kind == "map":
            return [each.plain for pair in self.value for each in pair]
        return self.value


OK = Reply("simple", b"OK")
QUEUED = Reply("simple", b"QUEUED")


class Malformed(AssertionError):
    """The server sent what is not Redis's protocol."""


def encoded(*words: Word) -> bytes:
    """Returns a command as an array of bulk strings."""
    octets = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return command(*octets)


class RespConnection:
    """A connection, in RESP2 unless told otherwise."""

    def __init__(self, port: int, protocol: int = 2, host: str = "127.0.0.1", seconds: float = ANSWER_SECONDS) -> None:
        self._socket = socket.create_connection((host, port), seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        try:
            assert protocol == 2 or self.ask("HELLO", protocol).kind == "map"
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._file.close()
        self._socket.close()

    def send(self, octets: bytes) -> None:
        """Sends bytes as they are."""
        self._socket.sendall(octets)

    def finish(self) -> None:
        """Says that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def ask(self, *words: Word) -> Reply:
        """Sends a command and returns its answer."""
        self.send(encoded(*words))
        return self.read()

    def ask_all(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """Sends all commands, whether or not the server keeps up with reading, and returns their answers."""
        sender = threading.Thread(target=self.send, args=(b"".join(encoded(*each) for each in commands),))
        sender.start()
        try:
            return [self.read() for _ in commands]
        finally:
            sender.join(ANSWER_SECONDS)

    def read(self) -> Reply:
        """Reads one answer. Raises: EOFError if the server has ended the connection before it."""
        line = self._file.readline()
        if not line:
            raise EOFError("the server has ended the connection")
        if not line.endswith(b"\r\n") or len(line) < 3:
            raise Malformed(f"no line: {line!r}")
        mark, rest = line[:1], line[1:-2]
        match mark:
            case b"+" | b"-":
                if b"\r" in rest:
                    raise Malformed(f"a carriage return inside a line: {line!r}")
                return Reply("simple" if mark == b"+" else "error", rest)
            case b":":
                return Reply("integer", _number(rest))
            case b"$" if rest == b"-1":
                return Reply("null bulk")
            case b"$":
                return Reply("bulk", self._octets(_number(rest)))
            case b"*" if rest == b"-1":
                return Reply("null array")
            case _:
                return self._read_more(mark, rest)

    def _read_more(self, mark: bytes, rest: bytes) -> Reply:
        """Reads what holds others, and what only RESP3 has."""
        match mark:
            case b"*" | b"~" | b">":
                kind = {b"*": "array", b"~": "set", b">": "push"}[mark]
                return Reply(kind, tuple(self.read() for _ in range(_number(rest))))
            case b"%":
                return Reply("map", tuple((self.read(), self.read()) for _ in range(_number(rest))))
            case b"_" if rest == b"":
                return Reply("null")
            case b"#" if rest in (b"t", b"f"):
                return Reply("boolean", rest == b"t")
            case b",":
                float(rest)
                return Reply("double", rest)
            case b"(":
                return Reply("big number", _number(rest))
            case b"=":
                octets = self._octets(_number(rest))
                if octets[3:4] != b":":
                    raise Malformed(f"a verbatim string without a kind: {octets[:20]!r}")
                return Reply("verbatim", octets)
        raise Malformed(f"no answer begins so: {mark + rest!r}")

    def read_all(self) -> list[Reply]:
        """Reads answers until the server ends the connection."""
        replies = []
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                replies.append(self.read())
        return replies

    def _octets(self, count: int) -> bytes:
        octets = self._file.read(count + 2)
        if len(octets) != count + 2 or not octets.endswith(b"\r\n"):
            raise Malformed(f"no bulk string of {count} bytes: {octets[:40]!r}")
        return octets[:-2]


def _number(text: bytes) -> int:
    if not text.removeprefix(b"-").isdigit():
        raise Malformed(f"no number: {text!r}")
    return int(text)


# Programs


def program(name: str) -> str:
    """Returns where a program is. Fails the test if it is not installed."""
    found = shutil.which(name)
    assert found is not None, f"{name} is not installed: scripts/test.sh installs it"
    return found


def run(*command: Word, given: bytes = b"") -> str:
    """Runs a client's program to its end, which must be a good one, and returns what it printed."""
    name, *words = map(str, command)
    ended = subprocess.run([program(name), *words], input=given, capture_output=True, timeout=CLIENT_SECONDS)
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout!r}\n{ended.stderr!r}"
    return ended.stdout.decode(errors="replace")


def node_redis(scene: str, *ports: int) -> str:
    """Runs a scene of `resp_node.js` with node-redis and returns what it printed."""
    assert (NODE_MODULES / "redis").is_dir(), f"node-redis is not in {NODE_MODULES}: scripts/test.sh installs it"
    ended = subprocess.run(
        [program("node"), str(NODE_SCRIPT), scene, *map(str, ports)],
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        env=os.environ | {"NODE_PATH": str(NODE_MODULES)},
    )
    assert ended.returncode == 0, f"node-redis, {scene}: {ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout


class RedisServer:
    """A real `redis-server`, or a program of its kind, without persistence, as long as the block lasts."""

    def __init__(self, directory: Path, *options: str, server: str = "redis-server") -> None:
        """Takes a directory of its own."""
        self._server = program(server)
        self._directory = directory
        self._options = options
        self._lease = PortLease()
        self.resp_port = self._lease.number
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        places = ["--port", str(self.resp_port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._server, *places, "--save", "", "--appendonly", "no", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, f"{self._server} to answer")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()
        with contextlib.suppress(OSError), RespConnection(self.resp_port) as connection:
            return connection.ask("PING") == Reply("simple", b"PONG")
        return False

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._lease.end()


class RespNode(Node):
    """A node of its own, with a known port for Redis's protocol."""

    def __init__(self, directory: Path, settings: Mapping[str, str | int] | None = None) -> None:
        """Takes what `Node` takes."""
        self._resp_lease = PortLease()
        self.resp_port = self._resp_lease.number
        super().__init__(directory, {"resp.port": self.resp_port, **(settings or {})})

    def resp(self, protocol: int = 2) -> RespConnection:
        """Returns a new connection."""
        return RespConnection(self.resp_port, protocol)

    def end(self) -> None:
        """Ends whatever is left."""
        super().end()
        self._resp_lease.end()


@contextlib.contextmanager
def running(node: RespNode) -> Iterator[RespNode]:
    """Runs a node as long as the block does, and shows its log then."""
    try:
        node.start()
        yield node
    finally:
        node.end()
        sys.stdout.write(f"--- log of {node.directory.name}\n{node.log()[-20_000:]}\n")


class RespCluster(Cluster):
    """A cluster whose nodes have known ports for Redis's protocol: plain ones, and those that the map names."""

    def __init__(self, *details: Any, **more: Any) -> None:
        self._leases: dict[str, tuple[PortLease, PortLease]] = {}
        super().__init__(*details, **more)

    def add(self, **details: Any) -> Member:
        """Makes one more node."""
        plain, mapped = PortLease(), PortLease()
        settings = {"resp.port": plain.number, "resp.cluster_port": mapped.number} | details.pop("settings", {})
        node = super().add(settings=settings, **details)
        self._leases[node.name] = plain, mapped
        return node

    def plain_port(self, node: Member) -> int:
        """Returns the port that forwards."""
        return self._leases[node.name][0].number

    def mapped_port(self, node: Member) -> int:
        """Returns the port that the map names, for clients that follow it."""
        return self._leases[node.name][1].number

    @property
    def mapped_ports(self) -> list[int]:
        """The ports that the map names, of all nodes."""
        return [self.mapped_port(node) for node in self.nodes]

    @property
    def plain_ports(self) -> list[int]:
        """The ports that forward, of all nodes."""
        return [self.plain_port(node) for node in self.nodes]

    def connect(self, node: Member, mapped: bool = False, protocol: int = 2) -> RespConnection:
        """Returns a new connection to a node, by the one port or the other."""
        return RespConnection(self.mapped_port(node) if mapped else self.plain_port(node), protocol)

    def end(self, show: bool = True) -> None:
        """Ends what is left, and shows the logs."""
        super().end(show)
        for lease in (lease for both in self._leases.values() for lease in both):
            lease.end()


@contextlib.contextmanager
def spread_cluster(directory: Path, zookeeper: str) -> Iterator[RespCluster]:
    """Three nodes as long as the block lasts, each of them leading something. Tests leave them whole and settled."""
    cluster = RespCluster(directory, f"{zookeeper}/{directory.name}")
    with cluster.settled():
        cluster.await_spread()
        yield cluster


def eventually(seconds: float = 30.0) -> Iterator[float]:
    """Yields the seconds that have passed, every 20 ms, until the time is up: for what clients repeat themselves."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        yield passed
        time.sleep(0.02)
