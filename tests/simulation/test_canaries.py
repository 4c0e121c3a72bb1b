"""Every canary is caught: a rule that is broken on purpose is found broken, by the check that is there for it.

Each flies in the weather that its rule is for, a few kinds of faults that come all the time; there a single seed in
three, or in forty, shows it. If one is no longer caught within its number of seeds, the checks or the faults have
become blind, which is worse than a failing seed.
"""

import pytest

from corecache.simulator.canaries import CANARIES, named
from corecache.simulator.options import FRENZIED, draw
from corecache.simulator.run import run

WEATHER = {
    "no-grant-wait": ("refused", "handover"),
    "no-union": ("unanswered", "suspended", "moves", "one_way"),
    "same-epoch-after-restart": ("kill", "power"),
    "acknowledge-before-disk": ("power", "kill"),
    "serve-before-barrier": ("kill", "handover"),
    "add-before-activation": (
        "relay",
        "wipe",
        "restored",
        "failing_disk",
        "power",
        "moves",
        "leave",
        "min_in_sync",
        "unanswered",
    ),
    "released-early": ("crossed", "handover"),
    "lease-from-answer": ("stutter", "refused"),
    "grants-without-incarnation": ("echo", "refused"),
    "acknowledge-beyond-match": ("deaf", "refused", "handover"),
    "commit-beyond-match": ("deaf", "isolate", "kill"),
    "read-before-activation": ("stutter", "handover"),
    "blind-retry": ("unanswered", "crossed", "suspended"),
    "wiped-node-trusted": ("wipe",),
    "condition-without-lease": ("stutter", "deaf", "refused"),
}
SEEDS = 80


def test_each_has_its_weather() -> None:
    """A new canary is tested, too."""
    assert sorted(WEATHER) == sorted(canary.name for canary in CANARIES)


@pytest.mark.parametrize("name", sorted(WEATHER))
def test_a_canary_is_caught(name: str) -> None:
    """As a broken promise to clients or to the log, not only as a cluster that does not heal."""
    canary = named(name)
    assert canary is not None
    weather = dict.fromkeys(WEATHER[name], FRENZIED)
    with canary.flying():
        caught = next((seed for seed in range(SEEDS) if run(draw(seed, weather=weather)).kind == "safety"), None)
    assert caught is not None
    assert run(draw(caught, weather=weather)).violation is None, "the rule was not what was broken"
