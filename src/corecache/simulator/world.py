"""What all the parts of a run share: its time, its dice, its services, its trace and its checks.

Each part that throws dice has its own, seeded from the run's, so that a change in one part (a client more, a fault
less) leaves the others' throws as they were.
"""

from collections.abc import Callable
from random import Random

from corecache.config import Replication
from corecache.identity import PartitionId, ReplicaId
from corecache.placement.view import VersionedView
from corecache.simulator.checkers import Checks
from corecache.simulator.clock import Schedule
from corecache.simulator.coordinator import Coordinator
from corecache.simulator.network import Network
from corecache.simulator.options import Options
from corecache.simulator.trace import Trace


class World:
    """One run's surroundings."""

    def __init__(self, options: Options, show: Callable[[str], None] | None = None) -> None:
        """Makes everything but the nodes. `show` is handed every line of the trace."""
        self.options = options
        self.settings: Replication = options.replication()
        self.schedule = Schedule()
        self.trace = Trace(show)
        self.checks = Checks(self.schedule)
        self.network = Network(self.schedule, self.dice("network"), options)
        self.coordinator = Coordinator(self.schedule, self.dice("coordinator"), options, self._accepted)
        self._ids = 0

    def dice(self, part: str) -> Random:
        """Returns the dice of a part."""
        return Random(f"{part} {self.options.seed}")  # noqa: S311  # nothing here is secret

    def draw_id(self) -> ReplicaId:
        """Returns a replica id that was never given before."""
        self._ids += 1
        return ReplicaId(f"r{self._ids}")

    def note(self, node: str, what: str, partition: PartitionId | None, subject: object = None) -> None:
        """Adds a line to the trace."""
        self.trace.note(self.schedule.now, node, what, partition, subject)

    def _accepted(self, partition: PartitionId, confirmed: VersionedView, proposer: str) -> None:
        self.note("zk", "view", partition, _Accepted(proposer, confirmed))
        self.checks.viewed(partition, confirmed)


class _Accepted:
    """A view in the trace, in short."""

    __slots__ = ("_confirmed", "_proposer")

    def __init__(self, proposer: str, confirmed: VersionedView) -> None:
        self._proposer = proposer
        self._confirmed = confirmed

    def __repr__(self) -> str:
        view = self._confirmed.view
        members = " ".join(f"{member.node}/{member.replica}" for member in view.in_sync)
        return (
            f"v{self._confirmed.version} by {self._proposer}: epoch {view.epoch} primary {view.primary.node}"
            f"/{view.primary.replica}#{view.incarnation} in_sync [{members}] replicas [{' '.join(view.replicas)}]"
            f" min {view.min_in_sync}"
        )
