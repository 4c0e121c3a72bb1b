"""A server around PySyncObj's `ReplDict`, so that it can be asked from outside like the other systems.

    python -m benchmarks.systems.pysyncobj_server --port 7000 --self 127.0.0.1:7001 --others A,B --journal FILE

PySyncObj is a library that lives in the process of its user. Clients of this server speak Redis's protocol, and know
SET, GET, PING (answered when this member has caught up) and ROLE. A SET is answered when PySyncObj calls back: then a
majority has the entry, and this member has applied it. A GET is answered from this member's own copy, as `ReplDict`
does it.

There is one thread: sockets of clients are watched by the library's own poller, so that the server costs it as little
as can be. Two settings are not the defaults. `journalFile` is set, since without it nothing is on a disk; the library
writes the journal through a memory map and never syncs it. Entries are sent as they come (`appendEntriesUseBatch`
off): by default they wait for the next heartbeat, up to 100 ms each.
"""

import argparse
import contextlib
import socket
from collections.abc import Callable

import hiredis
from pysyncobj import SyncObj, SyncObjConf  # type: ignore[import-untyped]
from pysyncobj.batteries import ReplDict  # type: ignore[import-untyped]
from pysyncobj.poller import POLL_EVENT_TYPE  # type: ignore[import-untyped]

TICK_SECONDS = 0.05
RECEIVED_BYTES_MAX = 65_536
BACKLOG = 512


class Client:
    """A connection, whose commands are answered in order if it sends them one by one."""

    def __init__(self, connection: socket.socket, values: ReplDict, member: SyncObj) -> None:
        self._connection = connection
        self._values = values
        self._member = member
        self._commands = hiredis.Reader(notEnoughData=...)

    def received(self) -> bool:
        """Obeys what has come; says whether there may be more."""
        try:
            octets = self._connection.recv(RECEIVED_BYTES_MAX)
        except ConnectionError:
            octets = b""
        self._commands.feed(octets)
        while (words := self._commands.gets()) is not ...:
            self._obey(words)
        return bool(octets)

    def _obey(self, words: list[bytes]) -> None:
        match words:
            case [b"SET", key, value]:
                self._values.set(key, value, callback=self._told)
            case [b"GET", key]:
                found = self._values.get(key)
                self._answer(b"$-1\r\n" if found is None else b"$%d\r\n%b\r\n" % (len(found), found))
            case [b"PING"]:
                self._answer(b"+PONG\r\n" if self._member.isReady() else b"-LOADING\r\n")
            case [b"ROLE"]:
                leader = self._member._getLeader()
                self._answer(b"+leader\r\n" if leader == self._member.selfNode else b"+follower\r\n")
            case _:
                self._answer(b"-ERR no such command\r\n")

    def _told(self, _: object, failure: int) -> None:
        self._answer(b"-ERR not committed: %d\r\n" % failure if failure else b"+OK\r\n")

    def _answer(self, octets: bytes) -> None:
        # Nobody waits for the answer any more if the connection is gone.
        with contextlib.suppress(OSError):
            self._connection.sendall(octets)


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--self", dest="own", required=True)
    parser.add_argument("--others", required=True)
    parser.add_argument("--journal", required=True)
    chosen = parser.parse_args()
    values = ReplDict()
    conf = SyncObjConf(autoTick=False, journalFile=chosen.journal, appendEntriesUseBatch=False)
    member = SyncObj(chosen.own, chosen.others.split(","), conf, consumers=[values])
    listener = socket.create_server(("127.0.0.1", chosen.port), backlog=BACKLOG)
    subscribe: Callable[..., None] = member._poller.subscribe
    events = POLL_EVENT_TYPE.READ | POLL_EVENT_TYPE.ERROR

    def accept(*_: object) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(connection, values, member)

        def received(*_: object) -> None:
            if not client.received():
                member._poller.unsubscribe(connection.fileno())
                connection.close()

        subscribe(connection.fileno(), received, events)

    subscribe(listener.fileno(), accept, POLL_EVENT_TYPE.READ)
    while True:
        member.doTick(TICK_SECONDS)


if __name__ == "__main__":
    main()
