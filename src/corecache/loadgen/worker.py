"""A worker: one process that makes its share of a load. `python -m corecache.loadgen.worker`, started by `crew`.

It has a process of its own so that nothing else, neither the progress bar nor the histograms, can delay an operation,
and so that there can be several. `messages` says what is read from standard input and written to standard output.
"""

import asyncio
import contextlib
import gc
import random
import sys
import time

import msgspec
import uvloop

from corecache.loadgen.load import RunningLoad
from corecache.loadgen.messages import Command, Ended, Go, Job, Ready, Refused, Said
from corecache.loadgen.pace import ClosedPace, OpenPace, Pace

_LINE_BYTES_MAX = 16 * 1024 * 1024
_LOOK_S = 0.05


def main() -> None:
    """Runs a worker until its job is done, or its standard input ends."""
    uvloop.run(_Worker().run())


class _Said(asyncio.BaseProtocol):
    """What was written is out once the pipe is closed."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.set()


class _Worker:
    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._read = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._read), sys.stdin)
        self._write, said = await loop.connect_write_pipe(_Said, sys.stdout)
        job = msgspec.json.decode(await self._read.readline(), type=Job)
        load = RunningLoad(job, loop)
        try:
            await load.connect()
            self._say(Ready())
            await self._obey(load, job)
        except OSError as error:
            self._say(Refused(str(error)))
        load.close()
        self._write.close()
        await said.heard.wait()

    async def _obey(self, load: RunningLoad, job: Job) -> None:
        """Waits for the word to begin, then measures until the load is over or somebody says so."""
        go = await self._command()
        if not isinstance(go, Go):
            return
        # Nothing of what is made for an operation is part of a circle: the collector would only make pauses.
        gc.freeze()
        gc.disable()
        measuring = asyncio.get_running_loop().create_task(self._measure(load, job, go.at_ns))
        stopping = asyncio.get_running_loop().create_task(self._command())
        await asyncio.wait((measuring, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not measuring.done() and stopping.result() is None:
            measuring.cancel()
            return
        if not measuring.done():
            load.stop()
        stopping.cancel()
        await measuring

    async def _measure(self, load: RunningLoad, job: Job, at_ns: int) -> None:
        measured_from_ns = at_ns + int(job.warm_up_s * 1e9)
        await _until(at_ns)
        load.begin(_pace(job, at_ns, measured_from_ns), measured_from_ns)
        computed_s = -1.0
        while not load.finished.done():
            now_ns = time.monotonic_ns()
            if computed_s < 0 and now_ns >= measured_from_ns:
                computed_s = time.process_time()
            next_tick_ns = measured_from_ns + (load.tally.second + 1) * 1_000_000_000
            if now_ns >= next_tick_ns:
                self._say(load.tally.take())
                continue
            with contextlib.suppress(TimeoutError):
                wait_s = min(_LOOK_S, (next_tick_ns - now_ns) / 1e9)
                await asyncio.wait_for(asyncio.shield(load.finished), wait_s)
            load.look(time.monotonic_ns())
        self._say(load.tally.take())
        took_s = load.took_s
        busy = (time.process_time() - computed_s) / took_s if computed_s >= 0 and took_s > 0 else 0.0
        self._say(Ended(took_s, load.plan.inserted, min(1.0, busy)))

    async def _command(self) -> Command | None:
        """Returns what the bench says, None if it says nothing any more."""
        line = await self._read.readline()
        return msgspec.json.decode(line, type=Command) if line else None

    def _say(self, said: Said) -> None:
        self._write.write(msgspec.json.encode(said) + b"\n")


def _pace(job: Job, at_ns: int, measured_from_ns: int) -> Pace:
    end_ns = None if job.operations is not None else measured_from_ns + int(job.seconds * 1e9)
    if job.rate is None:
        return ClosedPace(measured_from_ns, end_ns, job.operations)
    dice = random.Random(f"pace {job.seed} {job.worker}") if job.poisson else None  # noqa: S311 keeps no secret
    # Workers begin one after the other, so that their operations do not fall together.
    first_ns = at_ns + int(1e9 / job.rate * job.worker / job.workers)
    return OpenPace(first_ns, measured_from_ns, end_ns, job.operations, job.rate, dice)


async def _until(at_ns: int) -> None:
    # A timer may end a millisecond early, and what begins before its time would not be counted.
    while (left_ns := at_ns - time.monotonic_ns()) > 0:  # noqa: ASYNC110 only the clock tells the time
        await asyncio.sleep(left_ns / 1e9)


if __name__ == "__main__":
    main()
