"""Listings show every record of a range once, in byte order, however they are paged."""

import asyncio
from base64 import b64decode
from typing import Any
from urllib.parse import quote_from_bytes

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corecache.identity import Timestamp, Version
from corecache.operations import Record
from serving.http_lab import Lab, config_of, served, with_lab


def octets(item: dict[str, Any], name: str) -> bytes:
    """Returns the bytes that an item shows under a name, exactly one way."""
    assert (name in item) != (name + "_base64" in item), item
    return item[name].encode() if name in item else b64decode(item[name + "_base64"])


@served()
async def test_an_item_shows_all_of_its_record(lab: Lab) -> None:
    """Text is text, other bytes are marked base64; version, timestamp and expiry are numbers."""
    await lab.ask("PUT", "/v1/kv/%7Fcaf%C3%A9?ttl=100", b"\xffvalue")
    page = (await lab.ask("GET", "/v1/kv")).json()
    (item,) = page["items"]
    record = lab.service.records["\x7fcafé".encode()]
    assert page["cursor"] is None
    assert item == {
        "key": "\x7fcafé",
        "value_base64": "/3ZhbHVl",
        "version": 1,
        "timestamp": record.timestamp,
        "expires": record.expires,
    }
    (bare,) = (await lab.ask("GET", "/v1/kv?keys_only=true")).json()["items"]
    assert set(bare) == {"key", "version", "timestamp", "expires"}


def test_paging_shows_every_record_of_a_range_once() -> None:
    """Following cursors gives what a sorted dict gives, for any prefix, start, end and page size."""
    keys = st.binary(min_size=1, max_size=3)
    bound = st.none() | st.binary(max_size=2)

    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(st.dictionaries(keys, st.binary(max_size=3), max_size=30), bound, bound, bound, st.integers(1, 7))
    def check(model: dict[bytes, bytes], prefix: bytes | None, start: bytes | None, end: bytes | None, n: int) -> None:
        async def scenario(lab: Lab) -> None:
            for key, value in model.items():
                lab.service.records[key] = Record(value, Version(1), Timestamp(1))
            bounds = {"prefix": prefix, "start": start, "end": end}
            query = "&".join(f"{name}={quote_from_bytes(b)}" for name, b in bounds.items() if b is not None)
            wire = await lab.connect()
            found: list[tuple[bytes, bytes]] = []
            cursor: str | None = ""
            while cursor is not None:
                more = f"&cursor={cursor}" if cursor else ""
                answer = await wire.ask("GET", f"/v1/kv?limit={n}{'&' if query else ''}{query}{more}")
                page = answer.json()
                assert len(page["items"]) <= n
                found += [(octets(item, "key"), octets(item, "value")) for item in page["items"]]
                cursor = page["cursor"]
            assert found == [
                (key, model[key])
                for key in sorted(model)
                if key.startswith(prefix or b"") and key >= (start or b"") and (not end or key < end)
            ]

        uvloop.run(with_lab(config_of(), scenario))

    check()


@served()
async def test_text_has_no_control_characters(lab: Lab) -> None:
    """Tab, newline and carriage return are text; a byte that JSON would write as six makes it base64."""
    spelled = {
        b"\t\n\r": True,
        b'"\\\x7f': True,
        "é😀".encode(): True,
        b"": True,
        b"\xff": False,
        b"\xed\xa0\x80": False,
    }
    spelled |= {bytes([octet]): octet in b"\t\n\r" for octet in range(0x20)}
    for octets_, is_text in spelled.items():
        await lab.ask("PUT", "/v1/kv/a", octets_)
        (item,) = (await lab.ask("GET", "/v1/kv")).json()["items"]
        assert ("value" in item) == is_text, octets_
        assert octets(item, "value") == octets_
        got = await lab.ask("POST", "/v1/batch", b'{"operations":[{"op":"get","key":"a"}]}')
        assert octets(got.json()["results"][0], "value") == octets_
        assert len(got.body) <= 2 * len(octets_) + 120


def test_pages_have_no_more_bytes_than_they_may() -> None:
    """Items are counted as JSON writes them; a page ends early but is never empty, and the next one goes on there."""
    values = {
        b"a": b"\x00" * 1000,
        b"b": b'"' * 1000,
        b"c": b"x" * 1000,
        b"d": b"x" * 800,
        b"e": b'"' * 3000,
        b"f": b"",
    }

    async def scenario(lab: Lab) -> None:
        for key, value in values.items():
            lab.service.records[key] = Record(value, Version(1), Timestamp(1))
        pages: list[list[bytes]] = []
        cursor: str | None = ""
        while cursor is not None:
            answer = await lab.ask("GET", "/v1/kv" + (f"?cursor={cursor}" if cursor else ""))
            page = answer.json()
            pages.append([octets(item, "key") for item in page["items"]])
            assert {octets(item, "key"): octets(item, "value") for item in page["items"]}.items() <= values.items()
            assert len(answer.body) <= 2100 or len(page["items"]) == 1
            cursor = page["cursor"]
        assert pages == [[b"a"], [b"b"], [b"c", b"d"], [b"e"], [b"f"]]

    uvloop.run(with_lab(config_of(limits={"page_bytes_max": 2000}), scenario))


@served(limits={"page_items_max": 5})
async def test_bad_listings_are_refused(lab: Lab) -> None:
    """Limits, flags and cursors that are none are 400; what is empty is left out."""
    for key in "abcdefg":
        await lab.ask("PUT", f"/v1/kv/{key}", b"1")
    page = (await lab.ask("GET", "/v1/kv?start=c&limit=2")).json()
    empty = "?prefix=&start=&end=&limit=&cursor=&keys_only="
    for query in ("", "?limit=6", "?limit=1000000", empty):
        assert len((await lab.ask("GET", f"/v1/kv{query}")).json()["items"]) == 5
    for query, code in (
        ("limit=0", "bad_parameter"),
        ("limit=-1", "bad_parameter"),
        ("limit=1.0", "bad_parameter"),
        ("keys_only=yes", "bad_parameter"),
        ("limit", "bad_parameter"),
        ("prefix=%2", "bad_encoding"),
        ("cursor=!", "bad_cursor"),
        (f"cursor={page['cursor']}&end=d", "bad_cursor"),
        (f"cursor={page['cursor']}&start=f", "bad_cursor"),
        (f"cursor={page['cursor']}&prefix=a", "bad_cursor"),
    ):
        answer = await lab.ask("GET", f"/v1/kv?{query}")
        assert (answer.status, answer.json()["code"]) == (400, code), query


@served(limits={"listings_max": 2})
async def test_too_many_listings_at_once_are_503(lab: Lab) -> None:
    """One more is refused while the others run, and accepted afterwards."""
    lab.service.gate = asyncio.Event()
    wires = [await lab.connect() for _ in range(2)]
    asked = [asyncio.ensure_future(wire.ask("GET", "/v1/kv")) for wire in wires]
    await lab.until(lambda: lab.service.begun == 2)
    refusal = await lab.ask("GET", "/v1/kv")
    assert (refusal.status, refusal.json()["code"]) == (503, "too_many_listings")
    lab.service.gate.set()
    assert [(await one).status for one in asked] == [200, 200]
    assert (await lab.ask("GET", "/v1/kv")).status == 200


@served()
async def test_a_large_page_comes_whole(lab: Lab) -> None:
    """Pages above 64 KiB go out as they are, those above 1 MiB by way of a thread, and HEAD has no body."""
    wire = await lab.connect()
    for size_bytes in (50_000, 200_000):
        for number in range(10):
            await lab.ask("PUT", f"/v1/kv/{number}", b"\xff" * size_bytes)
        page = (await wire.ask("GET", "/v1/kv")).json()
        assert [octets(item, "value") for item in page["items"]] == [b"\xff" * size_bytes] * 10
    assert (await wire.ask("HEAD", "/v1/kv")).status == 200
    assert (await wire.ask("GET", "/healthz")).status == 200
