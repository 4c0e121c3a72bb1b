"""What one client is and has said so far, as far as commands ask for it, and what they may see of the node.

A session belongs to one connection. What the connection does with bytes is `connection.py`'s business.
"""

from typing import TYPE_CHECKING, Protocol

from corecache.config import Config
from corecache.identity import Version
from corecache.ports import Clock, Service
from corecache.serving.resp.commands.command import Command

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


class Session:
    """One client."""

    __slots__ = (
        "_by_map",
        "address",
        "born_ms",
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

    def __init__(
        self, server: Server, number: int, address: str, local_address: str, now_ms: int, by_map: bool = False
    ) -> None:
        """Takes the connection's number, which no other of this process has, and its ends as `host:port`.

        `by_map`: it came to the port that the map names, so that its client is a cluster client, whatever it says.
        """
        self._by_map = by_map
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
        self.cluster_aware = by_map
        self.quits = False
        self.queued: list[tuple[Command, list[bytes]]] | None = None
        self.queued_bytes = 0
        self.spoiled = False
        """Whether a command of the transaction was refused when it was queued."""
        self.watched: dict[bytes, Version | None] = {}

    def reset(self) -> None:
        """Forgets all that was said (RESET)."""
        self.protocol = 2
        self.name = b""
        self.replies = "on"
        self.no_evict = self.no_touch = False
        self.readonly = False
        self.cluster_aware = self._by_map
        self.queued = None
        self.spoiled = False
        self.watched.clear()
