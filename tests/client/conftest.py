"""What the client's tests share: servers that end with their test, and both clients."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from client.both_clients import Blocking
from client.live_server import LiveServer
from client.scripted_server import ScriptedServer
from corecache import Client


@pytest.fixture
def live() -> Iterator[LiveServer]:
    """A real HTTP server over a node in memory."""
    server = LiveServer()
    yield server
    server.stop()


@pytest.fixture
def scripted() -> Iterator[Callable[[Sequence[bytes]], ScriptedServer]]:
    """Makes servers that answer by a script."""
    servers: list[ScriptedServer] = []

    def made(script: Sequence[bytes]) -> ScriptedServer:
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield made
    for server in servers:
        server.close()


@pytest.fixture(params=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes clients: once for `Client`, once for `AsyncClient`, which is called the same way."""
    clients: list[Any] = []

    def made(*arguments: Any, **named: Any) -> Any:
        clients.append((Client if request.param == "Client" else Blocking)(*arguments, **named))
        return clients[-1]

    yield made
    for client in clients:
        client.close()
