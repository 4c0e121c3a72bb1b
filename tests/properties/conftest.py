"""What the properties share: one real node for each module."""

import sys
from collections.abc import Iterator

import pytest

from integration.node_harness import Node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the defaults, whose sweeper looks often. Each test and example has keys of its own."""
    made = Node(tmp_path_factory.mktemp("properties") / "node", {"replication.sweep_interval_ms": 50})
    made.start()
    yield made
    made.end()
    sys.stdout.write(f"--- log of the node\n{made.log()}\n")
