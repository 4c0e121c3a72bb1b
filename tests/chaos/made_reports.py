"""Reports of campaigns that nobody ran, of any length, for the page and the picture to tell."""

import math
from random import Random

from corecache.chaos.report import Fault, Report, Second, Verdict, Violation

KINDS = {
    "kill": (0.2, 5, 2.2),
    "kill-all": (0.1, 2, 6.0),
    "pause-short": (0.05, 0.9, 0.6),
    "pause-lease": (0.8, 1.3, 1.1),
    "pause-long": (1.2, 5, 2.5),
    "wipe": (0.2, 2, 2.3),
    "kill-in-catch-up": (1, 4, 2.4),
    "kill-in-hand-over": (0.02, 0.4, 1.0),
    "kill-in-compaction": (0.02, 0.5, 2.2),
    "join-and-drain": (5, 12, 0.3),
    "zookeeper-stop": (1, 8, 0.0),
    "zookeeper-hang": (1, 8, 0.0),
    "session-expiry": (4, 7, 5.0),
    "cut-minority": (1, 6, 2.5),
    "cut-majority": (1, 6, 3.5),
    "cut-one-way": (1, 6, 2.8),
    "cut-ring": (1, 6, 4.5),
    "delay": (2, 6, 0.3),
    "loss": (2, 6, 0.7),
    "slow-disk": (2, 6, 0.1),
    "full-disk": (1, 4, 2.0),
    "failing-fsync": (0.5, 3, 2.6),
    "power-cut": (0.1, 3, 2.4),
    "power-cut-all": (0.1, 2, 7.0),
}
"""How long a fault lasts, in seconds, at least and at most; and about how long its users feel it."""


def struck(seconds: float, dice: Random, pause: tuple[float, float] = (1.0, 4.0)) -> list[Fault]:
    """Returns faults of all kinds, dealt over so many seconds."""
    faults: list[Fault] = []
    deck: list[str] = []
    at_s = dice.uniform(*pause)
    while at_s < seconds:
        if not deck:
            deck = list(KINDS)
            dice.shuffle(deck)
        kind = deck.pop()
        least, most, felt = KINDS[kind]
        lasts_s = dice.uniform(least, most)
        target = "all nodes" if kind.endswith("all") else f"n{dice.randrange(1, 4)}"
        felt_s = felt * dice.uniform(0.7, 1.3)
        faults.append(Fault(kind, target, round(at_s, 3), round(at_s + lasts_s, 3), round(felt_s, 3)))
        at_s += lasts_s + dice.uniform(*pause)
    return faults


def seconds_of(seconds: int, faults: list[Fault], dice: Random, rate: int = 900) -> list[Second]:
    """Returns a timeline in which each fault leaves its mark: fewer answers, slower ones, and some that never came."""
    timeline = []
    for at_s in range(seconds):
        harm = max(
            (
                min(1.0, fault.unavailable_s / 3)
                for fault in faults
                if fault.began_s - 1 < at_s < fault.began_s + fault.unavailable_s
            ),
            default=0.0,
        )
        done = round(rate * (1 + 0.1 * math.sin(at_s / 40)) * dice.uniform(0.93, 1.03) * (1 - 0.97 * harm))
        not_done, unknown = round(rate * 0.12 * harm * dice.random()), round(12 * harm * dice.random())
        read, write = dice.uniform(0.7, 0.9) * (1 + 3 * harm), dice.uniform(2.2, 3.0) * (1 + 3 * harm)
        high = 1 + 400 * harm**2
        timeline.append(
            Second(at_s, done, not_done, unknown, read, read * 4 * high**0.8, write, write * 3 * high)
            if done
            else Second(at_s, 0, not_done, unknown, 0, 0, 0, 0)
        )
    return timeline


def campaign(
    seconds: int,
    seed: int = 4711,
    faults: list[Fault] | None = None,
    verdict: Verdict = "passed",
    not_run: dict[str, str] | None = None,
) -> Report:
    """Returns the report of a campaign of so many seconds, with faults of all kinds unless they are given."""
    dice = Random(seed)
    if faults is None:
        faults = struck(seconds, dice)
    timeline = seconds_of(seconds, faults, dice)
    done = sum(second.done for second in timeline)
    history = [
        "client 7  put    account:12 = v1402   0.000 .. 3.182 ms   done, version 88",
        "client 2  get    account:12 -> v1399   4.020 .. 4.771 ms   done, version 87",
    ]
    violation = Violation(
        "linearizability", "key account:12", "a get found what a put had replaced before the get was made", history
    )
    return Report(
        seed=seed,
        nodes=3,
        zookeepers=1,
        verdict=verdict,
        why={
            "passed": "everything that was acknowledged is there, and every history can be explained",
            "violation": "1 key has a history that nothing can explain",
            "void": "between faults 14 and 15 only 3 calls were answered: too few to tell",
        }[verdict],
        seconds=float(seconds),
        rounds=max(1, seconds // 60),
        operations={
            "done": done - done // 11,
            "failed": done // 11,
            "not_done": sum(second.not_done for second in timeline),
            "unknown": sum(second.unknown for second in timeline),
        },
        protocols={"http": done // 2, "resp": done - done // 2},
        faults=faults,
        missed=[],
        not_run=not_run if not_run is not None else {"zookeeper-leader": "the ensemble has one server"},
        violations=[violation] if verdict == "violation" else [],
        timeline=timeline,
        replay=f"corecache chaos --seed {seed} --nodes 3 --duration {seconds}",
        version="0.5.0",
    )
