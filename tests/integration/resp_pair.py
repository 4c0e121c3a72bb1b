"""Two servers of Redis's protocol, to which the same is said, and whose answers are compared: Redis's own, and ours.

The reference is `redis-server`, a process of the test's own that is a cluster of one, as a node of CoreCache is: so it
has slots that commands must not cross, and one database. `resp_sequences.py` draws the commands, `resp_alike.py` says
which answers are alike. What is meant to differ is in `DIFFERENCES`, each with its reason; anything else fails, with
the seed of the sequence and the commands that came before.
"""

import contextlib
import enum
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from corecache.chaos.processes import PortLease
from integration.node_harness import wait_until
from integration.resp_alike import alike_of, same
from integration.resp_harness import OK, QUEUED, RedisServer, Reply, RespConnection
from integration.resp_sequences import Part, sequence

SHOWN = 12
BEFORE = 8
ANSWERED_LATE = (b"CLIENT INFO", b"DBSIZE", b"KEYS", b"RANDOMKEY", b"CLUSTER COUNTKEYS", b"CLUSTER GETKEYS")
CROSS_SLOT = Reply("error", b"CROSSSLOT Keys in request don't hash to the same slot")


class Server(Protocol):
    """A server of the protocol."""

    resp_port: int


class Pair(NamedTuple):
    """Redis, and who wants to answer as it does."""

    redis: Server
    ours: Server


class Difference(NamedTuple):
    """A difference that is meant: the reason, and the commands and answers that it is about.

    `parts`: the two have different keys afterwards, perhaps, so that nothing more can be compared. `within`: it is one
    only among the answers of a transaction with this command in it, of which EXEC is the last.
    """

    reason: str
    holds: Callable[[Sequence[bytes], Reply, Reply], bool]
    parts: bool = False
    within: bytes = b""


class Verdict(enum.IntEnum):
    """What two answers to a command are, from good to bad."""

    ALIKE = 0
    MEANT = 1
    PARTED = 2
    DIFFERENT = 3


def says(beginning: bytes) -> Callable[[Sequence[bytes], Reply, Reply], bool]:
    """Returns whether CoreCache answers with an error that begins so."""
    return lambda _, __, ours: ours.kind == "error" and ours.value.startswith(beginning)


DIFFERENCES = [
    Difference(
        "a key has 1 to 8,192 bytes, as by HTTP; Redis allows none and half a gigabyte",
        says(b"ERR invalid key: "),
        parts=True,
    ),
    Difference(
        "a transaction is one entry of one partition's log: what deletes all keys can't stand in it",
        says(b"ERR FLUSH"),
        parts=True,
    ),
    Difference(
        "a cursor that this node has not given is refused, rather than an iteration begun in the middle",
        says(b"ERR invalid cursor"),
    ),
    Difference(
        "arguments are judged before the keys' slots; either way nothing happens",
        lambda _, theirs, ours: theirs == CROSS_SLOT and ours.kind == "error",
    ),
    Difference(
        "a command of a transaction that is refused for its arguments has no keys to be of another slot",
        lambda words, theirs, _: words[0].upper() == b"EXEC" and theirs == CROSS_SLOT,
        parts=True,
    ),
    Difference(
        "the keys that a transaction watches are checked in its log entry: they are of its slot, or it is refused",
        lambda words, _, ours: words[0].upper() == b"EXEC" and ours == CROSS_SLOT,
        parts=True,
    ),
    Difference(
        "what has no keys is answered when the rest of a transaction is done, and so sees what comes after it",
        lambda words, theirs, ours: b" ".join(words[:2]).upper().startswith(ANSWERED_LATE) and theirs.kind == ours.kind,
        within=b"EXEC",
    ),
    Difference(
        "the answers of a transaction are all in the protocol that it ends with",
        lambda _, theirs, ours: theirs.plain == ours.plain,
        within=b"HELLO",
    ),
    Difference("there is one database, and no cluster mode to blame for it", says(b"ERR DB index is out of range")),
]


@contextlib.contextmanager
def reference(directory: Path) -> Iterator[RedisServer]:
    """Runs a Redis that is a cluster of its own."""
    bus = PortLease()
    options = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(bus.number))
    with contextlib.ExitStack() as stack:
        stack.callback(bus.end)
        redis = stack.enter_context(RedisServer(directory, *options))
        with RespConnection(redis.resp_port) as connection:
            assert connection.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383) == OK
            wait_until(
                lambda: b"cluster_state:ok" in connection.ask("CLUSTER", "INFO").value, "Redis's cluster to be whole"
            )
        yield redis


class Both:
    """Two connections to each server, and what is queued on each of them."""

    def __init__(self, pair: Pair, protocol: int = 2) -> None:
        self._pair = pair
        self._protocol = protocol
        self._connections: dict[int, tuple[RespConnection, RespConnection]] = {}
        self._queued: dict[int, list[Sequence[bytes]]] = {}
        self.said: list[str] = []
        self.different: list[str] = []
        self.parted = False
        """Whether a difference that is meant has left the two with different keys, perhaps."""

    def __enter__(self) -> "Both":
        assert self.ask(0, b"FLUSHALL") == (OK, OK)
        return self

    def __exit__(self, *exception: object) -> None:
        for number in list(self._connections):
            self._hang_up(number)

    def _hang_up(self, number: int) -> None:
        for each in self._connections.pop(number):
            each.close()

    def ask(self, connection: int, *words: bytes) -> tuple[Reply, Reply]:
        """Sends a command to both servers, and notes what differs in their answers."""
        if connection not in self._connections:
            ports = self._pair.redis.resp_port, self._pair.ours.resp_port
            first, second = (RespConnection(port, self._protocol) for port in ports)
            self._connections[connection] = first, second
            self._queued[connection] = []
        replies = []
        for each in self._connections[connection]:
            try:
                replies.append(each.ask(*words))
            except (EOFError, ConnectionError):
                replies.append(Reply("the connection ends"))
        theirs, ours = replies
        shown = b" ".join(word if word.isalnum() else repr(word)[1:].encode() for word in words).decode()
        self.said.append(f"{connection}: {shown} -> {theirs}")
        verdict = self._verdict(connection, words, theirs, ours)
        self.parted = self.parted or verdict is Verdict.PARTED
        if verdict is Verdict.DIFFERENT:
            before = f"    after: {self.said[-2]}\n" if len(self.said) > 1 else ""
            self.different.append(f"{connection}: {shown}\n{before}    Redis: {theirs}\n    ours:  {ours}")
        if words[0].upper() == b"QUIT" or "the connection ends" in (theirs.kind, ours.kind):
            self._hang_up(connection)
        if words[0].upper() == b"RESET" and theirs.kind == "simple" and self._protocol == 3:
            for each in self._connections[connection]:
                each.ask("HELLO", 3)
        return theirs, ours

    def _verdict(self, connection: int, words: Sequence[bytes], theirs: Reply, ours: Reply) -> Verdict:
        queued = self._queued[connection]
        name = words[0].upper()
        if theirs == ours == QUEUED:
            queued.append(words)
            return Verdict.ALIKE
        if name in (b"EXEC", b"DISCARD", b"RESET", b"QUIT"):
            self._queued[connection] = []
        if name == b"EXEC" and theirs.kind == ours.kind == "array":
            if not len(queued) == len(theirs.value) == len(ours.value):
                return Verdict.DIFFERENT
            each = zip(queued, theirs.value, ours.value, strict=True)
            names = [b"EXEC", *(words[0].upper() for words in queued)]
            return max((verdict_of(*one, names) for one in each), default=Verdict.ALIKE)
        return verdict_of(words, theirs, ours)


def verdict_of(words: Sequence[bytes], theirs: Reply, ours: Reply, within: Sequence[bytes] = ()) -> Verdict:
    """Judges two answers to a command, which may have stood within a transaction of such commands."""
    errors = "error" in (theirs.kind, ours.kind)
    if (same if errors else alike_of(words))(theirs, ours):
        return Verdict.ALIKE
    meant = [each for each in DIFFERENCES if each.within in (b"", *within) and each.holds(words, theirs, ours)]
    if not meant:
        return Verdict.DIFFERENT
    return Verdict.PARTED if any(each.parts for each in meant) else Verdict.MEANT


class Compared(NamedTuple):
    """What came of sequences: what differed first in each that had a difference, and how many commands were asked."""

    different: list[str]
    asked: int


def compared(pair: Pair, protocol: int, seeds: Sequence[int], kinds: Sequence[tuple[Part, ...]] = ()) -> Compared:
    """Runs sequences, of some kinds of commands if not of all, each until something differs."""
    found, asked = [], 0
    for seed in seeds:
        with Both(pair, protocol) as both:
            for step in sequence(seed, kinds=kinds):
                asked += 1
                both.ask(step.connection, *step.words)
                if both.different:
                    found.append(f"seed {seed}:\n  " + "\n  ".join([*both.said[-BEFORE:-1], *both.different]))
                if both.different or both.parted:
                    break
    return Compared(found, asked)


def see(found: Sequence[str]) -> None:
    """Fails the test if anything differs."""
    assert not found, f"{len(found)} differences\n" + "\n".join(found[:SHOWN])
