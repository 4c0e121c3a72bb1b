"""The link's codec: every message comes back as it was, and whatever else comes is CodecError."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import encode as packed

from corecache.config import KIB
from corecache.identity import Epoch, Incarnation, Lineage, Member, NodeId, PartitionId, ReplicaId
from corecache.identity import Sequence as LogSequence
from corecache.operations import Operation, Record, Resolved, Result
from corecache.placement.view import VersionedView, View
from corecache.replication.log import Entry, Position
from corecache.replication.messages import Beat, Claim, Envelope, Message, Replicate
from corecache.wire.calls import Call, Failure, Reply
from corecache.wire.frame import FrameDecoder
from corecache.wire.link_codec import (
    VERSION,
    CodecError,
    Farewell,
    Greeting,
    Hello,
    Item,
    OpenFrame,
    Post,
    Refusal,
    Welcome,
    decode,
    decode_envelope,
    encode_envelope,
    encode_greeting,
    version_of,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "link.md"

texts = st.text(max_size=12)
octets = st.binary(max_size=20)
counts = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
members = st.builds(Member, texts, texts)
records = st.builds(Record, octets, counts, counts, counts)


@st.composite
def views(draw: st.DrawFn) -> VersionedView:
    """Draws a view that keeps its rule."""
    in_sync = draw(st.lists(members, min_size=1, max_size=3))
    view = View(
        Lineage(draw(counts)),
        Epoch(draw(counts)),
        in_sync[0],
        Incarnation(draw(counts)),
        tuple(in_sync),
        tuple(NodeId(node) for node in draw(st.lists(texts, max_size=3))),
        draw(st.integers(1, 7)),
    )
    return VersionedView(view, draw(counts))


for kind, strategy in ((int, counts), (str, texts), (bytes, octets), (Record, records), (VersionedView, views())):
    st.register_type_strategy(kind, strategy)

PARTS = (*get_args(Message), *get_args(Call), *get_args(Reply))
items = st.one_of([st.from_type(part) for part in PARTS])
greetings = st.one_of([st.from_type(part) for part in get_args(Greeting)])


def payloads(stream: bytes | bytearray) -> list[bytes]:
    """Returns the payloads of whole frames."""
    decoder = FrameDecoder(1 << 20)
    decoder.feed(bytes(stream))
    found = []
    while (payload := decoder.take()) is not None:
        found.append(bytes(payload))
    return found


def post_of(*parts: Item) -> bytes:
    """Returns a post with these items, as a payload."""
    frame = OpenFrame()
    frame.add(parts)
    (payload,) = payloads(frame.sealed())
    return payload


def test_every_message_and_call_is_tried() -> None:
    """The list of kinds is complete: each of them is a struct of its own, with a name of its own."""
    names = [part.__struct_config__.tag for part in (*PARTS, *get_args(Greeting), Post)]
    assert len(set(names)) == len(names) >= 20
    assert set(PARTS) == set(get_args(Item))
    assert all(part.__struct_config__.tag for part in (*get_args(Operation), *get_args(Result)))


@pytest.mark.parametrize("part", PARTS)
@given(data=st.data())
def test_an_item_comes_back(part: type[Item], data: st.DataObject) -> None:
    """Each kind of message, call and reply is decoded to what was encoded."""
    item = data.draw(st.from_type(part))
    assert decode(post_of(item)) == Post((item,))


@given(st.lists(items, max_size=8))
def test_a_post_comes_back_in_its_order(parts: list[Item]) -> None:
    """All items of a frame come back, and parted into messages and calls each keep their order."""
    post = decode(post_of(*parts))
    assert post == Post(tuple(parts))
    assert isinstance(post, Post)
    messages, calls = post.parted()
    assert list(messages) == [part for part in parts if isinstance(part, get_args(Message))]
    assert list(calls) == [part for part in parts if not isinstance(part, get_args(Message))]


@given(greetings)
def test_a_greeting_comes_back(greeting: Greeting) -> None:
    """Each kind of greeting is decoded to what was encoded."""
    (payload,) = payloads(encode_greeting(greeting))
    assert decode(payload) == greeting


@given(st.builds(Envelope, texts, counts, texts, counts, st.lists(st.from_type(Message), max_size=5).map(tuple)))  # type: ignore[arg-type]
def test_an_envelope_comes_back_with_its_names(envelope: Envelope) -> None:
    """Sender, receiver and their incarnations travel along where no connection knows them."""
    assert decode_envelope(encode_envelope(envelope)) == envelope


@given(st.binary(max_size=100))
def test_whatever_the_bytes_it_is_a_message_or_an_error(noise: bytes) -> None:
    """Noise raises CodecError or is a message."""
    for read in (decode, version_of, decode_envelope):
        try:
            read(noise)
        except CodecError:
            continue


@given(items, st.data())
def test_a_damaged_post_is_a_message_or_an_error(item: Item, data: st.DataObject) -> None:
    """A post with some bytes changed, or cut short, raises CodecError or is a post."""
    damaged = bytearray(post_of(item))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for payload in (bytes(damaged), bytes(damaged[: data.draw(st.integers(0, len(damaged)))])):
        try:
            decode(payload)
        except CodecError:
            continue


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        packed(["shout", 1]),
        packed(["post", [["invite"]]]),
        packed(["post", [["invite", "p"]]]),
        packed(["post", [["whisper", 1]]]),
        packed(["post", [["invite", 1]]]) + b"\x00",
        packed(["welcome", "n1", 2.5]),
        b"\x92\xa7welcome\xa1\xff",
        b"\x92\xa4post\x91\x93\xa6invite\x01" + b"\x91" * 100_000 + b"\xc0",
        b"\x92\xa4post\xdd\xff\xff\xff\xff",
        packed(["post", [["failed", 1, ["NotDone", "c", "m", 0, {"view": {"lineage": 1}, "version": 0}]]]]),
    ],
)
def test_what_is_no_message_is_an_error(payload: bytes) -> None:
    """Nothing, unknown kinds, missing or wrong fields, bytes left over, bad text, deep nesting, a promised size."""
    with pytest.raises(CodecError):
        decode(payload)


def test_a_view_that_breaks_its_rule_is_an_error() -> None:
    """A failure that carries a view whose primary is not in sync can't be read."""
    member = Member(NodeId("n1"), ReplicaId("r1"))
    view = View(Lineage(1), Epoch(2), member, Incarnation(1), (member,), (NodeId("n1"),))
    failure = packed(Failure("NotDone", "moved", "Go there.", 0, VersionedView(view, 3)))
    assert decode(b"\x92\xa4post\x91\x93\xa6failed\x07" + failure)
    with pytest.raises(CodecError, match="not in in_sync"):
        decode(
            b"\x92\xa4post\x91\x93\xa6failed\x07"
            + failure.replace(b"in_sync\x91", b"in_sync\x90").replace(packed(member) + b"\xa8replicas", b"\xa8replicas")
        )


def test_the_version_of_any_greeting_can_be_read() -> None:
    """A greeting of another version, whatever it holds else, tells its version; anything else is no greeting."""
    assert version_of(packed(["corecache", 7, {"entirely": "different"}])) == 7
    assert version_of(packed(["corecache", 2])) == 2
    others: list[object] = [["corecache", "1"], ["corecache"], ["welcome", 1], "corecache", {}]
    for other in others:
        with pytest.raises(CodecError, match="no greeting"):
            version_of(packed(other))


def test_what_was_added_last_can_be_taken_back_or_moved() -> None:
    """A frame from which items were taken back is as if they had never been in it; split ones are in the new frame."""
    beats = [Beat(number, 1, (Claim(PartitionId(1), Epoch(2), 3, ReplicaId("r1")),)) for number in range(4)]
    frame = OpenFrame()
    frame.add(beats[:1])
    size_bytes = frame.size_bytes
    frame.take_back(frame.add(beats[2:]))
    assert (frame.size_bytes, frame.count) == (size_bytes, 1)
    other = frame.split(frame.add(beats[1:3]))
    assert (frame.size_bytes, frame.count, other.count) == (size_bytes, 1, 2)
    for filled, expected in ((frame, beats[:1]), (other, beats[1:3])):
        announced = filled.payload_bytes
        (payload,) = payloads(filled.sealed())
        assert (decode(payload), len(payload)) == (Post(tuple(expected)), announced)


def test_the_page_shows_these_bytes() -> None:
    """The bytes that docs/link.md shows are those that are sent."""
    page = DOCUMENT.read_text(encoding="utf-8").replace(" ", "")
    post = OpenFrame()
    post.add(
        [
            Replicate(
                PartitionId(2),
                Epoch(4),
                ReplicaId("r1"),
                ReplicaId("r2"),
                Position(Epoch(4), LogSequence(8)),
                (Entry(Epoch(4), LogSequence(9), (Resolved(b"shape", None),)),),
                LogSequence(8),
            )
        ]
    )
    shown: list[bytes | bytearray] = [
        encode_greeting(Hello(VERSION, "corecache", 8, NodeId("n1"), Incarnation(3), NodeId("n2"), False)),
        encode_greeting(Welcome(NodeId("n2"), Incarnation(5))),
        encode_greeting(Refusal("other_node", "Who?")),
        encode_greeting(Farewell("bye")),
        post.sealed(),
    ]
    for frame in shown:
        for part in (bytes(frame[:4]), bytes(frame[4:8]), bytes(frame[8:])):
            assert part.hex() in page, frame.hex(" ", 4)


def test_greetings_fit_their_limit() -> None:
    """The longest names that settings allow make a greeting that is read."""
    greeting = Hello(2**31, "c" * 63, 16_384, NodeId("n" * 63), Incarnation(2**63), NodeId("w" * 63), True)
    assert len(msgspec.msgpack.encode(greeting)) < KIB
