"""The client for programs with threads. `AsyncClient` (`async_client.py`) is the same for asyncio, call by call.

It sends, waits and receives. What is sent is made by `requests`, what came back is read by `answers`, and whether to
try again is decided by `attempts`. One `Client` may be shared by many threads; connections stay open for the next call.

Every call raises, besides what its docstring names: CallerFault (wrong, or forbidden: don't repeat it), NotDone (it did
not happen: try later), Broken (the node needs its operator), and, if it changes something, OutcomeUnknown (it may have
happened). Retrying what is safe has been done already, within `timeout_s` seconds, when an error arrives here.
"""

import random
import time
from collections.abc import Iterator, Sequence
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


class Client:
    """A connection to one node or to a cluster, by any of its nodes.

    `endpoints` are addresses such as `http://127.0.0.1:8000`; the next one is tried when one fails. `timeout_s` is
    how many seconds a call may take, all attempts together. `connections_max` bounds the connections open at once,
    hence the calls under way. `rounds_max` bounds how often all endpoints are tried when none can be reached; None:
    only time does.
    """

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
        self._http = httpx.Client(**httpx_options(self._endpoints, connections_max))

    def get(self, key: bytes | str) -> Record | None:
        """Returns the key's newest record (value, version, timestamp, expires), None if it has none."""
        return answers.record(self._ask(requests.get(key)))

    def put(
        self,
        key: bytes | str,
        value: bytes | str,
        ttl: float | None = None,
        if_absent: bool = False,
        if_version: int | None = None,
    ) -> Version:
        """Stores a value, for `ttl` seconds if given, and returns its version.

        With `if_absent` only if the key has no record, with `if_version` only if that is its version. Raises:
        ConditionFailed if not so.
        """
        return answers.written(self._ask(requests.put(key, value, ttl, if_absent, if_version)))

    def delete(self, key: bytes | str, if_version: int | None = None) -> bool:
        """Removes a key and returns whether it had a record.

        With `if_version` only if that is its version. Raises: ConditionFailed if not so.
        """
        return answers.deleted(self._ask(requests.delete(key, if_version)))

    def scan(
        self,
        prefix: bytes | str = b"",
        start: bytes | str = b"",
        end: bytes | str = b"",
        keys_only: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, Record]]:
        """Yields keys and records in byte order of the keys, `limit` at most, page by page as they are consumed.

        Only keys that begin with `prefix` and have start <= key < end (empty: no bound). With `keys_only` the records'
        values are empty. Writes during the scan may or may not be seen.
        """
        listing = Range.of(prefix, start, end, keys_only)
        cursor, left = None, limit
        while left is None or left > 0:
            page = answers.page(self._ask(requests.scan(listing, left, cursor)))
            yield from page.items
            cursor, left = page.cursor, None if left is None else left - len(page.items)
            if cursor is None:
                return

    def batch(self, operations: Sequence[Operation], atomic: bool = False) -> list[BatchResult]:
        """Executes `Put`, `Delete` and `Read` of `corecache.operations`, and returns a result or an error for each.

        With `atomic` all or none; then the keys must share a partition (a hash tag: `{user:7}:name`, `{user:7}:mail`).
        """
        return answers.results(self._ask(requests.batch(operations, atomic)), operations)

    def cluster(self) -> ClusterReport:
        """Returns who holds what, as the node asked knows it."""
        return answers.cluster_report(self._ask(requests.cluster()))

    def orders(self) -> OrdersReport:
        """Returns what operators have ordered, and how far it is."""
        return answers.orders_report(self._ask(requests.orders()))

    def moves(self, drained: str | None = None) -> list[MoveReport]:
        """Returns what a rebalance would move, in its order; with `drained`, what draining that node would."""
        return answers.moves(self._ask(requests.moves(drained)))

    def drain(self, node: str, cancel: bool = False) -> OrdersReport:
        """Orders that a node is to hold nothing, or cancels that, and returns how things stand then."""
        return answers.orders_report(self._ask(requests.order("drain", {"node": node, "cancel": cancel})))

    def rebalance(self, run: bool = True) -> OrdersReport:
        """Orders that copies and primaries are evened out (or not any more), and returns how things stand."""
        return answers.orders_report(self._ask(requests.order("rebalance", {"run": run})))

    def require_in_sync(self, min_in_sync: int) -> OrdersReport:
        """Orders how many copies a success needs (0: what the cluster finds right); returns how things stand."""
        return answers.orders_report(self._ask(requests.order("min-in-sync", {"min_in_sync": min_in_sync})))

    def recover(self, partition: int, node: str, accept_data_loss: bool = False) -> RecoveryReport:
        """Has a partition go on from a node's copy, which loses what only the lost members in sync had.

        The endpoint must be that node's own.
        """
        order = {"partition": partition, "node": node, "accept_data_loss": accept_data_loss}
        return answers.recovery_report(self._ask(requests.order("recover", order)))

    def storage(self) -> StorageReport:
        """Returns the tree of the node asked as it stands."""
        return answers.storage_report(self._ask(requests.storage()))

    def flush(self, timeout_s: float = WORK_TIMEOUT_S) -> StorageReport:
        """Flushes all memtables of the node asked, and returns the tree as it then stands."""
        return answers.storage_report(self._ask(requests.storage_work("flush", timeout_s)))

    def compact(self, timeout_s: float = WORK_TIMEOUT_S) -> StorageReport:
        """Compacts all SSTables of the node asked, and returns the tree as it then stands."""
        return answers.storage_report(self._ask(requests.storage_work("compact", timeout_s)))

    def close(self) -> None:
        """Closes the connections. No call may follow."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: Request) -> Answer:
        """Sends a request, again where the rules allow, and returns the last word about it."""
        deadline = time.monotonic() + (self._timeout_s if request.timeout_s is None else request.timeout_s)
        attempts = Attempts(request, len(self._endpoints), self._first, deadline, self._rounds_max, self._dice)
        while True:
            attempt = attempts.begin(time.monotonic())
            endpoint = self._endpoints[attempt.endpoint]
            try:
                answer = self._send(endpoint, request, attempt)
            except httpx.TransportError as error:
                ended = attempts.unreachable if never_sent(error) else attempts.lost
                pause: float | None = ended(reason(endpoint, error), time.monotonic())
            else:
                pause = attempts.answered(answer, time.monotonic())
            self._first = attempts.endpoint
            if pause is None:
                return answer
            time.sleep(pause)

    def _send(self, endpoint: str, request: Request, attempt: Attempt) -> Answer:
        arguments, countdown = sending(endpoint, request, attempt)
        chunks = []
        with self._http.stream(**arguments) as response:
            for chunk in response.iter_raw():
                chunks.append(chunk)
                countdown.check()
        return Answer(request, endpoint, response.status_code, response.headers, b"".join(chunks))
