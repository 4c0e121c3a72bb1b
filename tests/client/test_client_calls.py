"""The calls of both clients against the real HTTP server."""

import subprocess
import sys
import time
from typing import Any

import pytest

from client.live_server import LiveServer
from corecache.client import ConditionFailed
from corecache.errors import CallerFault, NotDone, OutcomeUnknown
from corecache.identity import Version
from corecache.operations import (
    NEVER,
    Absent,
    Delete,
    Deleted,
    Found,
    IfAbsent,
    IfMatch,
    Put,
    Read,
    Written,
)
from corecache.operations import (
    ConditionFailed as ConditionFailedResult,
)

AWKWARD_KEYS = [
    b".", b"..", b"a/../b", b"//", b"/", b"a//b", b"%", b"%2E", b"a b", b"a+b", b"a?b=c&d", b"a#b", b"a:b", b"\n",
    b"\0", b"\xff\xfe", "schlüssel".encode(), b"~", b"\\", b'"', b"x" * 8192, b"." * 8192, b"\xff" * 8192,
]  # fmt: skip


def test_a_put_is_found_by_a_get(connect: Any, live: LiveServer) -> None:
    """A record comes back with its value, version, date of acceptance and, here, no expiry."""
    client = connect(live.url)
    before = int(time.time() * 1000)
    version = client.put("colour", b"red\0\xff")
    record = client.get("colour")
    assert (record.value, record.version, record.expires) == (b"red\0\xff", version, NEVER)
    assert before <= record.timestamp <= int(time.time() * 1000)


def test_an_absent_key_is_none_and_not_deleted(connect: Any, live: LiveServer) -> None:
    """A key without a record gives None, and deleting it gives False; with one, True, once."""
    client = connect(live.url)
    assert client.get("k") is None
    assert client.delete("k") is False
    client.put("k", b"")
    assert client.get("k").value == b""
    assert client.delete("k") is True
    assert client.delete("k") is False


@pytest.mark.parametrize("key", AWKWARD_KEYS, ids=lambda key: repr(key[:12]))
def test_every_key_reaches_the_node_exactly(connect: Any, live: LiveServer, key: bytes) -> None:
    """The node stores the bytes that were given, whatever paths and percent signs mean elsewhere."""
    client = connect(live.url)
    client.put(key, b"v")
    assert list(live.service.records) == [key]
    assert client.get(key).value == b"v"
    assert [found for found, _ in client.scan()] == [key]
    assert [found for found, _ in client.scan(prefix=key)] == [key]
    assert client.delete(key) is True


def test_text_is_utf_8(connect: Any, live: LiveServer) -> None:
    """Keys and values given as text are stored as UTF-8."""
    connect(live.url).put("größe", "½")
    assert live.service.records["größe".encode()].value == "½".encode()


def test_a_large_value_comes_back(connect: Any, live: LiveServer) -> None:
    """A value as long as a node takes survives the way there and back."""
    client = connect(live.url, timeout_s=20)
    value = bytes(range(256)) * 32 * 1024
    client.put("k", value)
    assert client.get("k").value == value


def test_a_condition_that_fails_names_the_present_version(connect: Any, live: LiveServer) -> None:
    """if_absent and if_version write only where they hold; else ConditionFailed says which version is there."""
    client = connect(live.url)
    with pytest.raises(ConditionFailed) as absent:
        client.put("k", b"0", if_version=7)
    assert absent.value.present is None
    first = client.put("k", b"1", if_absent=True)
    with pytest.raises(ConditionFailed) as present:
        client.put("k", b"2", if_absent=True)
    assert present.value.present == first
    second = client.put("k", b"3", if_version=first)
    with pytest.raises(ConditionFailed):
        client.delete("k", if_version=first)
    assert client.delete("k", if_version=second) is True


def test_a_ttl_becomes_an_expiry(connect: Any, live: LiveServer) -> None:
    """A record with a ttl says when it expires, to the millisecond."""
    client = connect(live.url)
    client.put("k", b"v", ttl=1234.5)
    record = client.get("k")
    assert record.expires - record.timestamp == 1_234_500
    assert [(key, found.expires) for key, found in client.scan()] == [(b"k", record.expires)]


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e13])
def test_a_ttl_that_is_none_is_refused(connect: Any, live: LiveServer, ttl: float) -> None:
    """A ttl that is not a number of seconds above 0 is the caller's fault, and stores nothing."""
    with pytest.raises(CallerFault):
        connect(live.url).put("k", b"v", ttl=ttl)
    assert not live.service.records


def test_a_tiny_ttl_is_not_rounded_to_nothing(connect: Any, live: LiveServer) -> None:
    """A ttl below a millisecond is rounded up to one."""
    connect(live.url).put("k", b"v", ttl=0.0001)
    record = live.service.records[b"k"]
    assert record.expires - record.timestamp == 1


def test_a_scan_goes_through_all_pages(connect: Any, live: LiveServer) -> None:
    """A scan of more records than a page holds gives each once, in byte order."""
    client = connect(live.url)
    keys = sorted(b"k%d" % number for number in range(2345))
    for first in range(0, len(keys), 1000):
        client.batch([Put(key, key) for key in keys[first : first + 1000]])
    found = list(client.scan())
    assert [key for key, _ in found] == keys
    assert [record.value for _, record in found] == keys
    assert [key for key, _ in client.scan(limit=1500)] == keys[:1500]
    assert list(client.scan(limit=0)) == []


def test_a_scan_keeps_to_its_bounds(connect: Any, live: LiveServer) -> None:
    """prefix, start and end select together; keys_only leaves the values out."""
    client = connect(live.url)
    for key in (b"a", b"b1", b"b2", b"b3", b"b\xff", b"c"):
        client.put(key, b"v")
    assert [key for key, _ in client.scan(prefix=b"b")] == [b"b1", b"b2", b"b3", b"b\xff"]
    assert [key for key, _ in client.scan(start=b"b2", end=b"b\xff")] == [b"b2", b"b3"]
    assert [key for key, _ in client.scan(prefix=b"b", start=b"b2", end=b"b3")] == [b"b2"]
    assert [record.value for _, record in client.scan(prefix=b"a", keys_only=True)] == [b""]


def test_a_batch_answers_each_operation(connect: Any, live: LiveServer) -> None:
    """Puts, deletes, reads and failed conditions of a batch each have their result, in order."""
    client = connect(live.url)
    version = client.put("old", b"1")
    results = client.batch(
        [
            Put(b"\xff", b"\xfe", ttl_ms=60_000),
            Read(b"\xff"),
            Delete(b"old", IfMatch((Version(version + 100),))),
            Put(b"old", b"2", condition=IfAbsent()),
            Delete(b"old"),
            Read(b"none"),
        ]
    )
    written, found, refused, present, deleted, absent = results
    assert isinstance(written, Written)
    assert isinstance(found, Found)
    assert (found.record.value, found.record.version) == (b"\xfe", written.version)
    assert found.record.expires - found.record.timestamp == 60_000
    assert refused == ConditionFailedResult(version)
    assert present == ConditionFailedResult(version)
    assert deleted == Deleted()
    assert absent == Absent()


def test_an_operation_of_a_batch_may_fail_alone(connect: Any, live: LiveServer) -> None:
    """An error that one operation met is in its place, as the exception that the same call would have raised."""
    client = connect(live.url)
    live.service.arranged = NotDone("overloaded", "Too much.")
    (result,) = client.batch([Put(b"k", b"v")])
    assert isinstance(result, NotDone)
    assert (result.code, result.message) == ("overloaded", "Too much.")


def test_an_atomic_batch_is_all_or_nothing(connect: Any, live: LiveServer) -> None:
    """If a condition fails, nothing of an atomic batch is written, and the other operations say so."""
    client = connect(live.url)
    results = client.batch([Put(b"{t}a", b"1"), Put(b"{t}b", b"1", condition=IfMatch((Version(9),)))], atomic=True)
    assert isinstance(results[0], CallerFault)
    assert results[1] == ConditionFailedResult(None)
    assert not live.service.records
    with pytest.raises(CallerFault, match="partition"):
        client.batch([Put(b"a", b"1"), Put(b"b", b"1")], atomic=True)


def test_reports_are_read(connect: Any, live: LiveServer) -> None:
    """The cluster's and the storage's reports arrive as the node made them."""
    client = connect(live.url)
    client.put("k", b"12345")
    assert client.cluster() == live.service.cluster()
    for report in (client.storage(), client.flush(), client.compact()):
        assert (report.memtable_entries, report.memtable_bytes) == (1, 6)


def test_orders_are_given_and_read(connect: Any, live: LiveServer) -> None:
    """Each call gives the order it is named for; what is refused is the caller's fault."""
    client = connect(live.url)
    assert [drain.node for drain in client.drain("memory").draining] == ["memory"]
    assert client.drain("memory", cancel=True).draining == ()
    assert not client.rebalance(False).rebalancing
    assert client.rebalance().rebalancing
    assert client.require_in_sync(1) == client.orders()
    assert client.orders().min_in_sync == 1
    assert [move.after for move in client.moves()] == [("other",)]
    assert client.moves("memory") == client.moves()
    assert client.recover(0, "memory", accept_data_loss=True).lineage == 2
    refused = (client.drain, "a b&c"), (client.moves, "é&drain=memory"), (client.recover, 0, "memory")
    for call, *arguments in refused:
        with pytest.raises(CallerFault):
            call(*arguments)
    live.service.arranged = OutcomeUnknown("order_unknown", "It may stand.")
    with pytest.raises(OutcomeUnknown):
        client.rebalance()


@pytest.mark.parametrize("key", [b"", b"x" * 8193])
def test_a_key_that_no_node_takes_is_refused(connect: Any, live: LiveServer, key: bytes) -> None:
    """An empty or oversized key is the caller's fault, in every call."""
    client = connect(live.url)
    for name, arguments in (("get", (key,)), ("put", (key, b"")), ("delete", (key,)), ("batch", ([Read(key)],))):
        with pytest.raises(CallerFault) as fault:
            getattr(client, name)(*arguments)
        assert fault.value.code == "bad_key"


@pytest.mark.parametrize(
    "endpoint", ["", "localhost:8000", "ftp://h", "http://", "http://h/path", "http://h:99999", []]
)
def test_an_endpoint_that_is_none_is_refused(endpoint: Any) -> None:
    """What can't be a node's address is the caller's fault, before anything is sent."""
    from corecache import Client

    with pytest.raises(CallerFault) as fault:
        Client(endpoint)
    assert fault.value.code == "bad_endpoint"


def test_importing_corecache_loads_no_client() -> None:
    """A node that imports the package does not load httpx with it."""
    program = "import sys, corecache; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
