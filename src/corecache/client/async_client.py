"""The client for asyncio: `Client` (`client.py`) with `await`, call by call. Only sending and waiting differ.

What is sent, how an answer is read and whether to try again is shared with it (`requests`, `answers`, `attempts`).
Calls may be made from many tasks at once; connections stay open for the next call. A client belongs to one event loop.

A call that is cancelled while it is under way may have happened: for a write, treat it as an unknown outcome.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

import httpx

from corecache.client import answers, requests
from corecache.client.answers import Answer, BatchResult
from corecache.client.attempts import Attempt, Attempts
from corecache.client.endpoints import (
    CLIENT_TIMEOUT_S,
    DEFAULT_ENDPOINT,
    WORK_TIMEOUT_S,
    httpx_options,
    never_sent,
    parse_endpoints,
    reason,
    sending,
)
from corecache.client.requests import Range, Request
from corecache.identity import Version
from corecache.operations import Operation, Record
from corecache.reports import ClusterReport, MoveReport, OrdersReport, RecoveryReport, StorageReport


class AsyncClient:
    """A connection to one node or to a cluster, for asyncio. The arguments are those of `Client`."""

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_ENDPOINT,
        timeout_s: float = CLIENT_TIMEOUT_S,
        connections_max: int = 100,
        rounds_max: int | None = None,
    ) -> None:
        self._endpoints = parse_endpoints(endpoints)
        self._timeout_s = timeout_s
        self._rounds_max = rounds_max
        self._first = 0
        self._dice = random.Random()  # noqa: S311 it spreads retries in time and keeps no secret
        self._http = httpx.AsyncClient(**httpx_options(self._endpoints, connections_max))

    async def get(self, key: bytes | str) -> Record | None:
        """Does what `Client.get` does."""
        return answers.record(await self._ask(requests.get(key)))

    async def put(
        self,
        key: bytes | str,
        value: bytes | str,
        ttl: float | None = None,
        if_absent: bool = False,
        if_version: int | None = None,
    ) -> Version:
        """Does what `Client.put` does."""
        return answers.written(await self._ask(requests.put(key, value, ttl, if_absent, if_version)))

    async def delete(self, key: bytes | str, if_version: int | None = None) -> bool:
        """Does what `Client.delete` does."""
        return answers.deleted(await self._ask(requests.delete(key, if_version)))

    async def scan(
        self,
        prefix: bytes | str = b"",
        start: bytes | str = b"",
        end: bytes | str = b"",
        keys_only: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[bytes, Record]]:
        """Does what `Client.scan` does."""
        listing = Range.of(prefix, start, end, keys_only)
        cursor, left = None, limit
        while left is None or left > 0:
            page = answers.page(await self._ask(requests.scan(listing, left, cursor)))
            for item in page.items:
                yield item
            cursor, left = page.cursor, None if left is None else left - len(page.items)
            if cursor is None:
                return

    async def batch(self, operations: Sequence[Operation], atomic: bool = False) -> list[BatchResult]:
        """Does what `Client.batch` does."""
        return answers.results(await self._ask(requests.batch(operations, atomic)), operations)

    async def cluster(self) -> ClusterReport:
        """Does what `Client.cluster` does."""
        return answers.cluster_report(await self._ask(requests.cluster()))

    async def orders(self) -> OrdersReport:
        """Does what `Client.orders` does."""
        return answers.orders_report(await self._ask(requests.orders()))

    async def moves(self, drained: str | None = None) -> list[MoveReport]:
        """Does what `Client.moves` does."""
        return answers.moves(await self._ask(requests.moves(drained)))

    async def drain(self, node: str, cancel: bool = False) -> OrdersReport:
        """Does what `Client.drain` does."""
        return answers.orders_report(await self._ask(requests.order("drain", {"node": node, "cancel": cancel})))

    async def rebalance(self, run: bool = True) -> OrdersReport:
        """Does what `Client.rebalance` does."""
        return answers.orders_report(await self._ask(requests.order("rebalance", {"run": run})))

    async def require_in_sync(self, min_in_sync: int) -> OrdersReport:
        """Does what `Client.require_in_sync` does."""
        return answers.orders_report(await self._ask(requests.order("min-in-sync", {"min_in_sync": min_in_sync})))

    async def recover(self, partition: int, node: str, accept_data_loss: bool = False) -> RecoveryReport:
        """Does what `Client.recover` does."""
        order = {"partition": partition, "node": node, "accept_data_loss": accept_data_loss}
        return answers.recovery_report(await self._ask(requests.order("recover", order)))

    async def storage(self) -> StorageReport:
        """Does what `Client.storage` does."""
        return answers.storage_report(await self._ask(requests.storage()))

    async def flush(self, timeout_s: float = WORK_TIMEOUT_S) -> StorageReport:
        """Does what `Client.flush` does."""
        return answers.storage_report(await self._ask(requests.storage_work("flush", timeout_s)))

    async def compact(self, timeout_s: float = WORK_TIMEOUT_S) -> StorageReport:
        """Does what `Client.compact` does."""
        return answers.storage_report(await self._ask(requests.storage_work("compact", timeout_s)))

    async def close(self) -> None:
        """Does what `Client.close` does."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, request: Request) -> Answer:
        """Sends a request, again where the rules allow, and returns the last word about it."""
        deadline = time.monotonic() + (self._timeout_s if request.timeout_s is None else request.timeout_s)
        attempts = Attempts(request, len(self._endpoints), self._first, deadline, self._rounds_max, self._dice)
        while True:
            attempt = attempts.begin(time.monotonic())
            endpoint = self._endpoints[attempt.endpoint]
            try:
                answer = await self._send(endpoint, request, attempt)
            except httpx.TransportError as error:
                ended = attempts.unreachable if never_sent(error) else attempts.lost
                pause: float | None = ended(reason(endpoint, error), time.monotonic())
            else:
                pause = attempts.answered(answer, time.monotonic())
            self._first = attempts.endpoint
            if pause is None:
                return answer
            await asyncio.sleep(pause)

    async def _send(self, endpoint: str, request: Request, attempt: Attempt) -> Answer:
        arguments, countdown = sending(endpoint, request, attempt)
        chunks = []
        async with self._http.stream(**arguments) as response:
            async for chunk in response.aiter_raw():
                chunks.append(chunk)
                countdown.check()
        return Answer(request, endpoint, response.status_code, response.headers, b"".join(chunks))
