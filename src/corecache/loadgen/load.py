"""A worker's load while it runs: lanes that are kept busy at a pace, and a tally of what came back.

Rule 1: as many operations are under way as there are lanes times `depth`, never more. In a closed loop a lane begins
the next `depth` when all of its last are answered, as redis-benchmark does. In an open loop each place takes the
operation that is due longest as soon as it is free, or waits until one is due.

Rule 2: what began in the warm-up is not counted, whenever it is answered. What began before the end is awaited for
`DRAIN_S` seconds, and is a failure after them (`unanswered`).

Rule 3: a lane that is lost is made anew, by the next target in turn if its own does not answer, as long as the load
runs.
"""

import asyncio
import ssl
import time
from collections import deque

from corecache.loadgen.alarm import Alarm
from corecache.loadgen.lane import CONNECTION_LOST, HttpLane, Lane, RespLane, Step
from corecache.loadgen.messages import Job
from corecache.loadgen.pace import Pace
from corecache.loadgen.requests import Dialect, HttpDialect, RespDialect
from corecache.loadgen.tally import Tally
from corecache.loadgen.targets import Target
from corecache.loadgen.workloads import CHANGE, INSERT, READ, SCAN, UPDATE, WORKLOADS, Plan, Values

DRAIN_S = 10.0
CONNECT_S = 5.0
PAUSE_S = 0.1
SILENCE_S = 30.0
"""A load of so many operations, instead of a time, ends when nothing has been answered for so long."""


class RunningLoad:
    """What a worker has under way, from `connect` to `finished`."""

    now_ns = staticmethod(time.monotonic_ns)

    def __init__(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self.tally = Tally()
        self.plan = Plan(
            WORKLOADS[job.workload],
            job.distribution,
            job.keys,
            job.first_inserted,
            job.worker,
            job.workers,
            job.seed,
        )
        self.finished: asyncio.Future[None] = loop.create_future()
        self.last_answer_ns = 0
        self._job = job
        self._loop = loop
        self._values = Values(job.value_bytes_min, job.value_bytes_max, f"{job.seed} {job.worker}")
        self._dialects = {target: _dialect(job, target) for target in job.targets}
        self._tls = ssl.create_default_context() if any(target.tls for target in job.targets) else None
        self._lanes: list[Lane] = []
        self._idle: deque[Lane] = deque()
        self._alarm = Alarm(loop, self._woken)
        self._alarm_ns = 0
        self._pace: Pace | None = None
        self._stopped = False
        self._measured_from_ns = 0
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._sliding = job.rate is not None
        self._refill = 1 if self._sliding else job.depth

    async def connect(self) -> None:
        """Makes all connections. Raises: OSError, naming the target."""
        job = self._job
        kind = HttpLane if job.protocol == "http" else RespLane
        for number in range(job.connections):
            lane = kind(self, job.targets[(job.first_target + number) % len(job.targets)])
            self._lanes.append(lane)
            try:
                await self._connect(lane)
            except OSError as error:
                # Neither uvloop's errors nor a timeout's say where; a timeout says nothing at all.
                raise OSError(f"{lane.target}: {str(error) or 'out of time'}") from error

    def begin(self, pace: Pace, measured_from_ns: int) -> None:
        """Begins at the pace, unless it was stopped before; operations count from that time on."""
        self._pace = pace
        self._measured_from_ns = self.last_answer_ns = measured_from_ns
        if self._stopped:
            self.stop()
        else:
            self._fill(self._lanes)

    def stop(self) -> None:
        """Begins nothing more, or nothing at all."""
        self._stopped = True
        if self._pace is not None:
            now_ns = self.now_ns()
            self._pace.stop(now_ns)
            self.look(now_ns)

    def look(self, now_ns: int) -> None:
        """Sees whether all is over; called now and then, since nothing else happens when a server is silent."""
        assert self._pace is not None
        if self.finished.done():
            return
        silent_s = (now_ns - max(self.last_answer_ns, self._measured_from_ns, self._pace.end_ns or 0)) / 1e9
        if not self._pace.over(now_ns):
            if self._job.operations is not None and silent_s > SILENCE_S:
                self._pace.stop(now_ns)
            return
        if self._under_way and silent_s < DRAIN_S:
            return
        if self._under_way:
            self.tally.failed("unanswered", self._under_way)
        if unsent := self._pace.unsent(now_ns):
            self.tally.failed("not_sent", unsent)
        self.finished.set_result(None)

    @property
    def took_s(self) -> float:
        """From the begin of the measurement to its end, or to its last answer if that came later."""
        end_ns = (self._pace.end_ns if self._pace is not None else None) or 0
        return max(0, max(self.last_answer_ns, end_ns) - self._measured_from_ns) / 1e9

    def close(self) -> None:
        """Ends all connections."""
        self._alarm.close()
        for task in self._tasks:
            task.cancel()
        for lane in self._lanes:
            lane.close()

    # What lanes tell

    def answered(self, lane: Lane, step: Step, now_ns: int, error: str | None, absent: bool) -> None:
        """Counts an operation and begins the next; of a read-modify-write the answered read leads to the write."""
        kind, from_ns, number, halfway = step
        if absent and kind in (UPDATE, INSERT):
            error = "not_found"
        if kind == CHANGE and not halfway and error is None:
            if absent and from_ns >= self._measured_from_ns:
                self.tally.found_none()
            if lane.usable:
                request = self._dialects[lane.target].write(number, self._values.next())
                lane.ask(request, Step(kind, from_ns, number, True))
                return
            error = CONNECTION_LOST
        self._under_way -= 1
        if kind == INSERT and error is None:
            self.plan.inserted_one(number)
        if from_ns >= self._measured_from_ns:
            self.last_answer_ns = now_ns
            if error is not None:
                self.tally.failed(error)
            else:
                self.tally.done(kind, (now_ns - from_ns) // 1000 or 1)
                if absent and kind == READ:
                    self.tally.found_none()
        if lane.usable and (self._sliding or not lane.under_way):
            for _ in range(self._refill):
                self._next(lane, now_ns)

    def lost(self, lane: Lane, steps: list[Step], code: str) -> None:
        """Counts what is lost, and makes the lane anew."""
        self._under_way -= len(steps)
        self._idle = deque(each for each in self._idle if each is not lane)
        for step in steps:
            if step.counts_from_ns >= self._measured_from_ns:
                self.tally.failed(code)
        if not self.finished.done():
            task = self._loop.create_task(self._reconnect(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # Beginning operations

    def _fill(self, lanes: list[Lane]) -> None:
        now_ns = self.now_ns()
        for _ in range(self._job.depth):
            for lane in lanes:
                if lane.usable:
                    self._next(lane, now_ns)

    def _next(self, lane: Lane, now_ns: int) -> None:
        """Begins an operation on a free place of a lane, or keeps the place."""
        pace = self._pace
        assert pace is not None
        due_ns = pace.due(now_ns)
        if due_ns is not None:
            self._begin_one(lane, due_ns)
            return
        next_ns = pace.next_ns()
        if next_ns is None or pace.over(now_ns):
            if not self._under_way:
                self.look(now_ns)
            return
        self._idle.append(lane)
        self._await(next_ns)

    def _begin_one(self, lane: Lane, due_ns: int) -> None:
        kind, number = self.plan.next()
        dialect = self._dialects[lane.target]
        if kind in (READ, CHANGE):
            request = dialect.read(number)
        elif kind == SCAN:
            request = dialect.scan(number, self.plan.scan_items())
        else:
            request = dialect.write(number, self._values.next())
        self._under_way += 1
        lane.ask(request, Step(kind, due_ns, number))

    def _await(self, at_ns: int) -> None:
        if at_ns != self._alarm_ns:
            self._alarm_ns = at_ns
            self._alarm.set(at_ns)

    def _woken(self) -> None:
        """Begins what is due on the places that are free."""
        pace = self._pace
        assert pace is not None
        now_ns = self.now_ns()
        while self._idle:
            if not self._idle[0].usable:
                self._idle.popleft()
            elif (due_ns := pace.due(now_ns)) is not None:
                self._begin_one(self._idle.popleft(), due_ns)
            else:
                break
        next_ns = pace.next_ns()
        if self._idle and next_ns is not None:
            self._await(next_ns)
        if not self._under_way and pace.over(now_ns):
            self.look(now_ns)

    # Connections

    async def _connect(self, lane: Lane) -> None:
        target = lane.target
        async with asyncio.timeout(CONNECT_S):
            tls = self._tls if target.tls else None
            await self._loop.create_connection(lambda: lane, target.host, target.port, ssl=tls)

    async def _reconnect(self, lane: Lane) -> None:
        targets = self._job.targets
        while not self.finished.done():
            try:
                await self._connect(lane)
            except OSError:
                lane.target = targets[(targets.index(lane.target) + 1) % len(targets)]
                await asyncio.sleep(PAUSE_S)
            else:
                if self._pace is not None:
                    self._fill([lane])
                return


def _dialect(job: Job, target: Target) -> Dialect:
    return HttpDialect(str(target)) if job.protocol == "http" else RespDialect()
