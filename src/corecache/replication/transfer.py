"""Giving a snapshot away: the primary's side of R12 for a replica that the log does not reach back to.

    Offer ──► Accepted (under a new replica id) ──► Chunk 0 ──► Installed 0 ──► Chunk 1 … last ──► the log from there

One chunk is under way at a time, so memory is bounded by one; its size and the node's rate are settings. The records
are as of one applied sequence, and what was appended since is kept in the log while the transfer lasts.

Rules:

1. A snapshot is never offered to a member of the required set: it would drop what it has acknowledged.
2. Chunks go to the new replica id alone. Whoever is interrupted begins anew, with another transfer and another id.
3. Nothing is asked of the disk before the last chunk is acknowledged; what is lost on the way is sent again.
"""

from corecache.identity import Member, Milliseconds
from corecache.replication.actions import Action, EndSnapshot, ReadSnapshot
from corecache.replication.events import SnapshotRead
from corecache.replication.log import Position
from corecache.replication.messages import Accepted, Chunk, Installed, Offer
from corecache.replication.progress import Progress, Stage
from corecache.replication.recovered import AppliedPoint
from corecache.replication.state import State


class Throttle:
    """What a node may send to all that catch up, together: so many bytes a second, at most a second's worth at once."""

    __slots__ = ("_at", "_bytes", "_bytes_per_second")

    def __init__(self, bytes_per_second: int) -> None:
        """Begins with a second's worth."""
        self._bytes_per_second = bytes_per_second
        self._bytes = bytes_per_second
        self._at = Milliseconds(0)

    def allows(self, now: Milliseconds) -> bool:
        """Says whether something may be sent now."""
        earned = (now - self._at) * self._bytes_per_second // 1000
        self._bytes = min(self._bytes_per_second, self._bytes + max(0, earned))
        self._at = now
        return self._bytes > 0

    def take(self, size_bytes: int) -> None:
        """Counts what is sent."""
        self._bytes -= size_bytes


class Transfer:
    """One snapshot on its way to one replica."""

    __slots__ = (
        "_asked",
        "_chunk",
        "_next",
        "_opened",
        "_sent_at",
        "_state",
        "_throttle",
        "number",
        "point",
        "progress",
    )

    def __init__(self, state: State, throttle: Throttle, number: int, progress: Progress, now: Milliseconds) -> None:
        """Takes the member's progress; `number` is unique among the transfers of this process."""
        self.number = number
        self.progress = progress
        log = state.log
        applied = log.position(log.applied)
        assert applied is not None
        self.point = AppliedPoint(applied.sequence, applied.epoch, log.version)
        self._state = state
        self._throttle = throttle
        self._next = 0
        self._asked = False
        self._opened = False
        self._chunk: SnapshotRead | None = None
        self._sent_at = now

    def offer(self, now: Milliseconds) -> list[Action]:
        """Offers the snapshot, or offers it again."""
        self._sent_at = now
        return self._state.send(Offer, self.progress.member, self.number, self.point)

    def on_accepted(self, message: Accepted, sender: Member, now: Milliseconds) -> list[Action]:
        """Begins: from now on the receiver is another replica (rule 2)."""
        progress = self.progress
        if progress.stage is Stage.OFFERED:
            progress.member = sender
            progress.stage = Stage.INSTALLING
        if progress.member != sender:
            return []
        progress.said_at = now
        return self._read(now)

    def on_read(self, event: SnapshotRead, now: Milliseconds) -> list[Action]:
        """Sends the chunk that was read."""
        self._asked = False
        self._chunk = event
        self.point = event.point
        self._throttle.take(sum([len(key) + len(record.value) + 64 for key, record in event.records]))
        return self._send(now)

    def on_installed(self, message: Installed, now: Milliseconds) -> list[Action]:
        """Goes on with the next chunk, or ends: then `progress` streams from the snapshot's edge."""
        chunk = self._chunk
        if chunk is None or message.number != chunk.number:
            return []
        self.progress.said_at = now
        self._chunk = None
        if not chunk.last:
            self._next = chunk.number + 1
            return self._read(now)
        self.progress.edge = Position(chunk.point.epoch, chunk.point.sequence)
        self.progress.sent = chunk.point.sequence
        self.progress.acknowledged = chunk.point.sequence
        self.progress.stage = Stage.STREAMING
        return self.end()

    def on_tick(self, now: Milliseconds) -> list[Action]:
        """Reads on when the rate allows it; sends again what was not answered."""
        if self.progress.stage is Stage.INSTALLING and self._chunk is None:
            return self._read(now)
        if now - self._sent_at < self._state.settings.resend_ms:
            return []
        return self._send(now) if self._chunk is not None else self.offer(now)

    def end(self) -> list[Action]:
        """Lets go of the disk's view."""
        return [EndSnapshot(self.number)] if self._opened else []

    def _read(self, now: Milliseconds) -> list[Action]:
        if self._asked or self._chunk is not None or not self._throttle.allows(now):
            return []
        self._asked = self._opened = True
        return [ReadSnapshot(self.number, self._next, self._state.settings.transfer_chunk_bytes)]

    def _send(self, now: Milliseconds) -> list[Action]:
        chunk = self._chunk
        assert chunk is not None
        self._sent_at = now
        return self._state.send(
            Chunk,
            self.progress.member,
            self.number,
            chunk.number,
            chunk.point,
            chunk.records,
            chunk.last,
            bulk=True,
        )
