"""Frames: a stream of bytes is cut into the payloads that were framed, however it arrives, and damage is noticed."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corecache.wire.frame import HEADER_BYTES, FrameDecoder, FrameError, frame_of, seal


def taken(decoder: FrameDecoder) -> list[bytes]:
    """Returns all payloads that are whole."""
    payloads = []
    while (payload := decoder.take()) is not None:
        payloads.append(bytes(payload))
    return payloads


def next_of(decoder: FrameDecoder) -> bytes:
    """Returns the next payload, which must be whole."""
    payload = decoder.take()
    assert payload is not None
    return bytes(payload)


@given(st.lists(st.binary(max_size=200), max_size=20), st.lists(st.integers(1, 300)))
def test_payloads_come_out_as_they_went_in(payloads: list[bytes], cuts: list[int]) -> None:
    """Wherever the stream is cut, the payloads are the same and in their order."""
    stream = b"".join(frame_of(payload) for payload in payloads)
    decoder, found, start = FrameDecoder(200), [], 0
    for size in [*cuts, len(stream) + 1]:
        decoder.feed(stream[start : start + size])
        start += size
        found += taken(decoder)
    assert found == payloads


def test_a_byte_at_a_time() -> None:
    """A payload is given with its last byte, not before and not after."""
    frame = frame_of(b"colour")
    decoder = FrameDecoder(100)
    for octet in frame[:-1]:
        decoder.feed(bytes([octet]))
        assert decoder.take() is None
    decoder.feed(frame[-1:])
    assert taken(decoder) == [b"colour"]
    assert decoder.take() is None


def test_many_small_pieces_cost_no_more_than_their_number() -> None:
    """A frame of a million bytes in pieces of one is put together once: no piece is looked at again and again."""
    frame = frame_of(bytes(1_000_000))
    decoder = FrameDecoder(1_000_000)
    started = time.process_time()
    for octet in frame:
        decoder.feed(bytes((octet,)))
        payload = decoder.take()
    assert payload is not None
    assert len(payload) == 1_000_000
    assert time.process_time() - started < 10, "twice the square of this would take hours"


def test_a_frame_within_one_piece_is_not_copied() -> None:
    """The payload is a view of the bytes that were fed."""
    octets = frame_of(b"red") + frame_of(b"green")
    decoder = FrameDecoder(100)
    decoder.feed(octets)
    assert [decoder.take().obj is octets for _ in range(2)] == [True, True]  # type: ignore[union-attr]


def test_a_sealed_frame_is_the_same_as_a_made_one() -> None:
    """Filling in the header gives the bytes that framing gives."""
    frame = bytearray(HEADER_BYTES) + b"colour"
    seal(frame)
    assert bytes(frame) == frame_of(b"colour")


def test_a_length_beyond_the_limit_is_refused_at_once() -> None:
    """Nothing of the payload needs to come; the message says what was announced and what is allowed."""
    decoder = FrameDecoder(100)
    decoder.feed(frame_of(bytes(101))[:HEADER_BYTES])
    with pytest.raises(FrameError, match="sender announced a frame of 101 bytes, and 100 are allowed"):
        decoder.take()
    allowed = FrameDecoder(100)
    allowed.feed(frame_of(bytes(100)))
    assert taken(allowed) == [bytes(100)]


def test_the_limit_counts_from_the_next_frame_on() -> None:
    """A limit that is raised between two frames of one piece holds for the second."""
    decoder = FrameDecoder(10)
    decoder.feed(frame_of(bytes(10)) + frame_of(bytes(50)))
    assert next_of(decoder) == bytes(10)
    decoder.bytes_max = 50
    assert next_of(decoder) == bytes(50)


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_flipped_bit_is_noticed(payload: bytes, data: st.DataObject) -> None:
    """Damage of the checksum or the payload is an error, and what was whole before is still given."""
    damaged = bytearray(frame_of(payload))
    at = data.draw(st.integers(4, len(damaged) - 1))
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    decoder = FrameDecoder(100)
    decoder.feed(frame_of(b"whole") + bytes(damaged))
    assert next_of(decoder) == b"whole"
    with pytest.raises(FrameError, match="wrong checksum"):
        decoder.take()
