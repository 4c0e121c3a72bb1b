"""Every canary is caught: a rule that is broken on purpose is found broken, by the check that is there for it.

If one is no longer caught within its number of seeds, the checks or the faults have become blind, which is worse than a
failing seed.
"""

import pytest

from corecache.simulator.canaries import CANARIES, Canary
from corecache.simulator.options import AMBUSHES, FAULTS, draw
from corecache.simulator.run import run


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: str(canary.name))
def test_a_canary_is_caught(canary: Canary) -> None:
    """As a broken promise to clients or to the log, not only as a cluster that does not heal."""
    assert set(canary.faults) <= {*FAULTS, *AMBUSHES}
    with canary.flying():
        caught = next(
            (seed for seed in range(canary.seeds) if run(draw(seed, weather=canary.weather)).kind == "safety"), None
        )
    assert caught is not None
    assert run(draw(caught, weather=canary.weather)).violation is None, "the rule was not what was broken"
