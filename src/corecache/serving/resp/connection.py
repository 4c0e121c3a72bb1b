"""A connection of Redis's protocol: commands in, answers out, in the order of the commands.

Commands on keys become plans, and what is under way of them is in `execution.py`. A command that looks at everything,
or changes how answers look, waits until everything before it is answered.

Rule 1: nothing grows. Commands under way and answers that wait are bounded; beyond that the next command is not taken,
and then nothing more is read.
Rule 2: a connection ends a turn of the loop after so many commands, or so much time, so that the others have theirs.
Rule 3: whatever ends the connection, all commands that came whole before it are answered first.
"""

import asyncio
from time import perf_counter_ns
from typing import cast

from corecache.errors import CoreCacheError
from corecache.identity import Milliseconds
from corecache.serving.resp import transactions
from corecache.serving.resp.answers import failure_of
from corecache.serving.resp.commands.command import Arguments, Command, Refusal, echoed
from corecache.serving.resp.commands.table import TABLE, subcommand_of
from corecache.serving.resp.execution import Execution
from corecache.serving.resp.session import Session
from corecache.serving.resp.shared import Shared
from corecache.serving.resp.short_way import ShortWay
from corecache.serving.resp.slots import Answers, Slot, defect
from corecache.wire.resp import Failure, Reply, Status
from corecache.wire.resp_requests import ProtocolFault, Requests

_TURN_COMMANDS = 256
_TURN_US = 5000
_WRITE_BYTES = 64 * 1024
_ECHOED_BYTES = 128
_QUEUED = Status("QUEUED")
_IN_TRANSACTION = frozenset(("multi", "exec", "discard", "watch", "reset", "quit"))
"""What is carried out at once although a transaction is being put together."""
_ORDERED = frozenset(("debug", "hello", "reset", "wait", "waitaof"))
"""Instant commands that wait until all before them is answered: they change how answers look, or ask for those."""


class Connection(asyncio.Protocol):
    """One client's connection.

    `_held` is a command that waits until all before it is answered, `_task` a slow one that is being carried out.
    `_ended`: the client has said its last; `_drained`: no whole command is left of what it has said. `_last`: no
    command is taken any more. `_deaf`: the client has got its last answer, and only its end is awaited. `_turn_us` is
    when the present turn of taking commands began.
    """

    def __init__(self, shared: Shared, cluster_aware: bool) -> None:
        self.shared = shared
        self.session: Session | None = None
        self._unsent_since = shared.now
        self._unsent_bytes = 0
        self._cluster_aware = cluster_aware
        self._limits = shared.config.resp
        self._requests = Requests(shared.config.limits.value_bytes_max, self._limits.request_bytes_max)
        self._answers = Answers()
        self._execution = Execution(shared, self._answers, self._schedule)
        self._held: list[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn_us = 0
        self._deadline = Milliseconds(0)
        self._running = False
        self._scheduled = False
        self._paused = False
        self._full = False
        self._ended = False
        self._drained = True
        self._last = False
        self._deaf = False
        self._closed = False

    # The transport's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins, or refuses one connection too many."""
        self.transport = cast(asyncio.Transport, transport)
        self.session = self.shared.admit(self, self._cluster_aware)
        if self.session is None:
            self.transport.write(b"-ERR max number of clients reached\r\n")
            self.transport.close()
        else:
            self._short = ShortWay(self.shared, self.session, self._execution, self._answers)

    def data_received(self, data: bytes) -> None:
        """Takes what came, and carries out what is whole."""
        if self._last or self.session is None:
            return
        self.session.seen_ms = self.shared.now
        if self._is_at_rest() and (octets := self._short.answered(data)) is not None:
            self.transport.write(octets)
            return
        self._drained = False
        self._requests.feed(data)
        if not self._running:
            self._run()

    def eof_received(self) -> bool:
        """Lets the commands that came whole be answered after the client has said its last."""
        self._ended = True
        self._schedule()
        return self.session is not None and not self._deaf

    def pause_writing(self) -> None:
        """The client does not read: takes no more commands."""
        self._full = True
        self._unsent_since = self.shared.now

    def resume_writing(self) -> None:
        """The client reads again."""
        self._full = False
        self._schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the client. What is under way goes on; nobody is told."""
        self._closed = True
        self._execution.close()
        if self._task is not None:
            self._task.cancel()
        self.shared.forget(self)

    # What the server asks.

    def sweep(self, now: int) -> None:
        """Ends what has taken too long by `now`, the date in milliseconds."""
        session = self.session
        if self._closed or session is None:
            return
        idle_ms, before = self._limits.idle_timeout_ms, now - self.shared.sweep_ms
        unsent_bytes = self.transport.get_write_buffer_size()
        if unsent_bytes < self._unsent_bytes or (unsent_bytes == 0 and not self._deaf):
            self._unsent_since = now
        self._unsent_bytes = unsent_bytes
        if before - self._unsent_since > self._limits.send_timeout_ms:
            self.transport.abort()
        elif idle_ms and not self._waits() and before - session.seen_ms > idle_ms:
            self.transport.close()

    def stop(self) -> None:
        """Takes no more commands, and ends when those under way are answered."""
        self._last = self._ended = True
        self._held = None
        self._end_if_through()

    def abort(self) -> None:
        """Ends at once."""
        self.transport.abort()

    # Taking commands.

    def _run(self) -> None:
        """Carries out commands as far as they have come whole and may be begun."""
        self._running = True
        self._turn_us = perf_counter_ns() // 1000
        self._deadline = Milliseconds(self.shared.clock.now() + self._limits.request_timeout_ms)
        short = self._short
        short.reads = 0
        left, cut = _TURN_COMMANDS, False
        usual = short.is_open()
        try:
            while left and self._may_begin():
                arguments, self._held = self._held, None
                if arguments is None:
                    arguments = self._requests.next()
                    if arguments is None:
                        self._drained = True
                        break
                left -= 1
                if not (usual and short.take(arguments, self._deadline, self._turn_us)):
                    self._take(arguments)
                    usual = short.is_open()
                    if perf_counter_ns() // 1000 - self._turn_us > _TURN_US:
                        cut = True
                        break
                if len(self._answers.out) >= _WRITE_BYTES:
                    self._flush()
        except ProtocolFault as fault:
            self._last = True
            self._answer(self._slot([b""], silent=False), Failure(f"ERR {fault}"))
        finally:
            self._running = False
        if short.reads:
            self.shared.note_reads(short.reads, _TURN_COMMANDS - left, self._turn_us)
        if left == 0 or cut:
            self._schedule()
        self._read_on_or_not()
        self._flush()
        self._end_if_through()

    def _may_begin(self) -> bool:
        answers = self._answers
        if self._full or self._closed or self._last:
            return False
        if self._task is not None or self._execution.pauses or (self._held is not None and answers.waiting):
            return False
        limits = self._limits
        return len(answers.waiting) < limits.pipeline_requests_max and answers.waiting_bytes < limits.pipeline_bytes_max

    def _is_at_rest(self) -> bool:
        """Says whether nothing that came is still to be taken, answered or sent."""
        return (
            self._drained
            and not (self._answers.waiting or self._answers.out or self._running or self._full)
            and self._task is None
            and self._held is None
            and self._requests.waiting_bytes == 0
        )

    def _waits(self) -> bool:
        """Says whether something is still to be answered."""
        return bool(self._answers.waiting) or self._task is not None or self._held is not None

    def _read_on_or_not(self) -> None:
        waits = self._held is not None or self._requests.has_more
        if waits != self._paused and not (self._closed or self._deaf):
            self._paused = waits
            if waits:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _schedule(self) -> None:
        if not (self._scheduled or self._running or self._closed):
            self._scheduled = True
            self.shared.loop.call_soon(self._again)

    def _again(self) -> None:
        self._scheduled = False
        if self._drained and self._held is None and not (self._paused or self._closed):
            # Nothing is there to be taken: what was answered is to be sent.
            self._flush()
            self._end_if_through()
        elif not self._closed:
            self._run()

    def _slot(self, arguments: list[bytes], silent: bool) -> Slot:
        assert self.session is not None
        return Slot(self._execution, self.session, arguments, silent, self._turn_us)

    # The long way.

    def _take(self, arguments: list[bytes]) -> None:
        session = self.session
        assert session is not None
        self.shared.commands_total += 1
        slot = self._slot(arguments, silent=session.replies != "on")
        if session.replies == "skip":
            session.replies = "on"
        try:
            command = self._command_of(arguments)
            slot.command = command.name
            self._begin(command, slot)
        except Refusal as refusal:
            if session.queued is not None:
                session.spoiled = True
            self._answer(slot, Failure(str(refusal)))
        except CoreCacheError as error:
            self._answer(slot, failure_of(error))
        except Exception:
            self._answer(slot, defect(arguments))

    def _command_of(self, arguments: list[bytes]) -> Command:
        session = self.session
        assert session is not None
        command = TABLE.get(arguments[0].lower())
        if command is None:
            session.command = "NULL"
            raise Refusal(_unknown(arguments))
        if command.subcommands and len(arguments) > 1:
            command = subcommand_of(command, arguments)
        session.command = command.name
        if not command.takes(len(arguments)):
            wrong = f"wrong number of arguments for '{command.name}' command"
            if command.name == "exec":
                transactions.drop(session)
                raise Refusal(f"EXECABORT Transaction discarded because of: {wrong}")
            raise Refusal(f"ERR {wrong}")
        return command

    def _begin(self, command: Command, slot: Slot) -> None:
        session = self.session
        assert session is not None
        if session.queued is not None and command.name not in _IN_TRANSACTION:
            slot.command = ""  # It is counted when it is carried out.
            transactions.queue(session, command, slot.arguments)
            self._answer(slot, _QUEUED)
        elif command.plan is not None:
            plan = command.plan(slot.arguments, self.shared.config)
            if not self._execution.begin(plan, slot, session, self._deadline):
                self._hold(slot)
        elif self._answers.waiting and (command.slow is not None or command.name in _ORDERED):
            self._hold(slot)
        elif command.instant is not None:
            self._answer(slot, command.instant(session, slot.arguments))
            self._last = session.quits
        elif command.slow is not None:
            self._answers.waiting.append(slot)
            self._task = self.shared.spawn(self._carry_out(command, slot))
        else:
            raise Refusal(_unknown(slot.arguments))

    def _hold(self, slot: Slot) -> None:
        """Puts a command back until all before it is answered."""
        self._held = list(slot.arguments)
        self.shared.commands_total -= 1
        if slot.silent and slot.session.replies == "on":
            slot.session.replies = "skip"

    async def _carry_out(self, command: Command, slot: Slot) -> None:
        assert command.slow is not None
        reply: Reply
        try:
            reply = await command.slow(slot.session, slot.arguments)
        except Refusal as refusal:
            reply = Failure(str(refusal))
        except CoreCacheError as error:
            reply = failure_of(error)
        except Exception:
            reply = defect(slot.arguments)
        self._task = None
        self._execution.fill(slot, slot.encoded(reply))

    # Answers.

    def _answer(self, slot: Slot, reply: Reply) -> None:
        """Answers a command at once, behind those that came before it."""
        if slot.command == "client|reply":
            slot.silent = slot.session.replies != "on"
        self.shared.note_time(slot.session, slot.command, slot.arguments, slot.begun_us)
        self._answers.give(slot, slot.encoded(reply))

    def _flush(self) -> None:
        answers = self._answers
        if answers.out and not self._closed:
            out, answers.out = answers.out, bytearray()
            self.transport.write(out)

    def _end_if_through(self) -> None:
        if self._closed or self._deaf or self._waits() or not (self._last or (self._ended and self._drained)):
            return
        self._flush()
        if self._ended:
            self.transport.close()
            return
        # What the client still sends is thrown away: unread bytes would cost it our last answers.
        self._deaf = True
        self._unsent_since = self.shared.now
        if self._paused:
            self.transport.resume_reading()
        self.transport.write_eof()


def _unknown(arguments: Arguments) -> str:
    name = echoed(arguments[0][:_ECHOED_BYTES])
    shown = ""
    for argument in arguments[1:]:
        if len(shown) >= _ECHOED_BYTES:
            break
        shown += f"'{echoed(argument[: _ECHOED_BYTES - len(shown)])}' "
    return f"ERR unknown command '{name}', with args beginning with: {shown}"
