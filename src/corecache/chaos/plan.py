"""Which faults strike, when and how hard: drawn from a seed. Pure; what each of them does is in `faults/`.

The kinds are dealt like cards: each that can happen on this machine has a turn before any has a second one, so that a
short campaign is not five kills and nothing else. About one in four begins while the one before is still going on.

What a fault needs of the machine is a *means*: a network of namespaces, the shim between a node and its disk, disks
whose power can be cut, an ensemble of ZooKeeper servers. Where one is missing, its kinds are named as not run, with the
reason.
"""

from collections.abc import Collection, Mapping
from random import Random
from typing import Final, Literal

import msgspec

Means = Literal["network", "disk", "power", "ensemble"]

_TOGETHER: Final = 0.35
_PAUSE_S: Final = (1.0, 4.0)


class Kind(msgspec.Struct, frozen=True):
    """A kind of fault: what happens, in words; how long it lasts, in seconds; what it strikes; what it needs.

    Two that strike the same don't go on at once, but for nodes, of which there are several. What strikes everything
    goes on alone.
    """

    sentence: str
    seconds: tuple[float, float]
    strikes: Literal["a node", "all nodes", "the network", "ZooKeeper", "the members", "everything"] = "a node"
    needs: Means | None = None

    def goes_with(self, other: "Kind") -> bool:
        """Says whether both can go on at once."""
        strikes = {self.strikes, other.strikes}
        return "everything" not in strikes and (len(strikes) == 2 or self.strikes == "a node")


KINDS: Final[Mapping[str, Kind]] = {
    "kill": Kind("a node is killed (SIGKILL) and started again", (0.2, 5)),
    "kill-all": Kind("all nodes are killed at once", (0.1, 2), "all nodes"),
    "pause-short": Kind("a node stands still (SIGSTOP) for less than a lease", (0.05, 0.9)),
    "pause-lease": Kind("a node stands still until about the end of a lease, before it or after it", (0.8, 1.3)),
    "pause-long": Kind("a node stands still for longer than a lease", (1.2, 5)),
    "wipe": Kind("a node is killed and comes back with an empty data directory", (0.2, 2), "everything"),
    "kill-in-catch-up": Kind("a node is killed again while it catches up", (1, 4)),
    "kill-in-hand-over": Kind("a node is told to stop, and killed while it hands over", (0.02, 0.4)),
    "kill-in-compaction": Kind("a node is killed while it compacts", (0.02, 0.5)),
    "join-and-drain": Kind("a node joins, then another is drained and stopped", (5, 12), "the members"),
    "zookeeper-stop": Kind("all ZooKeeper servers are killed and started again", (1, 8), "ZooKeeper"),
    "zookeeper-hang": Kind("all ZooKeeper servers stand still", (1, 8), "ZooKeeper"),
    "zookeeper-leader": Kind("the leader of the ensemble is killed and started again", (1, 4), "ZooKeeper", "ensemble"),
    "session-expiry": Kind("a node's session with ZooKeeper is ended", (0.5, 2)),
    "cut-zookeeper": Kind(
        "a node is cut off from ZooKeeper, mostly for longer than its session", (2, 7), "the network", "network"
    ),
    "cut-minority": Kind("one node is cut off from all the others", (1, 6), "the network", "network"),
    "cut-majority": Kind(
        "all nodes but one are cut off from that one and from ZooKeeper", (1, 6), "the network", "network"
    ),
    "cut-one-way": Kind("nothing that one node sends reaches another", (1, 6), "the network", "network"),
    "cut-ring": Kind("each node hears only one neighbour, in a ring", (1, 6), "the network", "network"),
    "delay": Kind("everything between nodes takes 75 ± 50 ms longer", (2, 6), "the network", "network"),
    "loss": Kind("one packet in twenty between nodes is lost", (2, 6), "the network", "network"),
    "slow-disk": Kind("each write and sync of a node takes 20 ms longer", (2, 6), needs="disk"),
    "full-disk": Kind("a node's disk is full", (1, 4), needs="disk"),
    "failing-fsync": Kind("a node's fsync fails, until the node is started again", (0.5, 3), needs="disk"),
    "dying-disks": Kind("no disk syncs any more, until all nodes are started again", (0.5, 3), "all nodes", "power"),
    "power-cut": Kind("a node loses power: what it had not fsynced is gone", (0.1, 3), needs="power"),
    "power-cut-all": Kind("all nodes lose power at one instant", (0.1, 2), "all nodes", "power"),
}


class Planned(msgspec.Struct, frozen=True):
    """A fault to come: its kind, how long it lasts, and a number that chooses whom it strikes.

    It begins `pause_s` seconds after those before it are over or, if `together`, after the last one's begin.
    """

    kind: str
    seconds: float
    roll: int
    pause_s: float
    together: bool


def sort_out(missing: Mapping[Means, str], only: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """Returns the kinds that can happen, and why others can't; `only`, if it is not empty, names those wanted."""
    can: list[str] = []
    cannot: dict[str, str] = {}
    for name, kind in KINDS.items():
        if only and name not in only:
            cannot[name] = "not asked for"
        elif kind.needs is not None and kind.needs in missing:
            cannot[name] = missing[kind.needs]
        else:
            can.append(name)
    return can, cannot


def described(missing: Mapping[Means, str]) -> list[tuple[str, str]]:
    """Returns each kind of fault with what happens, and why it can't happen here, if so."""
    _, cannot = sort_out(missing, ())
    return [
        (name, kind.sentence + (f" [not here: {cannot[name]}]" if name in cannot else ""))
        for name, kind in KINDS.items()
    ]


class Planner:
    """Plans a campaign's faults, one after the other, for ever."""

    def __init__(self, kinds: Collection[str], dice: Random) -> None:
        """Takes the kinds that can happen, at least one."""
        assert kinds
        self._kinds = list(kinds)
        self._dice = dice
        self._deck: list[str] = []
        self._last: Planned | None = None

    def next(self) -> Planned:
        """Returns the next fault."""
        if not self._deck:
            self._deck = list(self._kinds)
            self._dice.shuffle(self._deck)
        kind = self._deck.pop()
        last = self._last
        # Of three at once nothing is to be learned but that two were too many.
        together = (
            last is not None
            and not last.together
            and KINDS[kind].goes_with(KINDS[last.kind])
            and self._dice.random() < _TOGETHER
        )
        pause_s = self._dice.uniform(0, min(last.seconds, 1.0)) if together and last else self._dice.uniform(*_PAUSE_S)
        seconds = self._dice.uniform(*KINDS[kind].seconds)
        self._last = Planned(kind, round(seconds, 3), self._dice.randrange(1 << 16), round(pause_s, 3), together)
        return self._last
