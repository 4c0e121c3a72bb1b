"""Frames: how a stream of bytes is cut into payloads, and how damage is noticed.

    length of the payload (4 bytes) | CRC-32 of the payload (4 bytes) | payload

Both numbers are unsigned and big endian; the CRC is that of zlib. `docs/link.md` has an example.

Rule 1: what a payload means is not known here; nor is where the bytes come from.
Rule 2: a length beyond the limit is an error when it is read, before anything is kept for it.
Rule 3: bytes that have come are never moved twice: a payload that lies within one piece is given as a view of it, one
that is spread over several is joined once, when it is whole. So the work is linear, however small the pieces.
Rule 4: after an error nothing that follows can be trusted: the decoder is to be thrown away with its connection.
"""

import struct
from zlib import crc32

HEADER_BYTES = 8

_header = struct.Struct(">II")


class FrameError(ValueError):
    """What came is no frame. The message says who is at fault, and with what."""


def seal(frame: bytearray) -> None:
    """Fills in the header of a frame. Requires: it has room for one, and then its whole payload."""
    _header.pack_into(frame, 0, len(frame) - HEADER_BYTES, crc32(memoryview(frame)[HEADER_BYTES:]))


def frame_of(payload: bytes) -> bytes:
    """Returns a payload as a frame."""
    return _header.pack(len(payload), crc32(payload)) + payload


class FrameDecoder:
    """Cuts one stream: `feed` it what comes, then `take` payloads until there is none."""

    __slots__ = ("_pieces", "_size", "_start", "_wanted", "bytes_max")

    def __init__(self, bytes_max: int) -> None:
        """Takes the longest payload that is allowed."""
        self.bytes_max = bytes_max
        """May be changed between two payloads."""
        self._pieces: list[bytes | memoryview] = []
        self._start = 0
        """Where the next frame begins in the first piece."""
        self._size = 0
        """Of the pieces together, less `_start`."""
        self._wanted = HEADER_BYTES
        """How many bytes the next frame has, as far as that is known."""

    def feed(self, octets: bytes) -> None:
        """Adds bytes to the end of the stream. They are kept, not copied."""
        self._pieces.append(octets)
        self._size += len(octets)

    def take(self) -> memoryview | None:
        """Returns the next payload, None if it is not whole yet. Raises: FrameError."""
        if self._size < self._wanted:
            return None
        stream = self._joined()
        start = self._start
        length, checksum = _header.unpack_from(stream, start)
        if length > self.bytes_max:
            raise FrameError(f"the sender announced a frame of {length:,} bytes, and {self.bytes_max:,} are allowed")
        self._wanted = HEADER_BYTES + length
        if self._size < self._wanted:
            return None
        end = start + self._wanted
        payload = memoryview(stream)[start + HEADER_BYTES : end]
        if crc32(payload) != checksum:
            raise FrameError(f"a frame of {length:,} bytes has a wrong checksum: it was damaged on its way, or is none")
        self._size -= self._wanted
        self._wanted = HEADER_BYTES
        if self._size:
            self._start = end
        else:
            self._start = 0
            self._pieces.clear()
        return payload

    def _joined(self) -> bytes | memoryview:
        """Returns all that has come as one piece."""
        if len(self._pieces) > 1:
            self._pieces[0] = memoryview(self._pieces[0])[self._start :]
            self._pieces = [b"".join(self._pieces)]
            self._start = 0
        return self._pieces[0]
