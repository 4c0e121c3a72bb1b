"""A server that answers what a test has written down, to the byte, and keeps what it was sent.

Each request that arrives consumes a step of the script, the last step again and again: bytes are sent as they are,
`CUT` closes the connection without an answer, `SILENT` keeps it open and says nothing.
"""

import json
import socket
import threading
from collections.abc import Sequence
from typing import BinaryIO

CUT = b"CUT"
SILENT = b"SILENT"
PATIENCE_SECONDS = 20.0


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Returns an HTTP answer; underscores in the names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if status != 204:
        named["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


def problem(status: int, code: str, outcome: str | None = None, **headers: str) -> bytes:
    """Returns a node's error."""
    name = f"urn:corecache:error:{code}"
    said = {"type": name, "title": code, "status": status, "detail": f"It is {code}.", "code": code}
    if outcome is not None:
        said["outcome"] = outcome
    return answer(status, json.dumps(said).encode(), Content_Type="application/problem+json", **headers)


class ScriptedServer:
    """Listens from the start until `close`. `heads` are the heads of the requests that came, `bodies` their bodies."""

    def __init__(self, script: Sequence[bytes]) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self._script = list(script)
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def targets(self) -> list[str]:
        """The request targets that came, exactly."""
        return [head.split(b" ")[1].decode("ascii") for head in self.heads]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE_SECONDS)
            self._connections.append(connection)
            thread = threading.Thread(target=self._converse, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as source:
            while True:
                try:
                    head, body = _request(source)
                except (OSError, ValueError):
                    return
                if not head:
                    return
                with self._lock:
                    self.heads.append(head)
                    self.bodies.append(body)
                    step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
                if step == CUT:
                    return
                if step != SILENT:
                    connection.sendall(step)

    def close(self) -> None:
        """Closes all connections and waits until all threads have ended."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepting.join()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()


def _request(source: BinaryIO) -> tuple[bytes, bytes]:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = source.readline()
        if not line:
            return b"", b""
        head += line
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head, source.read(length)
