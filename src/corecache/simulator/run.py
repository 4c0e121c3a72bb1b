"""One run: a seed's cluster under its faults, then healed, then judged.

First *safety*: for the time that the options say, clients ask and things go wrong, and the checks look after every
event. Then everything is healed, and *liveness* is asked for: within a bounded time every partition must serve from the
node that should be primary, all that should be in sync must be, their stores must be equal, and every key must be read.
In the end what the clients were told is judged.

A run depends on its options alone. `Outcome` tells how it went, and how to go through it again.
"""

from collections.abc import Callable

import msgspec

from corecache.simulator.cluster import Cluster
from corecache.simulator.faults import Faults
from corecache.simulator.options import Options
from corecache.simulator.trace import LivenessError, ViolationError
from corecache.simulator.workload import Workload
from corecache.simulator.world import World

_HEALING_LEASES = 90
_STEP_LEASES = 1
_EVENTS_MAX = 1_000_000
"""For a small cluster: some ten times what the worst seeds take."""


class Outcome(msgspec.Struct):
    """How a run went. `violation` is None if it passed; `lines` are then none, else the last of its trace.

    `kind` is what was violated: "safety" (something happened that must not), "liveness" (something did not that must),
    "halt" (a replica found a contradiction itself), "error" (the machine or the simulator broke down).
    """

    options: Options
    violation: str | None
    kind: str | None
    events: int
    faults: dict[str, int]
    operations: int
    succeeded: int
    not_done: int
    unknown: int
    undecided: int
    views: int
    healed_ms: int
    """How long it took after the healing until all was well, simulated."""
    simulated_ms: int
    trace: str
    lines: list[str]

    @property
    def replay(self) -> str:
        """Returns the command that goes through the run again."""
        options = self.options
        return (
            f"corecache simulate --seed {options.seed} --nodes {options.nodes} --partitions {options.partitions} "
            f"--duration {options.duration_ms / 1000}"
        )


class Run:
    """A run under way."""

    def __init__(self, options: Options, show: Callable[[str], None] | None = None) -> None:
        self.world = World(options, show)
        self.cluster = Cluster(self.world)
        self.workload = Workload(self.cluster)
        self.faults = Faults(self.cluster)
        self._healed_at = 0
        self.world.schedule.events_max = _EVENTS_MAX * max(1, options.nodes // 5) ** 2

    def go(self) -> Outcome:
        """Runs from the beginning to the end, or to the first violation."""
        violation = kind = None
        try:
            self._safety()
            self._liveness()
            self.world.checks.check_all()
            self.workload.judge()
        except ViolationError as error:
            violation, kind = str(error), error.kind
        except Exception as error:  # whatever the machine raises is a violation
            violation, kind = f"{type(error).__name__}: {error}{_where(error)}", "error"
        return self._outcome(violation, kind)

    def _safety(self) -> None:
        self.cluster.begin()
        self.workload.begin()
        self.faults.begin()
        self.world.schedule.run_until(self.world.options.duration_ms)

    def _liveness(self) -> None:
        """Heals everything, and waits until all is well, with clients at first and without in the end."""
        options, schedule = self.world.options, self.world.schedule
        self._healed_at = schedule.now
        self.world.note("run", "healed", None)
        self.faults.heal()
        self.cluster.settle()
        succeeded = self.workload.succeeded
        schedule.run_until(schedule.now + options.lease_ms * 4)
        self.workload.stopped = True
        schedule.run_until(schedule.now + options.request_timeout_ms)
        self.workload.read_all()
        limit = self._healed_at + _HEALING_LEASES * options.lease_ms
        while (wrong := self._wrong()) is not None:
            if schedule.now > limit:
                raise LivenessError(f"liveness: {schedule.now - self._healed_at} ms after the healing, {wrong}")
            if self._settled_again():
                self.cluster.settle()
            schedule.run_until(schedule.now + options.lease_ms * _STEP_LEASES)
        if self.workload.succeeded == succeeded:
            raise LivenessError("liveness: nothing succeeded after the healing")

    def _settled_again(self) -> bool:
        """Says whether the wish of the end was lost in a race with a proposal, so that it is to be said again."""
        factor = self.world.options.replication_factor
        return any(len(each.view.replicas) != factor for each in self.world.coordinator.views.values())

    def _wrong(self) -> str | None:
        unanswered = self.workload.unanswered()
        if unanswered:
            return f"{unanswered[0]!r} is not read"
        return self.cluster.unsettled()

    def _outcome(self, violation: str | None, kind: str | None) -> Outcome:
        world, workload = self.world, self.workload
        return Outcome(
            world.options,
            violation,
            kind,
            world.schedule.events,
            self.faults.counts,
            workload.operations,
            workload.succeeded,
            workload.not_done,
            workload.unknown,
            workload.undecided,
            sum(each.version for each in world.coordinator.views.values()),
            world.schedule.now - self._healed_at if self._healed_at else 0,
            world.schedule.now,
            world.trace.digest(),
            world.trace.last_lines() if violation else [],
        )


def _where(error: BaseException) -> str:
    """Returns the file and line at which an error was raised."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({trace.tb_frame.f_code.co_filename.rpartition('corecache/')[2]}:{trace.tb_lineno})"


def run(options: Options, show: Callable[[str], None] | None = None) -> Outcome:
    """Goes through a run; `show` is handed every line of its trace."""
    return Run(options, show).go()
