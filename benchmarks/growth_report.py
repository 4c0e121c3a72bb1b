"""What the part `growth` leaves: how rate, latency, memory and disk go with keys, partitions and nodes. Values only.

Sections that were not asked for are empty lists.
"""

import msgspec

from benchmarks.wrk import Run


class Recovery(msgspec.Struct, frozen=True):
    """One SIGKILL: the bytes of write-ahead log that were there to replay, and the seconds from the start to ready."""

    log_bytes: int
    seconds: float


class AtKeys(msgspec.Struct, frozen=True):
    """A node that has so many keys.

    `hot` reads a set of keys that fits in memory, `reference` the same set on a node that has no other keys, in turns;
    `ratio` is the median of the pairs' ratios of rates. `spread` reads and `writes` overwrite at random over all keys.
    `rss_bytes` is the most that the kernel saw (VmHWM). Of both amplifications, bytes that the process had written to
    the disk by bytes of keys and values accepted, the first is of loading by batch, the second of `writes`; each
    includes what flushes and compactions wrote until they had come to rest.
    """

    keys: int
    accepted_bytes: int
    load_seconds: float
    hot: Run
    reference: Run
    ratio: float
    spread: Run
    writes: Run
    rss_bytes: int
    disk_bytes: int
    load_amplification: float
    writes_amplification: float
    recoveries: list[Recovery]


class AtSize(msgspec.Struct, frozen=True):
    """A cluster of so many nodes and partitions.

    The `…_cpu_us` are processor time a request, of all nodes together; `rss_bytes` is the most of any one.
    """

    nodes: int
    partitions: int
    put: Run
    get: Run
    put_cpu_us: float
    get_cpu_us: float
    rss_bytes: int


class Takeover(msgspec.Struct, frozen=True):
    """One SIGKILL of a node of three: pauses from the kill to the first write answered with success, by partition.

    `led_ms` are those of the partitions that it led, `other_ms` those of the others.
    """

    partitions: int
    led_ms: list[float]
    other_ms: list[float]


class Growth(msgspec.Struct, frozen=True):
    """The whole part."""

    hot_keys: int
    budget_bytes: int
    keys: list[AtKeys]
    partitions: list[AtSize]
    nodes: list[AtSize]
    takeovers: list[Takeover]
