"""Redis's protocol, what clients send: a stream of bytes to requests, which are lists of bytes.

What a request is, and the words about one that is none, are those of Redis 7.0, with its leniences: the byte after the
CR of a length is not looked at, nor are the two after a bulk. Two things are stricter: a command has at most
`WORDS_MAX` words, and its bulks together have a limit.

Rule 1: where a stream is cut makes no difference: the commands are the same, and so is the fault that ends them.
Rule 2: a limit holds when a length is declared, before anything is kept for it.
Rule 3: what came is looked at once or twice, never again with each piece that is added. So the work is linear.
Rule 4: hiredis reads commands that came together, and is believed only if what it read, packed anew, gives the very
bytes that came: it reads replies, and takes much that no request may be. A command that came alone is cut at its line
ends, and believed in the same way. Whatever else comes, whether cut, wrong or merely unusual, is for the walker
(`_walk`), which alone decides what the protocol is.
"""

import re
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

import hiredis

from corecache.wire.resp_inline import words_of

WORDS_MAX = 1024 * 1024
LINE_BYTES_MAX = 64 * 1024

_WINDOW_BYTES_MAX = 16 * 1024
"""What hiredis is given at once. It is not much: with every 1,024 bytes that it has read it moves all others."""
_UNREAD = object()
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command
_many = re.compile(rb"\*[0-9]{4}").search
_many_of_any_kind = re.compile(rb"[*%~>|][0-9]{4}").search
_OTHER_AGGREGATES = (b"%", b"~", b">", b"|")

_STAR = ord("*")
_USUAL_BYTES_MAX = 1023
_usual_counts = {b"*%d" % count: count for count in range(1, 100)}.get
_length = re.compile(rb"0|-?[1-9][0-9]{0,18}").fullmatch
_INTEGER_MIN = -(2**63)


class ProtocolFault(Exception):
    """What came is no request, nor is anything that follows. The text is Redis's, as it stands after `-ERR `."""


class Requests:
    """Cuts one stream into commands: `feed` it what comes, and call `next` until there is none, or enough for now."""

    __slots__ = (
        "_at",
        "_begun",
        "_bulk_bytes_max",
        "_chunk",
        "_chunk_start",
        "_declared_bytes",
        "_fault",
        "_fed",
        "_later",
        "_missing",
        "_passed",
        "_reader",
        "_ready",
        "_ready_bytes",
        "_request_bytes_max",
        "_skips",
        "_usual_lengths",
        "_walk_until",
        "_wanted",
        "_window_bytes",
        "_words",
    )

    def __init__(self, bulk_bytes_max: int, request_bytes_max: int) -> None:
        """Takes how long one bulk may be, and how long all bulks of a command together."""
        self._bulk_bytes_max = bulk_bytes_max
        self._request_bytes_max = request_bytes_max
        self._window_bytes = min(_WINDOW_BYTES_MAX, bulk_bytes_max, request_bytes_max)
        """Whatever command is whole within so many bytes keeps all limits."""
        self._usual_lengths = _lengths_up_to(min(_USUAL_BYTES_MAX, bulk_bytes_max)).get
        self._fault: str | None = None
        self._chunk = b""
        self._at = 0
        """How far the chunk was parsed."""
        self._later: deque[bytes] = deque()
        """What was fed after the chunk."""
        self._chunk_start = 0
        """Where in the stream the chunk begins."""
        self._passed = 0
        """Where in the stream the last command ends that was returned, or passed over."""
        self._fed = 0
        """Where in the stream ends what was fed."""
        self._reader = hiredis.Reader(notEnoughData=_UNREAD)
        self._ready: list[list[bytes]] = []
        """Commands that hiredis read ahead, the next one last."""
        self._ready_bytes: list[int] = []
        """How long these were in the stream."""
        self._walk_until = 0
        """Up to where in the chunk hiredis is not tried, for it failed."""
        # The command that the walker is at:
        self._missing = 0
        """How many of its words have not come, as far as that is known."""
        self._words: list[bytes] = []
        self._declared_bytes = 0
        """All its bulks together."""
        self._wanted = -1
        """How long the bulk is that comes now, with the two bytes after it; -1: its length comes first."""
        self._begun = bytearray()
        """What has come of this bulk, or of the line that comes now, in earlier chunks."""
        self._skips = False
        """Whether the byte after the CR of a length has not come."""

    def feed(self, data: bytes) -> None:
        """Adds bytes to the end of the stream. They are kept, not copied; after a fault they are dropped."""
        if not data or self._fault is not None:
            return
        self._fed += len(data)
        if self._at < len(self._chunk) or self._later:
            self._later.append(data)
        else:
            self._begin_chunk(data)

    @property
    def has_more(self) -> bool:
        """Says whether there is something that `next` has not looked at. Once it returned None there is nothing."""
        return bool(self._ready) or self._at < len(self._chunk) or bool(self._later)

    @property
    def waiting_bytes(self) -> int:
        """Returns how many bytes were fed that no returned command holds. After a fault there are none."""
        return self._fed - self._passed

    def next(self) -> list[bytes] | None:
        """Returns the next command, None if there is none that is whole. Raises: ProtocolFault, once and for all."""
        while True:
            if self._ready:
                self._passed += self._ready_bytes.pop()
                words = self._ready.pop()
                if words:
                    return words
                continue
            if self._at == len(self._chunk):
                if not self._later:
                    break
                self._begin_chunk(self._later.popleft())
            if not self._read_window():
                walked = self._walk()
                if walked:
                    return walked
        if self._fault is not None:
            raise ProtocolFault(self._fault)
        return None

    def _begin_chunk(self, chunk: bytes) -> None:
        self._chunk_start += len(self._chunk)
        self._chunk = chunk
        self._at = self._walk_until = 0

    # Many at once, or one alone

    def _read_window(self) -> bool:
        """Has hiredis read commands, if several came together; says whether any are ready."""
        chunk, at = self._chunk, self._at
        if at < self._walk_until or self._under_way() or chunk[at] != _STAR:
            return False
        end = min(at + self._window_bytes, len(chunk))
        if chunk.find(b"*", at + 1, end) < 0:
            return at == 0 and end == len(chunk) and self._read_alone()
        if self._may_bloat(end):
            self._walk_until = end
            return False
        reader = self._reader
        try:
            reader.feed(chunk, at, end - at)
            commands: list[list[bytes]] = list(iter(reader.gets, _UNREAD))
            packed = list(map(_pack, map(tuple, commands)))
        except Exception:
            # hiredis's own errors, TypeError for what can't be in a dict or be packed: the walker will say what it is
            packed = []
        proof = b"".join(packed)
        if not proof or not chunk.startswith(proof, at):
            self._walk_until = end
            self._forget_reader()
            return False
        self._ready = commands[::-1]
        self._ready_bytes = [len(octets) for octets in reversed(packed)]
        self._at += len(proof)
        if self._at < end:
            self._forget_reader()
        return True

    def _read_alone(self) -> bool:
        """Makes the chunk ready if it is one command without a line end in its words; says whether it is."""
        chunk = self._chunk
        if not chunk.endswith(b"\r\n"):
            return False
        words = chunk.split(b"\r\n")[2::2]
        if _pack(tuple(words)) != chunk:
            return False
        self._ready = [words]
        self._ready_bytes = [len(chunk)]
        self._at = len(chunk)
        return True

    def _may_bloat(self, end: int) -> bool:
        """Says whether hiredis may take far more memory than came: it makes an array when it has read its length."""
        chunk, at = self._chunk, self._at
        others = any(chunk.find(sign, at, end) >= 0 for sign in _OTHER_AGGREGATES)
        search = _many_of_any_kind if others else _many  # the latter is much faster
        return search(chunk, at, end) is not None

    def _forget_reader(self) -> None:
        self._reader = hiredis.Reader(notEnoughData=_UNREAD)

    # One at a time

    def _under_way(self) -> bool:
        """Says whether the walker is in the midst of a command."""
        return self._missing > 0 or self._skips or bool(self._begun)

    def _walk(self) -> list[bytes] | None:
        """Goes on by one command or to the end of the chunk. Returns the command if it is whole. Raises: ProtocolFault.

        Requires: the chunk has not ended.
        """
        if self._skips:
            self._at += 1
            self._skips = False
            if not self._missing:
                self._passed += 1
            return None
        if self._missing:
            return self._walk_words()
        if (self._begun or self._chunk[self._at : self._at + 1])[0] != _STAR:
            return self._walk_inline()
        return self._walk_words() if self._walk_head() else None

    def _walk_inline(self) -> list[bytes] | None:
        line = self._line(b"\n", "too big inline request")
        if line is None:
            return None
        words = words_of(line.removesuffix(b"\r"))
        if words is None:
            raise self._failed("unbalanced quotes in request")
        self._pass()
        return words

    def _walk_head(self) -> bool:
        """Reads how many words the next command has; says whether there are any."""
        line = self._line(b"\r", "too big mbulk count string")
        if line is None:
            return False
        self._end_length()
        count = _usual_counts(line) or _integer(line[1:])
        if count is None or count > WORDS_MAX:
            raise self._failed("invalid multibulk length")
        if count <= 0:
            self._pass()
            return False
        self._missing = count
        return True

    def _walk_words(self) -> list[bytes] | None:
        while self._missing:
            if self._wanted < 0 and not self._begun:
                self._take_usual_words()
                if not self._missing:
                    break
            if self._wanted < 0:
                line = self._line(b"\r", "too big bulk count string")
                if line is None:
                    return None
                self._end_length()
                self._wanted = self._bulk_bytes(line) + 2
            word = self._bulk()
            if word is None:
                return None
            self._words.append(word)
            self._missing -= 1
        words, self._words = self._words, []
        self._declared_bytes = 0
        self._pass()
        return words

    def _take_usual_words(self) -> None:
        """Takes words as long as they are whole within the chunk and their lengths are in the dictionary.

        It is `_line`, `_bulk_bytes` and `_bulk` in one loop, for speed: what is left takes these.
        """
        chunk, at, words, missing = self._chunk, self._at, self._words, self._missing
        length_of, find, size = self._usual_lengths, chunk.find, len(chunk)
        room = self._request_bytes_max - self._declared_bytes
        while missing:
            found = find(b"\r", at, at + 6)
            length = length_of(chunk[at:found]) if found > 0 else None
            if length is None or length > room:
                break
            end = found + 2 + length
            if end + 2 > size:
                break
            words.append(chunk[found + 2 : end])
            at = end + 2
            room -= length
            missing -= 1
        self._at = at
        self._missing = missing
        self._declared_bytes = self._request_bytes_max - room

    def _line(self, end: bytes, fault: str) -> bytes | None:
        """Takes the bytes up to an end, which is taken but not returned; None if it has not come."""
        chunk, at = self._chunk, self._at
        room = LINE_BYTES_MAX + 1 - len(self._begun)
        found = chunk.find(end, at, at + room)
        if found < 0:
            if len(chunk) - at >= room:
                raise self._failed(fault)
            self._begun += chunk[at:]
            self._at = len(chunk)
            return None
        line = chunk[at:found]
        if self._begun:
            line = bytes(self._begun) + line
            self._begun.clear()
        self._at = found + 1
        return line

    def _end_length(self) -> None:
        """Passes over the byte after the CR, now or when it comes."""
        if self._at < len(self._chunk):
            self._at += 1
        else:
            self._skips = True

    def _bulk_bytes(self, line: bytes) -> int:
        """Returns the length that a bulk declares."""
        if line[:1] != b"$":
            got = line[:1].decode("utf-8", "surrogateescape").replace("\n", " ") or " "
            raise self._failed(f"expected '$', got '{got}'")
        length = _integer(line[1:])
        if length is None or not 0 <= length <= self._bulk_bytes_max:
            raise self._failed("invalid bulk length")
        self._declared_bytes += length
        if self._declared_bytes > self._request_bytes_max:
            raise self._failed("request is too large")
        return length

    def _bulk(self) -> bytes | None:
        """Takes the bulk that is wanted; None if it is not whole, and then what has come of it."""
        chunk, at = self._chunk, self._at
        end = at + self._wanted - len(self._begun)
        if end > len(chunk):
            self._begun += chunk[at:] if at else chunk
            self._at = len(chunk)
            return None
        if self._begun:
            self._begun += chunk[at:end]
            with memoryview(self._begun) as whole:
                word = bytes(whole[:-2])
            self._begun = bytearray()
        else:
            word = chunk[at : end - 2]
        self._at = end
        self._wanted = -1
        return word

    def _pass(self) -> None:
        """Notes that a command is whole."""
        self._passed = self._chunk_start + self._at

    def _failed(self, words: str) -> ProtocolFault:
        """Ends the stream; returns the fault to raise."""
        self._fault = f"Protocol error: {words}"
        self._begin_chunk(b"")
        self._later.clear()
        self._words.clear()
        self._begun = bytearray()
        self._passed = self._fed
        return ProtocolFault(self._fault)


@cache
def _lengths_up_to(bytes_max: int) -> dict[bytes, int]:
    """Returns the heads of bulks, and the lengths that they declare."""
    return {b"$%d" % length: length for length in range(bytes_max + 1)}


def _integer(digits: bytes) -> int | None:
    """Returns what is written, None unless it is written as Redis wants an integer of 64 bits."""
    if _length(digits) is None:
        return None
    number = int(digits)
    return number if number >= _INTEGER_MIN else None
