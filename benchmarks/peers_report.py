"""What a run of the part `peers` leaves in the report: systems, settings, and each round's run of each of both."""

import msgspec

from benchmarks.wrk import Run


class PeerSystem(msgspec.Struct, frozen=True):
    """A system beside others: its name and title, and what it promises of an answered write, and of a read."""

    name: str
    title: str
    writes: str
    reads: str


class PeerCell(msgspec.Struct, frozen=True):
    """A system in a setting: `operation` is "write" or "read". A run of each round, None if it failed.

    `load_busy` is the share of one core that the load generator computed, the median.
    """

    system: str
    operation: str
    value_bytes: int
    clients: int
    runs: list[Run | None]
    load_busy: float
    failures: list[str]


class PeersSpeed(msgspec.Struct, frozen=True):
    """All systems in all settings, in turns, in so many whole rounds.

    `idle_cores` is how many cores computed, of all that the machine has, before each round: all systems ran and nobody
    asked.
    """

    rounds: int
    seconds: int
    keys: int
    versions: dict[str, str]
    idle_cores: list[float]
    systems: list[PeerSystem]
    clients: list[int]
    sizes: list[int]
    cells: list[PeerCell]
