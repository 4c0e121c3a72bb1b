"""What the tests with real processes share: nodes that end with their test, and the fault shim."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corecache.chaos import disk
from integration.node_harness import Node, Shim
from integration.resp_harness import RespNode, running
from integration.resp_pair import Pair, reference

CLOCK_SHIM = Path(__file__).parent / "shim" / "clock.c"


@pytest.fixture
def new_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes (see `Node`), each in a directory named after it; they end with the test, which shows their logs."""
    nodes: dict[str, Node] = {}

    def made(name: str = "node", **details: Any) -> Node:
        nodes[name] = Node(tmp_path / name, **details)
        return nodes[name]

    yield made
    for name, node in nodes.items():
        node.end()
        sys.stdout.write(f"--- log of {name}\n{node.log()}\n")


@pytest.fixture(scope="session")
def shim_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, compiled."""
    missing = disk.why_not()
    if missing is not None:
        pytest.skip(missing)
    return disk.compile_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim that shifts a process's wall clock by CLOCK_SHIM_SECONDS, compiled."""
    if shutil.which("gcc") is None:
        pytest.skip("a shim needs gcc")
    library = tmp_path_factory.mktemp("shim") / "clock.so"
    order = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*order, str(CLOCK_SHIM), "-ldl"], check=True)
    return library


@pytest.fixture
def shim(shim_library: Path, tmp_path: Path) -> Shim:
    """The control of a shim, disarmed; hand it to `new_node`."""
    return Shim(shim_library, tmp_path / "shim.control")


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the defaults, for tests that leave it as they found it. Its key `key` is absent."""
    node = Node(tmp_path_factory.mktemp("shared") / "node")
    node.start()
    yield node
    node.end()
    sys.stdout.write(f"--- log of the shared node\n{node.log()}\n")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Redis's own server and a node, both empty, which answer alike."""
    directory = tmp_path_factory.mktemp("against")
    with reference(directory / "redis") as redis, running(RespNode(directory / "node")) as node:
        yield Pair(redis, node)
