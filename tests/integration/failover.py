"""What a kill costs: how long each partition stands still, and which part of that is which.

A partition whose primary was killed goes through three phases, which the log of the node that takes over tells:

- *detection*: from the kill to the proposal of a view without the dead,
- *view change*: from there until the coordinator holds it, and the node knows,
- *activation*: from there until it serves. Before that, every lease that it has granted must have run out (R10).

What a client feels is measured apart from that, at the clients: from the kill to the first acknowledgement of a write
that was begun after it, in each partition, also in those that the dead node only had a copy of.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from integration.cluster_harness import Cluster, Member
from integration.cluster_load import Load

SETTINGS = {"log.format": "json"}
"""What a cluster needs for this."""


@dataclass(frozen=True)
class Takeover:
    """The phases of one partition's failover, in milliseconds."""

    partition: int
    detection_ms: float
    view_change_ms: float
    activation_ms: float


@dataclass(frozen=True)
class Kill:
    """One kill: the partitions that the node led, their failovers, and the pauses of all partitions."""

    node: str
    led: list[int]
    takeovers: list[Takeover]
    pauses_ms: dict[int, float]

    @property
    def longest_ms(self) -> float:
        """The longest pause of all partitions."""
        return max(self.pauses_ms.values())

    def longest_of(self, led: bool) -> float:
        """Returns the longest pause of the partitions that the node led, or of the others; 0.0 if there are none."""
        return max((pause for number, pause in self.pauses_ms.items() if (number in self.led) == led), default=0.0)


def kill(cluster: Cluster, load: Load, victim: Member, seconds: float = 30.0) -> Kill:
    """Kills a node under load, waits until every partition takes writes again, and returns what that cost."""
    led = cluster.led_by(victim)
    clock, moment = time.time(), time.monotonic()
    victim.kill()
    pauses = load.await_resumed(moment, seconds)
    takeovers: dict[int, Takeover] = {}

    def told() -> bool:
        takeovers.update(_takeovers(cluster, clock))
        return takeovers.keys() >= set(led)

    cluster.await_true(told, f"partitions {led} activated elsewhere, by the logs")
    return Kill(
        victim.name,
        led,
        [takeovers[number] for number in led],
        {number: 1000 * pause for number, pause in sorted(pauses.items())},
    )


def _takeovers(cluster: Cluster, since: float) -> Iterator[tuple[int, Takeover]]:
    """Yields, by partition, the failovers that the logs tell of after a moment."""
    for node in cluster.running:
        proposed: dict[tuple[int, int], float] = {}
        changed: dict[tuple[int, int], float] = {}
        for at, said in _events(node, since):
            what = said.get("partition"), said.get("epoch")
            if said["event"] == "proposing a view" and said["primary"] == node.name:
                proposed.setdefault(what, at)
            elif said["event"] == "view changed" and said["primary"] == node.name:
                changed.setdefault(what, at)
            elif said["event"] == "activated" and what in proposed and what in changed:
                phases = proposed[what] - since, changed[what] - proposed[what], at - changed[what]
                yield what[0], Takeover(what[0], *(1000 * phase for phase in phases))


def _events(node: Member, since: float) -> Iterator[tuple[float, Any]]:
    """Yields what a node has said after a moment, and when."""
    for line in node.log().splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        at = datetime.fromisoformat(said["timestamp"]).timestamp()
        if at >= since:
            yield at, said
