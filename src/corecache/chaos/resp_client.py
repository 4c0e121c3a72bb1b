"""The campaign's client for Redis's protocol: a call as a command, and what `docs/redis.md` lets its answer mean.

It is a plain client: any node may be asked for any key, so `-MOVED` is an answer that it must not get. Nor does it ever
send what `-ERR` is for, so that word is noted as astonishing too: it promises that nothing was done, which nothing in a
well-formed command on a key of the right kind allows.

The protocol tells no versions: only that a key has no record, which is `ABSENT`.
"""

from collections.abc import Callable
from typing import Any

import hiredis

from corecache.chaos.asking import Connection, Malformed, Told, astonishing, found, lost, shown
from corecache.chaos.history import ABSENT, PRESENT
from corecache.chaos.workload import Wish, octets_of

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


def command_of(wish: Wish) -> bytes:
    """Returns a wish as a command."""
    words: list[str | bytes | int] = []
    match wish.kind:
        case "get":
            words = ["GET", wish.key]
        case "delete":
            words = ["DEL", wish.key]
        case "add":
            words = ["INCR", wish.key] if wish.amount == 1 else ["INCRBY", wish.key, wish.amount]
        case "put":
            assert wish.value is not None
            words = ["SET", wish.key, octets_of(wish.value, wish.size_bytes)]
            if wish.condition is not None:
                words.append({ABSENT: "NX", PRESENT: "XX"}[wish.condition])
            if wish.ttl_ms is not None:
                words += ["PX", wish.ttl_ms]
    packed: bytes = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]
    return packed


def told_over_resp(wish: Wish, reply: Any) -> Told:
    """Returns what an answer means for the call that it answers."""
    match wish.kind, reply:
        case _, hiredis.ReplyError():
            return _told_of_error(wish, str(reply))
        case "get", None:
            return Told("done", None, ABSENT)
        case "get", bytes():
            return found(wish, reply, None)
        case "put", b"OK":
            return Told("done", wish.value)
        case "put", None if wish.condition is not None:
            return Told("failed", version=ABSENT if wish.condition == PRESENT else None)
        case "delete", 1:
            return Told("done")
        case "delete", 0:
            return Told("failed", version=ABSENT)
        case "add", int() if reply >= wish.amount:
            return Told("done", str(reply))
    return astonishing(f"{reply!r:.200} to {wish.kind}")


def _told_of_error(wish: Wish, text: str) -> Told:
    word = text.partition(" ")[0]
    if word in _NOT_DONE or (word == "OOM" and wish.kind in ("put", "add")):
        return Told("not_done", detail=word)
    if word == "UNKNOWN" and wish.kind != "get":
        return lost(wish, word)
    return astonishing(f"-{text:.200} to {wish.kind}")
