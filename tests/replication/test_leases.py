"""The leases that a primary holds, when what a read has relied on before is no longer so (R7, R8)."""

import pytest

from corecache.config import Replication
from corecache.identity import Epoch, Incarnation, Lineage, Member, Milliseconds, NodeId, PartitionId, ReplicaId
from corecache.placement.view import VersionedView, View
from corecache.replication import actions, events, invariants
from corecache.replication.machine import Machine
from corecache.replication.messages import Beat, Envelope, Grant, Message
from corecache.replication.recovered import NOTHING_APPLIED, Recovered, ReplicaFacts

PARTITION = PartitionId(0)
MEMBERS = tuple(Member(NodeId(f"n{number}"), ReplicaId(f"r{number}")) for number in (1, 2, 3))
SETTINGS = Replication()
LASTS_MS = SETTINGS.lease_ms - SETTINGS.lease_margin_ms


class Holder:
    """The node of a primary, whose peers grant what the test says."""

    def __init__(self) -> None:
        recovered = Recovered(ReplicaFacts(MEMBERS[0].replica, Epoch(1)), NOTHING_APPLIED, ())
        now = Milliseconds(0)
        self.machine = Machine(MEMBERS[0].node, Incarnation(1), SETTINGS, {PARTITION: recovered}, now, now)
        self.show(2, 1)
        self.beats: dict[NodeId, Beat] = {}

    def show(self, in_sync: int, version: int) -> None:
        """Brings a view with so many of the members in sync."""
        nodes = tuple(member.node for member in MEMBERS)
        view = View(Lineage(1), Epoch(1), MEMBERS[0], Incarnation(1), MEMBERS[:in_sync], nodes)
        self.machine.handle(PARTITION, events.ViewChanged(VersionedView(view, version)), Milliseconds(0))

    def beat(self, now: int) -> None:
        """Sends the beats that are due."""
        for _, action in self.machine.tick(Milliseconds(now)):
            if isinstance(action, actions.Send) and isinstance(action.message, Beat):
                self.beats[action.to] = action.message

    def hear(self, node: str, *messages: Message, incarnation: int = 1) -> None:
        """Brings messages of a start of a node."""
        mine = self.machine.node, Incarnation(1)
        envelope = Envelope(NodeId(node), Incarnation(incarnation), *mine, messages)
        self.machine.received(envelope, Milliseconds(0))

    def grant(self, node: str, *withheld: PartitionId) -> None:
        """Has a node answer the last beat that it was sent."""
        beat = self.beats[NodeId(node)]
        self.hear(node, Grant(beat.number, beat.table, True, Milliseconds(SETTINGS.lease_ms), withheld))

    def holds(self, now: int) -> bool:
        """Says whether the primary holds all leases that it needs."""
        replica = self.machine.replicas[PARTITION]
        assert replica.primary is not None
        holds = replica.primary.holds_leases(Milliseconds(now))
        invariants.check(replica)
        return holds


@pytest.fixture
def holder() -> Holder:
    """Gives the primary of a view of two, which holds the lease that it needs, and was asked for it."""
    made = Holder()
    made.hear("n2")
    made.beat(0)
    assert not made.holds(1)
    made.grant("n2")
    assert made.holds(LASTS_MS - 1)
    assert not made.holds(LASTS_MS)
    return made


def test_a_grant_prolongs_a_lease_from_the_time_of_its_beat(holder: Holder) -> None:
    """Also one that has run out."""
    holder.beat(300)
    assert not holder.holds(LASTS_MS)
    holder.grant("n2")

    assert holder.holds(300 + LASTS_MS - 1)
    assert not holder.holds(300 + LASTS_MS)


def test_a_grant_that_withholds_ends_the_lease_at_once(holder: Holder) -> None:
    """Whatever was granted before."""
    holder.beat(100)
    holder.grant("n2", PARTITION)

    assert not holder.holds(101)


def test_a_new_start_of_a_member_ends_its_lease_at_once(holder: Holder) -> None:
    """What its old start has granted is void, whether a message of the new one comes first or its connection."""
    holder.hear("n2", incarnation=2)
    assert not holder.holds(1)
    holder.beat(100)
    beat = holder.beats[NodeId("n2")]
    grant = Grant(beat.number, beat.table, True, Milliseconds(SETTINGS.lease_ms), ())
    holder.hear("n2", grant, incarnation=2)
    assert holder.holds(101)
    holder.machine.connected(NodeId("n2"), Incarnation(3), Milliseconds(0))

    assert not holder.holds(101)


def test_a_member_that_is_required_from_now_on_has_to_have_granted_a_lease(holder: Holder) -> None:
    """Also if the one before suffices for long."""
    holder.show(3, 2)
    assert not holder.holds(1)
    holder.show(2, 3)

    assert holder.holds(LASTS_MS - 1)
    assert not holder.holds(LASTS_MS)
