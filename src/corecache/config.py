"""Every setting: its name, unit, default, range and reason. What an operator may want to change is here.

A constant elsewhere belongs to a format or to how a part is built: nobody who runs a node has a reason to change it.

A setting is declared once, here, as a field of a section. From the declaration come the validation (`parse`), the
commented example file (`docs/corecache.example.toml`, kept equal by a test) and the names of the environment variables
(`CORECACHE_SECTION__NAME`).

Rule 1: units stand last in the name: `_bytes`, `_ms`, `_max` for a count.
Rule 2: 0 means "derived" or "none" only where the description says so.
Rule 3: this module reads nothing. Files and variables are the business of `settings.py`, which hands a plain mapping
to `parse`.
Rule 4: settings that must fit each other are judged together, in `_RELATIONS`, after each was judged by itself.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from corecache.declaration import Declaration, declarations, shown

LIKENESS_LEAST: Final = 0.75
"""How like an unknown name a known one must be to be suggested. With less, any name of a section is like all others."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_PLAIN: Final = r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+\Z"
"""Text that the system takes and that a log shows on one line. Bytes that are no UTF-8 arrive as surrogates."""

Port: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process: what it is called and where its disk is."""

    id: Annotated[
        str,
        Meta(
            pattern=r"\A([A-Za-z0-9][A-Za-z0-9._-]{0,62})?\Z",
            title="up to 63 letters, digits, '.', '_' and '-', beginning with a letter or digit",
            description="Names the node for as long as its data directory lives. Empty: drawn at the first start.",
        ),
    ] = ""
    data_dir: Annotated[
        str,
        Meta(
            pattern=_PLAIN,
            title="UTF-8 text that is not empty, without control characters",
            description="Where everything durable is kept. One process at a time; made if missing.",
        ),
    ] = "corecache-data"
    stop_timeout_ms: Annotated[
        int,
        Meta(ge=0, le=600_000, description="On SIGTERM, how long requests under way may take before they are cut off."),
    ] = 10_000


class Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all nodes of a cluster share. Fixed when the cluster is created; a later change is refused."""

    name: Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z",
            title="1 to 63 letters, digits, '.', '_' and '-', beginning with a letter or digit",
            description="Nodes and data directories of another cluster are refused by it.",
        ),
    ] = "corecache"
    partitions: Annotated[
        int,
        Meta(
            ge=1,
            le=16_384,
            description="Units of replication and placement. More spread better; each costs a little work a batch.",
        ),
    ] = 8


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP interface, and what one client may cost the others."""

    host: Annotated[
        str,
        Meta(
            pattern=_PLAIN,
            title="UTF-8 text that is not empty, without control characters",
            description="The address to listen on. There is no password yet: keep it on a network you trust.",
        ),
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="0: the first free one of the range below.")] = 0
    port_range_first: Annotated[int, Meta(ge=1, le=65_535, description="The range that `port = 0` searches …")] = 8000
    port_range_last: Annotated[int, Meta(ge=1, le=65_535, description="… and its last port.")] = 8099
    connections_max: Annotated[
        int, Meta(ge=1, le=100_000, description="One connection more is answered 503 and closed.")
    ] = 1024
    header_bytes_max: Annotated[
        int,
        Meta(
            ge=32 * KIB,
            le=MIB,
            description="Request line and headers together; beyond it 431. The longest key has 24 KiB when encoded.",
        ),
    ] = 64 * KIB
    header_timeout_ms: Annotated[
        int,
        Meta(ge=100, le=600_000, description="From the first byte of a request to the end of its headers; then 408."),
    ] = 10_000
    body_timeout_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="The longest silence while a request's body is awaited; then 408.")
    ] = 10_000
    send_timeout_ms: Annotated[
        int,
        Meta(ge=100, le=600_000, description="The longest time a client may read nothing of its answer; then closed."),
    ] = 30_000
    idle_timeout_ms: Annotated[
        int, Meta(ge=100, le=3_600_000, description="A connection without a request is closed after this time.")
    ] = 75_000
    buffered_bytes_max: Annotated[
        int,
        Meta(
            ge=16 * MIB,
            le=64 * GIB,
            description="Bodies above 64 KiB, in and out, of all connections together; beyond it 503.",
        ),
    ] = 128 * MIB
    request_timeout_ms: Annotated[
        int, Meta(ge=1, le=600_000, description="A request's deadline where `X-CoreCache-Timeout` does not say.")
    ] = 5000
    request_timeout_max_ms: Annotated[
        int, Meta(ge=1, le=3_600_000, description="The longest deadline that a request may ask for.")
    ] = 60_000


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one request may hold."""

    value_bytes_max: Annotated[
        int, Meta(ge=1, le=256 * MIB, description="A longer value is refused (413) before it is read.")
    ] = 8 * MIB
    batch_operations_max: Annotated[int, Meta(ge=1, le=100_000, description="Operations in one batch request.")] = 1000
    batch_bytes_max: Annotated[
        int,
        Meta(
            ge=KIB,
            le=256 * MIB,
            description="The body of a batch request (beyond it 413), and what its gets may add to the answer.",
        ),
    ] = 16 * MIB
    page_items_max: Annotated[int, Meta(ge=1, le=100_000, description="Items on one page of a listing.")] = 1000
    page_bytes_max: Annotated[
        int,
        Meta(
            ge=KIB,
            le=256 * MIB,
            description="Keys and values on one page, as JSON; the page ends early, never empty, beyond it.",
        ),
    ] = 8 * MIB
    listings_max: Annotated[
        int,
        Meta(
            ge=1, le=1000, description="Listings at once; one more is answered 503. They share the machine with reads."
        ),
    ] = 16


class Replication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agreement among replicas, and what may wait for it."""

    durability: Annotated[
        Literal["fsync", "os"],
        Meta(
            description="'fsync': a write is acknowledged when it is on the disk. 'os': when the operating system has "
            "it; a power cut may lose the last moments, a crash of the process alone may not."
        ),
    ] = "fsync"
    uncommitted_bytes_max: Annotated[
        int, Meta(ge=MIB, le=16 * GIB, description="Writes that wait or are under way; beyond it new ones are 503.")
    ] = 64 * MIB
    uncommitted_requests_max: Annotated[int, Meta(ge=1, le=10_000_000, description="The same, counted.")] = 100_000
    batch_bytes_max: Annotated[
        int,
        Meta(
            ge=64 * KIB, le=GIB, description="A log entry takes up to this many bytes of writes that arrived together."
        ),
    ] = 8 * MIB
    batch_requests_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="A log round takes up to this many requests, so that the event loop is not held for long.",
        ),
    ] = 4096
    log_retention_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1024 * GIB,
            description="Applied entries are cut from the log whenever they exceed this; 0 keeps none.",
        ),
    ] = 4 * MIB
    sweep_interval_ms: Annotated[
        int, Meta(ge=10, le=3_600_000, description="How often expired keys that nobody reads are looked for.")
    ] = 1000
    sweep_keys_max: Annotated[int, Meta(ge=1, le=1_000_000, description="Expired keys removed by one look.")] = 1000


class Storage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The log-structured merge tree: its two budgets, and when it flushes and compacts."""

    memory_bytes: Annotated[
        int,
        Meta(
            ge=32 * MIB,
            le=1024 * GIB,
            description="Block cache, memtables, Bloom filters and indexes together. The process needs about 150 MiB "
            "besides.",
        ),
    ] = 256 * MIB
    disk_bytes: Annotated[
        int,
        Meta(ge=0, le=1024 * 1024 * GIB, description="The data directory's budget. 0: what its file system holds."),
    ] = 0
    disk_reserve_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1024 * GIB,
            description="Kept free of the budget, and of the file system, for compaction and deletes: puts are refused "
            "(507) when less is left, and accepted again by themselves when there is room.",
        ),
    ] = 256 * MIB
    flush_memtable_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=16 * GIB,
            description="A memtable of this size is flushed to an SSTable. 0: a sixteenth of memory_bytes, at least "
            "4 MiB.",
        ),
    ] = 0
    flush_memtables_max: Annotated[
        int, Meta(ge=2, le=16, description="Memtables in memory, the active one included, before writes are slowed.")
    ] = 4
    flush_wal_bytes: Annotated[
        int,
        Meta(
            ge=0, le=64 * GIB, description="Flush when the write-ahead log has grown to this. 0: half of memory_bytes."
        ),
    ] = 0
    compact_level0_files: Annotated[
        int, Meta(ge=2, le=100, description="Level-0 SSTables that start a compaction.")
    ] = 4
    slow_level0_files: Annotated[int, Meta(ge=3, le=1000, description="Level-0 SSTables that slow writes down.")] = 20
    stop_level0_files: Annotated[int, Meta(ge=4, le=2000, description="Level-0 SSTables that hold writes back.")] = 36
    compact_level_base_bytes: Annotated[
        int,
        Meta(
            ge=MIB, le=1024 * GIB, description="Size of the first level below level 0; each next one is ten times that."
        ),
    ] = 256 * MIB
    sstable_bytes: Annotated[int, Meta(ge=MIB, le=16 * GIB, description="Target size of an SSTable.")] = 64 * MIB
    compaction_bytes_per_second: Annotated[
        int, Meta(ge=0, le=64 * GIB, description="Flush and compaction write no faster than this. 0: no limit.")
    ] = 0
    background_jobs: Annotated[int, Meta(ge=2, le=64, description="Flushes and compactions at once.")] = 2
    block_bytes: Annotated[
        int,
        Meta(ge=KIB, le=MIB, description="A block is what one disk read brings into the cache, neighbours included."),
    ] = 4 * KIB
    bloom_bits_per_key: Annotated[
        int,
        Meta(ge=0, le=32, description="10 lets 1 in 100 searches for an absent key through to the file. 0: no filter."),
    ] = 10
    compression: Annotated[Literal["none", "lz4", "zstd"], Meta(description="Of SSTable blocks.")] = "lz4"
    damaged_log: Annotated[
        Literal["refuse", "truncate"],
        Meta(
            description="When the write-ahead log has a record with a wrong checksum: 'refuse' to start and say so, or "
            "'truncate' the log there, which loses that record and all after it, acknowledged ones included."
        ),
    ] = "refuse"


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the node tells its operator, on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="The least that is said.")] = "info"
    format: Annotated[Literal["text", "json"], Meta(description="For people or for programs.")] = "text"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings, validated. Made by `parse`."""

    node: Node = Node()
    cluster: Cluster = Cluster()
    http: Http = Http()
    limits: Limits = Limits()
    replication: Replication = Replication()
    storage: Storage = Storage()
    log: Log = Log()


class ConfigError(ValueError):
    """A setting is unknown or bad. The message is one line: the name, the value, what is allowed."""


DECLARATIONS: Final = tuple(declarations(Config))
"""Every setting, in the order of the example file."""

_BY_PATH: Final[Mapping[str, Declaration]] = {declaration.path: declaration for declaration in DECLARATIONS}
_SECTIONS: Final = tuple(dict.fromkeys(declaration.section for declaration in DECLARATIONS))

_RELATIONS: Final = (
    ("http.port_range_first", "<=", "http.port_range_last"),
    ("http.request_timeout_ms", "<=", "http.request_timeout_max_ms"),
    ("limits.value_bytes_max", "<=", "http.buffered_bytes_max"),
    ("limits.batch_bytes_max", "<=", "http.buffered_bytes_max"),
    ("limits.page_bytes_max", "<=", "http.buffered_bytes_max"),
    ("limits.value_bytes_max", "<=", "replication.uncommitted_bytes_max"),
    ("limits.batch_bytes_max", "<=", "replication.uncommitted_bytes_max"),
    ("storage.compact_level0_files", "<", "storage.slow_level0_files"),
    ("storage.slow_level0_files", "<", "storage.stop_level0_files"),
    ("storage.flush_memtable_bytes", "<=", "storage.memory_bytes"),
    ("storage.disk_reserve_bytes", "<", "storage.disk_bytes"),
)
"""What must fit together: a body that is allowed must fit into the room for bodies and for writes that wait, and a tree
slows writes down before it holds them back. Where the second is 0, it is derived, and nothing is compared."""


def check(settings: Mapping[str, object]) -> None:
    """Judges each setting of `{section: {name: value}}` by itself; what is left out is not missed.

    Raises: ConfigError, with one line for the first setting that is unknown or out of its range.
    """
    for section, values in settings.items():
        if section not in _SECTIONS:
            raise ConfigError(_unknown(section, values))
        if not isinstance(values, Mapping):
            raise ConfigError(f"{section} = {shown(values)}: must be a table, which a file begins with [{section}]")
        for name, value in values.items():
            path = f"{section}.{name}"
            declaration = _BY_PATH.get(path)
            if declaration is None:
                raise ConfigError(_unknown(path, value))
            if not declaration.accepts(value):
                raise ConfigError(f"{path} = {shown(value)}: must be {declaration.allowed}")


def parse(settings: Mapping[str, object]) -> Config:
    """Returns the validated configuration from `{section: {name: value}}`; what is left out takes its default.

    Raises: ConfigError, with one line for the first setting that is unknown, out of its range, or does not fit another.
    """
    check(settings)
    config = msgspec.convert(settings, Config)
    for low, sign, high in _RELATIONS:
        low_value, high_value = _value(config, low), _value(config, high)
        if high_value and (low_value > high_value or (sign == "<" and low_value == high_value)):
            relation = "at most" if sign == "<=" else "less than"
            raise ConfigError(f"{low} = {low_value}: must be {relation} {high}, which is {high_value}")
    return config


def _value(config: Config, path: str) -> int:
    section, name = path.split(".")
    value = getattr(getattr(config, section), name)
    assert isinstance(value, int)
    return value


def _unknown(path: str, value: object) -> str:
    """Says that there is no such setting, and which one may have been meant."""
    ending = f".{path.rpartition('.')[2].lower()}"
    elsewhere = [known for known in _BY_PATH if known.endswith(ending)]
    near = elsewhere or difflib.get_close_matches(path.lower(), (*_SECTIONS, *_BY_PATH), n=1, cutoff=LIKENESS_LEAST)
    hint = f"did you mean {near[0]}?" if near else "docs/configuration.md lists them all"
    name = shown(path).strip('"')
    return f"{name} = {shown(value)}: there is no such setting; {hint}"
