"""A load generator for any protocol: bytes that are sent, and a question that says whether all of the answer has come.

Like wrk it is a closed loop: each connection has one request under way, and sends the next when all of the answer has
come. Requests are made before, and most have one right answer, so that all that is done for a request is to send, to
receive, to compare and to look at the clock: it takes as little as it can from the servers on the same machine, and the
same from each of them. It is one thread of Python on epoll. Any answer but the right one ends it: what it measured is
success. A request may be made of several commands, such as Redis's `SET` with a `WAIT` behind it.

Keys have the names that redis-benchmark gives them.
"""

import contextlib
import itertools
import random
import select
import socket
import time
from array import array
from collections.abc import Callable, Mapping, Sequence

import msgspec

from benchmarks.wrk import LoadError, Run

SILENCE_SECONDS_MAX = 30.0
RECEIVED_BYTES_MAX = 65_536
ASKED_AT_ONCE = 100
DRAWN = 50_000
"""Requests are drawn at random before the run, so many for each server, and then in turns."""

Whole = Callable[[bytes], bool]
"""Says whether this is all of the right answer; if not, more is to come. Raises: LoadError if it can't become it."""


class Load(msgspec.Struct, frozen=True):
    """What is sent: for each server's port the requests to draw from, the right answer, and how many connections.

    The connections are spread over the ports in turns. The answer is the bytes, or what tells it from others.
    """

    requests: Mapping[int, Sequence[bytes]]
    answer: bytes | Whole
    connections: int

    def drive(self, seconds: float, warm_seconds: float = 0.0) -> Run:
        """Sends for so many seconds and returns what was measured, without what was answered in the warm ones before.

        Raises: LoadError, OSError.
        """
        whole = exactly(self.answer) if isinstance(self.answer, bytes) else self.answer
        with contextlib.ExitStack() as stack:
            poller = stack.enter_context(select.epoll())
            connections = {}
            for port, draw in itertools.islice(itertools.cycle(self._draws().items()), self.connections):
                connection = stack.enter_context(_connected(port))
                connections[connection.fileno()] = _Connection(connection, draw, whole)
                poller.register(connection, select.EPOLLIN)
            return _measured(poller, connections, seconds, warm_seconds)

    def _draws(self) -> dict[int, Callable[[], bytes]]:
        draws = {}
        for port, requests in self.requests.items():
            drawn = random.Random(port).choices(requests, k=DRAWN)  # noqa: S311 which key is no secret
            draws[port] = itertools.cycle(drawn).__next__
        return draws


class _Connection:
    """A connection with a request under way, from `send` to the `received` that returns its latency."""

    def __init__(self, connection: socket.socket, draw: Callable[[], bytes], whole: Whole) -> None:
        self._connection = connection
        self._draw = draw
        self._whole = whole
        self._part = b""
        self._sent_ns = 0

    def send(self, now_ns: int) -> None:
        self._sent_ns = now_ns
        request = self._draw()
        if self._connection.send(request) != len(request):
            raise LoadError(f"a request of {len(request)} bytes did not go out at once")

    def received(self) -> int | None:
        """Returns when the request was sent if its answer is complete, else None. Raises: LoadError."""
        received = self._connection.recv(RECEIVED_BYTES_MAX)
        if not received:
            raise LoadError("a connection was closed by the server: see its log")
        answer = self._part + received if self._part else received
        if self._whole(answer):
            self._part = b""
            return self._sent_ns
        self._part = answer
        return None


def exactly(right: bytes) -> Whole:
    """Returns the question for these bytes."""

    def whole(answer: bytes) -> bool:
        if answer == right:
            return True
        if not right.startswith(answer):
            raise LoadError(f"a request was answered {answer[:200]!r}")
        return False

    return whole


def key(number: int) -> bytes:
    """Returns the name of a key."""
    return b"key:%012d" % number


def ask(port: int, requests: Sequence[bytes]) -> list[bytes]:
    """Sends requests, many at once, and returns their answers, each of one line. Raises: LoadError, OSError."""
    answers = []
    with _connected(port) as connection:
        connection.settimeout(SILENCE_SECONDS_MAX)
        stream = connection.makefile("rb")
        for first in range(0, len(requests), ASKED_AT_ONCE):
            some = requests[first : first + ASKED_AT_ONCE]
            connection.sendall(b"".join(some))
            answers += [stream.readline() for _ in some]
    if not all(answer.endswith(b"\r\n") for answer in answers):
        raise LoadError("a connection was closed by the server: see its log")
    return [answer.removesuffix(b"\r\n") for answer in answers]


def send_each(port: int, requests: Sequence[bytes], answer: bytes | Whole) -> None:
    """Sends requests, one after the other, and wants this answer to each. Raises: LoadError, OSError."""
    whole = exactly(answer) if isinstance(answer, bytes) else answer
    with _connected(port) as connection:
        connection.settimeout(SILENCE_SECONDS_MAX)
        draw = iter(requests).__next__
        asking = _Connection(connection, draw, whole)
        for _ in requests:
            asking.send(0)
            while asking.received() is None:
                pass


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _measured(poller: select.epoll, connections: Mapping[int, _Connection], seconds: float, warm_seconds: float) -> Run:
    begun_ns = time.perf_counter_ns()
    for connection in connections.values():
        connection.send(begun_ns)
    if warm_seconds:
        _, begun_ns = _until(poller, connections, begun_ns + int(warm_seconds * 1e9))
    latencies_ns, ended_ns = _until(poller, connections, begun_ns + int(seconds * 1e9))
    return run_of(latencies_ns, (ended_ns - begun_ns) / 1e9)


def _until(poller: select.epoll, connections: Mapping[int, _Connection], end_ns: int) -> tuple["array[int]", int]:
    """Sends until a time, and returns the latencies of what was answered, and when the last was."""
    latencies_ns = array("Q")
    now_ns = 0
    while now_ns < end_ns:
        ready = poller.poll(SILENCE_SECONDS_MAX)
        if not ready:
            raise LoadError(f"no request was answered for {SILENCE_SECONDS_MAX:.0f} s")
        for number, _ in ready:
            connection = connections[number]
            sent_ns = connection.received()
            if sent_ns is not None:
                now_ns = time.perf_counter_ns()
                latencies_ns.append(now_ns - sent_ns)
                connection.send(now_ns)
    return latencies_ns, now_ns


def run_of(latencies: Sequence[int], seconds: float) -> Run:
    """Returns what so many requests, of these latencies in ns, are as a run of so many seconds. There has to be one."""
    latencies_ns = sorted(latencies)
    count = len(latencies_ns)
    p50, p95, p99 = (latencies_ns[count * percent // 100] / 1e6 for percent in (50, 95, 99))
    mean = sum(latencies_ns) / count / 1e6
    return Run(count, seconds, count / seconds, mean, p50, p95, p99, latencies_ns[-1] / 1e6)
