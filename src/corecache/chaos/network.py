"""A network of namespaces: each member on a machine of its own as far as the network goes, and ways that go wrong.

A member's namespace has one device, a TAP whose other end is a switch of our own (`switch.py`): what one sends another
is cut, lost or delayed there, each direction by itself, on connections old and new, while no program is told. The
campaign itself is the member "clients", with a device in the namespace that it runs in.

The rule: nothing stays behind. A namespace has no name; it lives in a process of ours that does nothing, and goes with
it. A TAP device goes with the switch. Both end with the campaign, however that ends.

It needs Linux, root, iproute2 and util-linux, and no queueing discipline of the kernel's; `why_not` says what is not
there.
"""

import ipaddress
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, Self

import msgspec

from corecache.chaos.processes import KILLED_SECONDS, GroundError, python_environment, started
from corecache.chaos.switch import Behave, Done, Order, Plug, Unplug, tap

CLIENTS: Final = "clients"
"""The member that the campaign is."""

_MEMBERS_MAX: Final = 250
_MTU_BYTES: Final = 9000
_QUEUE_FRAMES: Final = 10_000
"""Frames that a device keeps while the switch is not given the processor; beyond that they are lost."""
_devices = itertools.count(1)
_HOLDER: Final = "ip link set lo up && echo made && exec sleep infinity"


def why_not() -> str | None:
    """Returns why this machine can't have such a network, and what to do; None if it can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    packages = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux"}
    for program, package in packages.items():
        if shutil.which(program) is None:
            return f"network namespaces need {program}: apt-get install {package}"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)  # noqa: S607
    if made.returncode != 0:
        return f"this machine makes no network namespaces: {made.stderr.strip()}"
    try:
        os.close(tap(f"cc{os.getpid()}probe"[:15]))
    except OSError as error:
        return f"this machine makes no TAP devices: {error}"
    return None


class Network:
    """Members, each with a namespace and an address, and what happens between them. May be shared by threads."""

    def __init__(self, names: Sequence[str] = (), seed: int = 0) -> None:
        """Takes the names of the first members, and the seed of the dice for loss and delay. Makes nothing yet."""
        self._names = list(names)
        self._seed = seed
        self._numbers: dict[str, int] = {}
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._disturbed: dict[tuple[str, str], Behave] = {}
        self._turn = threading.RLock()
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        """Makes the switch and the members. Raises: GroundError if that can't be done."""
        with self._undo:
            self._prefix = _free_prefix()
            order = [sys.executable, "-m", "corecache.chaos.switch", str(self._seed)]
            self._switch = started(order, 2, python_environment(), pipes=True)
            self._undo.callback(_ended, self._switch)
            for name in (CLIENTS, *self._names):
                self.add(name)
            self._undo = self._undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def add(self, name: str) -> None:
        """Has a member join, whom all reach. Nothing, if it is there. Raises: GroundError if that can't be done."""
        with self._turn:
            if name in self._numbers:
                return
            number = next(n for n in range(1, _MEMBERS_MAX + 1) if n not in self._numbers.values())
            device = f"cc{os.getpid()}-{next(_devices)}"
            if name == CLIENTS:
                self._clients_device = device
            self._order(Plug(name, device, self._hardware(number)))
            if name != CLIENTS:
                self._holders[name] = self._hold()
                _ip(["link", "set", device, "netns", str(self._holders[name].pid), "name", "eth0"])
            self._numbers[name] = number
            self._settle(name, device)
            for other in self._numbers:
                if other not in (name, CLIENTS):
                    self._batch(other, [self._neighbour(name, "eth0")])
            if name != CLIENTS:
                self._batch(CLIENTS, [self._neighbour(name, self._clients_device)])

    def remove(self, name: str) -> None:
        """Has a member leave for good; its address may be another's then. Requires: nothing runs in its namespace."""
        with self._turn:
            for way in [way for way in self._disturbed if name in way]:
                self.mend(*way)
            self._order(Unplug(name))
            del self._numbers[name]
            _ended(self._holders.pop(name))

    def address(self, name: str) -> str:
        """Returns the address of a member."""
        return f"{self._prefix}.{self._numbers[name]}"

    def command(self, name: str) -> list[str]:
        """Returns what to put before a program so that it runs in a member's namespace."""
        return [] if name == CLIENTS else ["nsenter", f"--net=/proc/{self._holders[name].pid}/ns/net", "--"]

    def cut(self, sender: str, receiver: str) -> None:
        """Lets nothing that one sends reach the other."""
        self._change(sender, receiver, cut=True)

    def delay(self, sender: str, receiver: str, mean_ms: float, jitter_ms: float = 0.0) -> None:
        """Has each frame take longer, evenly between mean - jitter and mean + jitter; that changes their order."""
        self._change(sender, receiver, mean_ms=mean_ms, jitter_ms=jitter_ms)

    def loss(self, sender: str, receiver: str, share: float) -> None:
        """Loses a share of the frames, from 0 to 1, at random."""
        self._change(sender, receiver, loss=share)

    def mend(self, sender: str, receiver: str) -> None:
        """Ends all that happens from one to the other."""
        with self._turn:
            if self._disturbed.pop((sender, receiver), None) is not None:
                self._order(Behave(sender, receiver))

    def heal(self) -> None:
        """Ends all that happens between all members."""
        with self._turn:
            for sender, receiver in list(self._disturbed):
                self.mend(sender, receiver)

    def _change(self, sender: str, receiver: str, **changes: float) -> None:
        with self._turn:
            if not {sender, receiver} <= self._numbers.keys():
                return  # One of them has left meanwhile.
            before = self._disturbed.get((sender, receiver), Behave(sender, receiver))
            self._disturbed[sender, receiver] = after = msgspec.structs.replace(before, **changes)
            self._order(after)

    def _order(self, order: Order) -> None:
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        try:
            self._switch.stdin.write(msgspec.json.encode(order) + b"\n")
            self._switch.stdin.flush()
            answer = msgspec.json.decode(self._switch.stdout.readline(), type=Done)
        except (OSError, msgspec.DecodeError):
            raise GroundError(f"the switch between the namespaces ended: {self._switch.poll()}") from None
        if not answer.done:
            raise GroundError(answer.why)

    def _hold(self) -> subprocess.Popen[bytes]:
        """Makes a namespace; returns the process that keeps it."""
        holder = started(["unshare", "--net", "sh", "-c", _HOLDER], 2, pipes=True)
        self._undo.callback(_ended, holder)
        assert holder.stdout is not None
        if holder.stdout.readline() != b"made\n":
            raise GroundError("this machine makes no network namespaces")
        return holder

    def _settle(self, name: str, device: str) -> None:
        """Gives a member's device its addresses, and tells it those of the others: nobody needs to ask."""
        within = device if name == CLIENTS else "eth0"
        number = self._numbers[name]
        orders = [
            f"link set {within} address {self._hardware(number)} mtu {_MTU_BYTES} txqueuelen {_QUEUE_FRAMES}",
            f"link set {within} addrgenmode none",
            f"addr add {self.address(name)}/24 dev {within}",
            f"link set {within} up",
        ]
        self._batch(name, orders + [self._neighbour(other, within) for other in self._numbers if other != name])

    def _neighbour(self, name: str, device: str) -> str:
        hardware = self._hardware(self._numbers[name])
        return f"neigh replace {self.address(name)} lladdr {hardware} dev {device} nud permanent"

    def _hardware(self, number: int) -> str:
        return "02:{:02x}:{:02x}:{:02x}:00:{:02x}".format(*map(int, self._prefix.split(".")), number)

    def _batch(self, name: str, orders: list[str]) -> None:
        _ip(["-batch", "-"], self.command(name), "\n".join(orders) + "\n")


def _ip(arguments: list[str], before: Sequence[str] = (), orders: str = "") -> str:
    done = subprocess.run(  # noqa: S603
        [*before, "ip", *arguments], input=orders, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GroundError(f"ip {' '.join(arguments)} {orders}: {done.stderr.strip()}")
    return done.stdout


def _ended(process: subprocess.Popen[bytes]) -> None:
    """Ends a process of ours; nothing, if that was done before."""
    if process.stdout is not None and not process.stdout.closed:
        process.kill()
        process.communicate(timeout=KILLED_SECONDS)


def _free_prefix() -> str:
    """Returns the first three numbers of a private net that no device of this machine has an address in."""
    taken = [
        ipaddress.ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
        for device in json.loads(_ip(["-json", "-4", "addr"]))
        for address in device.get("addr_info", ())
        if "local" in address
    ]
    for tried in range(250):
        prefix = f"10.231.{1 + (os.getpid() + tried) % 250}"
        if not any(net.overlaps(ipaddress.ip_network(f"{prefix}.0/24")) for net in taken):
            return prefix
    raise GroundError("no network of 10.231.0.0/16 is free")
