"""An HTTP client as small as the crash tests need: asyncio streams, one connection, one request after the other.

It understands what a node answers (Content-Length or nothing to read), and sends targets exactly as they are given. A
connection that ends before its answer is complete raises ConnectionError: the outcome of that request is not known.
"""

import asyncio
from collections.abc import Mapping

from integration.node_harness import Answer

LIMIT_BYTES = 1 << 20
ANSWER_SECONDS = 60.0


class Connection:
    """A connection to a port of this machine, made when it is first needed, and anew after `Connection: close`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, target: str | bytes, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Sends a request and returns its answer. Raises: ConnectionError if that did not come whole."""
        named = {"Host": "node", **(headers or {})}
        if body is not None:
            named["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        place = target.encode() if isinstance(target, str) else target
        head = method.encode() + b" " + place + b" HTTP/1.1\r\n" + lines.encode() + b"\r\n"
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=LIMIT_BYTES)
            reader, writer = self._streams
            writer.write(head + (body or b""))
            await writer.drain()
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await _answer(reader, method)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ConnectionError("no whole answer") from error
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Ends the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _answer(reader: asyncio.StreamReader, method: str) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
    length = 0 if method == "HEAD" or status in (204, 304) else int(headers["content-length"])
    return Answer(status, headers, await reader.readexactly(length))
