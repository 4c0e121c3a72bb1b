"""What happened in a run: a line an event, of which the last ones are kept, and a hash of all.

Formatting a line costs more than the event that it tells of, so a line is kept as its parts and is written out only
when a run fails or somebody watches. The hash is taken of what is cheap to have (time, node, what, which partition, and
every frame's bytes): two runs with equal hashes went the same way.
"""

import hashlib
from collections import deque
from collections.abc import Callable

from corecache.identity import PartitionId

LINES_KEPT = 200
_SUBJECT_CHARACTERS_MAX = 400


class ViolationError(Exception):
    """Something happened that the protocol says can't: the seed has failed. `kind` says which half of it is broken."""

    kind = "safety"


class LivenessError(ViolationError):
    """What should have come to pass did not, within the time that a run grants it."""

    kind = "liveness"


class HaltError(ViolationError):
    """A replica has found a contradiction, and halts."""

    kind = "halt"


class Trace:
    """The record of one run."""

    __slots__ = ("_hash", "_kept", "_show", "lines")

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        """Hands every line to `show`, if there is one."""
        self._hash = hashlib.blake2b(digest_size=8)
        self._kept: deque[tuple[int, str, str, PartitionId | None, object]] = deque(maxlen=LINES_KEPT)
        self._show = show
        self.lines = 0

    def note(self, time: int, node: str, what: str, partition: PartitionId | None, subject: object = None) -> None:
        """Adds a line. The subject is kept as it is: it must not change its meaning later."""
        self.lines += 1
        self._hash.update(f"{time}{node}{what}{partition}".encode())
        line = (time, node, what, partition, subject)
        self._kept.append(line)
        if self._show is not None:
            self._show(_written(line))

    def note_frame(self, frame: bytes) -> None:
        """Adds the bytes of a frame to the hash alone."""
        self._hash.update(frame)

    def digest(self) -> str:
        """Returns the hash of all lines so far."""
        return self._hash.hexdigest()

    def last_lines(self) -> list[str]:
        """Returns the last lines, oldest first."""
        return [_written(line) for line in self._kept]


def _written(line: tuple[int, str, str, PartitionId | None, object]) -> str:
    time, node, what, partition, subject = line
    where = "" if partition is None else f"p{partition}"
    told = "" if subject is None else repr(subject) if not isinstance(subject, str) else subject
    if len(told) > _SUBJECT_CHARACTERS_MAX:
        told = f"{told[:_SUBJECT_CHARACTERS_MAX]}…"
    return f"{time:>7} {node:<5} {what:<16} {where:<5} {told}".rstrip()
