"""A closed-loop load: so many connections, each sending its next request when the last is answered, and what that took.

It uses `AsyncClient`, so the figures include the Python client, which is slower than the node: they show what a
Python program gets, and compare configurations. What a node can do is measured with a faster generator
(`scripts/bench.sh`).

The load's keys have a prefix of their own, and are removed in the end. Reads get keys that were written before the
clock starts.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from typing import Literal

import msgspec

from corecache.cli.node import ROUNDS_MAX
from corecache.client import AsyncClient
from corecache.errors import CallerFault, CoreCacheError
from corecache.operations import Delete, Operation, Put

PREFIX = b"corecache-bench/"
KEYS = 1000
BATCH_BYTES = 4 * 1024 * 1024
BATCH_OPERATIONS_MAX = 500


class Load(msgspec.Struct, frozen=True):
    """What is asked for. It ends after `seconds`, or after `requests` if they are given."""

    operation: Literal["put", "get", "mixed"]
    connections: int
    seconds: float
    requests: int | None
    value_bytes: int


class Figures(msgspec.Struct, frozen=True):
    """What came out. Failed requests have no latency and are not in the throughput."""

    operation: str
    connections: int
    value_bytes: int
    total_requests: int
    failed_requests: int
    seconds: float
    throughput_per_second: float
    latency_average_ms: float
    latency_p95_ms: float
    latency_p99_ms: float


class LoadRun:
    """One run of a load against a node or cluster."""

    def __init__(self, load: Load, endpoints: Sequence[str]) -> None:
        self._load = load
        self._endpoints = endpoints
        self._value = random.Random(0).randbytes(load.value_bytes)  # noqa: S311 not secret
        self._keys = [PREFIX + b"%06d" % number for number in range(KEYS)]
        self._latencies_s: list[float] = []
        self._failed = 0
        self._begun = 0
        self._first_error: CoreCacheError | None = None

    async def run(self) -> Figures:
        """Writes the keys, runs the load, removes the keys. Raises: CoreCacheError if no request succeeds."""
        async with contextlib.AsyncExitStack() as stack:
            # A client for each connection: the pool that one client keeps costs time that grows with its connections.
            clients = [
                await stack.enter_async_context(AsyncClient(self._endpoints, connections_max=1, rounds_max=ROUNDS_MAX))
                for _ in range(self._load.connections)
            ]
            await self._in_batches(clients[0], [Put(key, self._value) for key in self._keys])
            try:
                return await self._measure(clients)
            finally:
                await self._in_batches(clients[0], [Delete(key) for key in self._keys])

    async def _measure(self, clients: Sequence[AsyncClient]) -> Figures:
        started = time.perf_counter()
        ends = started + self._load.seconds
        async with asyncio.TaskGroup() as workers:
            for seed, client in enumerate(clients):
                workers.create_task(self._work(client, random.Random(seed), ends))  # noqa: S311 it only picks keys
        took = time.perf_counter() - started
        if not self._latencies_s:
            raise self._first_error or CallerFault("no_requests", "no request was made: allow more time")
        ordered = sorted(self._latencies_s)
        return Figures(
            operation=self._load.operation,
            connections=self._load.connections,
            value_bytes=self._load.value_bytes,
            total_requests=len(ordered) + self._failed,
            failed_requests=self._failed,
            seconds=round(took, 3),
            throughput_per_second=round(len(ordered) / took, 1),
            latency_average_ms=round(sum(ordered) / len(ordered) * 1000, 3),
            latency_p95_ms=round(percentile(ordered, 95) * 1000, 3),
            latency_p99_ms=round(percentile(ordered, 99) * 1000, 3),
        )

    async def _work(self, client: AsyncClient, dice: random.Random, ends: float) -> None:
        """Sends one request after the other, as one connection does."""
        while self._may_begin(ends):
            self._begun += 1
            key = dice.choice(self._keys)
            writes = self._load.operation == "put" or (self._load.operation == "mixed" and dice.random() < 0.5)
            started = time.perf_counter()
            try:
                if writes:
                    await client.put(key, self._value)
                else:
                    await client.get(key)
            except CoreCacheError as error:
                self._failed += 1
                self._first_error = self._first_error or error
            else:
                self._latencies_s.append(time.perf_counter() - started)

    def _may_begin(self, ends: float) -> bool:
        if self._load.requests is not None:
            return self._begun < self._load.requests
        return time.perf_counter() < ends

    async def _in_batches(self, client: AsyncClient, operations: Sequence[Operation]) -> None:
        # Base64 in JSON takes four bytes for three.
        size = max(1, min(BATCH_OPERATIONS_MAX, BATCH_BYTES // (self._load.value_bytes * 4 // 3 + 100)))
        for first in range(0, len(operations), size):
            for result in await client.batch(operations[first : first + size]):
                if isinstance(result, CoreCacheError):
                    raise result


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Returns the least value that so many percent of the values do not exceed (nearest rank)."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
