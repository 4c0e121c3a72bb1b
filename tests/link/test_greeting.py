"""Who is welcome, and what those who are not are told."""

import msgspec
import pytest

from corecache.identity import Incarnation, NodeId
from corecache.link.greeting import Local, hello, other_version, readable, refusal_of
from corecache.wire.link_codec import GREETING_BYTES_MAX, Hello, encode_greeting

HERE = Local("red", 8, NodeId("n1"), Incarnation(3))
CALLER = hello(Local("red", 8, NodeId("n2"), Incarnation(5)), NodeId("n1"), bulk=False)


def changed(**fields: object) -> Hello:
    """Returns the greeting of a caller that differs in some fields."""
    return msgspec.structs.replace(CALLER, **fields)


@pytest.mark.parametrize("connected", [0, 4, 5])
def test_a_peer_is_welcome(connected: int) -> None:
    """A node of the same cluster that wants this one, under the newest incarnation, is not refused."""
    assert refusal_of(HERE, CALLER, Incarnation(connected), full=False) is None


@pytest.mark.parametrize(
    ("caller", "code", "cure"),
    [
        (changed(cluster="blue"), "other_cluster", "cluster.name"),
        (changed(partitions=16), "other_partitions", "cluster.partitions"),
        (changed(node="n1"), "itself", "node.data_dir"),
        (changed(wanted="n7"), "other_node", "node.advertise_host"),
        (changed(incarnation=3), "old_incarnation", "stop the older process"),
        (CALLER, "too_many", "link.connections_max"),
    ],
)
def test_a_refusal_says_what_to_do(caller: Hello, code: str, cure: str) -> None:
    """Each reason has its word, and a sentence that names what is wrong and the cure."""
    refusal = refusal_of(HERE, caller, Incarnation(4), full=code == "too_many")
    assert refusal is not None
    assert refusal.code == code
    assert cure in refusal.reason
    assert refusal.reason.endswith(".")


def test_another_version_is_told_both() -> None:
    """The sentence names both versions."""
    assert "version 9 of the link's protocol, this one 1" in other_version(9).reason


def test_names_that_others_send_are_shown_on_one_short_line() -> None:
    """Control characters and endless names of a caller go neither into a log nor back over the wire."""
    refusal = refusal_of(HERE, changed(cluster="x\n" * 1900), Incarnation(0), full=False)
    assert refusal is not None
    assert refusal.reason.isprintable()
    assert len(encode_greeting(refusal)) < GREETING_BYTES_MAX
    assert readable("a\x1b[31m\nb") == r"'a\x1b[31m\nb'"
    assert len(readable("x" * 4000)) == 400
    assert readable("It is so.") == "It is so."
