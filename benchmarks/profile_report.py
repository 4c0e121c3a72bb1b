"""What the part `profile` leaves: what an operation costs, by layer and by stack. Values only."""

import msgspec

from benchmarks.profile_folded import Stack
from benchmarks.wrk import Run


class Profiled(msgspec.Struct, frozen=True):
    """A kind of request, asked of the primary of its keys.

    Times are processor time of the primary's process an operation, in µs: `cpu_us` all, `kernel_us` what of it the
    kernel had. `layers` and `stacks` share out `cpu_us`; `samples` is what that rests on.
    """

    what: str
    run: Run
    cpu_us: float
    kernel_us: float
    samples: int
    layers: dict[str, float]
    stacks: list[Stack]


class Profile(msgspec.Struct, frozen=True):
    """The whole part. `connections` were busy at once."""

    connections: int
    sampler: str
    paths: list[Profiled]
