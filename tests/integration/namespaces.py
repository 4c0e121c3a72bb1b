"""Network namespaces: each node on a machine of its own as far as the network goes, and cables that can be cut.

One bridge, with the test and ZooKeeper at address 1; each namespace hangs on it with an address of its own. A cut from
one to another is a wrong hardware address in the sender's table of neighbours: its packets go out and reach nobody, and
no program is told, as with a cable pulled somewhere on the way. It works one way, on connections old and new, and needs
nothing but iproute2 and root.
"""

import os
import shutil
import subprocess
from contextlib import ExitStack
from typing import Self

import pytest

NOWHERE = "02:00:00:00:00:ff"


def require_namespaces() -> None:
    """Skips the test where namespaces can't be made, and says why."""
    if os.geteuid() != 0:
        pytest.skip("cutting networks apart needs root")
    if shutil.which("ip") is None:
        pytest.skip("cutting networks apart needs ip: apt-get install iproute2")
    made = subprocess.run(
        ["ip", "link", "add", "cc-probe", "type", "bridge"], capture_output=True, text=True, check=False
    )
    subprocess.run(["ip", "link", "del", "cc-probe"], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"this machine makes no bridges: {made.stderr.strip()}")


class Network:
    """A bridge and namespaces on it, numbered from 1; 0 is the test itself."""

    def __init__(self, count: int) -> None:
        self._undo = ExitStack()
        self._mark = f"cc{os.getpid() % 100_000}"
        self._third = 1 + os.getpid() % 250
        self._count = count

    def __enter__(self) -> Self:
        with self._undo:
            bridge = self._mark
            self._ip("link", "add", bridge, "type", "bridge")
            self._undo.callback(self._ip, "link", "del", bridge)
            self._ip("link", "set", bridge, "address", self._hardware(0))
            self._ip("addr", "add", f"{self.address(0)}/24", "dev", bridge)
            self._ip("link", "set", bridge, "up")
            for number in range(1, self._count + 1):
                self._plug(bridge, number)
            for sender in range(self._count + 1):
                for receiver in range(self._count + 1):
                    if sender != receiver:
                        self._point(sender, receiver, self._hardware(receiver))
            self._kept = self._undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._kept.close()

    def address(self, number: int) -> str:
        """Returns the address of a namespace, of the test for 0."""
        return f"10.231.{self._third}.{number + 1}"

    def command(self, number: int) -> list[str]:
        """Returns what to put before a program so that it runs in a namespace."""
        return ["ip", "netns", "exec", f"{self._mark}-{number}"]

    def cut(self, sender: int, receiver: int) -> None:
        """Lets nothing that one sends reach the other."""
        self._point(sender, receiver, NOWHERE)

    def part(self, one: int, other: int) -> None:
        """Cuts both ways."""
        self.cut(one, other)
        self.cut(other, one)

    def heal(self) -> None:
        """Mends all cuts."""
        for sender in range(self._count + 1):
            for receiver in range(self._count + 1):
                if sender != receiver:
                    self._point(sender, receiver, self._hardware(receiver))

    def _plug(self, bridge: str, number: int) -> None:
        namespace, outer = f"{self._mark}-{number}", f"{self._mark}v{number}"
        self._ip("netns", "add", namespace)
        self._undo.callback(self._ip, "netns", "del", namespace)
        self._ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        self._ip("link", "set", outer, "master", bridge)
        self._ip("link", "set", outer, "up")
        self._ip("-n", namespace, "link", "set", "eth0", "address", self._hardware(number))
        self._ip("-n", namespace, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        self._ip("-n", namespace, "link", "set", "lo", "up")
        self._ip("-n", namespace, "link", "set", "eth0", "up")

    def _point(self, sender: int, receiver: int, hardware: str) -> None:
        where = ["-n", f"{self._mark}-{sender}"] if sender else []
        device = "eth0" if sender else self._mark
        entry = [self.address(receiver), "lladdr", hardware, "dev", device, "nud", "permanent"]
        self._ip(*where, "neigh", "replace", *entry)

    def _hardware(self, number: int) -> str:
        return f"02:00:00:{self._third:02x}:00:{number + 1:02x}"

    @staticmethod
    def _ip(*arguments: str) -> None:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
