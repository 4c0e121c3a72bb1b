"""Another node, as this one reaches it: a connection for messages that is always made again, and one for bulk at need.

The connection for messages is the one that counts. When it is lost the node is told, and a new attempt is made at once;
if that is refused, nobody listens there any more, and the node is told that too, once until it is connected again. Any
other failure tells nothing: the peer may be well, and out of reach. Attempts follow each other with pauses that double,
each shortened by up to half, by lot, so that nodes do not dial in step. A connection that did not last leaves the
pauses as they are.

The bulk connection is dialled when there is something for it, and must reach the same incarnation. If it is lost it is
lost: what it carried is asked for again, which dials anew.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import structlog

from corecache.config import Link
from corecache.identity import Milliseconds, NodeId
from corecache.link.dialled import DialFailure, Dialled, dial
from corecache.link.greeting import Local
from corecache.link.notices import LinkCounts, Notices
from corecache.link.outgoing import Outgoing
from corecache.ports import Clock, LinkEvents
from corecache.wire.link_codec import Item

log = structlog.get_logger("corecache.link")

_DOUBLINGS_MAX = 20


@dataclass(frozen=True, slots=True)
class Means:
    """What all peers of a link share."""

    local: Local
    settings: Link
    clock: Clock
    dice: Random
    events: LinkEvents
    counts: LinkCounts
    notices: Notices
    stall_ms: int


class Peer:
    """One other node. It is dialled from its making until `close`."""

    def __init__(self, node: NodeId, address: str, means: Means) -> None:
        self.node = node
        self.address = address
        self._means = means
        self._main: Outgoing[Dialled] = Outgoing(node, means.settings, means.notices)
        self._bulk: Outgoing[Dialled] = Outgoing(node, means.settings, means.notices)
        self._told_refused = False
        self._hurry = asyncio.Event()
        self._bulk_failures = 0
        self._bulk_pause_ends = Milliseconds(0)
        self._bulk_keeper: asyncio.Task[None] | None = None
        self._keeper = _task(self._keep(), f"link to {node}")

    def send(self, messages: Sequence[Item], bulk: bool) -> None:
        """Sends what there is room for; counts the rest."""
        way = self._bulk if bulk and self._bulk_is_open() else self._main
        self._means.counts.messages_dropped += way.send(messages)

    def call(self, calls: Sequence[Item]) -> bool:
        """Sends all, or nothing and returns False."""
        return self._main.add(calls)

    def move(self, address: str) -> None:
        """Dials another address from now on, if it is another."""
        if address != self.address:
            self.address = address
            self._hurry.set()
            if self._main.connection is not None:
                self._main.connection.abort("it has another address now")

    def close(self, reason: str) -> list[Dialled]:
        """Sends what was taken, and ends; returns the connections that have yet to close."""
        self._keeper.cancel()
        if self._bulk_keeper is not None:
            self._bulk_keeper.cancel()
        closing = []
        for way in (self._main, self._bulk):
            connection = way.connection
            if connection is not None:
                way.flush()
                way.drop()
                connection.close(reason)
                closing.append(connection)
        return closing

    async def _keep(self) -> None:
        """Keeps the connection for messages."""
        means, failures = self._means, 0
        while True:
            await self._pause(failures)
            address = self.address
            try:
                connection = await self._dial(address, bulk=False)
            except DialFailure as failure:
                failures += 1
                self._failed(address, failure)
                continue
            if address != self.address:
                connection.abort("it has another address now")
                continue
            began = means.clock.now()
            self._connected(address, connection)
            await connection.closed.wait()
            self._lost(connection)
            lasted = means.clock.now() - began >= means.settings.reconnect_max_ms
            failures = 0 if lasted else failures + 1

    def _connected(self, address: str, connection: Dialled) -> None:
        means = self._means
        self._told_refused = False
        means.notices.over(self.node)
        self._main.take(connection)
        log.info("connected", node=self.node, incarnation=connection.incarnation, address=address)
        # In the same breath: what the node sends before it has heard of a new incarnation must not reach that.
        self._tell(means.events.connected, connection.incarnation)

    def _tell(self, event: Callable[[NodeId, Any], None], fact: object) -> None:
        """Tells the node; its errors are the loop's business, and end no connection."""
        try:
            event(self.node, fact)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"the news of {self.node} were not taken", "exception": error}
            )

    def _lost(self, connection: Dialled) -> None:
        self._means.counts.messages_dropped += self._main.drop()
        if self._bulk.connection is not None:
            self._bulk.connection.abort("the other connection is lost")
        log.info("lost a connection", node=self.node, reason=connection.reason)
        self._tell(self._means.events.lost, False)

    def _failed(self, address: str, failure: DialFailure) -> None:
        if failure.refused and not self._told_refused:
            self._told_refused = True
            self._tell(self._means.events.lost, True)
        if self._means.notices.is_new(self.node, failure.code):
            log.warning(
                "can't connect; trying again", node=self.node, address=address, code=failure.code, reason=failure.reason
            )

    async def _pause(self, failures: int) -> None:
        """Waits before the next attempt; an address that changes cuts it short."""
        if failures:
            timer = asyncio.get_running_loop().call_later(self._pause_ms(failures) / 1000, self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                timer.cancel()
        self._hurry.clear()

    def _pause_ms(self, failures: int) -> float:
        link = self._means.settings
        doubled_ms = link.reconnect_first_ms << min(failures - 1, _DOUBLINGS_MAX)
        return min(doubled_ms, link.reconnect_max_ms) * (0.5 + self._means.dice.random() / 2)

    async def _dial(self, address: str, bulk: bool) -> Dialled:
        means = self._means
        return await dial(address, means.local, self.node, bulk, means.settings, means.stall_ms, means.counts)

    def _bulk_is_open(self) -> bool:
        """Says whether the bulk connection takes anything, having begun to dial it if it is time to."""
        bulk = self._bulk
        if bulk.takes:
            return True
        main = self._main.connection
        if main is not None and self._means.clock.now() >= self._bulk_pause_ends:
            bulk.awaited = True
            self._bulk_keeper = _task(self._keep_bulk(main), f"bulk link to {self.node}")
            return True
        return False

    async def _keep_bulk(self, main: Dialled) -> None:
        """Makes the bulk connection and keeps it as long as it lasts."""
        means = self._means
        try:
            connection = await self._dial(self.address, bulk=True)
        except DialFailure as failure:
            means.counts.messages_dropped += self._bulk.drop()
            self._bulk_failures += 1
            self._bulk_pause_ends = Milliseconds(means.clock.now() + int(self._pause_ms(self._bulk_failures)))
            log.info("can't connect for bulk", node=self.node, reason=failure.reason)
            return
        if self._main.connection is not main or connection.incarnation != main.incarnation:
            connection.abort("it does not belong to the other connection")
            means.counts.messages_dropped += self._bulk.drop()
            return
        self._bulk_failures = 0
        self._bulk.take(connection)
        await connection.closed.wait()
        means.counts.messages_dropped += self._bulk.drop()


def _task(work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
    """Begins a task whose failure, which can only be a defect, does not stay unheard."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_heard)
    return task


def _heard(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": f"{task.get_name()} failed", "exception": error})
