"""What commands without keys see of a node, around a node in memory: no connection, no bytes.

`ask` carries out one command as a connection would: it finds the (sub)command, checks the number of words, and
calls it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from corecache.config import Config, Coordination, Limits, Resp
from corecache.identity import Timestamp, Version
from corecache.operations import NEVER, Record
from corecache.reports import ClusterReport
from corecache.serving.resp.commands.command import Arguments, Command, Refusal
from corecache.serving.resp.commands.latency import Latencies
from corecache.serving.resp.commands.slow_log import SlowLog
from corecache.serving.resp.cursors import Cursors
from corecache.serving.resp.session import Session
from serving.memory_service import MemoryService, SystemClock


class Node(MemoryService):
    """A node in memory whose cluster report a test can replace."""

    reported: ClusterReport | None = None

    def cluster(self) -> ClusterReport:
        """Returns what the test has set, else a cluster of one."""
        return self.reported or super().cluster()


class Clock(SystemClock):
    """The machine's time, unless a test has set the date."""

    date: int | None = None

    def today(self) -> Timestamp:
        """Returns the date."""
        return super().today() if self.date is None else Timestamp(self.date)


class FakeServer:
    """What sessions share."""

    def __init__(self, limits: Limits | None = None, clustered: bool = False, **resp: Any) -> None:
        self.service: Any = Node()
        self.service.slots_are_partitions = False
        self.config = Config(resp=Resp(**resp), limits=limits or Limits())
        if clustered:
            self.config = msgspec.structs.replace(self.config, coordination=Coordination(zookeeper="127.0.0.1:2181"))
        self.clock: Any = Clock()
        self.started_ms: int = self.clock.today()
        self.port = 6379
        self.connections = 0
        self.connections_total = 0
        self.commands_total = 0
        self.refused_total = 0
        self.slow_log = SlowLog(self.config.resp.slowlog_entries_max)
        self.latencies = Latencies(self.config.resp.latency_ms)
        self.cursors = Cursors(self.config.resp.cursors_max)
        self._sessions: list[Session] = []

    def sessions(self) -> list[Session]:
        """Returns all that were made."""
        return self._sessions

    def note_slow(self, session: Session, arguments: Arguments, duration_us: int) -> None:
        """Notes a command."""
        self.slow_log.note(self.clock.today(), duration_us, arguments, session.address, session.name)

    def connect(self) -> Session:
        """Returns a new session."""
        self.connections += 1
        self.connections_total += 1
        number = self.connections_total
        session = Session(self, number, f"127.0.0.1:{50_000 + number}", "127.0.0.1:6379", self.clock.today())
        self._sessions.append(session)
        return session

    def put(self, *keys: bytes, expires: int = NEVER) -> None:
        """Stores empty values."""
        for key in keys:
            self.service.records[key] = Record(b"", Version(1), Timestamp(0), Timestamp(expires))


def ask(commands: Sequence[Command], session: Session, *words: str | bytes) -> Any:
    """Returns the reply to a command, the text of an error as `"-…"`."""
    arguments = [word if isinstance(word, bytes) else word.encode() for word in words]
    name = arguments[0].lower().decode()
    command = next(each for each in commands if each.name == name)
    if command.subcommands and len(arguments) > 1:
        name = f"{name}|{arguments[1].lower().decode()}"
        command = next(each for each in command.subcommands if each.name == name)
    if not command.takes(len(arguments)):
        return f"-ERR wrong number of arguments for '{name}' command"
    try:
        if command.instant is not None:
            return command.instant(session, arguments)
        assert command.slow is not None
        return asyncio.run(_awaited(command, session, arguments))
    except Refusal as refusal:
        return f"-{refusal}"


async def _awaited(command: Command, session: Session, arguments: Arguments) -> object:
    assert command.slow is not None
    return await command.slow(session, arguments)
