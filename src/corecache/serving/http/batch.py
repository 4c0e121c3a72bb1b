"""POST /v1/batch: many puts, deletes and gets in one request.

Two kinds, told apart by `atomic`:

* Not atomic (the default): each operation stands for itself and has its own result. Operations on one key take effect
  in the order given; those on different keys have no order. Writes go to the node in one call (`Service.write_many`),
  as far as possible: only a get of a key that was written before it in the batch, or a write of a key that was read,
  makes the batch wait in the middle.
* Atomic: all keys share a partition; either every operation takes effect or, when a condition fails, none.

Rule 1: the whole request is understood before anything of it is begun. What the operations mean is
`batch_operations.py`; the results have the statuses that the same calls on /v1/kv/{key} have.

Rule 2: what the gets of a batch add to its answer is bounded and counted as it is encoded, in both kinds. A get whose
value does not fit says so in its own result, because the writes beside it have happened.
"""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from corecache.config import Config
from corecache.errors import CallerFault, CoreCacheError
from corecache.identity import Milliseconds
from corecache.operations import Absent, ConditionFailed, Deleted, Found, Operation, Read, Record, Result, Written
from corecache.ports import Clock, Service
from corecache.serving.http import parameters, problems
from corecache.serving.http.batch_operations import BatchResult, batch_of, encoded
from corecache.serving.http.bodies import BodyReader, Budget, JsonAnswer
from corecache.serving.http.listing import ASIDE_BYTES, asked_timeout_ms, text_or_base64

_GETS_AT_ONCE = 16

Shown: TypeAlias = BatchResult | msgspec.Raw
"""A result, or the JSON of one."""


class Batch:
    """Answers batches."""

    def __init__(self, service: Service, config: Config, clock: Clock, budget: Budget) -> None:
        self._service = service
        self._clock = clock
        self._budget = budget
        self._limits = config.limits
        self._http = config.http

    async def answer(self, request: Request) -> Response:
        """Answers one batch."""
        scope = request.scope
        parameters.query_of(scope["query_string"], ())
        timeout_ms = asked_timeout_ms(scope, self._http.request_timeout_ms, self._http.request_timeout_max_ms)
        length = request.headers.get("content-length")
        reader = BodyReader(self._budget, self._limits.batch_bytes_max, _batch_too_large)
        values = _Values(self._budget, self._limits.batch_bytes_max)
        try:
            body = await reader.read(
                request.receive,
                int(length or 0) if length is not None or "transfer-encoding" not in request.headers else None,
            )
            atomic, operations = batch_of(body, self._limits)
            deadline = Milliseconds(self._clock.now() + timeout_ms)
            if atomic:
                results = await self._execute_atomic(operations, deadline, values)
            else:
                results = await _Run(self._service, deadline, values).execute(operations)
            return JsonAnswer(encoded({"results": results}), self._budget, refusable=False)
        finally:
            reader.release()
            values.release()

    async def _execute_atomic(
        self, operations: Sequence[Operation], deadline: Milliseconds, values: "_Values"
    ) -> list[Shown]:
        if not operations:
            return []
        results = await self._service.write(operations, deadline)
        failed = [number for number, result in enumerate(results) if isinstance(result, ConditionFailed)]
        if failed:
            error = CallerFault(
                "not_executed", f"The condition of operation {failed[0]} failed, so that nothing was written."
            )
            return [_shown(one) if isinstance(one, ConditionFailed) else refused(error) for one in results]
        return [await values.shown(one.record) if isinstance(one, Found) else _shown(one) for one in results]


class _Values:
    """The values that a batch has read, as its answer shows them: up to `bytes_max`, and in the budget until then."""

    def __init__(self, budget: Budget, bytes_max: int) -> None:
        self._budget = budget
        self._bytes_max = bytes_max
        self._bytes = 0
        self._turn_bytes = 0
        self._vain_bytes = 0

    async def shown(self, record: Record) -> Shown:
        """Returns the result of a get: the record, or that there is no room for its value. Raises nothing."""
        size_bytes = len(record.value)
        try:
            # A thousand gets of a value that grows too large when it is encoded must not encode it a thousand times.
            self._add(size_bytes, self._vain_bytes)
            try:
                shown = await self._encoded(record)
                self._add(len(shown) - size_bytes)
            except CoreCacheError:
                self._vain_bytes += size_bytes
                self._bytes -= size_bytes
                self._budget.release(size_bytes)
                raise
        except CoreCacheError as error:
            return refused(error, write=False)
        return msgspec.Raw(shown)

    def release(self) -> None:
        """Gives back what was counted."""
        self._budget.release(self._bytes)

    def _add(self, size_bytes: int, vain_bytes: int = 0) -> None:
        if self._bytes + vain_bytes + size_bytes > self._bytes_max:
            raise CallerFault(
                "answer_too_large",
                f"The values read exceed {self._bytes_max:,} bytes (limits.batch_bytes_max); get this one alone.",
            )
        self._budget.reserve(size_bytes)
        self._bytes += size_bytes

    async def _encoded(self, record: Record) -> bytes:
        self._turn_bytes += len(record.value)
        if self._turn_bytes <= ASIDE_BYTES:
            return _found(record)
        # One large value, or the last of many small ones: other requests get their turn while a thread encodes it.
        self._turn_bytes = 0
        return await asyncio.to_thread(_found, record)


class _Run:
    """One batch that is not atomic: writes and reads are put off as long as their order allows."""

    def __init__(self, service: Service, deadline: Milliseconds, values: _Values) -> None:
        self._service = service
        self._deadline = deadline
        self._values = values
        self._results: dict[int, Shown] = {}
        self._writes: list[tuple[int, Operation]] = []
        self._reads: list[tuple[int, bytes]] = []

    async def execute(self, operations: Sequence[Operation]) -> list[Shown]:
        """Returns a result for each operation."""
        written: set[bytes] = set()
        read: set[bytes] = set()
        for number, operation in enumerate(operations):
            if isinstance(operation, Read):
                if operation.key in written:
                    await self._execute_pending()
                    written.clear()
                    read.clear()
                self._reads.append((number, operation.key))
                read.add(operation.key)
            else:
                if operation.key in read:
                    await self._execute_pending()
                    written.clear()
                    read.clear()
                self._writes.append((number, operation))
                written.add(operation.key)
        await self._execute_pending()
        return [self._results[number] for number in range(len(operations))]

    async def _execute_pending(self) -> None:
        """Executes what was put off; no key is both in the reads and in the writes."""
        if self._writes:
            outcomes = await self._service.write_many([(operation,) for _, operation in self._writes], self._deadline)
            for (number, _), outcome in zip(self._writes, outcomes, strict=True):
                shown = refused(outcome) if isinstance(outcome, CoreCacheError) else _shown(outcome[0])
                self._results[number] = shown
        for first in range(0, len(self._reads), _GETS_AT_ONCE):
            together = self._reads[first : first + _GETS_AT_ONCE]
            found = await asyncio.gather(*(self._read(key) for _, key in together))
            for (number, _), answer in zip(together, found, strict=True):
                self._results[number] = answer
        self._writes.clear()
        self._reads.clear()

    async def _read(self, key: bytes) -> Shown:
        try:
            record = await self._service.get(key, self._deadline)
        except CoreCacheError as error:
            return refused(error, write=False)
        return _shown(Absent()) if record is None else await self._values.shown(record)


def _shown(result: Result) -> BatchResult:
    """Returns how a batch shows a result without a value."""
    if isinstance(result, Written):
        return BatchResult(204, version=result.version)
    if isinstance(result, Deleted):
        return BatchResult(204)
    if isinstance(result, Absent):
        return BatchResult(404)
    assert isinstance(result, ConditionFailed)
    return BatchResult(412, present=result.present)


def _found(record: Record) -> bytes:
    """Returns the JSON of a get that found this record."""
    value, value_base64 = text_or_base64(record.value)
    expires = record.expires or None
    return encoded(BatchResult(200, record.version, record.timestamp, expires, value, value_base64))


def refused(error: CoreCacheError, write: bool = True) -> BatchResult:
    """Returns how a batch shows an operation that met an error."""
    return BatchResult(
        problems.status_of(error), code=error.code, detail=error.message, outcome=error.outcome if write else None
    )


def _batch_too_large(bytes_max: int) -> CallerFault:
    return CallerFault(
        "batch_too_large", f"The batch is longer than {bytes_max:,} bytes (limits.batch_bytes_max); split it."
    )
