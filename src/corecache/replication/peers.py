"""What this node knows of the others, and the leases that it holds from them (R8).

To each peer goes a beat each `beat_ms`, with the claims to the partitions that this node leads; the peer's grant gives
a lease for all of them that it does not withhold. This is the holder's side. The granter's is `Replica.grants`, asked
by `machine.py` for each claim.

Rules:

1. A lease is counted from the time at which the very beat was *sent* that the grant answers, for the duration that the
   grant states less the allowed error of the clocks. An answer that comes late grants less.
2. A grant counts only if it answers a beat of this incarnation to that incarnation of the peer. When a peer is heard
   under a new incarnation, all that the old one granted is void, and nothing is sent to it that was meant for the old.
3. A lease covers a claim: this partition in this epoch, as against this replica of the peer. Another epoch, or another
   replica, needs another.
"""

from collections import deque

from corecache.identity import Epoch, Incarnation, Member, Milliseconds, NodeId, PartitionId
from corecache.replication.messages import Beat, Claim, Grant

_BEATS_KEPT = 64
_LONG_AGO = Milliseconds(-(1 << 62))


class Peer:
    """Another node. `incarnation` is the highest heard of, 0 if none; `heard_at` is when anything came from it last.

    `linked`: a connection to it stands. `gone_at`: since when its process has ended, for all that can be told (where it
    listened, nobody does), None if it lives. `leaving`: it says that it is stopping; `full`: that its disk has no room.
    """

    __slots__ = (
        "_claims",
        "_covered",
        "_lease_ends",
        "_lease_until",
        "_number",
        "_sent",
        "_table",
        "_told",
        "answered_at",
        "claims_heard",
        "full",
        "gone_at",
        "heard_at",
        "incarnation",
        "leaving",
        "linked",
        "node",
        "table_heard",
    )

    def __init__(self, node: NodeId, lease_ends: dict[PartitionId, Milliseconds]) -> None:
        """Knows nothing yet but the name. `lease_ends` are forgotten when what this peer has granted changes."""
        self.node = node
        self._lease_ends = lease_ends
        self.incarnation = Incarnation(0)
        self.heard_at = _LONG_AGO
        self.linked = False
        self.gone_at: Milliseconds | None = None
        self.leaving = False
        self.full = False
        self.table_heard = 0
        self.claims_heard: tuple[Claim, ...] = ()
        self._number = 0
        self._table = 0
        self._claims: tuple[Claim, ...] = ()
        self._told = False
        self._forget_leases()

    def _forget_leases(self) -> None:
        self._sent: deque[tuple[int, Milliseconds, int, tuple[Claim, ...]]] = deque(maxlen=_BEATS_KEPT)
        self._covered: dict[PartitionId, Claim] = {}
        self._lease_until = _LONG_AGO
        self._lease_ends.clear()
        self.answered_at = _LONG_AGO
        """When the last beat was sent that was answered with a grant."""

    @property
    def gone(self) -> bool:
        """Says whether its process is known to have ended."""
        return self.gone_at is not None

    def is_of(self, incarnation: Incarnation) -> bool:
        """Takes note of an incarnation that was heard of; returns False for an old one, of which nothing counts."""
        if incarnation < self.incarnation:
            return False
        if incarnation > self.incarnation:
            self.incarnation = incarnation
            self.leaving = self.full = False
            self.table_heard = 0
            self.claims_heard = ()
            self._told = False
            self._forget_leases()
        return True

    def beat(self, claims: tuple[Claim, ...], leaving: bool, full: bool, now: Milliseconds) -> Beat:
        """Returns the next beat; the claims go with it until the peer has said that it has them."""
        if claims != self._claims:
            self._claims = claims
            self._table += 1
            self._told = False
        self._number += 1
        self._sent.append((self._number, now, self._table, claims))
        return Beat(self._number, self._table, None if self._told else claims, leaving, full)

    def granted(self, grant: Grant, margin_ms: int) -> tuple[Claim, ...]:
        """Takes a grant: a lease for the claims of the beat that it answers. Returns those that it withholds."""
        answered = next((beat for beat in self._sent if beat[0] == grant.number), None)
        if answered is None or answered[2] != grant.table:
            return ()
        if not grant.known:
            self._told = False
            return ()
        _, sent_at, table, claims = answered
        if table == self._table:
            self._told = True
        until = self._counted_from(sent_at, grant, margin_ms)
        if until < self._lease_until:
            return ()
        self._lease_until = until
        self.answered_at = sent_at
        withheld = frozenset(grant.withheld)
        self._covered = {claim.partition: claim for claim in claims if claim.partition not in withheld}
        self._lease_ends.clear()
        return tuple(claim for claim in claims if claim.partition in withheld)

    def _counted_from(self, sent_at: Milliseconds, grant: Grant, margin_ms: int) -> Milliseconds:
        """Returns until when a lease holds (rule 1)."""
        return Milliseconds(sent_at + grant.lease_ms - margin_ms)

    def lease_end(self, partition: PartitionId, epoch: Epoch, member: Member) -> Milliseconds:
        """Returns until when a lease from that member holds, for a partition that this node leads in an epoch."""
        claim = self._covered.get(partition)
        covered = claim is not None and claim.epoch == epoch and claim.replica == member.replica
        return self._lease_until if covered else _LONG_AGO


class Peers:
    """All other nodes that this one has to do with."""

    __slots__ = ("_peers", "full", "lease_ends", "leaving", "suspect_from")

    def __init__(self) -> None:
        """Knows nobody yet."""
        self._peers: dict[NodeId, Peer] = {}
        self.lease_ends: dict[PartitionId, Milliseconds] = {}
        """When the first of the leases that a primary needs ends, by partition, as far as it was asked for.

        Forgotten whenever a grant, an incarnation or a required set changes.
        """
        self.leaving = False
        """Whether this node itself is stopping, and hands over all that it leads."""
        self.full = False
        """Whether its disk has no room for puts, so that whoever has room should lead."""
        self.suspect_from = _LONG_AGO
        """Before this time nobody's silence is held against him: this node itself has stalled, and reads first."""

    def __getitem__(self, node: NodeId) -> Peer:
        """Returns a peer, made when it is first asked for."""
        peer = self._peers.get(node)
        if peer is None:
            peer = self._peers[node] = Peer(node, self.lease_ends)
        return peer
