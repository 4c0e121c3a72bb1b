"""What operators may order, and what it makes of the orders that stand."""

from collections.abc import Callable

import pytest

from corecache.errors import CallerFault
from corecache.identity import NodeId
from corecache.placement.ordering import Situation, drained, rebalanced, required, undrained
from corecache.placement.partition_map import Orders
from placement.placement_model import Model, names

N0, N1, N2, N3 = names(4)
STRANGER = NodeId("stranger")


def situation(nodes: int = 4, away: tuple[NodeId, ...] = (), orders: Orders | None = None) -> Situation:
    """Returns that of a cluster whose partitions are on the first three nodes, some of its nodes being away."""
    model = Model(dict.fromkeys(names(nodes), ""), [names(min(3, nodes))] * 2)
    alive = {node: entry for node, entry in model.alive.items() if node not in away}
    return Situation(model.facts, model.views, alive, orders or Orders())


def refused(order: Callable[[], Orders]) -> CallerFault:
    """Returns the error that an order meets."""
    with pytest.raises(CallerFault) as error:
        order()
    return error.value


def test_a_node_is_drained_once_and_let_go() -> None:
    """The order adds it, given twice it changes nothing, and cancelled it is gone; other orders stay."""
    standing = Orders(rebalancing=False, min_in_sync=2)
    once = drained(situation(orders=standing), N1)
    assert once == Orders((N1,), False, 2)
    assert drained(situation(orders=once), N1) == once
    assert undrained(situation(orders=once), N1) == standing
    assert undrained(situation(orders=standing), N1) == standing


@pytest.mark.parametrize(
    ("nodes", "away", "draining", "node", "left"),
    [(3, (), (), N0, "n001, n002"), (4, (N3,), (), N0, "n001, n002"), (4, (), (N3,), N0, "n001, n002")],
)
def test_a_drain_that_would_cost_copies_is_refused(
    nodes: int, away: tuple[NodeId, ...], draining: tuple[NodeId, ...], node: NodeId, left: str
) -> None:
    """Three nodes must be left that take copies: those that are away or drained are none."""
    error = refused(lambda: drained(situation(nodes, away, Orders(draining)), node))
    assert error.code == "too_few_nodes"
    assert f"only {left} could" in error.message
    assert "3 (cluster.replication_factor)" in error.message


def test_the_only_node_can_not_be_drained() -> None:
    """There is nowhere to go."""
    assert "no other node could take copies" in refused(lambda: drained(situation(1), N0)).message


def test_a_node_that_is_away_can_be_drained_and_let_go() -> None:
    """It is known by what it holds; one that holds nothing any more by its drain."""
    assert drained(situation(4, away=(N0,)), N0) == Orders((N0,))
    assert undrained(situation(4, away=(N3,), orders=Orders((N3,))), N3) == Orders()


@pytest.mark.parametrize("order", [drained, undrained])
def test_an_unknown_node_is_refused(order: Callable[[Situation, NodeId], Orders]) -> None:
    """Nobody alive, nobody in a view, nobody drained: a slip of the pen."""
    error = refused(lambda: order(situation(away=(N3,)), N3))
    assert error.code == "node_unknown"
    assert "n000, n001, n002" in error.message
    assert refused(lambda: order(situation(), STRANGER)).code == "node_unknown"


def test_evening_out_is_switched() -> None:
    """On and off, and nothing else changes."""
    standing = Orders((N3,), True, 2)
    off = rebalanced(situation(orders=standing), False)
    assert off == Orders((N3,), False, 2)
    assert rebalanced(situation(orders=off), True) == standing


def test_min_in_sync_can_be_what_copies_and_nodes_allow() -> None:
    """0 to the replication factor, and no more than there are nodes that take copies."""
    for number in (0, 1, 2, 3):
        assert required(situation(), number) == Orders(min_in_sync=number)
    for number in (-1, 4):
        assert refused(lambda number=number: required(situation(), number)).code == "bad_min_in_sync"  # type: ignore[misc]
    assert refused(lambda: required(situation(3, away=(N2,)), 3)).code == "too_few_nodes"
    assert refused(lambda: required(situation(3, orders=Orders((N2,))), 3)).code == "too_few_nodes"
    standing = Orders(min_in_sync=3)
    assert required(situation(3, away=(N2,), orders=standing), 3) == standing
