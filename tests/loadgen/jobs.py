"""A worker's job as a test wishes it: Redis's protocol, without a warm-up, and for all else the smallest."""

from typing import Any

import msgspec

from corecache.loadgen.messages import Job
from corecache.loadgen.requests import first_inserted
from corecache.loadgen.targets import Target
from corecache.loadgen.workloads import Distribution

FIRST_INSERTED = first_inserted(7)


def job(*targets: Target, **different: Any) -> Job:
    """Returns a job for one process with one connection, of 600 seconds if nothing else is said."""
    plain = Job(
        targets=list(targets),
        protocol="resp",
        first_target=0,
        connections=1,
        depth=1,
        workload="put",
        distribution=Distribution.UNIFORM,
        keys=10,
        first_inserted=FIRST_INSERTED,
        value_bytes_min=3,
        value_bytes_max=3,
        seed=1,
        worker=0,
        workers=1,
        warm_up_s=0.0,
        seconds=600.0,
        operations=None,
        rate=None,
        poisson=False,
    )
    return msgspec.structs.replace(plain, **different)
