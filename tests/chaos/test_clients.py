"""The campaign's clients: what they note of real nodes, of nodes that are gone, and of a server that misbehaves."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from corecache.chaos.asking import ASTONISHING
from corecache.chaos.clients import Address, Caller, ChaosClients
from corecache.chaos.history import ABSENT, PRESENT, READER, Call, Protocol
from corecache.chaos.processes import PortLease
from corecache.chaos.workload import Operation, Workload
from integration.node_harness import Node

TIMEOUT_S = 20.0
SHORT_S = 0.3
GET = Operation(family="register", kind="get", key="c/a")
PUT = Operation(family="register", kind="put", key="c/a", value="v1", size_bytes=40)
PUT_ABSENT = Operation(family="register", kind="put", key="c/a", value="v1", size_bytes=40, condition=ABSENT)
DELETE = Operation(family="register", kind="delete", key="c/a")

Returned = TypeVar("Returned")


# Real nodes.


@pytest.fixture
def node(tmp_path: Path) -> Iterator[tuple[Node, Address]]:
    """A node with both protocols."""
    lease = PortLease()
    made = Node(tmp_path / "node")
    made.start("--resp-port", str(lease.number))
    yield made, Address("n1", f"http://127.0.0.1:{made.port}", ("127.0.0.1", lease.number))
    made.end()
    lease.end()


class Campaign:
    """Clients at one node, and the history that they note."""

    def __init__(self, address: Address, http_clients: int, resp_clients: int, timeout_s: float = TIMEOUT_S) -> None:
        self.calls: list[Call] = []
        self.workload = Workload(3, "c")
        began_ns = time.monotonic_ns()
        self.clients = ChaosClients(
            lambda: [address], self.workload, http_clients, resp_clients, timeout_s, began_ns, self._note, 0.0
        )
        self._wanted = 0
        self._stop = asyncio.Event()

    async def run(self, count: int) -> list[Call]:
        """Lets the clients make so many calls or a few more, and returns these."""
        before = len(self.calls)
        self._wanted, self._stop = before + count, asyncio.Event()
        await self.clients.run(self._stop)
        return self.calls[before:]

    def _note(self, call: Call) -> None:
        self.calls.append(call)
        if len(self.calls) >= self._wanted:
            self._stop.set()


class Expected:
    """The records that there must be if calls came one after another; those of mortals may have expired."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.expires_ns: dict[str, int] = {}

    def check(self, call: Call) -> None:
        """Compares a call with what it has to be, and takes it in."""
        standing, version = self.values.get(call.key), self.versions.get(call.key)
        if call.key in self.expires_ns and call.kind == "get" and call.value is None and standing is not None:
            assert call.end_ns >= self.expires_ns[call.key], call
            del self.values[call.key]
            return
        fits = {None: True, ABSENT: standing is None, PRESENT: standing is not None}.get(
            call.condition, call.condition == version and standing is not None
        )
        match call.kind:
            case "get":
                assert (call.outcome, call.value) == ("done", standing), call
                assert call.version in (None, version if standing else ABSENT), call
            case "put":
                assert call.outcome == ("done" if fits else "failed"), (call, standing, version)
                if fits:
                    self.values[call.key] = str(call.value)
                    self.expires_ns |= {} if call.ttl_ms is None else {call.key: call.begin_ns + call.ttl_ms * 10**6}
            case "delete":
                assert call.outcome == ("done" if fits and standing is not None else "failed"), (call, standing)
                if call.outcome == "done":
                    del self.values[call.key]
            case "add":
                assert (call.outcome, call.value) == ("done", str(int(standing or "0") + call.amount)), call
                self.values[call.key] = str(call.value)
        if call.outcome == "done" and call.kind in ("put", "get") and call.version:
            assert call.kind == "get" or version is None or call.version > version
            self.versions[call.key] = call.version


@pytest.mark.parametrize("protocol", ["http", "resp"])
def test_one_client_notes_exactly_what_happened(node: tuple[Node, Address], protocol: Protocol) -> None:
    """Calls of one client come one after another, so each outcome, value and version is known beforehand."""
    campaign, expected = Campaign(node[1], protocol == "http", protocol == "resp"), Expected()
    calls = asyncio.run(campaign.run(2000))
    for call in calls:
        expected.check(call)
        assert (call.client, call.protocol, call.node) == (0, protocol, "n1")
        assert 0 < call.begin_ns < call.end_ns
    assert Counter(call.outcome for call in calls)["failed"] > 50
    assert campaign.clients.astonishing == []


def test_many_clients_and_the_reading_of_everything_at_the_end(node: tuple[Node, Address]) -> None:
    """All clients call; at the end each key is read once, and each ledger key has its value."""

    async def all_of_it() -> tuple[Campaign, list[Call], list[str]]:
        campaign = Campaign(node[1], 8, 8)
        calls = await campaign.run(4000)
        return campaign, calls, await campaign.clients.read_all(TIMEOUT_S)

    campaign, calls, unread = asyncio.run(all_of_it())
    assert unread == campaign.clients.astonishing == []
    assert {call.client for call in calls} == set(range(16))
    assert {call.outcome for call in calls} == {"done", "failed"}
    at_the_end = campaign.calls[len(calls) :]
    assert sorted(call.key for call in at_the_end) == sorted(campaign.workload.keys())
    assert {(call.client, call.kind, call.outcome) for call in at_the_end} == {(READER, "get", "done")}
    assert {call.protocol for call in at_the_end} == {"http", "resp"}
    found = {call.key: call.value for call in at_the_end}
    ledger = {call.key: call.value for call in calls if call.kind == "put" and "/ledger/" in call.key}
    assert ledger
    assert {key: found[key] for key in ledger} == ledger


def test_a_killed_node_has_done_nothing_that_was_asked_afterwards(node: tuple[Node, Address]) -> None:
    """What a node that is gone was asked is not done, and its keys can't be read at the end."""

    async def before_and_after() -> tuple[Campaign, list[Call], list[str]]:
        campaign = Campaign(node[1], 2, 2)
        await campaign.run(200)
        node[0].kill()
        # The connections of the clients ended with their last run: these are refused.
        calls = await campaign.run(200)
        return campaign, calls, await campaign.clients.read_all(SHORT_S)

    campaign, calls, unread = asyncio.run(before_and_after())
    assert {(call.outcome, call.detail) for call in calls} == {("not_done", "no connection: ConnectionRefusedError")}
    assert unread == sorted(campaign.workload.keys())
    assert campaign.clients.astonishing == []


def test_a_stopped_node_leaves_writes_unknown(node: tuple[Node, Address]) -> None:
    """A node that takes the request and is silent may have done it."""

    async def stopped() -> list[Call]:
        campaign = Campaign(node[1], 4, 4, SHORT_S)
        assert node[0].process is not None
        node[0].process.send_signal(signal.SIGSTOP)
        try:
            return await campaign.run(40)
        finally:
            node[0].process.send_signal(signal.SIGCONT)

    calls = asyncio.run(stopped())
    assert {(call.kind == "get", call.outcome, call.detail) for call in calls} == {
        (True, "not_done", "timed out"),
        (False, "unknown", "timed out"),
    }
    assert all(call.end_ns - call.begin_ns >= SHORT_S * 0.99 * 10**9 for call in calls)


# A server that misbehaves.

ANSWERS: dict[Protocol, bytes] = {"http": b'HTTP/1.1 204 No Content\r\netag: "5"\r\n\r\n', "resp": b"+OK\r\n"}
SILENCE = b""
END = b"END"
BOTH = pytest.mark.parametrize("protocol", ["http", "resp"])


class Server:
    """A server on a real socket: sends the next of `answers` to each question; after `END` it closes the connection."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.connections: list[asyncio.StreamWriter] = []
        self.address = Address("s", "", ("", 0))
        self._serving: set[asyncio.Task[None] | None] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        """Serves as long as the block runs; by its end all clients have to have left."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.address = Address("s", f"http://127.0.0.1:{port}", ("127.0.0.1", port))
        async with server:
            yield self
            await asyncio.gather(*(each for each in self._serving if each is not None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        self.connections.append(writer)
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                answer = self.answers.pop(0)
                writer.write(answer.removesuffix(END))
                if answer.endswith(END):
                    break
        writer.close()


def calls_at(
    server: Server, protocol: Protocol, work: Callable[[Callable[[Operation], Awaitable[Call]]], Awaitable[Returned]]
) -> tuple[Returned, list[str]]:
    """Runs work that makes calls at a server; returns its result, and what was astonishing without being asked."""
    astonishing: list[str] = []

    async def worked() -> Returned:
        async with server.running():
            caller = Caller(0, protocol, Random(1), lambda: [server.address], time.monotonic_ns(), astonishing.append)
            try:
                return await work(lambda operation: caller.call(operation, TIMEOUT_S if server.answers[0] else SHORT_S))
            finally:
                caller.close()

    return asyncio.run(worked()), astonishing


@BOTH
def test_a_connection_is_kept_from_call_to_call(protocol: Protocol) -> None:
    """A connection is used again after a good answer."""

    async def twice(call: Callable[[Operation], Awaitable[Call]]) -> list[str]:
        return [(await call(PUT)).outcome, (await call(PUT)).outcome]

    # The dice of this client let it stay for both calls.
    server = Server([ANSWERS[protocol]] * 2)
    assert calls_at(server, protocol, twice) == (["done", "done"], [])
    assert len(server.connections) == 1


@BOTH
def test_a_late_answer_is_never_taken_for_that_of_the_next_call(protocol: Protocol) -> None:
    """After a call that was too late, the next one has a connection of its own."""
    late = {"http": b'HTTP/1.1 204 No Content\r\netag: "99"\r\n\r\n', "resp": b"$-1\r\n"}[protocol]
    server = Server([SILENCE, ANSWERS[protocol]])

    async def work(call: Callable[[Operation], Awaitable[Call]]) -> tuple[Call, Call]:
        first = await call(PUT_ABSENT)
        server.connections[0].write(late)
        return first, await call(PUT_ABSENT)

    (first, second), astonishing = calls_at(server, protocol, work)
    assert (first.outcome, first.value, first.version, first.detail) == ("unknown", "v1", None, "timed out")
    assert (second.outcome, second.version) == ("done", {"http": 5, "resp": None}[protocol])
    assert astonishing == []
    assert len(server.connections) == 2


@BOTH
@pytest.mark.parametrize(("operation", "outcome"), [(PUT, "unknown"), (DELETE, "unknown"), (GET, "not_done")])
@pytest.mark.parametrize("kept", [0, 3])
def test_a_connection_that_ends_before_the_answer_has_come(
    protocol: Protocol, operation: Operation, outcome: str, kept: int
) -> None:
    """A lost write is unknown, a lost read not done, whether or not a part of the answer has come."""
    server = Server([ANSWERS[protocol][:kept] + END, ANSWERS[protocol]])

    async def work(call: Callable[[Operation], Awaitable[Call]]) -> tuple[Call, Call]:
        return await call(operation), await call(PUT)

    (first, second), astonishing = calls_at(server, protocol, work)
    assert first.outcome == outcome
    assert first.detail.startswith("connection lost: ")
    assert second.outcome == "done"
    assert astonishing == []


@BOTH
@pytest.mark.parametrize("operation", [PUT, GET])
@pytest.mark.parametrize("twice", [False, True])
def test_what_is_no_answer_is_astonishing_and_ends_the_connection(
    protocol: Protocol, operation: Operation, twice: bool
) -> None:
    """Garbage, and two answers to one question, are told as such; the next call is not troubled."""
    server = Server([ANSWERS[protocol] * 2 if twice else b"garbage\r\n\r\n", ANSWERS[protocol]])

    async def work(call: Callable[[Operation], Awaitable[Call]]) -> tuple[Call, Call]:
        return await call(operation), await call(PUT)

    (first, second), _ = calls_at(server, protocol, work)
    assert first.outcome == "unknown"
    assert first.detail.startswith(ASTONISHING)
    assert second.outcome == "done"
    assert len(server.connections) == 2


@BOTH
def test_what_comes_unasked_is_astonishing_and_ends_the_connection(protocol: Protocol) -> None:
    """Bytes that come while nothing is asked are nobody's answer."""
    server = Server([ANSWERS[protocol]] * 2)

    async def work(call: Callable[[Operation], Awaitable[Call]]) -> tuple[Call, Call]:
        first = await call(PUT)
        server.connections[0].write(ANSWERS[protocol])
        # The client cuts the connection off as soon as it has seen that.
        await asyncio.wait_for(server.connections[0].wait_closed(), TIMEOUT_S)
        return first, await call(PUT)

    (first, second), astonishing = calls_at(server, protocol, work)
    assert (first.outcome, second.outcome) == ("done", "done")
    assert len(server.connections) == 2
    (only,) = astonishing
    assert only.startswith(f"s: {ASTONISHING}came unasked: ")


def test_a_connection_that_the_node_is_about_to_close_is_not_used_again() -> None:
    """After `Connection: close` the next call connects anew, instead of being lost."""
    closing = b'HTTP/1.1 204 No Content\r\netag: "5"\r\nconnection: close\r\n\r\n'
    server = Server([closing, ANSWERS["http"]])

    async def work(call: Callable[[Operation], Awaitable[Call]]) -> list[str]:
        return [(await call(PUT)).outcome, (await call(PUT)).outcome]

    assert calls_at(server, "http", work) == (["done", "done"], [])
    assert len(server.connections) == 2


@BOTH
def test_what_must_not_be_is_told_for_the_report_with_its_node_and_key(protocol: Protocol) -> None:
    """What is astonishing is in the history and in the list for the report."""
    calls: list[Call] = []

    async def one_call() -> list[str]:
        stop = asyncio.Event()

        def noted(call: Call) -> None:
            calls.append(call)
            stop.set()

        async with server.running():
            http_clients, resp_clients = int(protocol == "http"), int(protocol == "resp")
            clients = ChaosClients(
                lambda: [server.address],
                Workload(1, "c"),
                http_clients,
                resp_clients,
                TIMEOUT_S,
                time.monotonic_ns(),
                noted,
                0.0,
            )
            await clients.run(stop)
            return clients.astonishing

    server = Server([b"garbage\r\n\r\n"])
    (only,) = asyncio.run(one_call())
    (call,) = calls
    assert only == f"s, {protocol}, {call.kind} of {call.key}: {call.detail}"
    assert call.detail.startswith(ASTONISHING)
