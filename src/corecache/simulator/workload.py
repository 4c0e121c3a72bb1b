"""Simulated clients: what they ask, of whom, and what each of them was told.

A client does one thing at a time: a put (now and then conditional, now and then with a time to live), a delete, a read,
on one of few keys, so that keys are contended. Every value is written once in a run, and names its writer. A client
sends to the node that it believes to be primary, or to any. What it is told is written down with the number of
the event at which it asked and was told; no answer in time means that the outcome is unknown.

The history of each key is judged at the end by `linearizability.py`. What is looked at on the way: a read must not
show an older version than one that was answered before it was asked.
"""

from collections.abc import Callable

import msgspec

from corecache.errors import CallerFault, CoreCacheError, NotDone
from corecache.identity import NodeId, PartitionId, Version
from corecache.operations import (
    Absent,
    ConditionFailed,
    Delete,
    Deleted,
    Found,
    IfAbsent,
    IfMatch,
    Operation,
    Put,
    Result,
    Written,
)
from corecache.simulator.cluster import Cluster
from corecache.simulator.linearizability import Call, UndecidedError, is_linearizable
from corecache.simulator.requests import Outcome
from corecache.simulator.trace import ViolationError


class Key:
    """A key, and what clients know of it."""

    __slots__ = ("calls", "floor", "name", "partition", "version")

    def __init__(self, partition: PartitionId, name: bytes) -> None:
        self.partition = partition
        self.name = name
        self.calls: list[Call] = []
        self.floor = 0
        """The highest version that any client was told."""
        self.version = 0
        """The version that a conditional write expects, 0 for absent."""


class Asked(msgspec.Struct, eq=False):
    """A call under way."""

    client: int
    key: Key
    operation: Operation | None
    """None for a read."""
    call: Call
    floor: int
    told: bool = False


class Workload:
    """All clients of a run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._options = cluster.world.options
        self._schedule = cluster.world.schedule
        self._dice = cluster.world.dice("workload")
        self.keys = [
            Key(partition, f"p{partition}k{number}".encode())
            for partition in cluster.partitions
            for number in range(self._options.keys)
        ]
        self.operations = self.succeeded = self.not_done = self.unknown = self.undecided = 0
        self.stopped = False
        self._values = 0
        self._by_value: dict[bytes, Call] = {}
        self._believed: dict[PartitionId, NodeId] = {}
        self._check: dict[Key, bool] = {}

    def begin(self) -> None:
        """Lets the clients begin, one after the other."""
        for client in range(self._options.clients):
            self._schedule.after(int(self._dice.random() * 50), self._ask, client)

    def _ask(self, client: int) -> None:
        """One client asks something."""
        if self.stopped:
            return
        key = self.keys[int(self._dice.random() * len(self.keys))]
        self._send(self._made(client, key))

    def _made(self, client: int, key: Key) -> Asked:
        """Makes up what to ask."""
        self.operations += 1
        begin = self._schedule.events
        kind = self._dice.random()
        if kind < 0.40:
            return Asked(client, key, None, Call("get", begin), key.floor)
        condition: IfAbsent | IfMatch | None = None
        expected: int | None = None
        if self._dice.random() < (0.5 if self._options.sharp else 0.35):
            expected = key.version
            condition = IfMatch((Version(expected),)) if expected else IfAbsent()
        if kind < 0.52 and not isinstance(condition, IfAbsent):
            return Asked(client, key, Delete(key.name, condition), Call("delete", begin, None, expected), key.floor)
        self._values += 1
        value = f"c{client}v{self._values}".encode()
        vanishes = self._options.expiries and self._dice.random() < 0.3
        ttl_ms = 1 + int(self._dice.random() * 3 * self._options.lease_ms) if vanishes else None
        call = Call("put", begin, None, expected, vanishes=vanishes)
        self._by_value[value] = call
        return Asked(client, key, Put(key.name, value, ttl_ms, condition), call, key.floor)

    def _send(self, asked: Asked) -> None:
        partition = asked.key.partition
        names = self._cluster.names
        roll = self._dice.random()
        if self._options.sharp and roll < 0.4:
            # One that believes to be primary, rightly or not: if there are two, the older.
            leading = list(self._world.checks.histories[partition].leading) or names
            name = leading[0]
        elif roll < 0.75:
            name = self._believed.get(partition) or self._world.coordinator.views[partition].view.primary.node
        elif roll < 0.92:
            name = self._world.coordinator.views[partition].view.primary.node
        else:
            name = names[int(self._dice.random() * len(names))]
        node = self._cluster.nodes[name]
        tell = self._teller(asked, name)
        delay = 1 + int(self._dice.random() * 4)
        if asked.operation is None:
            self._schedule.after(delay, node.read, (partition, asked.key.name, tell))
        else:
            self._schedule.after(delay, node.write, (partition, asked.operation, tell))
        self._schedule.after(self._options.request_timeout_ms + 50, self._give_up, asked)

    def _teller(self, asked: Asked, node: NodeId) -> Callable[[Outcome], None]:
        def tell(outcome: Outcome) -> None:
            delay = 1 + int(self._dice.random() * 4)
            self._schedule.after(delay, self._told, (asked, outcome, node))

        return tell

    def _give_up(self, asked: Asked) -> None:
        """Ends a call that was not answered."""
        if not asked.told:
            asked.told = True
            self._believed.pop(asked.key.partition, None)
            self._note_unknown(asked)
            self._rest(asked.client)

    def _note_unknown(self, asked: Asked) -> None:
        self.unknown += 1
        if asked.operation is not None:
            asked.key.calls.append(asked.call)

    def _rest(self, client: int) -> None:
        """Lets a client think before it asks again."""
        self._schedule.after(1 + int(self._dice.random() * 2 * self._options.think_ms), self._ask, client)

    def _told(self, event: tuple[Asked, Outcome, NodeId]) -> None:
        """A client is told."""
        asked, outcome, node = event
        if asked.told:
            return
        asked.told = True
        partition = asked.key.partition
        self._world.note(f"c{asked.client}", "told", partition, (asked.key.name, asked.operation, outcome))
        if isinstance(outcome, NotDone | CallerFault):
            self.not_done += 1
            self._believed.pop(partition, None)
        elif isinstance(outcome, CoreCacheError):
            self._believed.pop(partition, None)
            self._note_unknown(asked)
        else:
            self.succeeded += 1
            self._believed[partition] = node
            self._note(asked, outcome)
        self._rest(asked.client)

    def _note(self, asked: Asked, outcome: Result) -> None:
        """Writes down an answer."""
        key, call = asked.key, asked.call
        call.end = self._schedule.events
        seen: int | None = None
        match outcome:
            case Written(version):
                call.version = seen = version
            case Found(record):
                call.version = seen = record.version
            case ConditionFailed(present):
                call.done = False
                call.version = seen = present or 0
            case Absent():
                # A delete that found nothing has read.
                call.kind, call.condition, call.version, seen = "get", None, 0, 0
            case Deleted():
                seen = 0
            case _:
                raise AssertionError(f"{outcome}: no client here asks for that")
        if seen is not None and 0 < seen < asked.floor:
            raise ViolationError(f"{key.name!r}: version {seen} is told, {asked.floor} was told before it was asked")
        key.floor = max(key.floor, seen)
        key.version = seen
        key.calls.append(call)

    # The end.

    def read_all(self) -> None:
        """Has every key read once more, by a client of its own, again until it is told."""
        self._check = dict.fromkeys(self.keys, False)
        for number, key in enumerate(self.keys):
            self._schedule.after(number % 50, self._read_last, key)

    def _read_last(self, key: Key) -> None:
        self.operations += 1
        asked = Asked(-1, key, None, Call("get", self._schedule.events), key.floor)
        name = self._world.coordinator.views[key.partition].view.primary.node

        def tell(outcome: Outcome) -> None:
            if isinstance(outcome, CoreCacheError):
                self._schedule.after(self._options.lease_ms // 10, self._read_last, key)
            else:
                self.succeeded += 1
                self._world.note("last", "told", key.partition, (key.name, outcome))
                self._note(asked, outcome)
                self._check[key] = True

        self._schedule.after(1, self._cluster.nodes[name].read, (key.partition, key.name, tell))

    def unanswered(self) -> list[bytes]:
        """Returns the keys whose last read was not answered yet."""
        return [key.name for key, told in self._check.items() if not told]

    def judge(self) -> None:
        """Judges every key's history. Raises: ViolationError."""
        histories = self._world.checks.histories
        committed: dict[bytes, int] = {}
        for partition in self._cluster.partitions:
            for entry in histories[partition].committed:
                for operation in entry.operations:
                    if operation.record is not None:
                        value = operation.record.value
                        if value in committed:
                            raise ViolationError(f"{value!r} was written twice")
                        committed[value] = operation.record.version
        for value, call in self._by_value.items():
            version = committed.get(value, 0)
            if call.end is None:
                call.version = version
            elif call.kind == "put" and call.done and call.version != version:
                raise ViolationError(f"{value!r} was answered as version {call.version}, committed is {version}")
        for key in self.keys:
            # What has no version by now never took effect.
            calls = [call for call in key.calls if call.end is not None or call.kind != "put" or call.version]
            try:
                if not is_linearizable(calls):
                    raise ViolationError(f"{key.name!r}: its history is not linearizable")
            except UndecidedError:
                self.undecided += 1
