"""GET /v1/kv: keys and values in byte order, a page at a time.

The rule: a page answers `prefix`, `start` and `end` together (their intersection); its cursor says where the next page
begins and is good only for the same range. Bytes that are no text are shown in base64, under another name
(`key_base64`, `value_base64`), so that a program can tell them apart. A page ends early rather than have more than
`limits.page_bytes_max` bytes of items, counted as they are encoded: the node's count of keys and values is less.

At most `limits.listings_max` listings run at once: one more is refused, because a listing costs as much as many reads.
A page is not a snapshot: each record is as it was when its page was made.
"""

import asyncio
from base64 import b64encode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from corecache.config import Config
from corecache.errors import NotDone
from corecache.identity import Milliseconds
from corecache.operations import NEVER
from corecache.ports import Clock, Item, Page, Service
from corecache.serving.http import parameters
from corecache.serving.http.bodies import Budget, JsonAnswer, Scope

ITEMS_DEFAULT = 100
LIMIT_MAX = 1_000_000_000

ASIDE_BYTES = 1024 * 1024
"""What is above this is encoded on a thread, so that other requests need not wait for it."""

_PARAMETERS = frozenset(("prefix", "start", "end", "limit", "cursor", "keys_only"))
_CONTROLS = bytes(octet for octet in range(0x20) if octet not in b"\t\n\r")
_encoder = msgspec.json.Encoder()


class ListedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record on a page: either `key` or `key_base64`, and unless only keys were asked for, the same of the value."""

    version: int
    timestamp: int
    key: str | None = None
    key_base64: str | None = None
    value: str | None = None
    value_base64: str | None = None
    expires: int | None = None


class ListedPage(msgspec.Struct, frozen=True):
    """A page of a listing. `cursor` asks for the next one; null on the last."""

    items: list[ListedItem]
    cursor: str | None


class Range(msgspec.Struct, frozen=True):
    """What a listing asks for: start <= key < end (None: no end), from `resume` on."""

    start: bytes
    end: bytes | None
    limit: int
    keys_only: bool


class Listing:
    """Answers listings."""

    def __init__(self, service: Service, config: Config, clock: Clock, budget: Budget) -> None:
        self._service = service
        self._clock = clock
        self._budget = budget
        self._items_max = config.limits.page_items_max
        self._bytes_max = config.limits.page_bytes_max
        self._listings_max = config.limits.listings_max
        self._http = config.http
        self._running = 0

    async def answer(self, request: Request) -> Response:
        """Answers one page."""
        asked = range_of(request.scope["query_string"], self._items_max)
        timeout_ms = asked_timeout_ms(request.scope, self._http.request_timeout_ms, self._http.request_timeout_max_ms)
        if asked.end is not None and asked.start >= asked.end:
            return JsonAnswer(_encoder.encode(ListedPage([], None)), self._budget, refusable=True)
        if self._running >= self._listings_max:
            raise NotDone(
                "too_many_listings", f"{self._listings_max} listings are under way (limits.listings_max); try later."
            )
        self._running += 1
        try:
            page = await self._service.scan(
                asked.start,
                asked.end,
                asked.limit,
                Milliseconds(self._clock.now() + timeout_ms),
                values=not asked.keys_only,
            )
            if sum(len(item.key) + len(item.record.value) for item in page.items) > ASIDE_BYTES:
                body = await asyncio.to_thread(encoded_page, page, asked.keys_only, self._bytes_max)
            else:
                body = encoded_page(page, asked.keys_only, self._bytes_max)
            return JsonAnswer(body, self._budget, refusable=True)
        finally:
            self._running -= 1


def range_of(raw_query: bytes, items_max: int) -> Range:
    """Returns what a query string asks for; an empty parameter counts as left out.

    Raises: CallerFault `bad_parameter`, `bad_encoding` or `bad_cursor`.
    """
    query = {name: value for name, value in parameters.query_of(raw_query, _PARAMETERS).items() if value}
    start = query.get("start", b"")
    end = query.get("end")
    prefix = query.get("prefix", b"")
    if prefix:
        start = max(start, prefix)
        beyond = parameters.prefix_end(prefix)
        if beyond is not None:
            end = beyond if end is None else min(end, beyond)
    limit = min(ITEMS_DEFAULT, items_max)
    if "limit" in query:
        # More than a page holds is no mistake: the cursor says that there is more, here as when bytes fill the page.
        limit = min(parameters.number_of(query["limit"], "limit", LIMIT_MAX), items_max)
    keys_only = "keys_only" in query and parameters.flag_of(query["keys_only"], "keys_only")
    if "cursor" in query:
        resume = parameters.resume_of(query["cursor"])
        if resume < start or (end is not None and resume >= end):
            raise parameters.bad_cursor()
        start = resume
    return Range(start, end, limit, keys_only)


def asked_timeout_ms(scope: Scope, timeout_ms: int, timeout_max_ms: int) -> int:
    """Returns what X-CoreCache-Timeout asks for, else the default. Raises: CallerFault `bad_timeout`."""
    for name, value in scope["headers"]:
        if name == b"x-corecache-timeout":
            return parameters.timeout_ms_of(value, timeout_max_ms)
    return timeout_ms


def text_or_base64(octets: bytes) -> tuple[str | None, str | None]:
    """Returns bytes as text, or None and their base64.

    Text is UTF-8 without control characters other than tab, newline and carriage return. JSON writes each of the others
    as six bytes; what is text here at most doubles.
    """
    if len(octets.translate(None, _CONTROLS)) == len(octets):
        try:
            return octets.decode(), None
        except UnicodeDecodeError:
            pass
    return None, b64encode(octets).decode("ascii")


def encoded_page(page: Page, keys_only: bool, bytes_max: int) -> bytes:
    """Returns the JSON of a page: as many of its items, at least the first, as `bytes_max` bytes of JSON allow."""
    items: list[msgspec.Raw] = []
    size_bytes = 0
    resume = page.resume
    for item in page.items:
        encoded = _encoder.encode(listed(item, keys_only))
        size_bytes += len(encoded)
        if items and size_bytes > bytes_max:
            resume = item.key
            break
        items.append(msgspec.Raw(encoded))
    return _encoder.encode({"items": items, "cursor": None if resume is None else parameters.cursor_from(resume)})


def listed(item: Item, keys_only: bool) -> ListedItem:
    """Returns an item as a page shows it."""
    key, key_base64 = text_or_base64(item.key)
    value, value_base64 = (None, None) if keys_only else text_or_base64(item.record.value)
    expires = item.record.expires
    return ListedItem(
        item.record.version,
        item.record.timestamp,
        key,
        key_base64,
        value,
        value_base64,
        None if expires == NEVER else expires,
    )
