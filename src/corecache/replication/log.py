"""A partition's log, as its replica knows it: where it ends, how far it is committed, what is not yet applied.

The log itself is on the disk. In memory is only the window of entries above `applied`, which commit needs to hand to
the store and a primary to its backups, and a few numbers.

Invariants:

1. `applied` <= `commit` <= `last`, and `cut` <= `applied`. `durable` <= `last` is how far this disk has it: what a
   backup may apply is committed elsewhere, and may run ahead of its own disk, because the disk keeps the order.
2. The window holds exactly the entries `applied` + 1 to `last`, in order, without holes.
3. `applied` and `commit` never go back while the process lives, except by an installed snapshot, which begins anew
   further on; `last` only by a truncation above `commit` (R1).
"""

from collections import deque
from collections.abc import Iterable
from itertools import islice

import msgspec

from corecache.identity import Epoch, Milliseconds, Sequence, Version
from corecache.operations import Resolved

_MARKS = 4


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A step of a partition's history: what the primary of `epoch` decided. A barrier has no operations."""

    epoch: Epoch
    sequence: Sequence
    operations: tuple[Resolved, ...]


class Position(msgspec.Struct, frozen=True, array_like=True):
    """An entry, named by its epoch and its sequence: equal names mean equal entries and equal logs before them (R1)."""

    epoch: Epoch
    sequence: Sequence


class Log:
    """The window of a log that starts at an applied entry. See the module's invariants.

    `generation` counts the truncations: what the disk reports of an older one speaks of entries that are no more.
    `version` is the highest version among the applied records, `epoch` that of the last entry.
    """

    __slots__ = (
        "_applied_epoch",
        "applied",
        "commit",
        "cut",
        "durable",
        "epoch",
        "generation",
        "last",
        "version",
        "window",
    )

    def __init__(self, applied: Sequence, epoch: Epoch, version: Version, cut: Sequence) -> None:
        """Takes the last applied entry's sequence and epoch, 0 if there is none, its version, and what is cut."""
        self.generation = 0
        self.reset(applied, epoch, version, cut)

    def reset(self, applied: Sequence, epoch: Epoch, version: Version, cut: Sequence) -> None:
        """Begins anew at an applied entry, with an empty window: a snapshot was installed, or all was dropped."""
        self.applied = applied
        self.commit = applied
        self.durable = applied
        self.last = applied
        self.epoch = epoch
        self.version = version
        self.cut = cut
        self.window: deque[Entry] = deque()
        self._applied_epoch = epoch
        self.generation += 1

    @property
    def end(self) -> Position:
        """Returns the last entry's position."""
        return Position(self.epoch, self.last)

    @property
    def committed(self) -> Position:
        """Returns the commit point's position."""
        position = self.position(self.commit)
        assert position is not None
        return position

    def position(self, sequence: Sequence) -> Position | None:
        """Returns an entry's position; None if it is not in memory: below `applied`, or above `last`."""
        if sequence == self.applied:
            return Position(self._applied_epoch, sequence)
        if sequence == self.last:
            return Position(self.epoch, sequence)
        if self.applied < sequence < self.last:
            return Position(self.window[sequence - self.applied - 1].epoch, sequence)
        return None

    def append(self, entry: Entry) -> None:
        """Adds the next entry. Requires: its sequence follows `last`, and its epoch is not below the last one's."""
        assert entry.sequence == self.last + 1, f"entry {entry.sequence} does not follow {self.last}"
        assert entry.epoch >= self.epoch, f"entry {entry.sequence} is of epoch {entry.epoch}, below {self.epoch}"
        self.window.append(entry)
        self.last = entry.sequence
        self.epoch = entry.epoch

    def truncate(self, above: Sequence) -> None:
        """Drops the entries above a sequence. Requires: nothing committed is among them."""
        assert self.commit <= above <= self.last, f"cutting above {above}, where {self.commit} is committed"
        position = self.position(above)
        assert position is not None
        for _ in range(self.last - above):
            self.window.pop()
        self.last = above
        self.epoch = position.epoch
        self.durable = min(self.durable, above)
        self.generation += 1

    def between(self, above: Sequence, upto: Sequence) -> list[Entry]:
        """Returns the entries above + 1 to upto. Requires: applied <= above <= upto <= last."""
        assert self.applied <= above <= upto <= self.last
        first = above - self.applied
        return list(islice(self.window, first, first + upto - above))

    def note_applied(self, upto: Sequence) -> list[Entry]:
        """Drops the entries up to a sequence from the window and returns them. Requires: applied <= upto <= commit."""
        assert self.applied <= upto <= self.commit
        entries = [self.window.popleft() for _ in range(upto - self.applied)]
        if entries:
            self.applied = upto
            self._applied_epoch = entries[-1].epoch
            self.version = max(self.version, highest_version(entries))
        return entries


class Retention:
    """Decides how much of the applied log the disk keeps, so that a replica that was away can catch up from it (R15).

    What was applied is gathered into marks of a part of the limit; when a mark is beyond the limit, in bytes or in age,
    all up to its end may go. So a cut is rare, and as large as a mark.
    """

    __slots__ = ("_age_ms_max", "_bytes", "_bytes_max", "_marks", "_open_bytes", "hold")

    def __init__(self, bytes_max: int, age_ms_max: int, applied: Sequence) -> None:
        """Takes the limits (0 bytes keep nothing), and up to where the log was applied at the start.

        How much that is, nobody has counted: it is taken for half of what may be kept.
        """
        self._bytes_max = bytes_max
        self._age_ms_max = age_ms_max
        self._bytes = bytes_max // 2
        self._marks: deque[tuple[Sequence, int, Milliseconds]] = deque([(applied, self._bytes, Milliseconds(0))])
        self._open_bytes = 0
        self.hold: Sequence | None = None
        """What a transfer under way will need: nothing above it goes."""

    def cut(self, upto: Sequence, size_bytes: int, now: Milliseconds, share: int) -> Sequence | None:
        """Notes that entries of a size were applied; returns up to where the log may go now, None for not yet.

        `share`: the limit is divided by it.
        """
        limit = self._bytes_max // share
        self._open_bytes += size_bytes
        if self._open_bytes * _MARKS < limit:
            return None
        self._marks.append((upto, self._open_bytes, now))
        self._bytes += self._open_bytes
        self._open_bytes = 0
        cut: Sequence | None = None
        while self._marks and (self._bytes > limit or now - self._marks[0][2] > self._age_ms_max):
            if self.hold is not None and self._marks[0][0] > self.hold:
                break
            cut, gone, _ = self._marks.popleft()
            self._bytes -= gone
        return cut


def highest_version(entries: list[Entry]) -> Version:
    """Returns the highest version that the entries give, 0 if they give none. Within an entry versions grow."""
    highest = Version(0)
    for entry in entries:
        for operation in reversed(entry.operations):
            if operation.record is not None:
                highest = max(highest, operation.record.version)
                break
    return highest


def size_of(entries: Iterable[Entry]) -> int:
    """Returns the bytes of the entries' keys and values, and a little for each."""
    size_bytes = 0
    for entry in entries:
        for operation in entry.operations:
            record = operation.record
            size_bytes += len(operation.key) + (32 if record is None else 32 + len(record.value))
    return size_bytes
