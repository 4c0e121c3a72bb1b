"""What the connections of one server share: its limits, the time of the last sweep, and who is connected.

`open` are the connections that may still ask something; they count against `connections_max`. `closing` are those that
only have to take their last answer; a client that is slow at this keeps nobody else out.
"""

from asyncio import Future
from typing import TYPE_CHECKING, Any, cast

from uvicorn.server import ServerState

from corecache.config import Http
from corecache.identity import Milliseconds

if TYPE_CHECKING:
    from corecache.serving.http.connection import Connection


class SharedState(ServerState):
    """The state of one server. `now` and `date_line` are as of the last sweep, `sweep_ms` is the time between two."""

    def __init__(self, limits: Http, now: Milliseconds, sweep_ms: int) -> None:
        super().__init__()
        self.limits = limits
        self.now = now
        self.sweep_ms = sweep_ms
        self.date_line = b""
        self.draining = False
        self.refused: dict[int, int] = {}
        self.open: set[Connection] = set()
        self.closing: set[Connection] = set()
        self.all_closed: Future[None] | None = None
        # uvicorn's protocol adds each connection to the set of this name and takes it out again.
        self.connections = cast("Any", self.open)

    def retire(self, connection: "Connection") -> None:
        """Notes that a connection has only its last answer to take."""
        self.open.discard(connection)
        self.closing.add(connection)

    def forget(self, connection: "Connection") -> None:
        """Notes that a connection is gone."""
        self.open.discard(connection)
        self.closing.discard(connection)
        if self.all_closed is not None and not self.open and not self.closing and not self.all_closed.done():
            self.all_closed.set_result(None)
