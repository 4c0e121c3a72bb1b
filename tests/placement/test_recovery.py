"""When a promotion may be forced, and what the new view is."""

import msgspec
import pytest

from corecache.errors import CallerFault, NotDone
from corecache.identity import Epoch, Incarnation, Lineage, Member, NodeId, PartitionId, ReplicaId, Sequence
from corecache.placement.recovery import Copy, recovered
from corecache.placement.view import View

P = PartitionId(5)
N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
R1, R2, R3 = ReplicaId("r1"), ReplicaId("r2"), ReplicaId("r3")
LOST = (Member(N1, R1), Member(N2, R2))
VIEW = View(Lineage(1), Epoch(7), LOST[0], Incarnation(4), LOST, (N1, N2, N3), 2)
OLD = Copy(R3, Lineage(1), Epoch(5), Sequence(120), True)
EMPTY = Copy(ReplicaId("fresh"), Lineage(1), Epoch(7), Sequence(0), True)


def judged(
    copies: dict[NodeId, Copy | None], node: NodeId = N3, silent: tuple[NodeId, ...] = (), view: View = VIEW
) -> View:
    """Returns the view in which the partition goes on from a node, started for the ninth time."""
    return recovered(P, view, node, Incarnation(9), copies, frozenset(silent))


def refusal(copies: dict[NodeId, Copy | None], node: NodeId = N3, view: View = VIEW) -> tuple[str, str]:
    """Returns code and sentence of the error instead."""
    with pytest.raises(CallerFault) as error:
        judged(copies, node, view=view)
    return error.value.code, error.value.message


def test_the_new_view_is_of_another_lineage_and_a_higher_epoch() -> None:
    """The copy is alone in sync; what is wanted, and how many copies a success needs, stays."""
    alone = (Member(N3, R3),)
    assert judged({N3: OLD}) == View(
        Lineage(2), Epoch(8), alone[0], Incarnation(9), alone, VIEW.replicas, VIEW.min_in_sync
    )
    ahead = msgspec.structs.replace(OLD, epoch=Epoch(11))
    assert judged({N3: ahead}).epoch == 12


def test_nothing_is_recovered_while_a_member_in_sync_lives() -> None:
    """Not even if its disk has failed, as long as its process has the replica: stop it first."""
    for member in LOST:
        for whole in (True, False):
            living = Copy(member.replica, Lineage(1), Epoch(7), Sequence(200), whole)
            code, sentence = refusal({N3: OLD, member.node: living})
            assert code == "nothing_to_recover"
            assert f"{member.node} is alive" in sentence
    in_sync = msgspec.structs.replace(VIEW, in_sync=(*LOST, Member(N3, R3)))
    assert refusal({N3: OLD}, view=in_sync)[0] == "nothing_to_recover"


def test_a_node_that_came_back_without_its_copy_does_not_count() -> None:
    """It is alive, and the member that the view trusts is gone: it holds another replica, or none."""
    assert judged({N3: OLD, N1: EMPTY, N2: None}).primary.node == N3
    half = msgspec.structs.replace(EMPTY, last=Sequence(3), whole=False)
    assert judged({N3: OLD, N1: half}).primary.node == N3


def test_who_is_listed_and_does_not_answer_may_live() -> None:
    """Not done, until it is stopped; one that is not in sync need not answer."""
    with pytest.raises(NotDone) as error:
        judged({N3: OLD}, silent=(N2,))
    assert error.value.code == "member_silent"
    other = msgspec.structs.replace(VIEW, in_sync=LOST[:1])
    assert judged({N3: OLD}, silent=(N2,), view=other).primary.node == N3


def test_only_a_whole_copy_of_this_lineage_will_do() -> None:
    """None, half of one, one of an older lineage: another node is to be named."""
    for copy in (
        None,
        msgspec.structs.replace(OLD, whole=False),
        msgspec.structs.replace(OLD, lineage=Lineage(0)),
    ):
        assert refusal({N3: copy})[0] == "not_recoverable"
    assert refusal({})[0] == "not_recoverable"


def test_a_copy_that_was_not_wanted_any_more_is_wanted_again() -> None:
    """Nobody was there to have it dropped."""
    unwanted = msgspec.structs.replace(VIEW, replicas=(N1, N2))
    assert judged({N3: OLD}, view=unwanted).replicas == (N3, N1, N2)


def test_an_empty_copy_will_do_only_where_nobody_has_more() -> None:
    """A node that came back empty is not to be mistaken for one with the old copy."""
    code, sentence = refusal({N1: EMPTY, N3: OLD}, N1)
    assert code == "not_recoverable"
    assert "n3 has one" in sentence
    half = msgspec.structs.replace(OLD, whole=False)
    assert judged({N1: EMPTY, N3: half}, N1).in_sync == (Member(N1, EMPTY.replica),)
