"""The settings of a cluster: what its nodes share, where the views are, how nodes are linked and agree."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from corecache.config.units import GIB, KIB, MIB, PLAIN, Port


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
    replication_factor: Annotated[
        int, Meta(ge=1, le=7, description="Copies of each partition, as far as there are nodes to hold them.")
    ] = 3
    moves_max: Annotated[
        int, Meta(ge=1, le=1000, description="Partitions that get a new copy at once when copies are evened out.")
    ] = 4
    replace_after_ms: Annotated[
        int,
        Meta(
            ge=1000,
            le=604_800_000,
            description="A node that is away for so long is replaced: its copies are made anew on others.",
        ),
    ] = 600_000
    plan_interval_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="How often the controller looks whether something is to be moved.")
    ] = 1000


class Coordination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the views are held: in ZooKeeper, or, for a cluster of one node, beside its data."""

    zookeeper: Annotated[
        str,
        Meta(
            pattern=r"\A([^\s,/:]+:[0-9]{1,5}(,[^\s,/:]+:[0-9]{1,5})*(/[^\s]+)?)?\Z",
            title="HOST:PORT, more of them after commas, and perhaps a /path for a chroot; or nothing",
            description="The ZooKeeper servers. Empty: this node is a cluster of one, with its coordinator inside.",
        ),
    ] = ""
    username: Annotated[
        str,
        Meta(
            pattern=r"\A[^\x00-\x20:\x7f-\x9f\u2028\u2029\ud800-\udfff]*\Z",
            title="text without spaces and colons, or nothing",
            description="What the nodes keep in ZooKeeper is theirs alone (digest ACL). Empty: open to everybody.",
        ),
    ] = ""
    password: Annotated[
        str,
        Meta(
            pattern=r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*\Z",
            title="text without control characters, or nothing",
            description="The password that belongs to username.",
        ),
    ] = ""
    session_timeout_ms: Annotated[
        int,
        Meta(ge=1000, le=600_000, description="Silence after which ZooKeeper no longer lists the node as alive."),
    ] = 6000
    sweep_interval_ms: Annotated[
        int, Meta(ge=100, le=3_600_000, description="How often all views are read again, for what a watch has missed.")
    ] = 15_000
    start_timeout_ms: Annotated[
        int, Meta(ge=1000, le=3_600_000, description="How long a start waits for ZooKeeper before it gives up.")
    ] = 30_000


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The connections between nodes."""

    host: Annotated[
        str,
        Meta(
            pattern=PLAIN,
            title="UTF-8 text that is not empty, without control characters",
            description="The address to listen on for other nodes. No password: keep it on a network you trust.",
        ),
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="0: the first free one of the range below.")] = 0
    port_range_first: Annotated[int, Meta(ge=1, le=65_535, description="The range that `port = 0` searches …")] = 7400
    port_range_last: Annotated[int, Meta(ge=1, le=65_535, description="… and its last port.")] = 7499
    queued_bytes_max: Annotated[
        int,
        Meta(ge=MIB, le=16 * GIB, description="What may wait to be sent to one node; beyond it messages are dropped."),
    ] = 128 * MIB
    frame_bytes_max: Annotated[
        int, Meta(ge=MIB, le=GIB, description="The longest frame that is read; a peer that sends more is cut off.")
    ] = 128 * MIB
    connections_max: Annotated[
        int, Meta(ge=2, le=100_000, description="Connections from other nodes; each of them needs two.")
    ] = 512
    connect_timeout_ms: Annotated[
        int, Meta(ge=10, le=60_000, description="How long connecting and greeting may take.")
    ] = 1000
    reconnect_first_ms: Annotated[
        int, Meta(ge=1, le=60_000, description="The pause before the second attempt; doubled each time …")
    ] = 20
    reconnect_max_ms: Annotated[int, Meta(ge=1, le=600_000, description="… up to this.")] = 1000


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
            description="Applied entries of all partitions together that are kept, so that a node that was away can "
            "catch up from them. A partition with one copy keeps a sixteenth of its share. 0 keeps none.",
        ),
    ] = 64 * MIB
    log_retention_seconds: Annotated[
        int, Meta(ge=1, le=31_536_000, description="Applied entries older than this need not be kept.")
    ] = 3600
    beat_ms: Annotated[
        int, Meta(ge=10, le=10_000, description="How often a node tells its peers that it is there (R8).")
    ] = 100
    lease_ms: Annotated[
        int,
        Meta(
            ge=50,
            le=60_000,
            description="How long a primary may serve reads without hearing from a backup; a new one waits as long.",
        ),
    ] = 1000
    lease_margin_ms: Annotated[
        int,
        Meta(ge=1, le=10_000, description="What clocks may drift apart in lease_ms; taken off a lease by its holder."),
    ] = 50
    grace_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="Silence of a primary after which a backup takes over (R9).")
    ] = 1500
    ack_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="A backup that has not stored an entry by then is dropped (R11).")
    ] = 3000
    patience_ms: Annotated[
        int,
        Meta(ge=100, le=600_000, description="The wait before a silent peer is dropped if too few copies remain then."),
    ] = 3000
    patience_cold_ms: Annotated[
        int, Meta(ge=100, le=3_600_000, description="The same after a start at which no peer was heard.")
    ] = 10_000
    join_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="How long commits wait for a backup that joins, before it is let go.")
    ] = 2000
    handover_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="How long a planned hand-over may hold writes before it is given up.")
    ] = 2000
    resend_ms: Annotated[
        int, Meta(ge=10, le=60_000, description="After this time without an answer a message is sent again.")
    ] = 500
    transfer_chunk_bytes: Annotated[
        int, Meta(ge=4 * KIB, le=64 * MIB, description="Of a snapshot or of the log, sent to a node that catches up.")
    ] = MIB
    transfer_bytes_per_second: Annotated[
        int, Meta(ge=MIB, le=64 * GIB, description="What a node sends to all that catch up, together.")
    ] = 64 * MIB
    sweep_interval_ms: Annotated[
        int, Meta(ge=10, le=3_600_000, description="How often expired keys that nobody reads are looked for.")
    ] = 1000
    sweep_keys_max: Annotated[int, Meta(ge=1, le=1_000_000, description="Expired keys removed by one look.")] = 1000
