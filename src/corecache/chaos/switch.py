"""The switch between the namespaces of a campaign: a process that carries frames, or not, or later, as it is told.

Each namespace hangs on a TAP device whose other end is here. A frame goes to the device that has the hardware address
that it is for; a frame for nobody known is dropped (the members know each other's addresses, so nobody calls out).

Rule 1: from one member to another there is one `Way`, with its own behaviour: cut, loss, delay. The way back is
another. Nobody is told of a change, as nobody is when a cable is pulled.
Rule 2: what a way does with a frame is decided by its numbers and by seeded dice alone (`Way.delay_of`).
Rule 3: frames that are not delayed, or not differently, arrive in the order in which they were sent.

Orders are lines of JSON on the input, each answered by a line: `{"done":true}`, or `{"done":false,"why":…}`. The switch
ends with its input. It runs as `python -m corecache.chaos.switch SEED`: a process of its own, as frames must not wait
for whatever else the campaign's interpreter does. `network.py` gives the orders.
"""

import contextlib
import fcntl
import heapq
import os
import select
import struct
import sys
import time
from random import Random

import msgspec

FRAME_BYTES_MAX = 65_536
_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
_BURST = 64
"""Frames that are taken from one device before the next one has its turn."""


class Plug(msgspec.Struct, frozen=True, tag=True):
    """Makes a TAP device of a name, and a member of the network that has the hardware address."""

    member: str
    device: str
    hardware: str


class Unplug(msgspec.Struct, frozen=True, tag=True):
    """Removes a member, and its device."""

    member: str


class Behave(msgspec.Struct, frozen=True, tag=True):
    """Says what happens to what `sender` sends to `receiver`, from now on. `loss` is a share, the times are in ms."""

    sender: str
    receiver: str
    cut: bool = False
    loss: float = 0.0
    mean_ms: float = 0.0
    jitter_ms: float = 0.0


Order = Plug | Unplug | Behave


class Done(msgspec.Struct, frozen=True):
    """The answer to an order."""

    done: bool
    why: str = ""


class Way:
    """From one member to another: where frames go, and what becomes of them."""

    __slots__ = ("behaviour", "plain", "to")

    def __init__(self, to: int, behaviour: Behave) -> None:
        self.to = to
        self.behave(behaviour)

    def behave(self, behaviour: Behave) -> None:
        """Takes a behaviour for all frames from now on."""
        self.behaviour = behaviour
        self.plain = not (behaviour.cut or behaviour.loss or behaviour.mean_ms or behaviour.jitter_ms)

    def delay_of(self, dice: Random) -> int | None:
        """Returns how many nanoseconds the next frame takes, None if it never arrives."""
        behaviour = self.behaviour
        if behaviour.cut or (behaviour.loss and dice.random() < behaviour.loss):
            return None
        ms = behaviour.mean_ms + behaviour.jitter_ms * (2.0 * dice.random() - 1.0)
        return max(0, int(ms * 1_000_000))


class Switch:
    """The members, the ways between them, and the frames that are under way."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._devices: dict[str, tuple[int, bytes]] = {}
        self._ways: dict[int, dict[bytes, Way]] = {}
        self._late: list[tuple[int, int, int, bytes]] = []
        self._sent = 0
        self._poll = select.epoll()
        self._orders = b""

    def run(self) -> None:
        """Carries frames and takes orders until the input ends."""
        os.set_blocking(0, False)
        self._poll.register(0, select.EPOLLIN)
        while True:
            for file, _ in self._poll.poll(self._wait_seconds()):
                if file:
                    self._carry(file)
                elif not self._listen():
                    return
            if self._late:
                self._deliver(time.monotonic_ns())

    def _wait_seconds(self) -> float | None:
        return max(0.0, (self._late[0][0] - time.monotonic_ns()) / 1e9) if self._late else None

    def _carry(self, file: int) -> None:
        """Takes what one member has sent, and passes it on. This is the path of every frame: no frame, no function."""
        ways, read, write = self._ways[file], os.read, os.write
        try:
            for _ in range(_BURST):
                frame = read(file, FRAME_BYTES_MAX)
                way = ways.get(frame[:6])
                if way is None:
                    continue
                if not way.plain:
                    self._hold(way, frame)
                    continue
                try:
                    write(way.to, frame)
                except OSError:
                    continue  # The receiver's device is down, or full: a frame that is lost.
        except BlockingIOError:
            return
        except OSError:
            self._poll.unregister(file)  # The namespace is gone, and its device with it.

    def _hold(self, way: Way, frame: bytes) -> None:
        delay_ns = way.delay_of(self._dice)
        if delay_ns is not None:
            self._sent += 1
            heapq.heappush(self._late, (time.monotonic_ns() + delay_ns, self._sent, way.to, frame))

    def _deliver(self, now_ns: int) -> None:
        while self._late and self._late[0][0] <= now_ns:
            _, _, to, frame = heapq.heappop(self._late)
            try:
                os.write(to, frame)
            except OSError:
                continue

    def _listen(self) -> bool:
        """Follows the orders that have come; says whether there may be more."""
        received = os.read(0, FRAME_BYTES_MAX)
        *orders, self._orders = (self._orders + received).split(b"\n")
        for order in orders:
            os.write(1, msgspec.json.encode(self._follow(msgspec.json.decode(order, type=Order))) + b"\n")
        return received != b""

    def _follow(self, order: Order) -> Done:
        if isinstance(order, Behave):
            sender, (_, hardware) = self._devices[order.sender][0], self._devices[order.receiver]
            self._ways[sender][hardware].behave(order)
            return Done(True)
        if isinstance(order, Unplug):
            self._unplug(order.member)
            return Done(True)
        try:
            self._plug(order)
        except OSError as error:
            return Done(False, f"no TAP device {order.device}: {error}")
        return Done(True)

    def _plug(self, order: Plug) -> None:
        file, hardware = tap(order.device), bytes.fromhex(order.hardware.replace(":", ""))
        self._ways[file] = {}
        for member, (other, address) in self._devices.items():
            self._ways[file][address] = Way(other, Behave(order.member, member))
            self._ways[other][hardware] = Way(file, Behave(member, order.member))
        self._devices[order.member] = file, hardware
        self._poll.register(file, select.EPOLLIN)

    def _unplug(self, member: str) -> None:
        file, hardware = self._devices.pop(member)
        del self._ways[file]
        for other, _ in self._devices.values():
            del self._ways[other][hardware]
        self._late = [frame for frame in self._late if frame[2] != file]
        heapq.heapify(self._late)
        os.close(file)


def tap(device: str) -> int:
    """Makes a TAP device of a name; returns the file of its other end, which does not block. Raises: OSError."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _TAP_WITHOUT_HEADER))
    except OSError:
        os.close(file)
        raise
    return file


def _ahead_of_others() -> None:
    """Has the system run this process at once when a frame is there, as it would run its own switch."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


if __name__ == "__main__":
    _ahead_of_others()
    Switch(Random(int(sys.argv[1]))).run()  # noqa: S311 the dice of a campaign, thrown again by its seed
