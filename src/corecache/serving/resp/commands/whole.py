"""The commands about all keys together: KEYS, SCAN, DBSIZE, RANDOMKEY, FLUSHDB, FLUSHALL.

They read pages of keys in byte order, each page as of its own moment. A key that is there from the first page to the
last is found; one that comes or goes meanwhile may be found or not.

Rule 1: a client that follows the map (`session.cluster_aware`) asks every primary and adds up the answers. It is shown
the keys of the partitions that this node leads when the command, or the iteration, begins; wherever these are led
later, they are read to the end. Every other client is shown all keys of the cluster. Deleting is not divided up:
FLUSHALL and FLUSHDB, wherever they are sent, delete everything.

Rule 2: SCAN's cursors are numbers that the node remembers (`cursors.py`). One that it does not know, or not any more,
is refused: an iteration ends with an error rather than leave keys out in silence.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import msgspec

from corecache.errors import CoreCacheError
from corecache.identity import Milliseconds, PartitionId
from corecache.operations import Delete
from corecache.placement.slots import partition_of
from corecache.ports import Item, Page
from corecache.serving.resp.commands.arguments import OK, SYNTAX, integer
from corecache.serving.resp.commands.command import Arguments, Command, Refusal
from corecache.serving.resp.cursors import Position
from corecache.serving.resp.glob import Glob
from corecache.wire.resp import Reply

if TYPE_CHECKING:
    from corecache.serving.resp.session import Session

_SCAN_COUNT: Final = 10
"""How many keys a SCAN without COUNT looks at, as in Redis."""
_DIVISIONS_MAX: Final = 512
"""RANDOMKEY's steps; beyond them it takes a key from where it is."""
FRAME_BYTES: Final = 16
"""What a key in an answer takes besides its own bytes, or a little more."""


async def keys_page(session: "Session", start: bytes, end: bytes | None, items_max: int) -> Page:
    """Returns a page of keys without their values. Raises: as `Service.scan`."""
    server = session.server
    deadline = Milliseconds(server.clock.now() + server.config.resp.request_timeout_ms)
    items_max = min(items_max, server.config.limits.page_items_max)
    return await server.service.scan(start, end, items_max, deadline, values=False)


async def pages(session: "Session", start: bytes = b"", end: bytes | None = None) -> AsyncIterator[tuple[Item, ...]]:
    """Gives pages of all that this session is shown, and lets others have their turn between them."""
    led = led_of(session)
    resume: bytes | None = start
    while resume is not None:
        page = await keys_page(session, resume, end, session.server.config.limits.page_items_max)
        yield _shown(session, page, led)
        resume = page.resume
        await asyncio.sleep(0)


def led_of(session: "Session") -> frozenset[PartitionId] | None:
    """Returns the partitions whose keys a session is shown, None for all (rule 1)."""
    if not session.cluster_aware:
        return None
    report = session.server.service.cluster()
    led = frozenset(
        each.id for each in report.partitions if each.view is not None and each.view.primary.node == report.node
    )
    return led if len(led) < len(report.partitions) else None


def _shown(session: "Session", page: Page, led: frozenset[PartitionId] | None) -> tuple[Item, ...]:
    if led is None:
        return page.items
    count = session.server.config.cluster.partitions
    return tuple(item for item in page.items if partition_of(item.key, count) in led)


def _after(prefix: bytes) -> bytes | None:
    """Returns the first key that is above all with a prefix, None if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None


async def _keys(session: "Session", arguments: Arguments) -> Reply:
    """Refuses what would have to be answered with more bytes than one client's answers may take."""
    pattern = Glob(arguments[1])
    bytes_max = session.server.config.resp.pipeline_bytes_max
    found: list[Reply] = []
    found_bytes = 0
    async for items in pages(session, pattern.prefix, _after(pattern.prefix)):
        for item in items:
            if pattern.matches(item.key):
                found.append(item.key)
                found_bytes += len(item.key) + FRAME_BYTES
        if found_bytes > bytes_max:
            raise Refusal(f"ERR the answer would have more than {bytes_max} bytes (resp.pipeline_bytes_max): use SCAN")
    return found


class _Scan(msgspec.Struct, frozen=True):
    """What a SCAN asks for."""

    cursor: int
    pattern: Glob
    count: int
    strings: bool
    """Whether keys with strings are wanted, which all have."""


def _scan_of(arguments: Arguments) -> _Scan:
    text = arguments[1]
    if not 0 < len(text) <= 20 or not text.isdigit() or int(text) >= 2**64:
        raise Refusal("ERR invalid cursor")
    pattern, count, kind = b"*", _SCAN_COUNT, b"string"
    for option, value in zip_longest(arguments[2::2], arguments[3::2]):
        if value is None:
            raise Refusal(SYNTAX)
        match option.lower():
            case b"match":
                pattern = value
            case b"count":
                count = integer(value)
                if count < 1:
                    raise Refusal(SYNTAX)
            case b"type":
                kind = value.lower()
            case _:
                raise Refusal(SYNTAX)
    return _Scan(int(text), Glob(pattern), count, kind == b"string")


async def _scan(session: "Session", arguments: Arguments) -> Reply:
    """Looks at up to COUNT keys, from where the cursor says, but only at those that begin as the pattern does."""
    asked = _scan_of(arguments)
    cursors = session.server.cursors
    position = cursors.find(asked.cursor) if asked.cursor else Position(b"", led_of(session), 0)
    if position is None:
        raise Refusal("ERR invalid cursor: this node does not know it, or not any more; begin again with 0")
    if not asked.strings:
        return ["0", []]
    prefix = asked.pattern.prefix
    start, end = max(position.key, prefix), _after(prefix)
    if end is not None and start >= end:
        return ["0", []]
    page = await keys_page(session, start, end, asked.count)
    items = _shown(session, page, position.led)
    found: list[Reply] = [item.key for item in items if asked.pattern.matches(item.key)]
    if page.resume is None:
        return ["0", found]
    return [str(cursors.give(Position(page.resume, position.led, asked.cursor))), found]


async def _dbsize(session: "Session", _: Arguments) -> Reply:
    """Counts, which reads all keys: nobody keeps a sum of them."""
    count = 0
    async for items in pages(session):
        count += len(items)
    return count


async def _randomkey(session: "Session", __: Arguments) -> Reply:
    """Divides the range of keys in two and goes on with either part, until a page holds what is left.

    From that page each key is as likely as the other. But the two parts are, however many keys they have: a key with
    few neighbours is drawn more often than one with many. It takes some 8 short reads for each byte in which keys
    differ: where the keys of a page begin alike, that beginning is passed over at once.
    """
    items_max = session.server.config.limits.page_items_max
    page = await _first_page(session, b"", None, items_max)
    high = await _end_of_alike(session, page, None)
    for _ in range(_DIVISIONS_MAX):
        middle = _middle(page.items[0].key, high) if page.resume is not None else None
        if middle is None:
            break
        wants_upper = secrets.randbits(1)
        upper = await _first_page(session, middle, high, items_max if wants_upper else 1)
        if wants_upper and upper.items:
            page = upper
            high = await _end_of_alike(session, page, high)
        else:
            high = middle
            if page.resume is not None and page.resume >= middle:
                page = Page(tuple(item for item in page.items if item.key < middle), None)
    return secrets.choice(page.items).key if page.items else None


async def _end_of_alike(session: "Session", page: Page, end: bytes | None) -> bytes | None:
    """Returns a lower end for the range that a page begins if all of its keys begin as those of the page do."""
    if page.resume is None:
        return end
    first, last = page.items[0].key, page.items[-1].key
    beyond = _after(first[: _alike(first, last)])
    if beyond is None or (end is not None and beyond >= end):
        return end
    return end if (await _first_page(session, beyond, end, 1)).items else beyond


async def _first_page(session: "Session", start: bytes, end: bytes | None, items_max: int) -> Page:
    """Returns the first page that is not empty; an empty one is the last."""
    page = await keys_page(session, start, end, items_max)
    while not page.items and page.resume is not None:
        page = await keys_page(session, page.resume, end, items_max)
    return page


def _alike(one: bytes, other: bytes) -> int:
    """Returns how many bytes at the beginning of two keys are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _middle(low: bytes, high: bytes | None) -> bytes | None:
    """Returns a key about half way, None if the two differ too late to tell."""
    width = 8 + (0 if high is None else _alike(low, high))
    bottom = int.from_bytes(low[:width].ljust(width, b"\0"))
    top = 256**width if high is None else int.from_bytes(high[:width].ljust(width, b"\0"))
    middle = (bottom + top) // 2
    return middle.to_bytes(width) if middle > bottom else None


async def _flush(session: "Session", arguments: Arguments) -> Reply:
    """Deletes all keys, page by page, and answers when they are gone, also with ASYNC.

    It is not atomic. Others may see some keys gone and some not, and a key that is written meanwhile may stay. After an
    error, or when the connection is lost, some keys are gone: sent again, it goes on.
    """
    if len(arguments) > 2 or (len(arguments) == 2 and arguments[1].lower() not in (b"async", b"sync")):
        raise Refusal(SYNTAX)
    server = session.server
    partitions = len(server.service.cluster().partitions)
    resume: bytes | None = b""
    while resume is not None:
        page = await keys_page(session, resume, None, server.config.limits.page_items_max)
        # One request to each partition, however many of its keys there are.
        requests: defaultdict[PartitionId, list[Delete]] = defaultdict(list)
        for item in page.items:
            requests[partition_of(item.key, partitions)].append(Delete(item.key))
        deadline = Milliseconds(server.clock.now() + server.config.resp.request_timeout_ms)
        for outcome in await server.service.write_many(list(requests.values()), deadline):
            if isinstance(outcome, CoreCacheError):
                raise outcome
        resume = page.resume
        await asyncio.sleep(0)
    return OK


COMMANDS: Final = (
    Command(
        "keys",
        2,
        ("readonly",),
        categories=("keyspace", "read", "slow", "dangerous"),
        group="generic",
        summary="Returns the keys that match a pattern.",
        slow=_keys,
    ),
    Command(
        "scan",
        -2,
        ("readonly",),
        categories=("keyspace", "read", "slow"),
        group="generic",
        since="2.8.0",
        summary="Iterates over the keys, some at a time.",
        slow=_scan,
    ),
    Command(
        "dbsize",
        1,
        ("readonly", "fast"),
        categories=("keyspace", "read", "fast"),
        group="server",
        summary="Counts the keys.",
        slow=_dbsize,
    ),
    Command(
        "randomkey",
        1,
        ("readonly",),
        categories=("keyspace", "read", "slow"),
        group="generic",
        summary="Returns some key.",
        slow=_randomkey,
    ),
    Command(
        "flushdb",
        -1,
        ("write",),
        categories=("keyspace", "write", "slow", "dangerous"),
        group="server",
        summary="Deletes all keys, one page after the other.",
        slow=_flush,
    ),
    Command(
        "flushall",
        -1,
        ("write",),
        categories=("keyspace", "write", "slow", "dangerous"),
        group="server",
        summary="Deletes all keys, one page after the other.",
        slow=_flush,
    ),
)
