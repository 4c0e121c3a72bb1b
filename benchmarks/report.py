"""The document that a run of the benchmark leaves: what was measured, on which machine, and which bounds were met.

Every part is optional, for `--only` leaves the others out. A `Bound` says "met" or "not met" and nothing depends on it:
a machine that is busy with something else gives other numbers, which is for a reader to judge and not for a program.
"""

import msgspec

from benchmarks.growth_report import Growth
from benchmarks.machine import Machine
from benchmarks.peers_report import PeersSpeed
from benchmarks.profile_report import Profile
from benchmarks.wrk import Run


class Bound(msgspec.Struct, frozen=True):
    """A number that the project has promised: `what` was measured as `value`; `asked` is the promise, in words."""

    what: str
    value: float
    asked: str
    met: bool


class Pair(msgspec.Struct, frozen=True):
    """The node and the ceiling one right after the other. `ratio` is the node's rate by the ceiling's."""

    node: Run
    ceiling: Run
    ratio: float


class Comparison(msgspec.Struct, frozen=True):
    """One kind of request on both servers: each one's summary, the median of the pairs' ratios, the pairs.

    The `…_cpu_us` are processor time a request, of all threads of the server: they move less than the rates do.
    """

    node: Run
    ceiling: Run
    ratio: float
    node_cpu_us: float
    ceiling_cpu_us: float
    pairs: list[Pair]


class Speed(msgspec.Struct, frozen=True):
    """The node beside the stack's ceiling."""

    put: Comparison
    get: Comparison


class Flushes(msgspec.Struct, frozen=True):
    """PUTs without and during flushes. `flush_ms` is the median time from asking for a flush to its answer."""

    quiet: Run
    flushing: Run
    flushes: int
    flush_ms: float
    quiet_runs: list[Run]
    flushing_runs: list[Run]


class Memory(msgspec.Struct, frozen=True):
    """Many records under a small budget: the load, the resident set, reads over all of them, restarts.

    `…_rss_bytes` are the most that the kernel ever saw (VmHWM) up to the end of loading, and of reading.
    """

    budget_bytes: int
    records: int
    load_seconds: float
    load_per_second: float
    load_retries: int
    after_load_rss_bytes: int
    peak_rss_bytes: int
    samples: list[tuple[float, int]]
    reads: Run
    disk_bytes: int
    ready_after_kill_seconds: float
    ready_after_stop_seconds: float


class Failover(msgspec.Struct, frozen=True):
    """One kill. The first three are the phases of the failover that took longest, of the `led` partitions.

    `led_pause_ms` is the longest pause that clients felt in these, `other_pause_ms` that in those of which the dead
    node only had a copy. `whole_seconds` is from when it was ready again until everything had all its copies.
    """

    node: str
    led: int
    detection_ms: float
    view_change_ms: float
    activation_ms: float
    led_pause_ms: float
    other_pause_ms: float
    whole_seconds: float

    @property
    def pause_ms(self) -> float:
        """The longest pause of all partitions."""
        return max(self.led_pause_ms, self.other_pause_ms)


class Failovers(msgspec.Struct, frozen=True):
    """Kills under load, and what became of the writes. `keys` were written before, and are read at the end."""

    keys: int
    partitions: int
    writes: dict[str, int]
    kills: list[Failover]


class Against(msgspec.Struct, frozen=True):
    """One kind of request on three nodes and on three members of etcd, in turns. The `…_cpu_us` are of all members."""

    what: str
    corecache: Run
    etcd: Run
    ratio: float
    corecache_cpu_us: float
    etcd_cpu_us: float


class ByPartitions(msgspec.Struct, frozen=True):
    """A cluster of so many partitions."""

    partitions: int
    put: Run
    get: Run


class ClusterSpeed(msgspec.Struct, frozen=True):
    """Three nodes beside etcd, and with other numbers of partitions."""

    etcd_version: str
    partitions: int
    compared: list[Against]
    by_partitions: list[ByPartitions]


class Driven(msgspec.Struct, frozen=True):
    """What one side did under load.

    `cpu_us` is processor time a request, of all its servers; `load_busy` is the share of the time that the load
    generator itself computed: near 1, it is what was measured.
    """

    run: Run
    cpu_us: float
    load_busy: float


class AgainstRedis(msgspec.Struct, frozen=True):
    """One kind of request on CoreCache and on Redis, in turns."""

    what: str
    corecache: Driven
    redis: Driven
    ratio: float


class RespSpeed(msgspec.Struct, frozen=True):
    """Redis's protocol beside Redis itself: one node, three nodes, and the latter's load generator at its fastest."""

    redis_version: str
    one_node: list[AgainstRedis]
    three_nodes: list[AgainstRedis]
    generator: dict[str, Driven]


class CatchUp(msgspec.Struct, frozen=True):
    """A node that lost its disk is filled: what of, how long it took, and what clients felt before and meanwhile."""

    size_bytes: int
    seconds: float
    bytes_per_second: float
    quiet: Run
    filling: Run


class Settings(msgspec.Struct, frozen=True):
    """What the run was asked for.

    `systems`, `clients` and `sizes` are of the part `peers`: names, and numbers; `keys_max` and `sections` of `growth`.
    """

    seconds: int
    connections: int
    value_bytes: int
    records: int
    keys: int
    pairs: int
    memory_bytes: int
    catch_up_bytes: int
    kills: int
    command: str
    systems: list[str]
    clients: list[int]
    sizes: list[int]
    keys_max: int
    sections: list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document."""

    date: str
    version: str
    settings: Settings
    machine: Machine
    speed: Speed | None = None
    flushes: Flushes | None = None
    memory: Memory | None = None
    cluster: ClusterSpeed | None = None
    catch_up: CatchUp | None = None
    failovers: Failovers | None = None
    resp: RespSpeed | None = None
    peers: PeersSpeed | None = None
    growth: Growth | None = None
    profile: Profile | None = None
    bounds: list[Bound]
