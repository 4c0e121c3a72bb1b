"""Listening on a port: the one that was asked for, or the first free one of a range.

Every server of a node begins this way, and fails this way: with one sentence that names the address and the settings
that choose it. What comes over the connections is the business of the protocol that is handed in.

A port is taken with `SO_REUSEADDR`, so that a node that was killed can have its old one back at once.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from corecache.errors import CallerFault

_BACKLOG_LEAST = 128


class Ports(msgspec.Struct, frozen=True):
    """Where to listen. `port` 0 means the first free one from `first` to `last`; `section` names the settings."""

    section: str
    host: str
    port: int
    first: int
    last: int


async def listen(make: Callable[[], asyncio.BaseProtocol], ports: Ports, backlog: int) -> tuple[asyncio.Server, int]:
    """Listens; `make` gives each connection its protocol. Returns the server and its port.

    Raises: CallerFault `port_in_use` or `cannot_listen`.
    """
    host, section = ports.host, ports.section
    first, last = (ports.port, ports.port) if ports.port else (ports.first, ports.last)
    loop = asyncio.get_running_loop()
    for port in range(first, last + 1):
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            listener = _bound(found[0][0], found[0][4], max(_BACKLOG_LEAST, backlog))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise CallerFault(
                "cannot_listen",
                f"Can't listen on {host}:{port}: {error.strerror or error} ({section}.host, {section}.port).",
            ) from error
        return await loop.create_server(make, sock=listener), port
    which = f"Port {first} is" if first == last else f"All ports from {first} to {last} are"
    raise CallerFault(
        "port_in_use",
        f"{which} in use on {host}: stop who listens there, or choose another "
        f"({section}.port, {section}.port_range_first).",
    )


def _bound(family: int, address: Any, backlog: int) -> socket.socket:
    """Returns a socket that listens. The loop's own way leaves a handle behind when it fails."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
