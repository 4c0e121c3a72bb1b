"""What the connections of Redis's protocol share: the node, the limits, the sessions, the counts."""

import asyncio
from collections.abc import Coroutine
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from corecache.config import Config
from corecache.errors import CURABLE, NotDone
from corecache.ports import Clock, Service
from corecache.serving.resp.commands.command import Arguments
from corecache.serving.resp.commands.latency import Latencies
from corecache.serving.resp.commands.slow_log import SlowLog
from corecache.serving.resp.cursors import Cursors
from corecache.serving.resp.session import Session

if TYPE_CHECKING:
    from corecache.serving.resp.connection import Connection


class Shared:
    """One for all connections of a node. `now` is the date of the last sweep, in milliseconds since 1970."""

    def __init__(self, service: Service, config: Config, clock: Clock, sweep_ms: int) -> None:
        self.service = service
        self.config = config
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self.sweep_ms = sweep_ms
        self.now: int = clock.today()
        self.started_ms: int = self.now
        self.port = 0
        self.connections_total = 0
        self.commands_total = 0
        self.refused_total = 0
        self.open: dict[Connection, Session] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.all_closed: asyncio.Future[None] | None = None
        self.slow_log = SlowLog(config.resp.slowlog_entries_max)
        self.latencies = Latencies(config.resp.latency_ms)
        self.cursors = Cursors(config.resp.cursors_max)
        self._noted_last = 0
        slow_us = config.resp.slowlog_us
        latency_us = 1000 * config.resp.latency_ms or slow_us
        self._noted_us = min(slow_us, latency_us)

    @property
    def connections(self) -> int:
        """Returns how many connections there are."""
        return len(self.open)

    def sessions(self) -> list[Session]:
        """Returns all that are connected."""
        return list(self.open.values())

    def admit(self, connection: "Connection", cluster_aware: bool) -> Session | None:
        """Takes a connection in; None if there are too many."""
        if len(self.open) >= self.config.resp.connections_max:
            self.refused_total += 1
            return None
        self.connections_total += 1
        transport = connection.transport
        session = Session(
            self,
            self.connections_total,
            _shown(transport.get_extra_info("peername")),
            _shown(transport.get_extra_info("sockname")),
            self.now,
            cluster_aware,
        )
        self.open[connection] = session
        return session

    def forget(self, connection: "Connection") -> None:
        """Takes note that a connection is gone."""
        self.open.pop(connection, None)
        if self.all_closed is not None and not self.open and not self.all_closed.done():
            self.all_closed.set_result(None)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begins something that ends by itself, or with the server."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def note_time(self, session: Session, command: str, arguments: Arguments, begun_us: int) -> None:
        """Counts a command that has just been answered, and notes it if it took long.

        One without a name was not carried out: it is no command, or waits in a transaction.
        """
        if not command:
            return
        took_us = perf_counter_ns() // 1000 - begun_us
        self.latencies.observe(command, took_us)
        if took_us >= self._noted_us:
            self.note_slow(session, arguments, took_us)

    def note_reads(self, reads: int, commands: int, begun_us: int) -> None:
        """Counts GETs that were answered at once, among the commands of one turn: each gets its share of the time."""
        self.latencies.observe("get", (perf_counter_ns() // 1000 - begun_us) // commands, reads)

    def note_slow(self, session: Session, arguments: Arguments, duration_us: int) -> None:
        """Notes a command that took long."""
        now = self.clock.today()
        if now == self._noted_last:
            # A node that is behind with everything would be busy with telling so: one a millisecond says enough.
            return
        self._noted_last = now
        if duration_us >= self.config.resp.slowlog_us:
            self.slow_log.note(now, duration_us, arguments, session.address, session.name)
        self.latencies.note("command", now, duration_us)

    def may_cure(self, error: NotDone) -> bool:
        """Says whether another try at what was not done may end otherwise."""
        return error.code in CURABLE and bool(self.config.coordination.zookeeper)


def _shown(address: object) -> str:
    if not isinstance(address, tuple):
        return "?:0"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
