"""The campaign's client for Redis's protocol: a call as a command, and what `docs/redis.md` lets its answer mean.

It is a plain client: any node may be asked for any key, so `-MOVED` is an answer that it must not get. Nor does it ever
send what `-ERR` is for, so that word is noted as astonishing too: it promises that nothing was done, which nothing in a
well-formed command on a key of the right kind allows.

The protocol tells no versions: only that a key has no record, which is `ABSENT`.
"""

from collections.abc import Callable
from typing import Any

import hiredis

from corecache.chaos.asking import Connection, Fate, Malformed, astonishing, found, lost, shown
from corecache.chaos.history import ABSENT, PRESENT
from corecache.chaos.workload import Operation, octets_of
from corecache.wire.resp_command import command

_NOT_DONE = frozenset(("TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS"))
_NOTHING_YET = object()


class RespConnection(Connection[Any]):
    """A connection that speaks RESP2. An error is an answer too: `hiredis.ReplyError`."""

    def __init__(self, astonished: Callable[[str], None]) -> None:
        super().__init__(astonished)
        self._reader = hiredis.Reader(notEnoughData=_NOTHING_YET)

    def take(self, octets: bytes) -> list[Any]:
        """Takes the next bytes and returns the answers that they complete. Raises: Malformed."""
        replies = []
        try:
            self._reader.feed(octets)
            while (reply := self._reader.gets()) is not _NOTHING_YET:
                replies.append(reply)
        except hiredis.ProtocolError as error:
            raise Malformed(f"not Redis's protocol ({error}): {shown(octets)}") from error
        if replies and self._reader.has_data():
            raise Malformed(f"more than one answer to one question: {shown(octets)}")
        return replies


def command_of(operation: Operation) -> bytes:
    """Returns an operation as a command."""
    words: list[str | bytes | int] = []
    match operation.kind:
        case "get":
            words = ["GET", operation.key]
        case "delete":
            words = ["DEL", operation.key]
        case "add":
            words = ["INCR", operation.key] if operation.amount == 1 else ["INCRBY", operation.key, operation.amount]
        case "put":
            assert operation.value is not None
            words = ["SET", operation.key, octets_of(operation.value, operation.size_bytes)]
            if operation.condition is not None:
                words.append({ABSENT: "NX", PRESENT: "XX"}[operation.condition])
            if operation.ttl_ms is not None:
                words += ["PX", operation.ttl_ms]
    return command(*(word if isinstance(word, bytes) else str(word).encode() for word in words))


def fate_over_resp(operation: Operation, reply: Any) -> Fate:
    """Returns what an answer means for the call that it answers."""
    match operation.kind, reply:
        case _, hiredis.ReplyError():
            return _fate_of_error(operation, str(reply))
        case "get", None:
            return Fate("done", None, ABSENT)
        case "get", bytes():
            return found(operation, reply, None)
        case "put", b"OK":
            return Fate("done", operation.value)
        case "put", None if operation.condition is not None:
            return Fate("failed", version=ABSENT if operation.condition == PRESENT else None)
        case "delete", 1:
            return Fate("done")
        case "delete", 0:
            return Fate("failed", version=ABSENT)
        case "add", int() if reply >= operation.amount:
            return Fate("done", str(reply))
    return astonishing(f"{reply!r:.200} to {operation.kind}")


def _fate_of_error(operation: Operation, text: str) -> Fate:
    word = text.partition(" ")[0]
    if word in _NOT_DONE or (word == "OOM" and operation.kind in ("put", "add")):
        return Fate("not_done", detail=word)
    if word == "UNKNOWN" and operation.kind != "get":
        return lost(operation, word)
    return astonishing(f"-{text:.200} to {operation.kind}")
