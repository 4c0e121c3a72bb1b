"""The simulated network: frames that take time, get lost, come twice or in another order, and connections.

A frame is bytes, by `wire/link_codec.py`, so that the codec is simulated too. It belongs to a connection, that is, to
one incarnation of the receiver, but the network is weaker than TCP on purpose: with some faults a frame may arrive long
after, twice, and even at a later process of the receiver, which has to know that it was meant for somebody else.

Between two nodes each direction has its own state: a cut (nothing passes) may be one-way. A connection needs both ways
to be made. When its far end dies it is lost at once, or, if the whole machine went down, only after a silence; an
attempt to connect to a machine on which nobody listens is *refused*. What is *told* of connections may be late.
"""

from random import Random
from typing import Protocol

from corecache.identity import Incarnation, NodeId
from corecache.simulator.clock import Schedule
from corecache.simulator.options import Options

_RETRY_FIRST_MS = 20
_BULK_EXTRA_MS = 4


class Station(Protocol):
    """A node, as the network sees it."""

    name: NodeId
    incarnation: Incarnation
    paused: bool
    powered: bool
    """Its machine runs, and refuses connections if nobody listens."""

    @property
    def listening(self) -> bool:
        """Says whether its process runs, and takes connections."""

    def frame(self, frame: bytes) -> None:
        """Takes a frame."""

    def connected(self, node: NodeId, incarnation: Incarnation) -> None:
        """Hears of a connection of its own."""

    def lost(self, node: NodeId, refused: bool) -> None:
        """Hears that it is lost, or was refused."""


class Link:
    """One direction: the connection of `origin` to `target`. `incarnation` is 0 while there is none."""

    __slots__ = ("attempt", "backoff_ms", "incarnation", "last_arrival", "origin", "refused", "target")

    def __init__(self, origin: Station, target: Station) -> None:
        self.origin = origin
        self.target = target
        self.incarnation = Incarnation(0)
        self.attempt = 0
        """Counts attempts and losses, so that what was scheduled for an earlier one is void."""
        self.backoff_ms = _RETRY_FIRST_MS
        self.refused = False
        """Whether the origin has been told so since it was last connected."""
        self.last_arrival = 0


class Network:
    """All links between nodes, and how badly they work at present."""

    def __init__(self, schedule: Schedule, dice: Random, options: Options) -> None:
        self.stations: dict[NodeId, Station] = {}
        self.cuts: dict[tuple[NodeId, NodeId], int] = {}
        """How many faults at present cut this direction."""
        self.loss = self.doubling = self.reordering = self.lateness = 0.0
        self.refusing = False
        """Whether a cut looks like a refusal, as a firewall may make it."""
        self.refused: dict[tuple[NodeId, NodeId], int] = {}
        """How many faults at present have this direction's attempts to connect refused."""
        self.delay_ms = 3
        self._lease_ms = options.lease_ms
        self._schedule = schedule
        self._dice = dice
        self._links: dict[NodeId, dict[NodeId, Link]] = {}

    def meet(self, station: Station, peers: list[NodeId]) -> None:
        """Says who a node is to be linked with: connects with the new ones, lets go of the others."""
        links = self._links.setdefault(station.name, {})
        for peer in [known for known in links if known not in peers]:
            links.pop(peer).attempt += 1
        for peer in peers:
            if peer not in links and peer in self.stations:
                links[peer] = Link(station, self.stations[peer])
                self._attempt_after(links[peer], 1)

    def reaches(self, origin: NodeId, target: NodeId) -> Incarnation:
        """Returns the incarnation that a frame would reach, 0 if there is no connection."""
        link = self._links.get(origin, {}).get(target)
        return link.incarnation if link is not None else Incarnation(0)

    def carry(self, origin: NodeId, target: NodeId, frame: bytes, bulk: bool) -> None:
        """Takes a frame on its way. Requires: there is a connection."""
        if (origin, target) in self.cuts:
            return
        dice = self._dice.random
        if self.loss and dice() < self.loss:
            return
        link = self._links[origin][target]
        copies = 2 if self.doubling and dice() < self.doubling else 1
        for _ in range(copies):
            arrival = self._schedule.now + 1 + int(dice() * self.delay_ms)
            if bulk:
                arrival += int(dice() * _BULK_EXTRA_MS)
            if self.lateness and dice() < self.lateness:
                arrival += int(dice() * 3 * self._lease_ms)
            elif self.reordering and dice() < self.reordering:
                arrival += int(dice() * 20)
            elif copies == 1 and not bulk:
                arrival = link.last_arrival = max(arrival, link.last_arrival)
            self._schedule.at(arrival, self._arrive, (link.target, frame))

    def _arrive(self, event: tuple[Station, bytes]) -> None:
        station, frame = event
        if station.listening:
            station.frame(frame)

    def cut(self, origin: NodeId, target: NodeId, change: int) -> None:
        """Adds a cut of one direction, or with -1 takes one away."""
        count = self.cuts.get((origin, target), 0) + change
        if count > 0:
            self.cuts[origin, target] = count
        else:
            self.cuts.pop((origin, target), None)

    def refuse(self, origin: NodeId, target: NodeId, change: int) -> None:
        """Has a direction's attempts to connect refused by one fault more, or with -1 by one less."""
        self.refused[origin, target] = self.refused.get((origin, target), 0) + change

    def heal(self) -> None:
        """Makes all directions good again."""
        self.cuts.clear()
        self.refused.clear()
        self.loss = self.doubling = self.reordering = self.lateness = 0.0
        self.refusing = False
        self.delay_ms = 3

    def reset(self, origin: NodeId, target: NodeId) -> None:
        """Breaks a connection; it will be made again."""
        link = self._links.get(origin, {}).get(target)
        if link is not None and link.incarnation:
            self._lose(link)

    def left(self, station: Station, power: bool) -> None:
        """Notes that a node's process has ended: its own links are gone, those to it will be noticed as lost."""
        for link in self._links.pop(station.name, {}).values():
            link.attempt += 1
        for links in self._links.values():
            known = links.get(station.name)
            if known is not None and known.incarnation:
                known.attempt += 1
                silence = self._lease_ms * (1 + self._dice.random() * 2) if power else self._dice.random() * 5
                self._schedule.after(int(silence), self._noticed, (known, known.attempt))

    def _noticed(self, event: tuple[Link, int]) -> None:
        link, attempt = event
        if link.attempt == attempt:
            self._lose(link)

    def _lose(self, link: Link) -> None:
        """Tells that a connection is lost, and tries again."""
        link.incarnation = Incarnation(0)
        # The link may tell of both in one: lost, and nobody there any more.
        gone = link.target.powered and not link.target.listening and self._dice.random() < 0.5
        link.refused = (gone and self._open(link)) or self._is_refused(link)
        link.origin.lost(link.target.name, link.refused)
        link.backoff_ms = _RETRY_FIRST_MS
        self._attempt_after(link, 1 + int(self._dice.random() * 5))

    def _attempt_after(self, link: Link, delay: int) -> None:
        link.attempt += 1
        self._schedule.after(delay, self._attempt, (link, link.attempt))

    def _attempt(self, event: tuple[Link, int]) -> None:
        link, attempt = event
        if link.attempt != attempt:
            return
        target = link.target
        opened = self._open(link) and not self._is_refused(link)
        if opened and target.listening and not target.paused:
            link.incarnation = target.incarnation
            link.refused = False
            link.origin.connected(target.name, target.incarnation)
            return
        refuses = target.powered and not target.listening if opened else self.refusing or self._is_refused(link)
        if refuses and not link.refused:
            link.refused = True
            link.origin.lost(target.name, True)
        link.backoff_ms = min(link.backoff_ms * 2, max(self._lease_ms // 2, _RETRY_FIRST_MS))
        self._attempt_after(link, 1 + int(link.backoff_ms * (0.5 + self._dice.random())))

    def _is_refused(self, link: Link) -> bool:
        return self.refused.get((link.origin.name, link.target.name), 0) > 0

    def _open(self, link: Link) -> bool:
        forth, back = (link.origin.name, link.target.name), (link.target.name, link.origin.name)
        return forth not in self.cuts and back not in self.cuts
