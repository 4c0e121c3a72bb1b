"""The answers of one connection, in the order of its commands: each command has a slot, filled whenever it is answered.

A slot is also where a plan's outcome goes (`ports.Reply`): it makes the answer of it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from corecache.errors import CoreCacheError
from corecache.identity import Milliseconds
from corecache.operations import Found, Operation, Result, Updated
from corecache.serving.resp.commands.command import Arguments, Refusal
from corecache.serving.resp.session import Session
from corecache.wire.resp import Failure, Reply, Status, encode

log = structlog.get_logger("corecache.resp")

OK = Status("OK")
TOO_LONG = Failure("ERR the answer would be longer than resp.pipeline_bytes_max allows; ask for less at once")
_OK_OCTETS = encode(OK, 2)


class Executor(Protocol):
    """Who is told what became of a plan."""

    def carried_out(self, slot: "Slot", octets: bytes) -> None:
        """Takes a plan's answer."""

    def failed(self, slot: "Slot", error: CoreCacheError) -> None:
        """Takes that there is no result."""


class Slot:
    """The place of one command's answer. `begun_us` is when its turn came, `octets` the answer, once it is there."""

    __slots__ = (
        "answer",
        "arguments",
        "begun_us",
        "command",
        "deadline",
        "executor",
        "keys",
        "number",
        "octets",
        "operations",
        "session",
        "silent",
    )

    def __init__(self, executor: Executor, session: Session, arguments: Arguments, silent: bool, begun_us: int) -> None:
        self.executor = executor
        self.session = session
        self.arguments = arguments
        self.silent = silent
        self.begun_us = begun_us
        self.command = ""
        self.octets: bytes | None = None
        self.operations: Sequence[Operation] = ()
        self.answer: Callable[[Sequence[Result]], Reply] | None = None
        """What results mean; None: that all is well."""
        self.deadline = Milliseconds(0)
        self.number = 0
        """Of this command among those of its connection that were handed to primaries."""
        self.keys: Sequence[bytes] = ()

    def done(self) -> bool:
        """Says whether nobody waits for the outcome any more."""
        return self.octets is not None

    def set_result(self, results: Sequence[Result], /) -> None:
        """Answers with a plan's results."""
        plain = self.answer is None and not self.silent
        self.executor.carried_out(self, _OK_OCTETS if plain else self.encoded(self.answered(results)))

    def set_exception(self, exception: CoreCacheError, /) -> None:
        """Answers with an error, or sees to another try."""
        self.executor.failed(self, exception)

    def answered(self, results: Sequence[Result]) -> Reply:
        """Returns what a plan's results mean. Raises nothing: who tells them is not to suffer for a defect here."""
        if self.answer is None:
            return OK
        try:
            if len(results) > 1 and values_bytes(results) > self.session.server.config.resp.pipeline_bytes_max:
                return TOO_LONG
            return self.answer(results)
        except Refusal as refusal:
            return Failure(str(refusal))
        except Exception:
            return defect(self.arguments)

    def encoded(self, reply: Reply) -> bytes:
        """Returns an answer's bytes, none if the client wants none."""
        return b"" if self.silent else encode(reply, self.session.protocol)


class Answers:
    """The slots of a connection that wait, oldest first, and what can be sent: `out`.

    `waiting_bytes` counts the answers that are there and wait for one before them.
    """

    def __init__(self) -> None:
        self.waiting: deque[Slot] = deque()
        self.waiting_bytes = 0
        self.out = bytearray()

    def give(self, slot: Slot, octets: bytes) -> None:
        """Takes a command that is answered at once."""
        if self.waiting:
            slot.octets = octets
            slot.arguments = slot.operations = ()
            self.waiting.append(slot)
            self.waiting_bytes += len(octets)
        else:
            self.out += octets

    def fill(self, slot: Slot, octets: bytes) -> None:
        """Takes the answer of a slot that waits, which is all that is kept of it."""
        slot.octets = octets
        slot.arguments = slot.operations = ()
        waiting = self.waiting
        if waiting[0] is not slot:
            self.waiting_bytes += len(octets)
            return
        waiting.popleft()
        self.out += octets
        while waiting and (ready := waiting[0].octets) is not None:
            waiting.popleft()
            self.out += ready
            self.waiting_bytes -= len(ready)

    def drop(self) -> None:
        """Forgets all: nobody is there to read it."""
        for slot in self.waiting:
            slot.octets = slot.octets or b""
        self.waiting.clear()
        self.out.clear()


def values_bytes(results: Sequence[Result]) -> int:
    """Returns the bytes of the values that results tell."""
    size_bytes = 0
    for result in results:
        if isinstance(result, Found):
            size_bytes += len(result.record.value)
        elif isinstance(result, Updated) and result.value is not None:
            size_bytes += len(result.value)
    return size_bytes


def defect(arguments: Arguments) -> Failure:
    """Returns the answer to a command that has met a defect of ours, and logs the exception that is being handled.

    Nobody knows how far the command had come.
    """
    log.exception("a command failed", command=arguments[0][:64].decode("utf-8", "replace"))
    return Failure("UNKNOWN internal error: see the node's log")
