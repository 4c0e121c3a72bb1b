"""Fixtures of all tests: a real ZooKeeper server, started when the first test asks for it.

It is shared by all tests of a worker: use `zookeeper_address`, which has a chroot of the test's own, and do not stop
it. A test that wants to stop one starts its own: `with ZooKeeperServer(tmp_path) as server: …`.
"""

import itertools
from collections.abc import Iterator

import pytest

from corecache.chaos.zookeeper import ZooKeeperServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    """A ZooKeeper server that the tests of a worker share: it must not be stopped."""
    with ZooKeeperServer(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.fixture
def zookeeper_address(zookeeper: ZooKeeperServer) -> str:
    """The shared server's "host:port/chroot", with a chroot that no other test has."""
    return f"{zookeeper.address}/test-{next(_numbers)}"
