"""One process of the load on ZooKeeper: a session of kazoo's that keeps so many requests under way.

    python -m benchmarks.systems.kazoo_load HOST:PORT

It is ready when it has printed a line. Then each line on standard input is an order (`Order`), and each line that it
prints the measurement (`Measured`). It ends with its standard input. kazoo answers on threads of its own, so that a
request is begun by the answer to the one before, as in the closed loop; a session's requests share one connection.
"""

import random
import sys
import threading
import time
from array import array
from typing import Any

import msgspec
from kazoo.client import KazooClient

from benchmarks.systems.wire import Cell


class Order(msgspec.Struct, frozen=True):
    """What to do: measure a cell, with so many requests of its clients under way, for so long."""

    cell: Cell
    under_way: int
    warm_seconds: float
    seconds: float


class Measured(msgspec.Struct, frozen=True):
    """Latencies in ns of what was answered after the warm-up, the time that took, and the processor time of it."""

    latencies_ns: list[int]
    seconds: float
    cpu_seconds: float
    failure: str = ""


class Running:
    """An order while it is obeyed."""

    def __init__(self, client: KazooClient, order: Order) -> None:
        self._client = client
        self._order = order
        self._draw = random.Random(client.client_id[0]).choice  # noqa: S311 which key is no secret
        self._reads = order.cell.operation == "read"
        self._nodes = list(zip(paths(order.cell), order.cell.values, strict=True))
        self._latencies_ns = array("Q")
        self._failure = ""
        self._left = order.under_way
        self._over = threading.Event()

    def measure(self) -> Measured:
        """Obeys it. A failure ends it, and is told."""
        self._measured_from_ns = time.perf_counter_ns() + int(self._order.warm_seconds * 1e9)
        self._end_ns = self._measured_from_ns + int(self._order.seconds * 1e9)
        cpu_seconds = time.process_time()
        for _ in range(self._order.under_way):
            self._begin()
        self._over.wait()
        share = self._order.seconds / (self._order.seconds + self._order.warm_seconds)
        spent = (time.process_time() - cpu_seconds) * share
        return Measured(list(self._latencies_ns), self._order.seconds, spent, self._failure)

    def _begin(self) -> None:
        path, value = self._draw(self._nodes)
        begun_ns = time.perf_counter_ns()
        result = self._client.get_async(path) if self._reads else self._client.set_async(path, value)
        result.rawlink(lambda answered: self._answered(answered, value, begun_ns))

    def _answered(self, result: Any, value: bytes, begun_ns: int) -> None:
        now_ns = time.perf_counter_ns()
        try:
            found = result.get()
            if self._reads and found[0] != value:
                raise ValueError(f"{found[0][:100]!r} was read")
        except Exception as error:
            self._failure = repr(error)
        if not self._failure and now_ns < self._end_ns:
            if now_ns >= self._measured_from_ns:
                self._latencies_ns.append(now_ns - begun_ns)
            self._begin()
            return
        # All answers come on one thread of kazoo's.
        self._left -= 1
        if not self._left:
            self._over.set()


def paths(cell: Cell) -> list[str]:
    """Returns the paths of a cell's keys."""
    return [f"/keys/{number:012d}" for number in cell.numbers]


def main() -> None:
    """Obeys until its standard input ends."""
    client = KazooClient(hosts=sys.argv[1], timeout=30.0)
    client.start(timeout=30.0)
    print(flush=True)
    for line in sys.stdin:
        order = msgspec.json.decode(line, type=Order)
        print(msgspec.json.encode(Running(client, order).measure()).decode(), flush=True)
    client.stop()


if __name__ == "__main__":
    main()
