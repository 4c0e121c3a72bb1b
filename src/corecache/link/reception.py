"""Where other nodes arrive: a listening socket, the connections that it has accepted, and who they are from.

Rule 1: of each node there is one connection for messages and one for bulk. A newer one of the same kind takes the place
of the older: the node would not have dialled if that were still any good.
Rule 2: connections of a newer incarnation end those of an older one at once. The older process is dead, or believed to
be, and nothing of it may arrive after something of the newer one.
Rule 3: at most `link.connections_max` are welcomed, and few more are kept long enough to be told so.
"""

import asyncio
from contextlib import suppress

import structlog

from corecache.config import Link
from corecache.identity import Incarnation, NodeId
from corecache.link.accepted import Accepted
from corecache.link.greeting import Local, refusal_of
from corecache.link.notices import LinkCounts, Notices
from corecache.listening import Ports, listen
from corecache.ports import LinkEvents
from corecache.replication.messages import Envelope
from corecache.wire.link_codec import Hello, Post, Refusal, Welcome

log = structlog.get_logger("corecache.link")

_STRANGERS_MAX = 64


class Reception:
    """Takes connections from other nodes and hands over what they bring."""

    def __init__(self, local: Local, settings: Link, counts: LinkCounts, events: LinkEvents) -> None:
        self.counts = counts
        self._local = local
        self._settings = settings
        self._events = events
        self._server: asyncio.Server | None = None
        self._open: set[Accepted] = set()
        self._welcomed: dict[tuple[NodeId, bool], Accepted] = {}
        self._notices = Notices()
        self._all_gone: asyncio.Future[None] | None = None

    async def start(self) -> tuple[str, int]:
        """Listens; returns host and port. Raises: CallerFault `port_in_use` or `cannot_listen`."""
        link = self._settings
        ports = Ports("link", link.host, link.port, link.port_range_first, link.port_range_last)
        self._server, port = await listen(
            lambda: Accepted(self, link.connect_timeout_ms, link.frame_bytes_max), ports, link.connections_max
        )
        return link.host, port

    async def close(self, timeout_ms: int) -> None:
        """Lets everybody go, with a farewell."""
        if self._server is None:
            return
        self._server.close()
        self._all_gone = asyncio.get_running_loop().create_future()
        for connection in list(self._open):
            if connection.hello is None:
                connection.abort()
            else:
                connection.close("the node is stopping")
        if self._open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone, timeout_ms / 1000)
        for connection in list(self._open):
            connection.abort()
        await self._server.wait_closed()

    def opened(self, connection: Accepted) -> None:
        """Notes a connection, or ends it if there are far too many."""
        self._open.add(connection)
        if len(self._open) > self._settings.connections_max + _STRANGERS_MAX or self._all_gone is not None:
            connection.abort()

    def greeted(self, connection: Accepted, hello: Hello) -> Welcome | Refusal:
        """Judges a greeting; a node that is welcomed has its older connections ended."""
        kind = (hello.node, hello.bulk)
        present = [self._welcomed.get((hello.node, bulk)) for bulk in (False, True)]
        highest = max((known.incarnation for known in present if known is not None), default=Incarnation(0))
        full = len(self._welcomed) >= self._settings.connections_max and kind not in self._welcomed
        refusal = refusal_of(self._local, hello, highest, full)
        if refusal is not None:
            return refusal
        for known in present:
            if known is not None and (known.incarnation < hello.incarnation or known is self._welcomed.get(kind)):
                self._welcomed.pop((known.node, known.bulk), None)
                known.abort()
        self._welcomed[kind] = connection
        self._notices.over(hello.node)
        self.counts.connections_accepted += 1
        return Welcome(self._local.node, self._local.incarnation)

    def refuses(self, connection: Accepted, subject: str, refusal: Refusal) -> None:
        """Tells of a refusal, once as long as it goes on."""
        if self._notices.is_new(subject, refusal.code):
            log.warning("refused a connection", address=connection.address, reason=refusal.reason)

    def brings(self, connection: Accepted, post: Post) -> None:
        """Hands over what came."""
        messages, calls = post.parted()
        local = self._local
        node, incarnation = connection.node, connection.incarnation
        if messages:
            self._events.received(Envelope(node, incarnation, local.node, local.incarnation, messages))
        if calls:
            self._events.called(node, incarnation, calls)

    def ended(self, connection: Accepted) -> None:
        """Notes that a connection is gone."""
        self._open.discard(connection)
        if connection.hello is not None:
            kind = (connection.node, connection.hello.bulk)
            if self._welcomed.get(kind) is connection:
                del self._welcomed[kind]
        if self._all_gone is not None and not self._open and not self._all_gone.done():
            self._all_gone.set_result(None)
