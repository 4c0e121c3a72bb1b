"""Plans that are carried out by a model of the primaries come to rest, evenly, and never cost a copy on the way."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from corecache.identity import PartitionId
from corecache.placement.controller import is_drained
from corecache.placement.partition_map import Orders
from placement.placement_model import Model, names


def first_cluster(nodes: int, partitions: int) -> Model:
    """Returns a cluster as it is created: everything on the first node, the others have just come."""
    return Model(dict.fromkeys(names(nodes), ""), [names(1)] * partitions)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 5), st.integers())
def test_a_new_cluster_comes_to_rest_evenly(nodes: int, partitions: int, moves_max: int, seed: int) -> None:
    """Copies and primaries differ by one at the most, every partition has all its copies, no limit is exceeded."""
    model = first_cluster(nodes, partitions)
    model.settle(random.Random(seed), moves_max)

    assert all(len(held.view.in_sync) == min(3, nodes) for held in model.views.values())
    for counts in (model.copies(), model.primaries()):
        per_node = [counts[node] for node in names(nodes)]
        assert max(per_node) - min(per_node) <= 1
    least = 2 if nodes > 1 else 1
    assert all(held.view.min_in_sync == least for held in model.views.values())


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 6), st.integers(1, 10), st.integers())
def test_a_drained_node_holds_nothing_in_the_end(nodes: int, partitions: int, seed: int) -> None:
    """Its copies go to the others first, and it can be stopped."""
    model = first_cluster(nodes, partitions)
    model.settle(random.Random(seed))
    drained = names(nodes)[1]
    model.orders = Orders(draining=(drained,))
    model.settle(random.Random(seed))

    assert is_drained(drained, model.views)
    assert all(len(held.view.in_sync) == 3 for held in model.views.values())


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 6), st.integers(1, 10), st.integers())
def test_a_restart_moves_nothing(nodes: int, partitions: int, seed: int) -> None:
    """A node that is away for a moment keeps what is wanted of it, and gets it back."""
    model = first_cluster(nodes, partitions)
    model.settle(random.Random(seed))
    wanted = {partition: held.view.replicas for partition, held in model.views.items()}
    away = names(nodes)[0]
    model.kill(away)
    model.settle(random.Random(seed))
    model.revive(away)
    model.settle(random.Random(seed))

    assert wanted == {partition: held.view.replicas for partition, held in model.views.items()}
    assert all(held.view.primary.node == held.view.replicas[0] for held in model.views.values())


def test_what_is_previewed_is_what_is_done() -> None:
    """After all previewed steps the wanted replicas are those that carrying out the plans leads to."""
    model = first_cluster(5, 16)
    previewed = {partition: held.view.replicas for partition, held in model.views.items()}
    for step in model.preview():
        previewed[step.partition] = step.after
    model.settle(random.Random(1))

    assert previewed == {partition: held.view.replicas for partition, held in model.views.items()}


def test_a_cancelled_rebalance_takes_back_what_is_not_in_sync_yet() -> None:
    """Moves for evenness end; what was whole stays whole."""
    model = Model(dict.fromkeys(names(3), ""), [names(3)] * 6)
    model.settle(random.Random(1))
    before = {partition: held.view.replicas for partition, held in model.views.items()}
    model.entries |= Model(dict.fromkeys(names(4), ""), []).entries
    model.revive(names(4)[3])
    model.carry_out(model.plan(moves_max=2))
    assert before != {partition: held.view.replicas for partition, held in model.views.items()}
    model.orders = Orders(rebalancing=False)
    model.settle(random.Random(1))

    assert {partition: set(replicas) for partition, replicas in before.items()} == {
        partition: set(held.view.replicas) for partition, held in model.views.items()
    }


def test_two_controllers_at_once_break_nothing() -> None:
    """The second one's proposals on views that have changed are refused."""
    model = first_cluster(4, 8)
    first, second = model.plan(), model.plan()
    model.carry_out(first)
    model.carry_out(second)
    model.settle(random.Random(1))

    assert all(len(held.view.in_sync) == 3 for held in model.views.values())
    assert model.views[PartitionId(0)].version > 0
