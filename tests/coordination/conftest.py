"""Fixtures of the coordinators' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from corecache.chaos.zookeeper import ZooKeeperServer


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ZooKeeperServer]:
    """A ZooKeeper server of the test's own, which it may stop."""
    with ZooKeeperServer(tmp_path / "own") as server:
        yield server
