"""Ends a ZooKeeper session from outside, at once: what a node sees is that its session has expired. And opens one.

Anyone who names a session's id and password may take it over, and close it: then its ephemeral znodes are gone, and
whoever had it is told that it expired. The ids are told by the four letter word `dump`, beside the znodes that a
session holds. The password ZooKeeper makes of the id (`ZooKeeperServer.generatePasswd`, all releases so far): the
first 16 bytes of Java's dice, thrown from the id and a constant.

The rule: only what the servers acknowledged is told as done. What is sent is three messages of ZooKeeper's protocol;
all numbers are big-endian, each message has its length in front.
"""

import re
import socket
import struct

_SECRET = 0xB3415C00
_CLOSE = -11
_ANSWER_SECONDS = 5.0
_TIMEOUT_MS = 3000
_OPEN_SECONDS = 1.0
_SHORT_MS = 400

_CONNECT = struct.Struct(">iqiqi16s?")
"""Protocol version, last transaction seen, time-out in ms, session, length of the password, password, read only."""
_CONNECTED = struct.Struct(">iiq")
"""Protocol version, time-out granted in ms (0: there is no such session), session."""


def session_of(dump: str, node: str) -> int | None:
    """Returns the session by whose life a node lives, from an answer to `dump`; None if there is none."""
    session = None
    for line in dump.splitlines():
        begun = re.match(r"^(0x[0-9a-f]+):", line.strip())
        if begun:
            session = int(begun[1], 16)
        elif line.strip().endswith(f"/alive/{node}"):
            return session
    return None


def password_of(session: int) -> bytes:
    """Returns the password that ZooKeeper gave a session."""
    dice = (session ^ _SECRET ^ 0x5DEECE66D) & ((1 << 48) - 1)
    thrown = []
    for _ in range(4):
        dice = (dice * 0x5DEECE66D + 0xB) & ((1 << 48) - 1)
        thrown.append(dice >> 16)
    return struct.pack("<4I", *thrown)


def close_session(host: str, port: int, session: int) -> bool:
    """Has a server close a session; says whether it did: not if the session is unknown, or nobody answers in time."""
    order = _CONNECT.pack(0, 0, _TIMEOUT_MS, session, 16, password_of(session), False)
    try:
        with socket.create_connection((host, port), _ANSWER_SECONDS) as connection:
            connection.sendall(struct.pack(">i", len(order)) + order)
            granted = _CONNECTED.unpack_from(_message(connection))
            if granted[1] <= 0 or granted[2] != session:
                return False
            connection.sendall(struct.pack(">iii", 8, 1, _CLOSE))
            return len(_message(connection)) > 0
    except (OSError, struct.error):
        return False


def opens_session(host: str, port: int) -> bool:
    """Has a server open a session, which takes a majority; says whether it did in a second. It is left to its end."""
    order = _CONNECT.pack(0, 0, _SHORT_MS, 0, 16, bytes(16), False)
    try:
        with socket.create_connection((host, port), _OPEN_SECONDS) as connection:
            connection.sendall(struct.pack(">i", len(order)) + order)
            return bool(_CONNECTED.unpack_from(_message(connection))[2])
    except (OSError, struct.error):
        return False


def _message(connection: socket.socket) -> bytes:
    (length,) = struct.unpack(">i", _exactly(connection, 4))
    return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        part = connection.recv(length - len(received))
        if not part:
            raise ConnectionError("ZooKeeper closed the connection")
        received += part
    return received
