"""The network of namespaces: what is sent arrives, or does not, by the direction, on frames counted at the receiver.

No time is judged: a frame that is cut or lost is known to be so by a later one, sent when the way is whole again, that
has arrived without it. Delays are judged by the switch's own decision, which is pure, and by the order of arrival.
"""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from corecache.chaos import network as networks
from corecache.chaos.network import CLIENTS, Network
from corecache.chaos.processes import GroundError, started
from corecache.chaos.switch import Behave, Way

PORT = 7000
COUNT = 200
ANSWER_SECONDS = 20.0
EAR = """
import socket, sys
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
ear.bind((sys.argv[1], int(sys.argv[2])))
print("hears", flush=True)
while True:
    print(ear.recv(100).decode(), flush=True)
"""
MOUTH = """
import socket, sys
mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for word in sys.argv[3:]:
    mouth.sendto(word.encode(), (sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Two members, and the clients. Each test heals it."""
    missing = networks.why_not()
    if missing is not None:
        pytest.skip(missing)
    with Network(("a", "b"), seed=7) as made:
        yield made


class Ear:
    """A member that writes down each datagram that it gets."""

    def __init__(self, network: Network, member: str) -> None:
        program = [sys.executable, "-c", EAR, network.address(member), str(PORT)]
        self.process = started([*network.command(member), *program], subprocess.DEVNULL, pipes=True)
        assert self.next() == "hears"

    def next(self) -> str:
        """Returns the next word that was heard, in the order of arrival."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def until(self, last: str) -> list[str]:
        """Returns what was heard before a word."""
        return list(iter(self.next, last))


@contextmanager
def ear_of(network: Network, member: str) -> Iterator[Ear]:
    """Runs one."""
    ear = Ear(network, member)
    try:
        yield ear
    finally:
        network.heal()
        ear.process.kill()
        ear.process.communicate()


def say(network: Network, sender: str, receiver: str, *words: str) -> None:
    """Sends datagrams from one member to another."""
    program = [sys.executable, "-c", MOUTH, network.address(receiver), str(PORT), *words]
    subprocess.run([*network.command(sender), *program], check=True)


def test_what_is_sent_arrives_in_its_order_between_all(network: Network) -> None:
    """From each member and from the clients, who are members too."""
    words = [str(number) for number in range(COUNT)]
    with ear_of(network, "b") as ear:
        for sender in ("a", CLIENTS):
            say(network, sender, "b", *words, "end")
            assert ear.until("end") == words
    with ear_of(network, CLIENTS) as ear:
        say(network, "b", CLIENTS, "word", "end")
        assert ear.until("end") == ["word"]


def test_a_cut_is_one_way_and_ends_with_healing(network: Network) -> None:
    """What went into it is gone for good; the way back, and those of others, are whole."""
    with ear_of(network, "a") as at_a, ear_of(network, "b") as at_b:
        network.cut("a", "b")
        say(network, "a", "b", "lost")
        say(network, "b", "a", "back", "end")
        say(network, CLIENTS, "b", "other", "end")
        assert at_a.until("end") == ["back"]
        assert at_b.until("end") == ["other"]
        network.heal()
        say(network, "a", "b", "whole", "end")
        assert at_b.until("end") == ["whole"]


def test_a_cut_strikes_connections_that_are_open(network: Network) -> None:
    """Nobody is told: the connection stays, silent, and goes on when the way is mended."""
    program = (
        "import socket, sys; ear = socket.create_server((sys.argv[1], 7001)); print('hears', flush=True); "
        "one, _ = ear.accept(); [one.sendall(word) for word in iter(lambda: one.recv(9), b'')]"
    )
    order = [*network.command("b"), sys.executable, "-c", program, network.address("b")]
    echo = started(order, subprocess.DEVNULL, pipes=True)
    assert echo.stdout is not None
    assert echo.stdout.readline() == b"hears\n"
    with socket.create_connection((network.address("b"), 7001), ANSWER_SECONDS) as connection:
        connection.sendall(b"one")
        assert connection.recv(9) == b"one"
        network.cut(CLIENTS, "b")
        connection.sendall(b"two")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(9)
        network.heal()
        connection.settimeout(ANSWER_SECONDS)
        assert connection.recv(9) == b"two"
    echo.communicate()


def test_loss_takes_its_share(network: Network) -> None:
    """At half, some arrive and some do not, those in their order; the other direction loses nothing."""
    words = [str(number) for number in range(COUNT)]
    with ear_of(network, "a") as at_a, ear_of(network, "b") as at_b:
        network.loss("a", "b", 0.5)
        say(network, "a", "b", *words)
        say(network, "b", "a", *words, "end")
        network.heal()
        say(network, "a", "b", "end")
        heard = at_b.until("end")
        assert at_a.until("end") == words
        assert COUNT / 4 < len(heard) < COUNT * 3 / 4
        assert heard == sorted(heard, key=int)


def test_delay_holds_frames_and_loses_none(network: Network) -> None:
    """One that is sent later on a way without delay comes first; jitter changes the order."""
    words = [str(number) for number in range(COUNT)]
    with ear_of(network, "b") as ear:
        network.delay("a", "b", 3000, 50)
        say(network, "a", "b", *words)
        say(network, CLIENTS, "b", "sooner")
        heard = [ear.next() for _ in range(COUNT + 1)]
        assert heard[0] == "sooner"
        assert heard[1:] != words
        assert sorted(heard[1:], key=int) == words


def test_who_joins_later_reaches_all_and_is_reached(network: Network) -> None:
    """And who is there already is not added twice."""
    network.add("later")
    network.add("later")
    with ear_of(network, "later") as ear:
        say(network, "a", "later", "word", "end")
        assert ear.until("end") == ["word"]
    with ear_of(network, "a") as ear:
        say(network, "later", "a", "word", "end")
        assert ear.until("end") == ["word"]


def test_who_leaves_is_gone_and_its_place_is_another_s(network: Network) -> None:
    """Ways from and to it are forgotten, those of the one who comes after it are whole."""
    network.add("leaving")
    address, holder = network.address("leaving"), network._holders["leaving"]
    network.cut("a", "leaving")
    network.remove("leaving")
    assert holder.poll() is not None
    network.cut("a", "leaving")
    network.add("next")
    assert network.address("next") == address
    with ear_of(network, "next") as ear:
        say(network, "a", "next", "word", "end")
        assert ear.until("end") == ["word"]
    network.remove("next")
    with ear_of(network, "b") as ear:
        say(network, "a", "b", "word", "end")
        assert ear.until("end") == ["word"]


def test_nothing_stays_behind() -> None:
    """Neither a device nor a process, when the campaign's process is killed in the middle of it."""
    if networks.why_not() is not None:
        pytest.skip(str(networks.why_not()))
    program = (
        "import sys\nfrom corecache.chaos.network import Network\n"
        "with Network(('a',)) as network:\n"
        "    print(network._switch.pid, network._holders['a'].pid, flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as campaign:
        assert campaign.stdout is not None
        children = [int(number) for number in campaign.stdout.readline().split()]
        assert len(children) == 2
        assert _devices(campaign.pid)
        campaign.kill()
    assert [_await_end(pid) for pid in children] == [True, True]
    assert not _devices(campaign.pid)


def _devices(pid: int) -> list[Path]:
    return list(Path("/sys/class/net").glob(f"cc{pid}-*"))


def _await_end(pid: int) -> bool:
    """Waits until a process that is not our child is gone."""
    try:
        file = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return select.select([file], [], [], ANSWER_SECONDS)[0] == [file]
    finally:
        os.close(file)


def test_a_switch_that_ended_is_told() -> None:
    """Not as a network that is whole."""
    if networks.why_not() is not None:
        pytest.skip(str(networks.why_not()))
    with Network(("a",)) as network:
        network._switch.kill()
        network._switch.wait()
        with pytest.raises(GroundError, match="switch"):
            network.cut(CLIENTS, "a")


def test_a_way_decides_by_its_numbers_and_its_dice() -> None:
    """The same seed, the same fate; each behaviour alone, and all together."""
    mean = Way(3, Behave("a", "b", mean_ms=75, jitter_ms=50))
    assert [mean.delay_of(Random(5)) for _ in range(3)] == [mean.delay_of(Random(5))] * 3
    dice = Random(1)
    drawn = [mean.delay_of(dice) for _ in range(2000)]
    known = [delay_ns for delay_ns in drawn if delay_ns is not None]
    assert len(known) == len(drawn)
    assert 25_000_000 <= min(known) < 30_000_000
    assert 120_000_000 < max(known) <= 125_000_000
    assert 70_000_000 < sum(known) / len(known) < 80_000_000
    lossy = Way(3, Behave("a", "b", loss=0.05))
    assert 60 < [lossy.delay_of(dice) for _ in range(2000)].count(None) < 140
    assert Way(3, Behave("a", "b", cut=True, mean_ms=75)).delay_of(dice) is None
    assert Way(3, Behave("a", "b", mean_ms=1, jitter_ms=50)).delay_of(Random(1)) == 0
    assert Way(3, Behave("a", "b")).plain
    assert not any(way.plain for way in (mean, lossy))
