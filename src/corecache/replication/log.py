"""A partition's log, as its replica knows it: where it ends, how far it is committed, what is not yet applied.

The log itself is on the disk. In memory is only the window of entries above `applied`, which commit needs to hand to
the store, and five numbers.

Invariants:

1. `applied` <= `commit` <= `durable` <= `last`. (With backups `commit` may pass this disk's `durable`.)
2. The window holds exactly the entries `applied` + 1 to `last`, in order, without holes.
3. None of the numbers ever goes back while the process lives.
"""

from collections import deque
from itertools import islice

import msgspec

from corecache.identity import Epoch, Sequence
from corecache.operations import Resolved


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A step of a partition's history: what the primary of `epoch` decided. A barrier has no operations."""

    epoch: Epoch
    sequence: Sequence
    operations: tuple[Resolved, ...]


class Log:
    """The window of a log that starts at an applied entry. See the module's invariants."""

    __slots__ = ("applied", "commit", "durable", "epoch", "last", "window")

    def __init__(self, applied: Sequence, epoch: Epoch) -> None:
        """Takes the sequence and the epoch of the last applied entry; 0 and 0 if there is none."""
        self.applied = applied
        self.commit = applied
        self.durable = applied
        self.last = applied
        self.epoch = epoch
        self.window: deque[Entry] = deque()

    def append(self, entry: Entry) -> None:
        """Adds the next entry. Requires: its sequence follows `last`, and its epoch is not below the last one's."""
        assert entry.sequence == self.last + 1, f"entry {entry.sequence} does not follow {self.last}"
        assert entry.epoch >= self.epoch, f"entry {entry.sequence} is of epoch {entry.epoch}, below {self.epoch}"
        self.window.append(entry)
        self.last = entry.sequence
        self.epoch = entry.epoch

    def between(self, above: Sequence, upto: Sequence) -> list[Entry]:
        """Returns the entries above + 1 to upto. Requires: applied <= above <= upto <= last."""
        assert self.applied <= above <= upto <= self.last
        first = above - self.applied
        return list(islice(self.window, first, first + upto - above))

    def note_applied(self, upto: Sequence) -> None:
        """Drops the entries up to a sequence from the window. Requires: applied <= upto <= commit."""
        assert self.applied <= upto <= self.commit
        for _ in range(upto - self.applied):
            self.window.popleft()
        self.applied = upto
