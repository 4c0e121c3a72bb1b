"""Clients that write and read a cluster all the time, and the ledger that knows what must be true of every answer.

Each key has one writer, who writes 1, 2, 3, … (padded) into it, waiting for each answer. So what a read may return is
known exactly: nothing older than the last acknowledged write, or than what any read before it has returned; nothing
that was never written or was answered *not done*; and nothing newer than the write under way. After a write whose
outcome is unknown the key is put aside: what became of it is judged at the end, it may be there or not.

A writer has keys of one partition, so that a partition that stands still holds up nobody but its own writers, and the
time until its first success after an event is the pause that a client feels.
"""

import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from integration.cluster_harness import PARTITIONS, Cluster, Member, partition_of
from integration.node_harness import key_target

DEADLINE_MS = 5000
SOCKET_SECONDS = 20.0
VALUE_BYTES = 100
KEYS_EACH = 8

_numbers = itertools.count(1)


@dataclass
class Key:
    """A key and all that became of the writes on it."""

    name: bytes
    begun: int = 0
    acknowledged: int = 0
    seen: int = 0
    refused: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)

    def least(self) -> int:
        """Returns the oldest write that a read which begins now may return."""
        return max(self.acknowledged, self.seen)


@dataclass(frozen=True)
class Success:
    """A write that was acknowledged."""

    partition: int
    began: float
    ended: float


class Load:
    """Writers and readers, each in a thread of its own, from `start` to `stop`."""

    def __init__(
        self,
        cluster: Cluster,
        writers: int = 16,
        readers: int = 2,
        deadline_ms: int = DEADLINE_MS,
        nodes: Sequence[Member] | None = None,
        pause: float = 0.0,
    ) -> None:
        self.cluster = cluster
        self.keys: list[Key] = []
        self.successes: list[Success] = []
        self.outcomes: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.failures: list[tuple[float, str]] = []
        self._nodes = list(nodes or cluster.nodes)
        self._deadline_ms = deadline_ms
        self._pause = pause
        self._stopping = threading.Event()
        self._names = (b"load-%d/%d" % (load, number) for load in [next(_numbers)] for number in itertools.count())
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._write, number), daemon=True) for number in range(writers)
        ] + [
            threading.Thread(target=self._guarded, args=(self._read, number), daemon=True) for number in range(readers)
        ]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Runs as long as the block does, and then judges."""
        self.start()
        try:
            yield self
        finally:
            self.stop()
        self.check()

    def start(self) -> None:
        """Starts the clients."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stops them, and waits for their last answers."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(SOCKET_SECONDS + 10)

    def await_successes(self, count: int, seconds: float = 30.0) -> None:
        """Waits until so many more writes were acknowledged in every partition."""
        began = time.monotonic()
        self.cluster.await_true(
            lambda: all(found >= count for found in self.since(began).values()),
            f"{count} writes in every partition",
            seconds,
        )

    def since(self, moment: float) -> dict[int, int]:
        """Returns how many writes that began after a moment were acknowledged, by partition."""
        counts = dict.fromkeys(range(PARTITIONS), 0)
        for success in reversed(self.successes):
            # They end in about the order in which they stand here; whatever ended before the moment began before it.
            if success.ended < moment - 1:
                break
            if success.began >= moment:
                counts[success.partition] += 1
        return counts

    def await_resumed(self, moment: float, seconds: float = 30.0) -> dict[int, float]:
        """Waits until each partition has acknowledged a write begun after a moment; returns the seconds from it."""
        self.cluster.await_true(
            lambda: all(self.since(moment).values()), "a write in every partition after the event", seconds
        )
        return self.pauses(moment)

    def pauses(self, moment: float) -> dict[int, float]:
        """Returns, by partition, the seconds from a moment to the end of the first success that began after it."""
        first: dict[int, float] = {}
        for success in list(self.successes):
            if success.began >= moment:
                first[success.partition] = min(first.get(success.partition, 1e9), success.ended - moment)
        return first

    def longest_gaps(self, begin: float, end: float) -> dict[int, float]:
        """Returns, by partition, the longest time without an acknowledged write between two moments."""
        ends: dict[int, list[float]] = {partition: [begin] for partition in range(PARTITIONS)}
        for success in list(self.successes):
            if begin <= success.ended <= end:
                ends[success.partition].append(success.ended)
        return {
            partition: max(later - sooner for sooner, later in itertools.pairwise([*sorted(times), end]))
            for partition, times in ends.items()
        }

    def check(self, nodes: Sequence[Member] | None = None) -> None:
        """Reads every key at every node and fails the test if anything was wrong, now or before.

        What is read now counts too: one key has one answer, at whichever node it is asked for.
        """
        for node in nodes or self.cluster.running:
            with node.connected(SOCKET_SECONDS) as connection:
                for key in self.keys:
                    self._read_one(connection, key, f"at the end, {node.name}")
        assert not self.wrong, "\n".join(self.wrong[:20])

    def summary(self) -> str:
        """Returns what became of the requests, in a line."""
        return f"writes {dict(self.outcomes)}, reads {dict(self.reads)}, keys {len(self.keys)}"

    # Writers

    def _guarded(self, work: Any, number: int) -> None:
        try:
            work(number)
        except Exception as error:  # a client that dies would test nothing, silently
            self.wrong.append(f"client {number} died: {type(error).__name__}: {error}")

    def _new_key(self, partition: int) -> Key:
        with self._lock:
            while True:
                name = next(self._names)
                if partition_of(name) == partition:
                    key = Key(name)
                    self.keys.append(key)
                    return key

    def _write(self, number: int) -> None:
        partition = number % PARTITIONS
        keys = [self._new_key(partition) for _ in range(KEYS_EACH)]
        dice = random.Random(number)
        for connection in self._connections(number):
            while not self._stopping.wait(self._pause):
                place = dice.randrange(KEYS_EACH)
                outcome = self._write_one(connection, keys[place], partition)
                if outcome in ("unknown", "lost"):
                    keys[place] = self._new_key(partition)
                if outcome in ("lost", "unreachable", "not done"):
                    break

    def _write_one(self, connection: http.client.HTTPConnection, key: Key, partition: int) -> str:
        key.begun = turn = key.begun + 1
        began = time.monotonic()
        outcome, detail = _put(connection, key.name, b"%0*d" % (VALUE_BYTES, turn), self._deadline_ms)
        ended = time.monotonic()
        if outcome == "acknowledged":
            key.acknowledged = turn
            self.successes.append(Success(partition, began, ended))
        elif outcome in ("not done", "unreachable"):
            key.refused.add(turn)
        else:
            key.unknown.add(turn)
        if outcome == "wrong":
            self.wrong.append(f"{key.name!r}: a write was answered {detail}")
        if outcome != "acknowledged":
            self.failures.append((ended, f"{outcome}: {detail}"))
        self.outcomes[outcome] += 1
        return outcome

    def _connections(self, number: int) -> Iterator[http.client.HTTPConnection]:
        """Yields a connection to one node after another, until the end."""
        for node in itertools.cycle(
            self._nodes[number % len(self._nodes) :] + self._nodes[: number % len(self._nodes)]
        ):
            if self._stopping.wait(0.005):
                return
            if not node.running:
                continue
            with node.connected(SOCKET_SECONDS) as connection:
                yield connection

    # Readers

    def _read(self, number: int) -> None:
        dice = random.Random(-1 - number)
        for connection in self._connections(number):
            while not self._stopping.wait(self._pause):
                if not self.keys or not self._read_one(connection, dice.choice(self.keys), f"reader {number}"):
                    break

    def _read_one(self, connection: http.client.HTTPConnection, key: Key, who: str) -> bool:
        least = key.least()
        try:
            connection.request("GET", key_target(key.name), headers={"X-CoreCache-Timeout": str(self._deadline_ms)})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self.reads["lost"] += 1
            return False
        if response.status not in (200, 404):
            self.reads[str(response.status)] += 1
            if response.status != 503:
                self.wrong.append(f"{key.name!r}, {who}: a read was answered {response.status} {body[:200]!r}")
            return response.status == 503
        turn = int(body) if response.status == 200 else 0
        if turn < least or turn > key.begun or turn in key.refused:
            self.wrong.append(
                f"{key.name!r}, {who}: read {turn}, acknowledged or seen before that {least}, begun {key.begun}, "
                f"refused {sorted(key.refused)[-5:]}, unknown {sorted(key.unknown)}"
            )
        with self._lock:
            key.seen = max(key.seen, turn)
        self.reads["answered"] += 1
        return True


def _put(connection: http.client.HTTPConnection, key: bytes, value: bytes, deadline_ms: int) -> tuple[str, str]:
    """Sends a write; returns what became of it: acknowledged, not done, unknown, lost, unreachable or wrong."""
    try:
        if connection.sock is None:
            connection.connect()
    except OSError as error:
        connection.close()
        return "unreachable", str(error)
    try:
        connection.request("PUT", key_target(key), value, {"X-CoreCache-Timeout": str(deadline_ms)})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return "lost", f"{type(error).__name__} {error}"
    if response.status == 204:
        return "acknowledged", ""
    said = json.loads(body) if "json" in response.headers.get("content-type", "") else {}
    detail = f"{response.status} {said.get('code')}: {said.get('detail')}"
    outcomes = {(503, "not_done"): "not done", (507, "not_done"): "not done", (504, "unknown"): "unknown"}
    return outcomes.get((response.status, said.get("outcome", "")), "wrong"), detail
