"""What one connection has yet to send: everything of one turn of the loop becomes one frame and one write.

Rule 1: calls that are given together are taken together or not at all; of messages, what there is room for.
Rule 2: what waits, in this process, is bounded by `link.queued_bytes_max`. Beyond it nothing is taken.
Rule 3: no frame is longer than `link.frame_bytes_max`: what does not fit into the present one begins another.
Rule 4: each message becomes bytes when it is given, once, so that the limits are exact.

Without a connection nothing is taken, except while one is `awaited`: a bulk connection is made when there is something
for it to carry.
"""

import asyncio
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import structlog

from corecache.config import Link
from corecache.identity import NodeId
from corecache.link.notices import Notices
from corecache.wire.link_codec import Item, OpenFrame

log = structlog.get_logger("corecache.link")


class Carrier(Protocol):
    """What frames are handed to. `open` is False for ever once it has ended."""

    open: bool

    @property
    def waiting_bytes(self) -> int:
        """Returns how much of what was written has not left this process."""

    def write(self, frame: bytes | bytearray) -> None:
        """Sends a frame."""


Connection = TypeVar("Connection", bound=Carrier)


class Outgoing(Generic[Connection]):
    """The frames for one connection, which comes and goes."""

    __slots__ = (
        "_flushing",
        "_frame",
        "_frame_bytes_max",
        "_loop",
        "_node",
        "_notices",
        "_queued_bytes_max",
        "_sealed",
        "_sealed_bytes",
        "_sealed_count",
        "awaited",
        "connection",
    )

    def __init__(self, node: NodeId, settings: Link, notices: Notices) -> None:
        self.connection: Connection | None = None
        self.awaited = False
        self._node = node
        self._notices = notices
        self._loop = asyncio.get_running_loop()
        self._queued_bytes_max = settings.queued_bytes_max
        self._frame_bytes_max = settings.frame_bytes_max
        self._frame = OpenFrame()
        self._sealed: list[bytearray] = []
        self._sealed_bytes = 0
        self._sealed_count = 0
        self._flushing = False

    @property
    def takes(self) -> bool:
        """Says whether anything can be taken at all."""
        return self.connection is not None or self.awaited

    def take(self, connection: Connection) -> None:
        """Sends over this connection from now on."""
        self.connection = connection
        self.awaited = False
        self.flush()

    def drop(self) -> int:
        """Forgets the connection and what was not handed to it; returns how many messages that were."""
        count = self._sealed_count + self._frame.count
        self.connection = None
        self.awaited = False
        self._frame = OpenFrame()
        self._sealed = []
        self._sealed_bytes = self._sealed_count = 0
        return count

    def send(self, messages: Sequence[Item]) -> int:
        """Takes what there is room for, one by one if not together; returns how many were dropped."""
        if self.add(messages):
            return 0
        if len(messages) == 1 or not self.takes:
            return len(messages)
        return sum(not self.add((message,)) for message in messages)

    def add(self, items: Sequence[Item]) -> bool:
        """Takes items for the frame of this turn, all or none; says whether it did."""
        connection = self.connection
        if connection is not None and connection.open:
            room_bytes = self._queued_bytes_max - self._sealed_bytes - connection.waiting_bytes
        elif self.awaited:
            room_bytes = self._queued_bytes_max - self._sealed_bytes
        else:
            return False
        frame = self._frame
        if frame.size_bytes > room_bytes:
            return False
        mark = frame.add(items)
        if frame.size_bytes > room_bytes:
            frame.take_back(mark)
            return False
        if frame.payload_bytes > self._frame_bytes_max and not self._begin_another(mark, len(items)):
            return False
        if not self._flushing and connection is not None:
            self._flushing = True
            self._loop.call_soon(self.flush)
        return True

    def _begin_another(self, mark: tuple[int, int], items: int) -> bool:
        """Moves what was added last into a frame of its own; says whether it fits there."""
        full, self._frame = self._frame, self._frame.split(mark)
        if self._frame.payload_bytes > self._frame_bytes_max:
            if items == 1 and self._notices.is_new(f"{self._node} too long", ""):
                log.warning(
                    "dropped a message that is too long for a frame: raise link.frame_bytes_max, on all nodes",
                    node=self._node,
                    message_bytes=self._frame.payload_bytes,
                    frame_bytes_max=self._frame_bytes_max,
                )
            self._frame = full
            return False
        if full.count:
            self._seal(full)
        return True

    def _seal(self, frame: OpenFrame) -> None:
        self._sealed_count += frame.count
        octets = frame.sealed()
        self._sealed.append(octets)
        self._sealed_bytes += len(octets)

    def flush(self) -> None:
        """Hands all that was taken to the connection."""
        self._flushing = False
        connection = self.connection
        if connection is None:
            return
        if self._sealed:
            for octets in self._sealed:
                connection.write(octets)
            self._sealed = []
            self._sealed_bytes = self._sealed_count = 0
        if self._frame.count:
            frame, self._frame = self._frame, OpenFrame()
            connection.write(frame.sealed())
