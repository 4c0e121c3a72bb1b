"""The payloads of the link's frames: which message is which bytes, and back.

A payload is one MessagePack array that begins with the name of what it is:

* the greeting: `Hello` is answered `Welcome` or `Refusal`; `Farewell` says why a connection ends;
* a `Post`: what one node has sent to another in one turn of its loop, messages (`replication/messages.py`), calls and
  replies (`calls.py`) together, in their order. Who sent it is known by its connection and takes no bytes.

Where there is no connection to know it by, as in the simulator, an envelope takes its four names along
(`encode_envelope`).

Rule 1: whatever the bytes, decoding gives a message or raises CodecError. What is given may still be nonsense: whether
a number makes sense is judged by whoever acts on it.
Rule 2: the first two fields of a `Hello` and the two of a `Refusal` are the same in every version, so that nodes of
different versions can tell each other so (`version_of`).
Rule 3: what is sent is encoded once, straight into its frame (`OpenFrame`).
"""

import struct
from collections.abc import Iterable
from typing import TypeAlias

import msgspec
from msgspec.msgpack import Decoder, Encoder

from corecache.identity import Incarnation, NodeId
from corecache.replication.messages import Envelope, Message
from corecache.wire.calls import (
    Call,
    CopyCall,
    CopyReply,
    FailureReply,
    ReadCall,
    ReadReply,
    Reply,
    ScanCall,
    ScanReply,
    StaleCall,
    StaleReply,
    WriteCall,
    WriteReply,
)
from corecache.wire.frame import HEADER_BYTES, frame_of, seal

VERSION = 1
"""Of this protocol. Nodes that differ in it refuse each other."""

GREETING_BYTES_MAX = 4096
"""The longest payload before a connection is welcomed: whoever sends more is not one of us."""

Item: TypeAlias = Message | Call | Reply

_CALLS = frozenset(
    (
        *(ReadCall, WriteCall, ScanCall, StaleCall, CopyCall),
        *(ReadReply, WriteReply, ScanReply, StaleReply, CopyReply, FailureReply),
    )
)


class CodecError(ValueError):
    """The bytes are no message of this protocol: their sender is of another kind or version, or has a defect."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="corecache"):
    """I am `node`, and want to speak to `wanted`. A `bulk` connection is for what may take its time."""

    version: int
    cluster: str
    partitions: int
    node: NodeId
    incarnation: Incarnation
    wanted: NodeId
    bulk: bool


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    """I am the one you want: go on."""

    node: NodeId
    incarnation: Incarnation


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag="refusal"):
    """I don't take your connection. `code` is a word for programs, `reason` a sentence that says what to do."""

    code: str
    reason: str


class Farewell(msgspec.Struct, frozen=True, array_like=True, tag="farewell"):
    """I close this connection, and why."""

    reason: str


class Post(msgspec.Struct, frozen=True, array_like=True, tag="post"):
    """What was sent in one turn."""

    items: tuple[Item, ...]

    def parted(self) -> tuple[tuple[Message, ...], tuple[Call | Reply, ...]]:
        """Returns the messages, and the calls and replies, each in their order."""
        calls = tuple([item for item in self.items if type(item) in _CALLS])
        if not calls:
            return self.items, ()  # type: ignore[return-value] # none of them is a call
        return tuple([item for item in self.items if type(item) not in _CALLS]), calls  # type: ignore[misc, return-value]


Greeting: TypeAlias = Hello | Welcome | Refusal | Farewell


class _Versioned(msgspec.Struct, frozen=True, array_like=True, tag="corecache"):
    """A `Hello` of any version, as far as it is the same in all."""

    version: int


_encoder = Encoder()
_decoder: Decoder[Greeting | Post] = Decoder(Greeting | Post)
_versioned_decoder = Decoder(_Versioned)
_envelope_decoder = Decoder(tuple[NodeId, Incarnation, NodeId, Incarnation, tuple[Message, ...]])

_count = struct.Struct(">I")
_OPENING = bytes(HEADER_BYTES) + b"\x92\xa4post\xdd" + bytes(_count.size)
_COUNT_AT = len(_OPENING) - _count.size

_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def encode_greeting(greeting: Greeting) -> bytes:
    """Returns a greeting as a whole frame."""
    return frame_of(_encoder.encode(greeting))


def decode(payload: bytes | memoryview) -> Greeting | Post:
    """Returns what a payload says. Raises: CodecError."""
    try:
        return _decoder.decode(payload)
    except _UNDECODABLE as error:
        raise CodecError(f"a message can't be read: {error}") from None


def version_of(payload: bytes | memoryview) -> int:
    """Returns the version of a `Hello`, whichever it is. Raises: CodecError if it is none."""
    try:
        return _versioned_decoder.decode(payload).version
    except _UNDECODABLE as error:
        raise CodecError(f"this is no greeting: {error}") from None


def encode_envelope(envelope: Envelope) -> bytes:
    """Returns an envelope with all its names, for a network that has no connections to know them by."""
    return _encoder.encode(
        (
            envelope.sender,
            envelope.sender_incarnation,
            envelope.receiver,
            envelope.receiver_incarnation,
            envelope.messages,
        )
    )


def decode_envelope(octets: bytes) -> Envelope:
    """Returns the envelope. Raises: CodecError."""
    try:
        return Envelope(*_envelope_decoder.decode(octets))
    except _UNDECODABLE as error:
        raise CodecError(f"an envelope can't be read: {error}") from None


class OpenFrame:
    """The frame of a `Post` that is being filled. What is added last can be taken back, or moved to another frame."""

    __slots__ = ("_buffer", "count")

    def __init__(self) -> None:
        self._buffer = bytearray(_OPENING)
        self.count = 0
        """Of the items in it."""

    @property
    def size_bytes(self) -> int:
        """Returns the size of the whole frame as it stands."""
        return len(self._buffer)

    @property
    def payload_bytes(self) -> int:
        """Returns the size that its header will state."""
        return len(self._buffer) - HEADER_BYTES

    def add(self, items: Iterable[Item]) -> tuple[int, int]:
        """Adds items; returns the mark of the place before them."""
        mark = (len(self._buffer), self.count)
        encode_into, buffer = _encoder.encode_into, self._buffer
        for item in items:
            encode_into(item, buffer, -1)
            self.count += 1
        return mark

    def take_back(self, mark: tuple[int, int]) -> None:
        """Drops what was added since a mark."""
        size_bytes, self.count = mark
        del self._buffer[size_bytes:]

    def split(self, mark: tuple[int, int]) -> "OpenFrame":
        """Returns a new frame with what was added since a mark, which leaves this one."""
        size_bytes, count = mark
        moved = OpenFrame()
        moved._buffer += memoryview(self._buffer)[size_bytes:]
        moved.count = self.count - count
        self.take_back(mark)
        return moved

    def sealed(self) -> bytearray:
        """Returns the bytes to send. Nothing may be done with the frame afterwards."""
        _count.pack_into(self._buffer, _COUNT_AT, self.count)
        seal(self._buffer)
        return self._buffer
