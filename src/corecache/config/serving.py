"""The settings of a node and of what it serves: its name and place, HTTP, the limits of a request, its log."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from corecache.config.units import GIB, KIB, MIB, PLAIN, Port


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
            pattern=PLAIN,
            title="UTF-8 text that is not empty, without control characters",
            description="Where everything durable is kept. One process at a time; made if missing.",
        ),
    ] = "corecache-data"
    advertise_host: Annotated[
        str,
        Meta(
            pattern=r"\A[^\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]*\Z",
            title="a host name or an address, or nothing",
            description="Where the other nodes and clients reach this one. Empty: the address that it listens on.",
        ),
    ] = ""
    zone: Annotated[
        str,
        Meta(
            pattern=r"\A([A-Za-z0-9][A-Za-z0-9._-]{0,62})?\Z",
            title="up to 63 letters, digits, '.', '_' and '-', beginning with a letter or digit",
            description="A rack or a building: copies are spread over zones where there are several. Empty: none.",
        ),
    ] = ""
    stop_timeout_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=600_000,
            description="On SIGTERM, how long to wait until nobody needs this node, and then for requests under way.",
        ),
    ] = 10_000


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP interface, and what one client may cost the others."""

    host: Annotated[
        str,
        Meta(
            pattern=PLAIN,
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


class Resp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Redis's protocol, and what one of its clients may cost the others."""

    host: Annotated[
        str,
        Meta(
            pattern=PLAIN,
            title="UTF-8 text that is not empty, without control characters",
            description="The address to listen on. There is no password yet: keep it on a network you trust.",
        ),
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="0: the first free one of the range below.")] = 0
    cluster_port: Annotated[
        Port,
        Meta(
            description="In a cluster, the port that the map names: who comes here is sent to the primary (MOVED) "
            "rather than forwarded for. 0: the next free one of the range."
        ),
    ] = 0
    port_range_first: Annotated[int, Meta(ge=1, le=65_535, description="The range that 0 searches …")] = 6379
    port_range_last: Annotated[int, Meta(ge=1, le=65_535, description="… and its last port.")] = 6478
    connections_max: Annotated[
        int, Meta(ge=1, le=100_000, description="One connection more is told so and closed (Redis: maxclients).")
    ] = 10_000
    idle_timeout_ms: Annotated[
        int,
        Meta(ge=0, le=86_400_000, description="A client that says nothing for so long is disconnected. 0: never."),
    ] = 0
    send_timeout_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="The longest time a client may read nothing of its answers.")
    ] = 30_000
    request_timeout_ms: Annotated[
        int, Meta(ge=1, le=600_000, description="A command's deadline: it is then not done, or its outcome unknown.")
    ] = 5000
    pipeline_requests_max: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Commands of one client under way; the next are read later.")
    ] = 1024
    pipeline_bytes_max: Annotated[
        int,
        Meta(ge=64 * KIB, le=64 * GIB, description="Answers of one client that wait to be sent; then it waits."),
    ] = 16 * MIB
    request_bytes_max: Annotated[
        int, Meta(ge=MIB, le=64 * GIB, description="All arguments of one command together; beyond it: disconnected.")
    ] = 64 * MIB
    operations_max: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Keys in one command, and commands in one transaction; others wait."),
    ] = 10_000
    slowlog_us: Annotated[
        int, Meta(ge=0, le=3_600_000_000, description="A command that takes longer is noted (SLOWLOG).")
    ] = 10_000
    slowlog_entries_max: Annotated[int, Meta(ge=0, le=100_000, description="So many are kept.")] = 128
    latency_ms: Annotated[
        int, Meta(ge=0, le=3_600_000, description="What takes so long is noted for LATENCY. 0: nothing.")
    ] = 100
    cursors_max: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Iterations (SCAN) that this node remembers; the oldest goes.")
    ] = 10_000
    debug_commands: Annotated[
        Literal["no", "yes"], Meta(description="Whether DEBUG is there, for tests: it can stop a client.")
    ] = "no"


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


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the node tells its operator, on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="The least that is said.")] = "info"
    format: Annotated[Literal["text", "json"], Meta(description="For people or for programs.")] = "text"
