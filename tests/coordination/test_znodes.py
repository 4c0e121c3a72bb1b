"""Paths and bytes of the znodes: what docs/formats.md says, and that nothing else passes for them."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corecache.coordination import znodes
from corecache.coordination.znodes import ClusterContent, ControllerContent, Layout, NodeContent
from corecache.errors import Broken, CallerFault
from corecache.identity import NodeId, PartitionId
from corecache.placement.partition_map import ClusterFacts, NodeEntry, Orders
from corecache.placement.view import View

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
LAYOUT = Layout("", "red")
NODE = NodeId("n-4f1c")
KINDS: dict[str, type[msgspec.Struct]] = {
    LAYOUT.cluster: ClusterContent,
    LAYOUT.partition("5f1c09aa", PartitionId(0)): View,
    LAYOUT.node(NODE): NodeContent,
    LAYOUT.living(NODE): NodeEntry,
    LAYOUT.controller: ControllerContent,
    LAYOUT.orders: Orders,
}


def examples() -> dict[str, bytes]:
    """Returns the examples of the document by their paths."""
    section = DOCUMENT.read_text(encoding="utf-8").partition("## The znodes in ZooKeeper\n")[2]
    paths = re.findall(r"^`(/corecache/\S+)`:", section, re.MULTILINE)
    texts = re.findall(r"^```json\n(.*)\n```$", section, re.MULTILINE)
    return {path: text.encode() for path, text in zip(paths, texts, strict=True)}


def test_the_documented_examples_are_such_znodes() -> None:
    """There is one of each kind, at its path, and it is written again as it stands there, byte for byte."""
    found = examples()
    assert found.keys() == KINDS.keys()
    for path, text in found.items():
        assert znodes.encode(znodes.decode(path, text, KINDS[path])) == text
    facts = znodes.decode_cluster(LAYOUT.cluster, found[LAYOUT.cluster]).facts()
    assert facts == ClusterFacts("red", 8, 3, "5f1c09aa")


def test_fields_that_are_not_known_are_passed_over() -> None:
    """So that two releases can share a cluster."""
    for path, text in examples().items():
        grown = text.replace(b"{", b'{"of_tomorrow": [1],', 1)
        assert znodes.encode(znodes.decode(path, grown, KINDS[path])) == text


def test_a_higher_format_is_refused_whatever_else_is_there() -> None:
    """It is the caller's fault: the program is too old."""
    with pytest.raises(CallerFault) as error:
        znodes.decode_cluster(LAYOUT.cluster, b'{"format": 2, "name": 7}')
    assert error.value.code == "cluster_newer"


@given(
    st.binary(max_size=200)
    | st.sampled_from(sorted(examples().values())).flatmap(lambda text: st.binary().map(text.__add__))
)
def test_whatever_the_bytes_they_decode_or_are_broken(content: bytes) -> None:
    """And the sentence names the path, in letters that a terminal may see."""
    for path, kind in KINDS.items():
        try:
            found = znodes.decode(path, content, kind)
        except Broken as error:
            assert error.code == "znode_malformed"
            assert path in error.message
            assert error.message.isprintable()
        else:
            assert znodes.decode(path, znodes.encode(found), kind) == found


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_every_name_has_a_path_of_its_own(one: str, other: str) -> None:
    """One segment, no "." or "..", and the name comes back from it."""
    path = LAYOUT.living(NodeId(one))
    segment = path.removeprefix(LAYOUT.alive + "/")
    assert "/" not in segment
    assert segment.strip(".")
    assert znodes.node_named(segment) == one
    assert (path == LAYOUT.living(NodeId(other))) == (one == other)


def test_a_watched_path_leads_back_to_its_partition() -> None:
    """And no other path does."""
    assert LAYOUT.partition_of(LAYOUT.partition("5f1c09aa", PartitionId(17))) == 17
    for path in (
        LAYOUT.alive,
        LAYOUT.controller,
        LAYOUT.cluster,
        LAYOUT.node(NodeId("17")),
        LAYOUT.partitions + "/x/y",
    ):
        assert LAYOUT.partition_of(path) is None


def test_folders_are_made_from_the_top() -> None:
    """Each after the one it is in, the chroot's included."""
    assert Layout("/a/b", "red").folders() == [
        "/a",
        "/a/b",
        "/a/b/corecache",
        "/a/b/corecache/red",
        "/a/b/corecache/red/partitions",
        "/a/b/corecache/red/nodes",
        "/a/b/corecache/red/alive",
    ]
