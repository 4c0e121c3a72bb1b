"""`corecache cluster` against one real node, which is all of its cluster: what it refuses, and how it says so."""

import json
from pathlib import Path

import pytest

from cli.command import Command
from integration.node_harness import Node


def node_id(node: Node) -> str:
    """Returns the node's id."""
    named: str = node.ask("GET", "/v1/cluster").json["node"]
    return named


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("cluster",), "Missing command"),
        (("cluster", "set"), "Missing command"),
        (("cluster", "drain"), "NODE"),
        (("cluster", "drain", "n1", "--cancel", "--dry-run"), "--cancel and --dry-run exclude each other"),
        (("cluster", "rebalance"), "--dry-run, --run or --cancel"),
        (("cluster", "rebalance", "--run", "--cancel"), "--run and --cancel exclude each other"),
        (("cluster", "set", "min-in-sync"), "N"),
        (("cluster", "set", "min-in-sync", "two"), "valid integer"),
        (("cluster", "recover", "0"), "--from"),
        (("cluster", "recover", "one", "--from", "n1"), "valid integer"),
    ],
)
def test_wrong_usage_is_said(run: Command, arguments: tuple[str, ...], word: str) -> None:
    """Exit code 2, what is wrong, and nothing is ordered."""
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, b"")
    assert word in ended.err
    assert "--help" in ended.err


def test_the_only_node_is_not_drained(run: Command, node: Node) -> None:
    """There is nowhere to go; nor is an unknown one."""
    for arguments in ((node_id(node),), (node_id(node), "--dry-run"), (node_id(node), "--no-wait"), ("nobody",)):
        ended = run("cluster", "drain", *arguments)
        assert (ended.code, ended.out) == (2, b"")
        assert "no other node could take copies" in ended.err or "nobody" in ended.err
    assert (
        run("cluster", "drain", node_id(node), "--cancel").out
        == f"{node_id(node)} may hold partitions again.\n".encode()
    )


def test_nothing_is_moved_in_a_cluster_of_one(run: Command) -> None:
    """The order is taken, stands, and moves nothing."""
    assert run("cluster", "rebalance", "--dry-run").out == b"Nothing would be moved.\n"
    assert run("cluster", "rebalance", "--dry-run", "--json").out == b"[]\n"
    assert run("cluster", "rebalance", "--cancel").out == b"Nothing more is moved to even out copies and primaries.\n"
    assert b"rebalancing: off" in run("status").out
    assert json.loads(run("cluster", "rebalance", "--run", "--json").out)["moves_left"] == 0
    assert json.loads(run("status", "--json").out)["orders"]["rebalancing"]


def test_min_in_sync_is_one_where_there_is_one_copy(run: Command) -> None:
    """More would be a promise that nobody can keep."""
    ended = run("cluster", "set", "min-in-sync", "2")
    assert (ended.code, ended.out) == (2, b"")
    assert "needs as many nodes" in ended.err
    assert b"every partition has it" in run("cluster", "set", "min-in-sync", "1").out
    assert b"left to the cluster" in run("cluster", "set", "min-in-sync", "0").out


def test_there_is_nothing_to_recover(run: Command, node: Node) -> None:
    """Not from the node that has everything, nor from one that nobody knows."""
    for arguments, word in (
        (("0", "--from", node_id(node), "--accept-data-loss"), "lost nothing"),
        (("0", "--from", node_id(node)), "lost nothing"),
        (("77", "--from", node_id(node), "--accept-data-loss"), "partition 77"),
        (("0", "--from", "nobody", "--accept-data-loss"), "'nobody'"),
    ):
        ended = run("cluster", "recover", *arguments)
        assert (ended.code, ended.out) == (2, b"")
        assert word in ended.err


def test_without_a_node_nothing_is_done(tmp_path: Path) -> None:
    """Exit code 3: it did not happen."""
    nowhere = Command("http://127.0.0.1:1")
    for arguments in (
        ("drain", "n1"),
        ("rebalance", "--run"),
        ("set", "min-in-sync", "1"),
        ("recover", "0", "--from", "n"),
    ):
        ended = nowhere("cluster", *arguments)
        assert (ended.code, ended.out) == (3, b""), ended
