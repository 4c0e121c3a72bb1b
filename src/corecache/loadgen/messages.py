"""What the bench and its workers tell each other: one line of JSON each, over the worker's standard input and output.

The rule: a worker gets its `Job`, connects, says `Ready`, and starts when it is told to (`Go`). While it measures it
sends a `Tick` a second, and in the end `Ended`. `Stop` makes it end early. It ends at once when its standard input
does: nobody is there any more who would want to know.
"""

from typing import TypeAlias

import msgspec

from corecache.loadgen.tally import Tick
from corecache.loadgen.targets import Target
from corecache.loadgen.workloads import Distribution


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's share of a load. `rate` is its operations a second (None: a closed loop), `operations` how many.

    `connections` go to the targets in turns, beginning with `first_target`. `depth` operations are under way at once
    on each. Keys are inserted from `first_inserted` on.
    """

    targets: list[Target]
    protocol: str
    first_target: int
    connections: int
    depth: int
    workload: str
    distribution: Distribution
    keys: int
    first_inserted: int
    value_bytes_min: int
    value_bytes_max: int
    seed: int
    worker: int
    workers: int
    warm_up_s: float
    seconds: float
    operations: int | None
    rate: float | None
    poisson: bool


class Go(msgspec.Struct, frozen=True, tag="go"):
    """Begin at `at_ns` of this machine's steady clock; the measurement begins after the warm-up."""

    at_ns: int


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """End early: begin nothing more, say what was measured."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """All connections are there."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A connection could not be made, hence nothing was measured."""

    message: str


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """All ticks have been sent.

    `took_s` is from the begin of the measurement to its last answer, or to its end if that is later. `inserted` counts
    insertions that were begun, the warm-up's too. `busy` is the share of the time that the worker computed: near 1 it
    was the bottleneck.
    """

    took_s: float
    inserted: int
    busy: float


Command: TypeAlias = Go | Stop
Said: TypeAlias = Ready | Refused | Tick | Ended
