"""What operators order of a cluster, by the command line, and what controllers then do, by the nodes' logs.

The logs are read as JSON: the cluster's setting `log.format` must be `json`.
"""

import json
from typing import Any

from cli.command import Command
from integration.cluster_harness import Cluster, Member


def at(node: Member) -> Command:
    """Returns the command line, aimed at one node."""
    return Command(f"http://127.0.0.1:{node.port}")


def ordered(node: Member, *arguments: str) -> Any:
    """Returns what a command prints as JSON."""
    ended = at(node)("cluster", *arguments, "--json")
    assert ended.code == 0, ended
    return json.loads(ended.out)


def await_done(cluster: Cluster, node: Member) -> None:
    """Waits until nothing is moved any more."""

    def done() -> bool:
        orders = node.ask("GET", "/v1/cluster/orders").json
        return not orders["moving"] and not orders["moves_left"]

    cluster.await_true(done, "nothing left to move")
    cluster.await_whole(3)


def log_lines(cluster: Cluster, event: str) -> list[str]:
    """Returns the lines that the nodes' logs have of an event, in their order."""
    lines = [line for node in cluster.nodes for line in node.log().splitlines() if event in line]
    return sorted(lines, key=lambda line: str(json.loads(line)["timestamp"]))


def placements(cluster: Cluster) -> list[tuple[int, list[str]]]:
    """Returns what controllers have wanted of which partition, by their logs, in their order."""
    said = map(json.loads, log_lines(cluster, "placing a partition"))
    return [(line["partition"], line["replicas"]) for line in said]


def check_as_previewed(moves: Any, done: list[tuple[int, list[str]]]) -> None:
    """Asserts that each partition went the way that a preview showed; steps that came together may be taken in one."""
    assert {partition for partition, _ in done} == {move["partition"] for move in moves}
    for partition in {partition for partition, _ in done}:
        shown = [move["after"] for move in moves if move["partition"] == partition]
        taken = [replicas for placed, replicas in done if placed == partition]
        left = iter(shown)
        assert all(replicas in left for replicas in taken), (partition, shown, taken)
        assert taken[-1] == shown[-1]
