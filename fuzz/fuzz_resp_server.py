"""Fuzzes a whole node by Redis's protocol: a real process, to which one client says anything, another what is right.

The first byte says where the rest is cut into pieces; the rest is what the client says before it hangs up. It is said
whole, and in pieces, between which the other client goes on with its calls.

The node has small limits, so that little is needed to come upon them. It lives as long as this process, and is started
again only if an input has ended it.
"""

import atexit
import contextlib
import re
import select
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hiredis

from corecache.chaos.node import PROGRAM
from corecache.chaos.processes import PortLease, Process, python_environment
from corecache.wire.resp_command import command

WORDS = (
    *(b"*1\r\n", b"*2\r\n", b"*3\r\n", b"*0\r\n", b"*-1\r\n", b"*999\r\n", b"*1048577\r\n"),
    *(b"$0\r\n\r\n", b"$1\r\na\r\n", b"$1\r\nb\r\n", b"$3\r\nGET\r\n", b"$-1\r\n", b"$1000\r\n", b"$4097\r\n"),
    *(b'"', b"'", b"\\x41", b" ", b"\r\n", b"\r", b"\n", b"\0", b"-1", b"9223372036854775808", b"{a}", b"x" * 9000),
    *(command(*line.split()) for line in (b"GET a", b"SET a b", b"MULTI", b"EXEC", b"DISCARD", b"WATCH a", b"QUIT")),
    *(command(*line.split()) for line in (b"RESET", b"HELLO 3", b"HELLO 2", b"INCR n", b"APPEND a xxxxxxxxxxxxxxxx")),
    *(command(*line.split()) for line in (b"MGET a a a", b"MSET a 1 b 2", b"CLIENT REPLY OFF", b"CLIENT REPLY SKIP")),
    *(
        command(*line.split())
        for line in (b"KEYS *", b"SCAN 0", b"SETRANGE a 4000 x", b"CLIENT LIST", b"COMMAND", b"INFO")
    ),
    *(b"PING\r\n", b"SET a b\n", b"GET a\r\n" * 100, command(b"PING") * 300, command(b"SET", b"a", b"v" * 4096) * 20),
)
"""Nothing that takes the other client's keys away: FLUSHALL may do that, and disturbs nobody."""

VALUE_BYTES_MAX = 4096
SETTINGS = {
    "limits.value_bytes_max": VALUE_BYTES_MAX,
    "replication.durability": "os",
    "resp.pipeline_bytes_max": 65_536,
    "resp.pipeline_requests_max": 16,
    "resp.request_bytes_max": 1024 * 1024,
}
PATIENCE_SECONDS = 30.0
PIECES_MAX = 64
CALLS_MAX = 8
KEY = b"of-the-other-client"
_VARIES = re.compile(
    rb"hello|time|info|client|randomkey|scan|slowlog|latency|ttl|expire"
    rb"|cluster|memory|config|lolwut|debug|object",
    re.IGNORECASE,
)
"""What may be answered differently the second time."""


class Node:
    """A process of its own, in a directory of its own, and the client that must not be disturbed."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="corecache-fuzz-")
        self._leases = PortLease(), PortLease()
        http, self.port = (lease.number for lease in self._leases)
        place = Path(self._directory.name)
        settings = SETTINGS | {"node.data_dir": str(place / "data"), "http.port": http, "resp.port": self.port}
        environment = python_environment() | {
            "CORECACHE_" + name.upper().replace(".", "__"): str(value) for name, value in settings.items()
        }
        self.process = Process(PROGRAM, place / "log", environment, place)
        self.process.start()
        self._parser = hiredis.Reader()
        self._asked = 0
        self._connect()

    def _connect(self) -> None:
        """Connects the other client, once the node takes writes."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.running and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.client = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)
                if self.ask(b"SET", KEY, b"0") == b"OK":
                    return
                self.client.close()
            time.sleep(0.01)
        raise AssertionError(f"the node is not ready:\n{self.process.log_tail()}")

    def end(self) -> None:
        """Ends the process, and leaves nothing behind."""
        self.client.close()
        self.process.kill()
        for lease in self._leases:
            lease.end()
        self._directory.cleanup()

    def ask(self, *words: bytes) -> object:
        """Returns the answer to the other client."""
        self.client.sendall(command(*words))
        while (reply := self._parser.gets()) is False:
            octets = self.client.recv(65_536)
            assert octets, f"the other client's connection has ended:\n{self.process.log_tail()}"
            self._parser.feed(octets)
        return reply

    def call(self) -> None:
        """Writes and reads, as the other client, and checks that the answers are right."""
        self._asked += 1
        value = b"%d" % self._asked
        assert self.ask(b"SET", KEY, value) == b"OK"
        assert self.ask(b"GET", KEY) == value
        assert self.ask(b"ECHO", value) == value

    def check(self) -> None:
        """Checks that the process lives, and that nobody is connected but the other client."""
        assert self.process.running, f"the node has ended:\n{self.process.log_tail()}"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "connected_clients:1\\r" not in str(self.ask(b"INFO", b"clients")):
            assert time.monotonic() < deadline, "a client that has hung up is still counted"
        self.call()


_nodes: list[Node] = []


def _node() -> Node:
    """Returns the node, which is started if there is none that lives."""
    if _nodes and not _nodes[0].process.running:
        _nodes.pop().end()
    if not _nodes:
        _nodes.append(Node())
    return _nodes[0]


@atexit.register
def _end() -> None:
    for node in _nodes:
        node.end()


def target(data: bytes) -> None:
    """Whatever is said, whole or cut: answers are right RESP, and the same; nobody else notices; nothing stays."""
    size, stream = (data[0] if data else 0) + 1, data[1:]
    node = _node()
    answers = []
    for pieces in ([stream], list(_cut(stream, size))):
        assert node.ask(b"FLUSHALL") == b"OK"
        node.call()
        answers.append(_answers(node.port, pieces, node.call))
        node.check()
        _parse(answers[-1])
    if not _VARIES.search(stream):
        assert answers[0] == answers[1], "where a stream is cut does not matter"


def _cut(stream: bytes, size: int) -> Iterator[bytes]:
    """Cuts a stream into pieces of a size, the rest after so many of them left whole."""
    end = min(len(stream), size * PIECES_MAX)
    for start in range(0, end, size):
        yield stream[start : min(start + size, end)]
    yield stream[end:]


def _answers(port: int, pieces: list[bytes], between: Callable[[], None]) -> bytes:
    """Says pieces as a client of its own, lets the other one call after the first of them, and reads to the end."""
    answers, calls = bytearray(), 0
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        waiting, speaks = [piece for piece in reversed(pieces) if piece], True
        while True:
            readable, writable, _ = select.select([client], [client] if speaks else [], [], PATIENCE_SECONDS)
            assert readable or writable, "the node neither answers nor listens nor hangs up"
            if readable:
                octets = client.recv(65_536)
                if not octets:
                    return bytes(answers)
                answers += octets
            if writable and waiting:
                piece = waiting.pop()
                left = piece[client.send(piece) :]
                if left:
                    waiting.append(left)
                elif calls < CALLS_MAX:
                    calls += 1
                    between()
            elif writable:
                speaks = False
                client.shutdown(socket.SHUT_WR)


def _parse(answers: bytes) -> None:
    """Checks that answers are whole ones, of which none tells of a defect."""
    assert b"internal error" not in answers, answers
    parser = hiredis.Reader(protocolError=AssertionError)
    parser.feed(answers)
    while parser.gets() is not False:
        pass
    assert not parser.has_data(), "the last answer is whole"
