"""What is planned: the same from the same seed, every kind in turn, and nothing that this machine can't do."""

from itertools import pairwise
from random import Random

import pytest

from corecache.chaos.faults import DEEDS
from corecache.chaos.plan import KINDS, Planned, Planner, described, sort_out
from corecache.config import Config

ALL = list(KINDS)


def planned(seed: int, faults: int = 100) -> list[Planned]:
    """Returns what is planned from a seed."""
    planner = Planner(ALL, Random(seed))
    return [planner.next() for _ in range(faults)]


def test_each_kind_has_a_deed() -> None:
    """What can be planned can be done."""
    assert list(DEEDS) == list(KINDS)


def test_a_seed_plans_the_same_faults() -> None:
    """The same seed, the same plan; another, another."""
    assert planned(1) == planned(1)
    assert planned(1) != planned(2)


@pytest.mark.parametrize("seed", range(20))
def test_no_kind_comes_again_before_all_have_come(seed: int) -> None:
    """A short campaign sees many kinds."""
    kinds = [each.kind for each in planned(seed, 4 * len(ALL))]
    for first in range(0, len(kinds), len(ALL)):
        assert sorted(kinds[first : first + len(ALL)]) == sorted(ALL)


@pytest.mark.parametrize("seed", range(20))
def test_faults_last_as_long_as_their_kind_and_some_strike_at_once(seed: int) -> None:
    """Two at once strike different things, or two nodes; and there are never three."""
    faults = planned(seed)
    for each in faults:
        least, most = KINDS[each.kind].seconds
        assert least <= each.seconds <= most
    pairs = [(earlier, later) for earlier, later in pairwise(faults) if later.together]
    assert pairs
    for earlier, later in pairs:
        assert KINDS[earlier.kind].goes_with(KINDS[later.kind])
        assert later.pause_s <= earlier.seconds
        assert not earlier.together


def test_pauses_end_before_about_and_after_the_end_of_a_lease() -> None:
    """What goes wrong at its very end is seen by none that is far from it."""
    lease_s = Config().replication.lease_ms / 1000
    (_, longest), (least, most), (shortest, _) = (KINDS[f"pause-{kind}"].seconds for kind in ("short", "lease", "long"))
    assert longest < lease_s < shortest
    assert least < longest < lease_s < shortest < most
    assert most < 1.5 * lease_s, "nearly all of them would be past it"


def test_what_a_machine_lacks_takes_its_kinds_out_and_says_why() -> None:
    """Nothing is skipped in silence."""
    can, cannot = sort_out({"network": "no root", "ensemble": "one server"}, ())
    assert {"cut-minority", "delay", "zookeeper-leader"} <= cannot.keys()
    assert cannot["delay"] == "no root"
    assert set(can) | cannot.keys() == set(ALL)
    assert not set(can) & cannot.keys()
    assert ("loss", "one packet in twenty between nodes is lost [not here: no root]") in described(
        {"network": "no root"}
    )


def test_only_what_is_asked_for_is_planned() -> None:
    """The rest is named as not asked for."""
    can, cannot = sort_out({}, ["kill", "wipe"])
    assert can == ["kill", "wipe"]
    assert set(cannot.values()) == {"not asked for"}
