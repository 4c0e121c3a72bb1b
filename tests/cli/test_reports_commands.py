"""`corecache status` and `storage` against a real node, for eyes and for programs."""

import json
from typing import Any

import pytest

from cli.command import Command
from integration.node_harness import Node


def table_rows(printed: bytes) -> list[list[str]]:
    """Returns the cells of the tables' rows."""
    lines = printed.decode().splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def test_status_shows_the_node_and_its_partitions(run: Command, node: Node) -> None:
    """The tables and the JSON say what /v1/cluster says, all cells whole."""
    report = node.ask("GET", "/v1/cluster").json
    assert json.loads(run("status", "--json").out)["node"] == report["node"]
    rows = table_rows(run("status").out)
    shown = next(row for row in rows if row[0] == report["node"])[-1]
    assert f"http://127.0.0.1:{node.port}" in shown.split(", ")
    partitions = [row[0] for row in rows if row[0].isdigit()]
    assert partitions == [str(partition["id"]) for partition in report["partitions"]]


@pytest.mark.parametrize("arguments", [("--json",), ("show", "--json")])
def test_storage_for_programs(run: Command, node: Node, arguments: tuple[str, ...]) -> None:
    """Storage --json has the fields of /v1/storage, wherever --json stands."""
    report: dict[str, Any] = json.loads(run("storage", *arguments).out)
    assert report.keys() == node.storage().keys()


def test_storage_flush_and_compact(run: Command, node: Node) -> None:
    """Flush empties the memtables, compact removes tombstones, and both print the tree as it then stands."""
    for number in range(10):
        node.put(b"flushed/%d" % number, b"v")
    assert json.loads(run("storage", "flush", "--json").out)["memtable_entries"] == 0
    for number in range(10):
        node.delete(b"flushed/%d" % number)
    run("storage", "flush")
    assert json.loads(run("storage", "compact", "--json").out)["tombstones"] == 0
    rows = dict(row for row in table_rows(run("storage").out) if len(row) == 2)
    assert rows["tombstones"] == "0"
    assert rows["accepts puts"] == "yes"
