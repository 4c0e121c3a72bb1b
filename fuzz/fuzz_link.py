"""Fuzzes `wire/frame.py` and `wire/link_codec.py`: what arrives from whoever has found a node's port.

The first byte says where the rest is cut into pieces; the rest is a stream of frames, and is tried as a payload as
well, because a checksum that is right by chance is rare.
"""

from corecache.wire.frame import FrameDecoder, FrameError, frame_of
from corecache.wire.link_codec import (
    CodecError,
    OpenFrame,
    Post,
    decode,
    decode_envelope,
    encode_envelope,
    encode_greeting,
    version_of,
)

WORDS = (
    *(
        b"\xa9corecache",
        b"\xa7welcome",
        b"\xa7refusal",
        b"\xa8farewell",
        b"\xa4post",
        b"\x92\xa4post\xdd\x00\x00\x00\x01",
    ),
    *(
        b"\xa9replicate",
        b"\xa5offer",
        b"\xa5chunk",
        b"\xa8released",
        b"\xa8standing",
        b"\xaareplicated",
        b"\xa8accepted",
    ),
    *(
        b"\xa9installed",
        b"\xa7failing",
        b"\xa6fenced",
        b"\xa4beat",
        b"\xa5grant",
        b"\xa6invite",
        b"\xa4read",
        b"\xa5write",
    ),
    *(b"\xa4scan", b"\xa6record", b"\xa7results", b"\xa4page", b"\xa6failed", b"\xa3put", b"\xa6delete", b"\xa6expire"),
    *(b"\xa7written", b"\xa7deleted", b"\xa6absent", b"\xb0condition_failed", b"\xa5found", b"\xa8if_match"),
    *(b"\x90", b"\x91", b"\x92", b"\x98", b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\xc4\x01v", b"\xc4\xff", b"\xa1\xff"),
    *(b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\x00" * 7, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"),
    *(b"\x91" * 2000, b"\xc6\xff\xff\xff\xff", b"\x00\x00\x00\x00\x00\x00\x00\x00", b"\xca\x00\x00\x00\x00"),
)

BYTES_MAX = 4096


def target(data: bytes) -> None:
    """Whatever arrives: frames come out or FrameError; payloads decode and encode anew to the same, or CodecError."""
    pieces, stream = data[:1], data[1:]
    whole = _payloads(stream, len(stream) + 1)
    assert _payloads(stream, (pieces[0] if pieces else 0) + 1) == whole, "where a stream is cut does not matter"
    for payload in (*whole[0], stream):
        _check_message(payload)
        _check_envelope(payload)


def _payloads(stream: bytes, size: int) -> tuple[list[bytes], bool]:
    """Returns the payloads of a stream that comes in pieces of a size, and whether it ended with an error."""
    decoder, payloads = FrameDecoder(BYTES_MAX), []
    for start in range(0, len(stream), size):
        decoder.feed(stream[start : start + size])
        try:
            while (payload := decoder.take()) is not None:
                payloads.append(bytes(payload))
        except FrameError:
            return payloads, True
    return payloads, False


def _check_message(payload: bytes) -> None:
    try:
        message = decode(payload)
    except CodecError:
        message = None
    try:
        version_of(payload)
    except CodecError:
        assert not (message is not None and "version" in message.__struct_fields__), "a greeting has a version"
    if isinstance(message, Post):
        frame = OpenFrame()
        frame.add(message.items)
        anew = bytes(frame.sealed())
        messages, calls = message.parted()
        assert len(messages) + len(calls) == len(message.items)
    elif message is not None:
        anew = encode_greeting(message)
    else:
        return
    assert decode(anew[8:]) == message, "encoded anew it means the same"
    assert anew == frame_of(anew[8:]), "what is sent is a frame"


def _check_envelope(payload: bytes) -> None:
    try:
        envelope = decode_envelope(payload)
    except CodecError:
        return
    assert decode_envelope(encode_envelope(envelope)) == envelope
