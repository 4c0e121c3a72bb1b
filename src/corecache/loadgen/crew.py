"""The workers of a load: starts them, tells them when to begin, and hears what they count.

Rule: workers are in a session of their own, so that Ctrl-C reaches the bench alone, which tells them to stop and still
hears what they measured. They end with their standard input; none outlives the bench.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from corecache.errors import Broken, NotDone
from corecache.loadgen.messages import Command, Ended, Go, Job, Ready, Refused, Said, Stop
from corecache.loadgen.tally import Tick

_PROGRAM: Final = (sys.executable, "-m", "corecache.loadgen.worker")
_LINE_BYTES_MAX: Final = 64 * 1024 * 1024
_HEAD_START_NS: Final = 50_000_000
_END_S: Final = 5.0

_said: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)


class Crew:
    """Workers, from `start` on. As an asynchronous context manager it leaves no process behind."""

    def __init__(self) -> None:
        self._workers: list[asyncio.subprocess.Process] = []

    async def start(self, jobs: Sequence[Job]) -> None:
        """Starts a worker for each job; returns when all have connected. Raises: NotDone if one can't."""
        for job in jobs:
            worker = await asyncio.create_subprocess_exec(
                *_PROGRAM,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=_LINE_BYTES_MAX,
            )
            self._workers.append(worker)
            _tell(worker, job)
        for said in await asyncio.gather(*(_heard(worker) for worker in self._workers)):
            if isinstance(said, Refused):
                raise NotDone("unreachable", f"no connection to {said.message}; check that it runs and the endpoint")
            assert isinstance(said, Ready)

    async def measure(self, ticked: Callable[[int, Tick], None]) -> list[Ended]:
        """Lets them begin together, and calls with a worker's number and tick; returns how each ended."""
        at_ns = time.monotonic_ns() + _HEAD_START_NS
        self._tell_all(Go(at_ns))
        return await asyncio.gather(*(_listen(number, worker, ticked) for number, worker in enumerate(self._workers)))

    def stop(self) -> None:
        """Lets nothing more begin; `measure` returns soon."""
        self._tell_all(Stop())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.close()
        for worker in self._workers:
            try:
                async with asyncio.timeout(_END_S):
                    await worker.wait()
            except TimeoutError:
                worker.kill()
                await worker.wait()

    def _tell_all(self, command: Command) -> None:
        for worker in self._workers:
            _tell(worker, command)


def _tell(worker: asyncio.subprocess.Process, message: Job | Command) -> None:
    assert worker.stdin is not None
    if not worker.stdin.is_closing():
        worker.stdin.write(msgspec.json.encode(message) + b"\n")


async def _heard(worker: asyncio.subprocess.Process) -> Said:
    assert worker.stdout is not None
    line = await worker.stdout.readline()
    if not line:
        raise Broken("worker_lost", f"a process of the load ended by itself, with {await worker.wait()}")
    return _said.decode(line)


async def _listen(number: int, worker: asyncio.subprocess.Process, ticked: Callable[[int, Tick], None]) -> Ended:
    while True:
        match await _heard(worker):
            case Tick() as tick:
                ticked(number, tick)
            case Ended() as ended:
                return ended
            case _:
                raise Broken("worker_lost", "a process of the load said what was not asked")
