"""One question on a connection, one outcome: what the campaign's clients for both protocols share.

Rule 1: one attempt, never a second. Nothing is repeated behind the history's back.
Rule 2: a connection on which a call was lost, late or answered with what makes no sense is cut off at once, so that no
answer can ever be taken for that of another call.
Rule 3: a failure before the first byte was sent is *not done*; after that, a write's outcome is *unknown*, and a read
is *not done*, since it changes nothing.

What a protocol's bytes look like, and what its answers mean, is left to `http_client` and `resp_client`. An answer that
the documentation does not allow is never made to fit: its outcome is *unknown* and its detail begins with `protocol:`.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import msgspec

from corecache.chaos.history import Outcome
from corecache.chaos.workload import Operation, head_of

ASTONISHING = "protocol: "
"""How the detail of an outcome begins that the documentation does not allow."""

_SHOWN_BYTES = 120
_DIGITS_MAX = 18


class Fate(msgspec.Struct, frozen=True):
    """What became of a call, in the words of `history.Call`."""

    outcome: Outcome
    value: str | None = None
    version: int | None = None
    detail: str = ""


class Malformed(Exception):
    """What came is not the protocol, or was not asked for."""


Reply = TypeVar("Reply")


class Connection(asyncio.Protocol, Generic[Reply]):
    """A connection to a node, on which one question at a time is asked.

    `astonished` is told of what comes although nothing was asked. `ended`: the connection can't be used any more.
    """

    def __init__(self, astonished: Callable[[str], None]) -> None:
        self.ended = False
        self._astonished = astonished
        self._waiting: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None

    @abstractmethod
    def take(self, octets: bytes) -> list[Reply]:
        """Takes the next bytes from the node and returns the answers that they complete. Raises: Malformed."""

    async def ask(self, question: bytes, ends_at: float) -> Reply:
        """Sends a question and returns its answer.

        Raises: OSError if the connection ends before it; TimeoutError if it is not there at `ends_at` (of the loop's
        clock); Malformed. After any of these the connection is cut off.
        """
        if self._transport is None or self.ended:
            raise ConnectionResetError("the connection has ended")
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(question)
            async with asyncio.timeout_at(ends_at):
                return await self._waiting
        except BaseException:
            self.cut()
            raise
        finally:
            self._waiting = None

    def cut(self) -> None:
        """Ends the connection at once."""
        self.ended = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Is called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, octets: bytes) -> None:
        """Is called by the loop."""
        if self.ended:
            return
        if self._waiting is None:
            self._astonished(f"{ASTONISHING}came unasked: {shown(octets)}")
            self.cut()
            return
        try:
            replies = self.take(octets)
            if len(replies) > 1:
                raise Malformed(f"{len(replies)} answers to one question: {shown(octets)}")
        except Malformed as error:
            self._end(error)
        else:
            if replies and not self._waiting.done():
                self._waiting.set_result(replies[0])

    def connection_lost(self, exc: Exception | None) -> None:
        """Is called by the loop."""
        self._end(exc if isinstance(exc, OSError) else ConnectionResetError("the connection was closed"))

    def _end(self, error: Exception) -> None:
        self.ended = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


async def fate_of(
    connection: Connection[Any],
    operation: Operation,
    question: bytes,
    read: Callable[[Operation, Any], Fate],
    ends_at: float,
) -> Fate:
    """Asks, and returns what became of it, whatever happens; `read` understands the answer."""
    try:
        fate = read(operation, await connection.ask(question, ends_at))
    except TimeoutError:
        return lost(operation, "timed out")
    except OSError as error:
        return lost(operation, f"connection lost: {type(error).__name__}")
    except Malformed as error:
        return astonishing(str(error))
    if fate.detail.startswith(ASTONISHING):
        connection.cut()
    return fate


def lost(operation: Operation, why: str) -> Fate:
    """Returns what became of a call that was sent and had no answer (rule 3)."""
    return Fate("not_done" if operation.kind == "get" else "unknown", detail=why)


def astonishing(what: str) -> Fate:
    """Returns the outcome of a call whose answer the documentation does not allow."""
    return Fate("unknown", detail=ASTONISHING + what)


def found(operation: Operation, octets: bytes, version: int | None) -> Fate:
    """Returns what a read found, if it is a value that somebody may have written there."""
    if operation.family == "counter":
        value = octets.decode() if octets.isdigit() and len(octets) <= _DIGITS_MAX else None
    else:
        value = head_of(octets)
    if value is None:
        return astonishing(f"a value of {len(octets):,} bytes that nobody wrote: {shown(octets)}")
    return Fate("done", value, version)


def shown(octets: bytes) -> str:
    """Returns the beginning of bytes, for a person."""
    return repr(octets[:_SHOWN_BYTES]) + (" …" if len(octets) > _SHOWN_BYTES else "")
