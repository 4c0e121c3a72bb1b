"""Reads and writes of a key are linearizable: one order explains all that concurrent clients are told by a real node.

Conditional writes and deletes are among them, and a kill in the middle does not change it. The checker is put to the
test first: by hand, and against the definition.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.node_harness import Answer, Node, key_target
from integration.raw_http import Connection
from properties.linearizability import NEVER, Operation, Register, linearization

CLIENTS = 6
STEPS = 120
KEYS = 3


def put(begin: float, end: float, value: str, version: int) -> Operation:
    """Returns a put that became a version."""
    return Operation("put", begin, end, value, version=version)


def got(begin: float, end: float, value: str | None, version: int) -> Operation:
    """Returns a get that found a value, or (None, 0) nothing."""
    return Operation("get", begin, end, value, version=version)


def swap(begin: float, end: float, condition: int, value: str, version: int) -> Operation:
    """Returns a put whose condition held."""
    return Operation("put", begin, end, value, condition, version=version)


ACCEPTED = {
    "nothing happened": [],
    "one after the other": [put(0, 1, "a", 1), got(2, 3, "a", 1), put(4, 5, "b", 2), got(6, 7, "b", 2)],
    "a read beside a write sees the old": [put(0, 1, "a", 1), put(2, 9, "b", 2), got(3, 4, "a", 1), got(5, 6, "b", 2)],
    "writes change places": [put(0, 9, "a", 2), put(0, 9, "b", 1), got(10, 11, "a", 2)],
    "a swap": [put(0, 1, "a", 1), swap(2, 3, 1, "b", 2), Operation("put", 4, 5, "c", 1, done=False, version=2)],
    "a lost answer, seen later": [Operation("put", 0, NEVER, "a", done=None), got(5, 6, None, 0), got(7, 8, "a", 4)],
    "a lost answer, never seen": [Operation("put", 0, NEVER, "a", done=None), got(5, 6, None, 0)],
    "a delete": [put(0, 1, "a", 1), Operation("delete", 2, 3), got(4, 5, None, 0), put(6, 7, "b", 2)],
    "a delete of nothing": [Operation("delete", 0, 1, done=False), put(2, 3, "a", 1)],
}

REJECTED = {
    "a stale read": [put(0, 1, "a", 1), put(2, 3, "b", 2), got(4, 5, "a", 1)],
    "a lost write": [put(0, 1, "a", 1), got(2, 3, None, 0)],
    "a read that goes back": [put(0, 1, "a", 1), put(2, 9, "b", 2), got(3, 4, "b", 2), got(5, 6, "a", 1)],
    "a value from nowhere": [got(0, 1, "a", 1)],
    "two swaps of one version": [put(0, 1, "a", 1), swap(2, 9, 1, "b", 2), swap(2, 9, 1, "c", 3)],
    "a version that goes back": [put(0, 1, "a", 2), put(2, 3, "b", 1)],
    "a version twice": [put(0, 9, "a", 1), put(0, 9, "b", 1)],
    "a refusal without a reason": [put(0, 1, "a", 1), Operation("put", 2, 3, "b", 1, done=False, version=1)],
    "a deleted value that is back": [put(0, 1, "a", 1), Operation("delete", 2, 3), got(4, 5, "a", 1)],
    "a delete of nothing that succeeds": [Operation("delete", 0, 1)],
    "a lost answer, seen and then not": [
        Operation("put", 0, NEVER, "a", done=None),
        got(5, 6, "a", 1),
        got(7, 8, None, 0),
    ],
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_checker_accepts_what_one_order_explains(name: str) -> None:
    """A linearizable history is given an order of all its operations."""
    order = linearization(ACCEPTED[name])
    assert order is not None
    assert sorted(order, key=id) == sorted(ACCEPTED[name], key=id)


@pytest.mark.parametrize("name", REJECTED)
def test_the_checker_rejects_what_no_order_explains(name: str) -> None:
    """A history that is not linearizable is given none."""
    assert linearization(REJECTED[name]) is None


def explained(order: Sequence[Operation]) -> bool:
    """Says whether an order keeps real time and explains the answers: the definition, without any cleverness."""
    for earlier, later in itertools.combinations(order, 2):
        if later.end < earlier.begin:
            return False
    states = {Register()}
    for operation in order:
        states = {after for state in states for after in operation.after(state)}
    return bool(states)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    """Draws an operation out of so few that a history of some of them is often, but not always, linearizable."""
    begin = draw(st.integers(0, 6))
    end = draw(st.one_of(st.integers(begin, 8), st.just(NEVER)))
    kind = draw(st.sampled_from(["get", "put", "put", "delete"]))
    version = draw(st.integers(0 if kind == "get" else 1, 3))
    value = None if kind == "delete" or (kind == "get" and version == 0) else "abc"[version - 1]
    condition = None if kind == "get" else draw(st.one_of(st.none(), st.integers(0, 2)))
    done = True if kind == "get" else None if end == NEVER else draw(st.booleans())
    if done is False and condition is None:
        condition = 0
    return Operation(kind, begin, end, value, condition, done, version)


@given(st.lists(operations(), max_size=5))
def test_the_checker_agrees_with_the_definition(history: list[Operation]) -> None:
    """It finds an order exactly if one of all possible orders is one."""
    order = linearization(history)
    assert order is None or explained(order)
    assert (order is not None) == any(explained(each) for each in itertools.permutations(history))


class Client:
    """Asks for one random operation after the other, and writes down what it was told."""

    def __init__(self, node: Node, number: int, keys: Sequence[bytes], seed: int) -> None:
        self.node = node
        self.keys = keys
        self.dice = random.Random(f"{seed} {number}")
        self.number = number
        self.history: dict[bytes, list[Operation]] = {key: [] for key in keys}
        self.known = dict.fromkeys(keys, 0)
        self.connection = Connection(node.port)

    async def run(self, steps: int) -> None:
        """Takes so many steps."""
        for step in range(steps):
            await self.take_step(f"{self.number}.{step}")
        self.connection.close()

    async def take_step(self, value: str) -> None:
        """Asks for one operation; `value` is written by nobody else."""
        key = self.dice.choice(self.keys)
        kind = self.dice.choice(["get", "get", "put", "put", "put", "delete"])
        condition = self.dice.choice([None, self.known[key], self.known[key], 0]) if kind != "get" else None
        if kind == "delete" and condition == 0:
            condition = None
        headers = {}
        if condition is not None:
            headers = {"If-Match": f'"{condition}"'} if condition else {"If-None-Match": "*"}
        body = value.encode() if kind == "put" else None
        begin = time.monotonic()
        answer = await self.answer(kind.upper(), key_target(key), body, headers)
        end = time.monotonic()
        if answer is None:
            if kind != "get":
                self.history[key].append(Operation(kind, begin, NEVER, value, condition, done=None))
            return
        if answer.status == 503:
            # The node has been started and does not serve yet: nothing happened.
            assert kind == "get" or json.loads(answer.body)["outcome"] == "not_done", answer
            return
        version = answer.version if "etag" in answer.headers else 0
        if kind == "get":
            assert answer.status in (200, 404), answer
            found = answer.body.decode() if answer.status == 200 else None
            self.history[key].append(Operation(kind, begin, end, found, version=version))
        else:
            assert answer.status in (204, 412) or (kind == "delete" and answer.status == 404), answer
            self.history[key].append(Operation(kind, begin, end, value, condition, answer.status == 204, version))
        self.known[key] = version

    async def answer(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Answer | None:
        """Returns the node's answer; None, as soon as the node is there again, if the connection ended before it."""
        try:
            return await self.connection.ask(method, target, body, headers)
        except ConnectionError:
            self.connection.close()
        while True:
            try:
                if (await self.connection.ask("GET", "/readyz")).status == 200:
                    return None
            except ConnectionError:
                self.connection.close()
            await asyncio.sleep(0.01)


def asked(clients: Sequence[Client]) -> int:
    """Returns how many operations the clients have written down."""
    return sum(len(operations) for client in clients for operations in client.history.values())


def check(clients: Sequence[Client], keys: Sequence[bytes], seed: int) -> None:
    """Fails if the clients' history of a key is not linearizable, or is no test of anything."""
    for key in keys:
        history = [operation for client in clients for operation in client.history[key]]
        overlaps = sum(a.begin < b.begin < a.end for a, b in itertools.permutations(history, 2))
        assert overlaps > len(history) / 2, "the clients do ask at the same time"
        lines = "\n".join(map(str, sorted(history, key=lambda operation: operation.begin)))
        assert linearization(history) is not None, f"seed {seed}: {key!r} is not linearizable:\n{lines}"


@pytest.mark.parametrize("seed", range(3))
def test_concurrent_clients_see_one_order(node: Node, seed: int) -> None:
    """Whatever several clients ask at once, on few keys, one order explains what all of them are told."""
    keys = [b"calm %d/%d" % (seed, number) for number in range(KEYS)]

    async def run() -> list[Client]:
        clients = [Client(node, number, keys, seed) for number in range(CLIENTS)]
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.run(STEPS))
        return clients

    check(asyncio.run(run()), keys, seed)


def test_one_order_explains_a_kill_too(node: Node) -> None:
    """What was not answered before SIGKILL has happened wholly or not at all, and what was answered stays."""
    seed = 4
    keys = [b"killed/%d" % number for number in range(KEYS)]

    async def run() -> list[Client]:
        clients = [Client(node, number, keys, seed) for number in range(CLIENTS)]
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.run(STEPS))
            for kills in (1, 2):
                while asked(clients) < 200 * kills:  # noqa: ASYNC110 an event would be one more thing in the clients
                    await asyncio.sleep(0.001)
                await asyncio.to_thread(node.kill)
                await asyncio.to_thread(node.start)
        return clients

    clients = asyncio.run(run())
    check(clients, keys, seed)
    assert any(op.done is None for client in clients for each in client.history.values() for op in each)
