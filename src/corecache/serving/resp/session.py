"""What one client is and has said so far, as far as commands ask for it, and what they may see of the node.

A session belongs to one connection. What the connection does with bytes is `connection.py`'s business.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from corecache.config import Config
from corecache.identity import Version
from corecache.ports import Clock, Service
from corecache.serving.resp.commands.command import Arguments, Command

if TYPE_CHECKING:
    from corecache.serving.resp.commands.latency import Latencies
    from corecache.serving.resp.commands.slow_log import SlowLog
    from corecache.serving.resp.cursors import Cursors


class Server(Protocol):
    """What all sessions of a node share."""

    service: Service
    config: Config
    clock: Clock
    started_ms: int
    """The date of the start, in milliseconds since 1970."""
    port: int
    connections_total: int
    commands_total: int
    refused_total: int
    """Connections that were refused."""
    slow_log: "SlowLog"
    latencies: "Latencies"
    cursors: "Cursors"

    @property
    def connections(self) -> int:
        """Returns how many there are now."""

    def sessions(self) -> "list[Session]":
        """Returns all that are connected."""

    def note_slow(self, session: "Session", arguments: Arguments, duration_us: int) -> None:
        """Notes a command for the slow log."""


class Session:
    """One client."""

    __slots__ = (
        "address",
        "born_ms",
        "close_asked",
        "cluster_aware",
        "command",
        "id",
        "library",
        "library_version",
        "local_address",
        "name",
        "no_evict",
        "no_touch",
        "protocol",
        "queued",
        "queued_bytes",
        "quits",
        "readonly",
        "replies",
        "seen_ms",
        "server",
        "spoiled",
        "watched",
    )

    def __init__(self, server: Server, number: int, address: str, local_address: str, now_ms: int) -> None:
        """Takes the connection's number, which no other of this process has, and its ends as `host:port`."""
        self.server = server
        self.id = number
        self.address = address
        self.local_address = local_address
        self.born_ms = now_ms
        self.seen_ms = now_ms
        self.command = "NULL"
        """The last command's name, for CLIENT LIST."""
        self.name = b""
        self.library = b""
        self.library_version = b""
        self.protocol = 2
        self.replies = "on"
        """on, off, or skip (the next answer)."""
        self.no_evict = False
        self.no_touch = False
        self.readonly = False
        self.cluster_aware = False
        self.quits = False
        self.queued: list[tuple[Command, list[bytes]]] | None = None
        self.queued_bytes = 0
        self.spoiled = False
        """Whether a command of the transaction was refused when it was queued."""
        self.watched: dict[bytes, Version | None] = {}
        self.close_asked: Callable[[], None] | None = None

    def reset(self) -> None:
        """Forgets all that was said (RESET)."""
        self.protocol = 2
        self.name = b""
        self.replies = "on"
        self.no_evict = self.no_touch = False
        self.readonly = self.cluster_aware = False
        self.queued = None
        self.spoiled = False
        self.watched.clear()
