"""A simulated disk: what was written, what of that is synced, and how long that takes.

Writes of one replica are ordered (rule 5 of `actions.py`). They wait in a queue; when no sync is under way, all that
wait are written and synced together, as the node's log rounds do it. A write that needs no sync (`ApplyWrite`,
`CutWrite`) does not wait for one, unless a write of the same replica waits before it.

Faults: it may be slow; from some moment on all writes may fail, until the process ends; a killed process leaves all
that was written, a power cut what was synced and some of the rest, always a prefix; it may be wiped, or replaced by an
old copy of itself. Who is told of a completion is the node's business.
"""

from collections.abc import Callable
from random import Random

import msgspec

from corecache.identity import PartitionId, Sequence
from corecache.replication.log import Entry
from corecache.simulator.clock import Schedule
from corecache.simulator.contents import AppendWrite, Contents, SomeWrite

WriteDone = Callable[[], None]


class Waiting(msgspec.Struct):
    """A write that is not begun yet, whether it needs a sync, and what follows it."""

    write: SomeWrite
    synced: bool
    done: WriteDone | None


class Disk:
    """One node's disk, whatever process of it writes."""

    __slots__ = (
        "_busy",
        "_dice",
        "_life",
        "_on_failure",
        "_pending",
        "_queue",
        "_schedule",
        "_truncated",
        "_unsynced_until",
        "contents",
        "durable",
        "failing",
        "latency_ms",
        "lost",
    )

    def __init__(self, schedule: Schedule, dice: Random) -> None:
        self.contents = Contents()
        """What a reader sees."""
        self.durable = Contents()
        """What a power cut leaves at least."""
        self.failing = False
        self.latency_ms = 2
        self.lost = False
        """What it held is not there any more, and no process of the node has found out yet."""
        self._schedule = schedule
        self._dice = dice
        self._pending: list[SomeWrite] = []
        self._queue: list[Waiting] = []
        self._truncated: dict[PartitionId, int] = {}
        self._busy = False
        self._life = 0
        self._unsynced_until = 0
        self._on_failure: Callable[[], None] = lambda: None

    def open(self, on_failure: Callable[[], None]) -> Contents:
        """Syncs what is there, as a start does (R3), and returns it. `on_failure` is called when a write fails."""
        self._on_failure = on_failure
        for write in self._pending:
            write.to(self.durable)
        self._pending.clear()
        self.failing = False
        return self.contents

    def write_now(self, change: Callable[[Contents], None]) -> None:
        """Changes the disk durably at once: what a start does before anything else may happen."""
        assert not self._pending
        change(self.contents)
        change(self.durable)

    def begin(self, write: SomeWrite, synced: bool, done: WriteDone | None = None) -> None:
        """Begins a write, or lets it wait for its turn; calls `done` afterwards, in another event."""
        if self.failing:
            self._schedule.after(0, self._fail, self._life)
            return
        waits = any(waiting.write.partition == write.partition for waiting in self._queue)
        if not synced and not waits:
            self._write(write)
            self._complete_unsynced(done)
            return
        self._queue.append(Waiting(write, synced, done))
        if not self._busy:
            self._begin_round()

    def append(self, partition: PartitionId, entries: list[Entry], generation: int, done: WriteDone) -> None:
        """Begins to add entries, with the truncation that waits for them."""
        self.begin(AppendWrite(partition, entries, generation, self._truncated.pop(partition, None)), True, done)

    def truncate(self, partition: PartitionId, above: Sequence) -> None:
        """Forgets the appends above a sequence that have not begun, and cuts the log with the next append."""
        lowest = min(above, self._truncated.get(partition, above))
        kept = []
        for waiting in self._queue:
            write = waiting.write
            if type(write) is AppendWrite and write.partition == partition and write.entries[-1].sequence > above:
                write.entries = [entry for entry in write.entries if entry.sequence <= above]
                if not write.entries:
                    lowest = lowest if write.truncated is None else min(lowest, write.truncated)
                    continue
            kept.append(waiting)
        self._queue = kept
        self._truncated[partition] = lowest

    def crash(self, power: bool) -> None:
        """Ends everything under way: what was written stays (`power`: what was synced, and some of the rest)."""
        self._life += 1
        self._queue.clear()
        self._truncated.clear()
        self._busy = False
        if power and self._pending:
            for write in self._pending[: int(self._dice.random() * (len(self._pending) + 1))]:
                write.to(self.durable)
            self._pending.clear()
            self.contents = self.durable.copy()

    def replace(self, contents: Contents) -> None:
        """Puts another disk in its place: an empty one, or an old copy. Requires: `crash` before."""
        self._pending.clear()
        self.lost = True
        self.contents = contents
        self.durable = contents.copy()

    def _begin_round(self) -> None:
        """Writes all that wait, and syncs them together."""
        self._busy = True
        written, self._queue = self._queue, []
        for waiting in written:
            self._write(waiting.write)
            if not waiting.synced:
                self._complete_unsynced(waiting.done)
        dones = [waiting.done for waiting in written if waiting.synced]
        delay = int(self._dice.random() * self._dice.random() * self.latency_ms * 2)
        self._schedule.after(delay, self._synced, (self._life, len(self._pending), dones))

    def _complete_unsynced(self, done: WriteDone | None) -> None:
        """Schedules the completion of a write that needs no sync, behind those before it."""
        delay = int(self._dice.random() * 2)
        self._unsynced_until = max(self._unsynced_until, self._schedule.now + delay)
        self._schedule.at(self._unsynced_until, self._written, (self._life, [done]))

    def _write(self, write: SomeWrite) -> None:
        write.to(self.contents)
        self._pending.append(write)

    def _synced(self, event: tuple[int, int, list[WriteDone | None]]) -> None:
        life, count, dones = event
        if life != self._life:
            return
        if self.failing:
            self._fail(life)
            return
        for write in self._pending[:count]:
            write.to(self.durable)
        del self._pending[:count]
        self._busy = False
        if self._queue:
            self._begin_round()
        self._written((life, dones))

    def _written(self, event: tuple[int, list[WriteDone | None]]) -> None:
        life, dones = event
        if life == self._life:
            for done in dones:
                if done is not None:
                    done()

    def _fail(self, life: int) -> None:
        if life == self._life:
            self._on_failure()
