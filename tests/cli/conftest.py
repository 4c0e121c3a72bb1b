"""What the tests of the command line share: one real node for all of them, and the command aimed at it."""

from collections.abc import Iterator

import pytest

from cli.command import Command
from integration.node_harness import Node


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that runs as long as the tests of this folder. Each test uses keys of its own."""
    running = Node(tmp_path_factory.mktemp("cli") / "node")
    try:
        yield running.start()
        running.stop()
    finally:
        running.end()


@pytest.fixture(scope="session")
def run(node: Node) -> Command:
    """Runs commands against the node."""
    return Command(f"http://127.0.0.1:{node.port}")
