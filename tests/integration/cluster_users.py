"""Users of a cluster: threads that call the Python client all the time, as a program does, and note what fails.

`cluster_load.py` speaks HTTP itself and counts every answer of a node; what a user sees is another question: the client
tries again what surely did not happen, at the other nodes, within one deadline. A call that raises has failed.

Each user has keys of one partition, and writes 1, 2, 3, … into them. It reads one back now and then: what it wrote last
must be there, or, after a write whose outcome is unknown, that write.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from corecache import Client
from corecache.errors import CoreCacheError, OutcomeUnknown
from integration.cluster_harness import PARTITIONS, Cluster, Member, partition_of

READ_EACH = 4
"""After so many writes comes a read."""


@dataclass(frozen=True)
class Failure:
    """A call that raised: when, after how many seconds, and what."""

    at: float
    seconds: float
    text: str


class Users:
    """So many users, each with a client of its own that knows all nodes and begins with another one."""

    def __init__(self, cluster: Cluster, count: int = 16, timeout_s: float = 5.0, pause: float = 0.0) -> None:
        self.failures: list[Failure] = []
        self.wrong: list[str] = []
        self.calls = 0
        self.slowest = 0.0
        self._cluster = cluster
        self._timeout_s = timeout_s
        self._pause = pause
        self._stopping = threading.Event()
        self._written = [0] * count
        self._threads = [threading.Thread(target=self._guarded, args=(number,), daemon=True) for number in range(count)]

    @contextmanager
    def running(self) -> Iterator["Users"]:
        """Runs as long as the block does. Fails the test if anything was read that may not be."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join(4 * self._timeout_s)
        assert not self.wrong, "\n".join(self.wrong[:20])

    def await_writes(self, count: int, seconds: float = 30.0) -> None:
        """Waits until each user has written so often since now."""
        before = list(self._written)
        self._cluster.await_true(
            lambda: all(now - then >= count for now, then in zip(self._written, before, strict=True)),
            f"{count} writes of every user; failed were {self.failures[-5:]}",
            seconds,
        )

    def summary(self) -> str:
        """Returns what became of the calls, in a line."""
        return f"{self.calls} calls, {len(self.failures)} failed, the slowest took {1000 * self.slowest:.0f} ms"

    def _guarded(self, number: int) -> None:
        try:
            with Client(_addresses(self._cluster.nodes, number), self._timeout_s) as client:
                self._work(client, number)
        except Exception as error:  # a user that dies would test nothing, silently
            self.wrong.append(f"user {number} died: {type(error).__name__}: {error}")

    def _work(self, client: Client, number: int) -> None:
        key = next(
            name
            for name in (b"user-%d-%d" % (number, attempt) for attempt in range(10_000))
            if partition_of(name) == number % PARTITIONS
        )
        turn, possible = 0, {0}
        while not self._stopping.wait(self._pause):
            turn += 1
            began = time.monotonic()
            try:
                client.put(key, b"%d" % turn)
                possible = {turn}
                self._written[number] += 1
                if turn % READ_EACH == 0:
                    record = client.get(key)
                    found = int(record.value) if record is not None else 0
                    if found not in possible:
                        self.wrong.append(f"{key!r}: read {found}, which may be {sorted(possible)}")
                    possible = {found}
            except CoreCacheError as error:
                if isinstance(error, OutcomeUnknown):
                    possible = possible | {turn}
                seconds = time.monotonic() - began
                self.failures.append(
                    Failure(time.monotonic(), seconds, f"{type(error).__name__} {error.code}: {error}")
                )
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.calls += 1


def _addresses(nodes: Sequence[Member], first: int) -> list[str]:
    turned = [nodes[(first + number) % len(nodes)] for number in range(len(nodes))]
    return [f"http://{node.host}:{node.port}" for node in turned]
