"""What kazoo is given to work with: its threads, its sockets and its log, each kept within bounds.

Kazoo's own defaults are made for programs that have nothing else to do. Here

* no attempt to connect takes longer than it may, and when the session ends none is begun any more,
* a server that takes a connection and does not answer the greeting on it, as one does that is just starting, is greeted
  anew on another soon: kazoo would wait for the whole session's time, and lose the session to a server that is back,
* a connection whose other end has fallen silent can be cut, so that an end is never waited for without end,
* a thread that dies of a defect says so in one line of the log and not in a traceback on standard error,
* what kazoo logs becomes at most one line of the operator's log each time, never below a warning (kazoo's debug lines
  hold passwords), and the same line not twice before the next connection.

Only `session.py` uses this.
"""

import errno
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from kazoo.handlers.threading import SequentialThreadingHandler

PROBE_SECONDS = 1
"""How long each server is tried when a failed start is to be explained."""
GREETING_SECONDS = 1.0
"""How long the first greeting may stay unanswered; each one after it twice as long, since the server may be slow."""
REMEMBERED_MAX = 64
"""Lines of kazoo's that are remembered so as not to be said again."""


class KazooThreads(SequentialThreadingHandler):  # type: ignore[misc] # kazoo has no types
    """The threads and sockets of one kazoo client."""

    def __init__(self, connect_seconds: float) -> None:
        super().__init__()
        self.ending = False
        self._connect_seconds = connect_seconds
        self._greeting_seconds = GREETING_SECONDS
        self._greeting = False
        self._socket: socket.socket | None = None

    def spawn(self, func: Callable[..., object], *args: Any, **kwargs: Any) -> threading.Thread:
        """Starts a thread of kazoo's."""

        def guarded() -> None:
            try:
                func(*args, **kwargs)
            except Exception:
                return  # kazoo has logged it, told of the state CLOSED, and is begun anew by `revive`

        thread = threading.Thread(target=guarded, name="zookeeper", daemon=True)
        thread.start()
        return thread

    def create_connection(self, *args: Any, **kwargs: Any) -> socket.socket:
        """Connects with a server. Raises: OSError."""
        if self.ending:
            raise OSError(errno.ECONNABORTED, "the session is being ended")
        kwargs["timeout"] = min(kwargs.get("timeout") or self._connect_seconds, self._connect_seconds)
        connected: socket.socket = super().create_connection(*args, **kwargs)
        self._socket = connected
        self._greeting = True
        return connected

    def select(
        self, reads: Sequence[Any], writes: Sequence[Any], errors: Sequence[Any], timeout: float | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Waits for sockets, in seconds; for the first bytes on a new connection no longer than a greeting may take."""
        greeting = self._greeting and bool(reads)
        if greeting:
            timeout = min(self._greeting_seconds, self._greeting_seconds if timeout is None else timeout)
        ready: tuple[list[Any], list[Any], list[Any]] = super().select(reads, writes, errors, timeout)
        if greeting:
            self._greeting = not ready[0]
            self._greeting_seconds = GREETING_SECONDS if ready[0] else 2 * self._greeting_seconds
        return ready

    def cut(self) -> None:
        """Cuts the connection: kazoo's thread wakes up with an error."""
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is cut already

    def failures(self, hosts: Sequence[tuple[str, int]]) -> str:
        """Says of each server what is wrong with it, by trying it. Blocks, for a second or so for each."""
        return "; ".join(f"{host}:{port} {_failure(host, port)}" for host, port in hosts)


def _failure(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), PROBE_SECONDS):
            return "accepts connections, but does not serve"
    except socket.gaierror:
        return "can't be resolved"
    except TimeoutError:
        return "does not answer"
    except OSError as error:
        return f"fails: {error.strerror or error}"


class KazooLog:
    """What kazoo takes for a logger."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._said: set[str] = set()

    def forget(self) -> None:
        """Lets everything be said again."""
        self._said.clear()

    def log(self, level: int, text: str, *arguments: object) -> None:
        """Says nothing: kazoo uses this for less than debugging."""

    def debug(self, text: str, *arguments: object) -> None:
        """Says nothing."""

    info = debug

    def warning(self, text: str, *arguments: object, **options: object) -> None:
        """Says what kazoo warns of, unless it was just said."""
        said = " ".join((text % arguments if arguments else text).split())
        if said not in self._said and len(self._said) < REMEMBERED_MAX:
            self._said.add(said)
            self._log.warning("zookeeper", says=said)

    warn = error = warning

    def exception(self, text: str, *arguments: object, **options: object) -> None:
        """Says what kazoo met with, without the traceback."""
        self.warning(f"{text % arguments if arguments else text}: {sys.exception()!r}")
