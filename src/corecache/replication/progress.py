"""How far each member is, as its primary knows it, and what follows from it for the commit point (R4).

The *required set* is everybody whose acknowledgement an entry needs: the members of `in_sync` in the confirmed view and
in every view that this primary has proposed and not yet seen settled, and those that join and are counted already
(R12). An entry is committed when all of them have acknowledged it, which is arithmetic. When to propose whom is
`membership.py`'s business, what to send to whom `backups.py`'s.

Invariant: an acknowledgement never goes back. A new epoch begins with none.
"""

from enum import Enum

from corecache.identity import Member, Milliseconds, Sequence
from corecache.replication.log import Position


class Stage(Enum):
    """What is being done to bring a member level."""

    STREAMING = "streaming"
    """It is sent what is appended, as it is appended."""
    READING = "reading"
    """It needs entries that only the disk has, and they are being read."""
    CATCHING_UP = "catching up"
    """It was sent such entries; the next ones are read when it has acknowledged them."""
    OFFERED = "offered"
    """It needs a snapshot, and was offered one."""
    INSTALLING = "installing"
    """It takes a snapshot, chunk by chunk."""


class Progress:
    """One other member. `sent` is the highest sequence sent to it, `acknowledged` the highest that its disk has.

    `told_commit` is the highest commit point sent to it, `commit` its own, as it last said: what was told may be lost.
    `edge` is the position from which it catches up, `pending` that of the last entry that it was sent from the disk.
    `counted_since`: since when its acknowledgement is needed though no view names it, None if it is not (R12).
    `waiting_since`: since when something sent is not acknowledged. `heard_at`: when a lease from it last covered this
    partition, or it acknowledged anything; `said_at`: when something was last sent or heard in earnest. `version`: of
    the view that it acts on. `lost`: why it must be dropped.
    """

    __slots__ = (
        "acknowledged",
        "commit",
        "counted_since",
        "edge",
        "heard_at",
        "lost",
        "member",
        "pending",
        "said_at",
        "sent",
        "stage",
        "told_commit",
        "transfer",
        "version",
        "waiting_since",
    )

    def __init__(self, member: Member, edge: Position, now: Milliseconds) -> None:
        """Begins with a member that has acknowledged nothing, and is sent what follows `edge`."""
        self.member = member
        self.acknowledged = Sequence(0)
        self.edge = edge
        self.pending = edge
        self.sent: Sequence = edge.sequence
        self.stage = Stage.STREAMING
        self.told_commit = Sequence(0)
        self.commit = Sequence(0)
        self.version = -1
        self.counted_since: Milliseconds | None = None
        self.waiting_since: Milliseconds | None = None
        self.heard_at = now
        self.said_at = now
        self.lost: str | None = None
        self.transfer = 0

    def acknowledge(self, upto: Sequence, now: Milliseconds) -> bool:
        """Notes that the member's disk holds the log up to a sequence. Returns whether that is news."""
        if upto <= self.acknowledged:
            return False
        self.acknowledged = upto
        self.waiting_since = None if upto >= self.sent else now
        return True
