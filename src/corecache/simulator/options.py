"""What one run is like: how large, how long, which faults and how often. All drawn from its seed, unless it is given.

Each kind of fault is off, rare or frenzied, independently of the others, so that a hundred seeds see most pairs of
faults, and some see one kind alone. The protocol's durations are drawn too: they keep their proportions, and what
matters is how they compare with each other and with the network's delays.

Every third seed is *sharp*: a small cluster, a few kinds of faults that belong together, most of them in a frenzy, some
of which strike at the worst moment (`ambushes.py`), and clients that ask whoever believes to be primary. Many mistakes
need two or three things at once within a lease's time, and show in these runs a hundred times sooner.
"""

from collections.abc import Mapping
from random import Random
from typing import Final

import msgspec

from corecache.config import Replication
from corecache.identity import Milliseconds

OFF: Final = 0
RARE: Final = 1
FRENZIED: Final = 2

FAULTS: Final = (
    "kill",
    "power",
    "pause",
    "cut",
    "one_way",
    "isolate",
    "loss",
    "doubling",
    "reordering",
    "late",
    "reset",
    "refusing",
    "slow_disk",
    "failing_disk",
    "wipe",
    "restored",
    "suspended",
    "expired",
    "outage",
    "watches",
    "drift",
    "leave",
    "moves",
    "handover",
    "min_in_sync",
)
"""Every kind of fault of any run; `docs/simulator.md` says what each does."""

AMBUSHES: Final = ("unanswered", "crossed", "refused", "stutter", "deaf", "echo", "relay")
"""The kinds that only sharp runs have."""

THEMES: Final = (
    ("refused", "stutter", "deaf", "echo", "one_way", "isolate", "late", "handover", "drift"),
    ("unanswered", "crossed", "refused", "suspended", "watches", "handover", "moves", "leave"),
    ("deaf", "isolate", "one_way", "slow_disk", "loss", "reordering", "reset", "kill", "handover"),
    ("relay", "wipe", "restored", "failing_disk", "power", "moves", "leave", "min_in_sync", "unanswered"),
)
"""Kinds that belong together: leases, views, logs, members. A sharp run has most of one of these."""


class Options(msgspec.Struct, frozen=True):
    """One run."""

    seed: int
    nodes: int
    partitions: int
    replication_factor: int
    duration_ms: int
    clients: int
    keys: int
    """For each partition."""
    think_ms: int
    """The mean pause of a client between two operations."""
    lease_ms: int
    spread: bool
    """Whether the cluster begins with all replicas in sync, or as one node that others join."""
    retention_bytes: int
    chunk_bytes: int
    min_in_sync: int
    expiries: bool
    faults: dict[str, int]
    sharp: bool = False

    def replication(self) -> Replication:
        """Returns the protocol's settings, all durations in proportion to the lease."""
        lease = self.lease_ms
        return Replication(
            log_retention_bytes=self.retention_bytes,
            log_retention_seconds=1 if self.retention_bytes == 0 else 3600,
            beat_ms=lease // 10,
            lease_ms=lease,
            lease_margin_ms=lease // 20 + 4,
            grace_ms=lease * 3 // 2,
            ack_ms=lease * 3,
            patience_ms=lease * 3,
            patience_cold_ms=lease * 6,
            join_ms=lease * 2,
            handover_ms=lease * 2,
            resend_ms=max(10, lease // 2),
            transfer_chunk_bytes=self.chunk_bytes,
        )

    @property
    def drift_ppm_max(self) -> int:
        """How wrong a clock may go, so that two of them stay within the margin of a lease."""
        return 20_000

    @property
    def request_timeout_ms(self) -> Milliseconds:
        """How long a client waits."""
        return Milliseconds(self.lease_ms * 3)


def draw(
    seed: int,
    nodes: int | None = None,
    partitions: int | None = None,
    duration_ms: int | None = None,
    weather: Mapping[str, int] | None = None,
) -> Options:
    """Returns the run of a seed; what is given overrides what is drawn, and changes nothing else.

    `weather`: a sharp run, with faults of these kinds, as often as it says, and no others.
    """
    if weather or seed % 3 == 2:
        return _draw_sharp(seed, nodes, partitions, duration_ms, weather)
    dice = Random(f"options {seed}")  # noqa: S311 (a simulation is to be repeated)
    drawn_nodes = dice.randint(3, 7)
    drawn_partitions = dice.randint(1, 4)
    lease_ms = dice.choice((400, 600, 1000))
    calm = dice.random() < 0.05
    busy = dice.choice((0.15, 0.3, 0.5))
    faults = {}
    for kind in FAULTS:
        on, frenzied = dice.random() < busy, dice.random() < 0.3
        faults[kind] = OFF if calm or not on else FRENZIED if frenzied else RARE
    options = Options(
        seed=seed,
        nodes=nodes or drawn_nodes,
        partitions=partitions or drawn_partitions,
        replication_factor=dice.choice((2, 3, 3, 3, 4)),
        duration_ms=_or_drawn(duration_ms, lease_ms * dice.randint(12, 25)),
        clients=dice.randint(3, 10),
        keys=dice.randint(1, 4),
        think_ms=dice.choice((5, 20, 60)),
        lease_ms=lease_ms,
        spread=dice.random() < 0.6,
        retention_bytes=dice.choice((0, 500, 4000, 1 << 20)),
        chunk_bytes=dice.choice((60, 200, 1 << 16)),
        min_in_sync=dice.choice((1, 1, 2)),
        expiries=dice.random() < 0.3,
        faults=faults,
    )
    return _fitted(options)


def _draw_sharp(
    seed: int, nodes: int | None, partitions: int | None, duration_ms: int | None, weather: Mapping[str, int] | None
) -> Options:
    dice = Random(f"sharp options {seed}")  # noqa: S311 (a simulation is to be repeated)
    drawn_nodes = dice.choice((3, 3, 3, 4, 5))
    lease_ms = dice.choice((400, 600, 1000))
    faults = dict.fromkeys((*FAULTS, *AMBUSHES), OFF)
    for kind in dice.choice(THEMES):
        if dice.random() < 0.6:
            faults[kind] = FRENZIED if dice.random() < 0.6 else RARE
    if weather:
        faults = {kind: weather.get(kind, OFF) for kind in faults}
    options = Options(
        seed=seed,
        nodes=nodes or drawn_nodes,
        partitions=partitions or 1,
        replication_factor=dice.choice((2, 3, 3, 3)),
        duration_ms=_or_drawn(duration_ms, lease_ms * dice.randint(15, 30)),
        clients=dice.randint(4, 8),
        keys=dice.choice((1, 2, 4)),
        think_ms=dice.choice((5, 20)),
        lease_ms=lease_ms,
        spread=True,
        retention_bytes=dice.choice((500, 4000, 1 << 20, 1 << 20)),
        chunk_bytes=dice.choice((60, 200, 1 << 16)),
        min_in_sync=dice.choice((1, 1, 2)),
        expiries=dice.random() < 0.2,
        faults=faults,
        sharp=True,
    )
    return _fitted(options)


def _or_drawn(given: int | None, drawn: int) -> int:
    """Returns what is given, else what was drawn, which is drawn in any case: all that is drawn after it stays."""
    return drawn if given is None else given


def _fitted(options: Options) -> Options:
    """Asks for no more copies than there are nodes."""
    factor = min(options.replication_factor, options.nodes)
    return msgspec.structs.replace(options, replication_factor=factor, min_in_sync=min(options.min_in_sync, factor))
