"""Writes the keys of a load before it, and removes them after it: many at once, and none left out.

Over HTTP that is the API's batch, by CoreCache's own client, which repeats what can be repeated. Over Redis's protocol
it is SET and DEL, some hundreds in a pipeline. A value that was not written would be a read that finds nothing, so
whatever is not done here ends the bench.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence

import hiredis

from corecache.client import AsyncClient
from corecache.errors import CallerFault, CoreCacheError, NotDone, OutcomeUnknown
from corecache.loadgen.endpoints import ROUNDS_MAX
from corecache.loadgen.requests import key
from corecache.loadgen.targets import Protocol, Target
from corecache.loadgen.workloads import Values
from corecache.operations import Delete, Operation, Put
from corecache.wire.resp_command import command

BATCH_BYTES = 2 * 1024 * 1024
BATCH_OPERATIONS_MAX = 500
BATCHES_UNDER_WAY = 4
TIMEOUT_S = 30.0

Batches = Iterator[range]
Filled = Callable[[int], None]
"""Is told how many keys were written or removed since the last call."""


class Filling:
    """Keys of a load on their way in or out."""

    def __init__(self, targets: Sequence[Target], protocol: Protocol, values: Values, value_bytes_max: int) -> None:
        self.begun = 0
        """All keys whose writing has begun are below this number."""
        self._targets = targets
        self._protocol = protocol
        self._values = values
        # Base64 in JSON takes four bytes for three.
        fitting = BATCH_BYTES // (value_bytes_max * 4 // 3 + 100)
        self._at_once = max(1, min(BATCH_OPERATIONS_MAX, fitting))

    async def write(self, keys: int, told: Filled) -> None:
        """Writes keys 0 to below `keys`. Raises: CoreCacheError."""
        await self._all(self._written(keys), True, told)

    async def remove(self, first: int, end: int, told: Filled) -> None:
        """Removes keys `first` to below `end`, whether or not they are there. Raises: CoreCacheError."""
        await self._all(_batches(first, end, BATCH_OPERATIONS_MAX), False, told)

    def _written(self, keys: int) -> Batches:
        for batch in _batches(0, keys, self._at_once):
            self.begun = batch.stop
            yield batch

    async def _all(self, batches: Batches, write: bool, told: Filled) -> None:
        work = self._by_http if self._protocol == "http" else self._by_resp
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(BATCHES_UNDER_WAY):
                    # All take from one iterator: none is done twice, and the slow hold nobody up.
                    group.create_task(work(self._targets[number % len(self._targets)], batches, write, told))
        except* CoreCacheError as errors:
            raise _first(errors) from None

    async def _by_http(self, target: Target, batches: Batches, write: bool, told: Filled) -> None:
        endpoints = [target.endpoint, *(each.endpoint for each in self._targets if each != target)]
        async with AsyncClient(endpoints, TIMEOUT_S, connections_max=1, rounds_max=ROUNDS_MAX) as client:
            for numbers in batches:
                operations: list[Operation] = [
                    Put(key(number), self._values.next()) if write else Delete(key(number)) for number in numbers
                ]
                for result in await client.batch(operations):
                    if isinstance(result, CoreCacheError):
                        raise result
                told(len(numbers))

    async def _by_resp(self, target: Target, batches: Batches, write: bool, told: Filled) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_connection(target.host, target.port)
        except (OSError, TimeoutError) as error:
            said = str(error) or "out of time"
            raise NotDone("unreachable", f"no connection to {target}: {said}; check that it runs") from error
        try:
            for numbers in batches:
                requests = [
                    command(b"SET", key(number), self._values.next()) if write else command(b"DEL", key(number))
                    for number in numbers
                ]
                writer.write(b"".join(requests))
                await _answers(reader, target, len(requests))
                told(len(numbers))
        finally:
            writer.close()


def _batches(first: int, end: int, at_once: int) -> Batches:
    return (range(begin, min(end, begin + at_once)) for begin in range(first, end, at_once))


async def _answers(reader: asyncio.StreamReader, target: Target, count: int) -> None:
    """Reads so many answers. Raises: CoreCacheError for an error, or if they do not come."""
    parser = hiredis.Reader(notEnoughData=...)
    while count:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                octets = await reader.read(65_536)
        except (OSError, TimeoutError):
            octets = b""
        if not octets:
            raise OutcomeUnknown("answer_lost", f"{target}: no answer came; look at the server's log")
        parser.feed(octets)
        try:
            while (reply := parser.gets()) is not ...:
                if isinstance(reply, hiredis.ReplyError):
                    raise NotDone("refused", f"{target}: {reply}")
                count -= 1
        except hiredis.ProtocolError as error:
            raise CallerFault("bad_answer", f"{target} does not speak Redis's protocol: {error}") from error


def _first(errors: BaseExceptionGroup[CoreCacheError]) -> CoreCacheError:
    """Returns the first error of a group, which has no groups inside here."""
    first = errors.exceptions[0]
    assert isinstance(first, CoreCacheError)
    return first
