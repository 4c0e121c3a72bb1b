"""What a link has done, counted, and what it tells its operator, once.

A node that can't be reached is tried again for ever; saying so at each attempt would bury what matters. So a trouble
with a node is told when it begins or changes its kind, and once more after it was over.
"""

_KNOWN_MAX = 4096


class Notices:
    """Remembers which troubles have been told."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def is_new(self, subject: str, kind: str) -> bool:
        """Says whether this is worth telling: the last trouble with `subject` was of another kind, or is over."""
        if self._told.get(subject) == kind:
            return False
        if len(self._told) >= _KNOWN_MAX:
            # Only somebody who makes names up gets here: telling some things twice is better than keeping them all.
            self._told.clear()
        self._told[subject] = kind
        return True

    def over(self, subject: str) -> None:
        """Forgets the trouble with `subject`."""
        self._told.pop(subject, None)


class LinkCounts:
    """Counts since the start, for the metrics."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "calls_refused",
        "connections_accepted",
        "connections_dialled",
        "frames_received",
        "frames_sent",
        "messages_dropped",
    )

    def __init__(self) -> None:
        self.frames_sent = 0
        self.bytes_sent = 0
        self.frames_received = 0
        self.bytes_received = 0
        self.messages_dropped = 0
        """For want of a connection or of room."""
        self.calls_refused = 0
        """Of `call`: nothing was sent, for the same reasons."""
        self.connections_dialled = 0
        """That were welcomed."""
        self.connections_accepted = 0
        """That this node has welcomed."""
