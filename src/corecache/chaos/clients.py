"""Who asks: clients of both protocols that call all the time, at whichever node they like, and note each call.

Rule 1: a client asks one call after another, and each becomes one `history.Call`, noted when its outcome is there.
Rule 2: one attempt is one call. A client whose call failed goes to another node; it repeats nothing.
Rule 3: what no answer may be (`asking.ASTONISHING`) is noted, and told in `astonishing` as well, for the report.

What is asked is the workload's, what an answer means is said in `http_client` and `resp_client`; here are only the
loops, the choice of nodes, and the clock.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from corecache.chaos.asking import ASTONISHING, Connection, Fate, fate_of
from corecache.chaos.history import READER, Call, Protocol
from corecache.chaos.http_client import HttpConnection, fate_over_http, request_of
from corecache.chaos.resp_client import RespConnection, command_of, fate_over_resp
from corecache.chaos.workload import Operation, Workload

_ASTONISHING_MAX = 100
_PAUSES_MAX = 5.0
"""The longest pause, in mean pauses."""

_MOVE_SHARE = 0.1
_READERS = 16
_RETRY_S = 0.1
_NODE_SHARE = 0.9
"""The node's share of a call's time: it is to give up first, so that its answer still arrives."""


class Address(msgspec.Struct, frozen=True):
    """Where a node listens: for HTTP as `http://HOST:PORT`, for Redis's protocol as host and port."""

    name: str
    http_url: str
    resp: tuple[str, int]


class ChaosClients:
    """All clients of a campaign. `addresses` says where nodes are now (at least one), `note` takes each call.

    `timeout_s` is the time of a call, `pause_s` the mean of a client's pauses between two calls, `began_ns` the
    campaign's start by `time.monotonic_ns`. Clients of HTTP have the numbers from 0 on, those of RESP the ones after.
    """

    def __init__(
        self,
        addresses: Callable[[], Sequence[Address]],
        workload: Workload,
        http_clients: int,
        resp_clients: int,
        timeout_s: float,
        began_ns: int,
        note: Callable[[Call], None],
        pause_s: float,
    ) -> None:
        self.astonishing: list[str] = []
        self._addresses = addresses
        self._workload = workload
        http: list[Protocol] = ["http"]
        resp: list[Protocol] = ["resp"]
        self._protocols = http * http_clients + resp * resp_clients
        self._timeout_s = timeout_s
        self._began_ns = began_ns
        self._note = note
        self._pause_s = pause_s

    async def run(self, stop: asyncio.Event) -> None:
        """Lets all clients call until `stop` is set, and their last calls have ended."""
        async with asyncio.TaskGroup() as clients:
            for number, protocol in enumerate(self._protocols):
                clients.create_task(self._call_until(stop, number, protocol))

    async def read_all(self, seconds: float) -> list[str]:
        """Reads every key that was ever asked; returns those that gave no definite answer within the time."""
        ends_at = asyncio.get_running_loop().time() + seconds
        left = deque(self._workload.keys())
        async with asyncio.TaskGroup() as readers:
            for number in range(_READERS):
                readers.create_task(self._read_until(ends_at, left, number))
        return sorted(left)

    async def _call_until(self, stop: asyncio.Event, number: int, protocol: Protocol) -> None:
        client = self._client(number, protocol, f"client {number}")
        while not stop.is_set():
            pause_s = client.dice.expovariate(1 / self._pause_s) if self._pause_s else 0.0
            await asyncio.sleep(min(pause_s, _PAUSES_MAX * self._pause_s))
            operation = self._workload.next(number, protocol)
            call = await client.call(operation, self._timeout_s)
            self._workload.seen(number, call)
            self._take(call)
        client.close()

    async def _read_until(self, ends_at: float, left: deque[str], number: int) -> None:
        loop = asyncio.get_running_loop()
        client = self._client(READER, "resp" if number % 2 else "http", f"reader {number}")
        while left and (remaining_s := ends_at - loop.time()) > 0:
            key = left.popleft()
            call = await client.call(self._workload.reading(key), min(self._timeout_s, remaining_s))
            if call.outcome == "done":
                self._take(call)
                continue
            if call.detail.startswith(ASTONISHING):
                self._take(call)
            # Whoever comes to the end of the queue tries again, at the latest this reader itself.
            left.append(key)
            await asyncio.sleep(min(_RETRY_S, max(0.0, ends_at - loop.time())))
        client.close()

    def _client(self, number: int, protocol: Protocol, name: str) -> "Caller":
        return Caller(number, protocol, self._workload.dice(name), self._addresses, self._began_ns, self._astonished)

    def _take(self, call: Call) -> None:
        if call.detail.startswith(ASTONISHING):
            self._astonished(f"{call.node}, {call.protocol}, {call.kind} of {call.key}: {call.detail}")
        self._note(call)

    def _astonished(self, what: str) -> None:
        if len(self.astonishing) < _ASTONISHING_MAX:
            self.astonishing.append(what)


class Caller:
    """One client: the node that it asks, and its connection with it if there is one."""

    def __init__(
        self,
        number: int,
        protocol: Protocol,
        dice: random.Random,
        addresses: Callable[[], Sequence[Address]],
        began_ns: int,
        astonished: Callable[[str], None],
    ) -> None:
        self.dice = dice
        self._number = number
        self._protocol: Protocol = protocol
        self._addresses = addresses
        self._began_ns = began_ns
        self._astonished = astonished
        self._address: Address | None = None
        self._connection: Connection[Any] | None = None

    async def call(self, operation: Operation, timeout_s: float) -> Call:
        """Makes one call, at the node that it is the turn of, and returns what became of it."""
        address = self._choose()
        ends_at = asyncio.get_running_loop().time() + timeout_s
        begin_ns = time.monotonic_ns() - self._began_ns
        fate = await self._ask(address, operation, timeout_s, ends_at)
        end_ns = time.monotonic_ns() - self._began_ns
        if fate.outcome in ("not_done", "unknown"):
            self._leave()
        return Call(
            client=self._number,
            protocol=self._protocol,
            node=address.name,
            kind=operation.kind,
            key=operation.key,
            begin_ns=begin_ns,
            end_ns=end_ns,
            outcome=fate.outcome,
            value=operation.value if operation.kind == "put" else fate.value,
            amount=operation.amount,
            condition=operation.condition,
            version=fate.version,
            ttl_ms=operation.ttl_ms,
            detail=fate.detail,
        )

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.cut()
        self._connection = None

    async def _ask(self, address: Address, operation: Operation, timeout_s: float, ends_at: float) -> Fate:
        if self._connection is None or self._connection.ended:
            self.close()
            try:
                async with asyncio.timeout_at(ends_at):
                    self._connection = await self._connected(address)
            except OSError as error:
                return Fate("not_done", detail=f"no connection: {type(error).__name__}")
        if self._protocol == "http":
            question = request_of(operation, max(1, int(timeout_s * 1000 * _NODE_SHARE)))
            return await fate_of(self._connection, operation, question, fate_over_http, ends_at)
        return await fate_of(self._connection, operation, command_of(operation), fate_over_resp, ends_at)

    async def _connected(self, address: Address) -> Connection[Any]:
        unasked = partial(_told_of, self._astonished, address.name)
        loop = asyncio.get_running_loop()
        if self._protocol == "http":
            url = urlsplit(address.http_url)
            assert url.hostname is not None, address
            assert url.port is not None, address
            _, over_http = await loop.create_connection(lambda: HttpConnection(unasked), url.hostname, url.port)
            return over_http
        _, over_resp = await loop.create_connection(lambda: RespConnection(unasked), *address.resp)
        return over_resp

    def _choose(self) -> Address:
        """Stays with its node, most of the time, or goes to another."""
        known = list(self._addresses())
        if self._address not in known or self.dice.random() < _MOVE_SHARE:
            self._leave()
        if self._address is None:
            self._address = self.dice.choice(known)
        return self._address

    def _leave(self) -> None:
        """Gives its node up: the next call goes to another one, unless there is none."""
        self.close()
        known = [each for each in self._addresses() if each != self._address]
        self._address = self.dice.choice(known) if known else None


def _told_of(astonished: Callable[[str], None], node: str, what: str) -> None:
    astonished(f"{node}: {what}")
