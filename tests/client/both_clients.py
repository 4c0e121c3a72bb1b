"""Both clients behind one set of blocking calls, so that each test is asked of both.

`Blocking` runs an `AsyncClient` on an event loop of its own and waits for each call.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

from corecache import AsyncClient
from corecache.operations import Record


class Blocking:
    """An `AsyncClient` that is called like a `Client`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = self._runner.run(self._open(arguments, named))

    async def _open(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> AsyncClient:
        return AsyncClient(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: self._runner.run(getattr(self._client, name)(*arguments, **named))

    def scan(self, *arguments: Any, **named: Any) -> Iterator[tuple[bytes, Record]]:
        """Yields what the client's scan yields."""

        async def collected() -> list[tuple[bytes, Record]]:
            return [item async for item in self._client.scan(*arguments, **named)]

        return iter(self._runner.run(collected()))

    def close(self) -> None:
        """Closes the client, then its loop."""
        self._runner.run(self._client.close())
        self._runner.close()
