"""Frames as bytes: envelopes by the link's own codec, so that it is simulated too."""

from corecache.replication.messages import Envelope
from corecache.wire.link_codec import decode_envelope, encode_envelope


def encode_frame(envelope: Envelope) -> bytes:
    """Returns the bytes of an envelope."""
    return encode_envelope(envelope)


def decode_frame(frame: bytes) -> Envelope:
    """Returns the envelope of bytes."""
    return decode_envelope(frame)
