"""A process of its own with a link, to be killed: `child_node.py PORT INCARNATION`. Says `listening` when it does."""

import asyncio
import sys
from random import Random

import uvloop

from corecache.config import Link
from corecache.identity import Incarnation, NodeId
from corecache.link.tcp import TcpLink
from corecache.node.clock import SystemClock


class Deaf:
    """Hears nothing. Implements `ports.LinkEvents`."""

    def connected(self, *_: object) -> None:
        """Ignores it."""

    lost = received = called = connected


async def live(port: int, incarnation: int) -> None:
    """Listens until it is killed."""
    link = TcpLink("red", 8, NodeId("n2"), Incarnation(incarnation), Link(port=port), SystemClock(), Random(), Deaf())
    await link.start()
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(live(int(sys.argv[1]), int(sys.argv[2])))
