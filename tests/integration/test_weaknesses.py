"""Weaknesses that must be impossible, by the numbers under which they are listed, as far as a black box can show them.

Where two things must happen at once, the fault shim holds one of them (a write to an SSTable) until the other is done:
no test here hopes for luck.
"""

import base64
import concurrent.futures
import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import quote_from_bytes

import pytest

from integration.node_harness import REQUEST_SECONDS, Answer, Node, Shim, key_target

SMALL_TREE: dict[str, str | int] = {
    "storage.flush_memtable_bytes": 256 * 1024,
    "storage.compact_level0_files": 2,
    "storage.compact_level_base_bytes": 1024 * 1024,
    "storage.sstable_bytes": 1024 * 1024,
}


@pytest.mark.parametrize("ending", ["read at once", "killed"])
def test_1_a_put_during_a_flush_is_never_lost(new_node: Callable[..., Node], shim: Shim, ending: str) -> None:
    """While an SSTable is being written, puts and deletes go on; they are there after the flush, and after kill -9."""
    node = new_node(shim=shim).start()
    for number in range(100):
        assert node.put(b"before-%d" % number, b"old").status == 204
    shim.hold(Shim.WRITE | Shim.SYNC, ".sst")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        flush = threads.submit(node.ask, "POST", "/v1/storage/flush")
        shim.await_hit()
        for number in range(100):
            assert node.put(b"during-%d" % number, b"new").status == 204
        assert node.put(b"before-1", b"new").status == 204
        assert node.delete(b"before-2").status == 204
        assert not flush.done()
        if ending == "killed":
            node.kill()
            shim.disarm()
            node.start()
        else:
            shim.disarm()
            assert flush.result(REQUEST_SECONDS).status == 200
            assert node.storage("flush")["memtable_entries"] == 0
    assert all(node.value(b"during-%d" % number) == b"new" for number in range(100))
    assert [node.value(b"before-%d" % number) for number in range(4)] == [b"old", b"new", None, b"old"]
    assert all(node.value(b"before-%d" % number) == b"old" for number in range(3, 100))


def test_4_a_flush_never_stops_writes(new_node: Callable[..., Node], shim: Shim) -> None:
    """As long as an SSTable is held at the disk, puts are answered, far more of them than one memtable takes."""
    node = new_node(shim=shim, settings=SMALL_TREE).start()
    assert node.put(b"before", b"old").status == 204
    shim.hold(Shim.WRITE | Shim.SYNC, ".sst")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        flush = threads.submit(node.ask, "POST", "/v1/storage/flush")
        shim.await_hit()
        for number in range(60):
            assert node.put(b"during-%d" % number, os.urandom(8_000)).status == 204
        assert not flush.done()
        shim.disarm()
        assert flush.result(REQUEST_SECONDS).status == 200


def test_6_a_timestamp_is_when_the_value_was_accepted(new_node: Callable[..., Node]) -> None:
    """It lies between asking and answer, and is the same after flush, compaction, stop, kill -9 and start."""
    node = new_node().start()
    begun = time.time_ns() // 1_000_000
    put = node.put(b"clock", b"value", "?ttl=3600.5")
    ended = time.time_ns() // 1_000_000
    assert put.status == 204
    first = marks(node.get(b"clock"))
    # Another process reads the same clock: a millisecond's rounding is all that may differ.
    assert begun - 1 <= int(first[0]) <= ended + 1
    assert node.put(b"other", b"value").status == 204
    node.storage("flush")
    assert marks(node.get(b"clock")) == first
    node.storage("compact")
    assert marks(node.get(b"clock")) == first
    node.stop()
    assert marks(node.start().get(b"clock")) == first
    node.kill()
    assert marks(node.start().get(b"clock")) == first
    assert marks(node.ask("HEAD", key_target(b"clock"))) == first
    listed = node.ask("GET", "/v1/kv?prefix=clock").json["items"]
    assert [str(item["timestamp"]) for item in listed] == [first[0]]


def marks(answer: Answer) -> tuple[str, str, str]:
    """Returns the timestamp, the expiry and the version that an answer tells."""
    assert answer.status == 200, answer
    return answer.headers["x-corecache-timestamp"], answer.headers["x-corecache-expires"], answer.headers["etag"]


@pytest.mark.parametrize("seed", [8, 9])
def test_8_and_9_flush_and_compaction_at_once_under_reads_and_writes(new_node: Callable[..., Node], seed: int) -> None:
    """Four clients read what they wrote while flushes and compactions run without pause: no error, no wrong value."""
    node = new_node(settings=SMALL_TREE).start()
    over = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        chores = [threads.submit(order_until, node, order, over) for order in ("flush", "compact")]
        clients = [threads.submit(write_and_read, node, f"{seed}-{client}") for client in range(4)]
        try:
            held = [client.result(REQUEST_SECONDS * 2) for client in clients]
        finally:
            over.set()
        orders = [chore.result(REQUEST_SECONDS) for chore in chores]
    assert min(orders) > 1
    node.kill()
    node.start()
    for values in held:
        assert all(node.value(key) == value for key, value in values.items())


def order_until(node: Node, order: str, over: threading.Event) -> int:
    """Orders flushes, or compactions, one after the other until an event; returns how many."""
    orders = 0
    with node.connected() as connection:
        while not over.is_set():
            connection.request("POST", f"/v1/storage/{order}")
            response = connection.getresponse()
            text = response.read()
            assert response.status == 200, text
            orders += 1
    return orders


def write_and_read(node: Node, name: str) -> dict[bytes, bytes | None]:
    """Overwrites, deletes and reads fifty keys for a while, comparing each read; returns what they then hold."""
    dice = random.Random(name)
    held: dict[bytes, bytes | None] = {f"{name}/{number}".encode(): None for number in range(50)}
    with node.connected() as connection:

        def ask(method: str, key: bytes, value: bytes | None = None) -> tuple[int, bytes]:
            connection.request(method, key_target(key), value)
            response = connection.getresponse()
            return response.status, response.read()

        for turn in range(800):
            key = dice.choice(list(held))
            order = dice.randrange(10)
            if order < 5:
                value = b"%s turn %d " % (key, turn) + dice.randbytes(dice.choice((10, 5000)))
                assert ask("PUT", key, value)[0] == 204
                held[key] = value
            elif order < 6:
                assert ask("DELETE", key)[0] == (204 if held[key] is not None else 404)
                held[key] = None
            else:
                assert ask("GET", key) == (200, held[key]) if held[key] is not None else ask("GET", key)[0] == 404
    return held


def test_9_reads_during_a_held_compaction_are_right(new_node: Callable[..., Node], shim: Shim) -> None:
    """While a compaction stands still in the middle of its output, every key reads its newest value."""
    node = new_node(shim=shim).start()
    for turn in range(2):
        for number in range(50):
            assert node.put(b"key-%d" % number, b"turn %d" % turn).status == 204
        node.storage("flush")
    assert node.delete(b"key-0").status == 204
    node.storage("flush")
    shim.hold(Shim.WRITE | Shim.SYNC, ".sst")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        compaction = threads.submit(node.ask, "POST", "/v1/storage/compact")
        shim.await_hit()
        assert node.value(b"key-0") is None
        assert all(node.value(b"key-%d" % number) == b"turn 1" for number in range(1, 50))
        assert node.put(b"key-1", b"newest").status == 204
        assert node.value(b"key-1") == b"newest"
        assert not compaction.done()
        shim.disarm()
        assert compaction.result(REQUEST_SECONDS).status == 200
    assert node.value(b"key-0") is None
    assert node.value(b"key-1") == b"newest"
    assert all(node.value(b"key-%d" % number) == b"turn 1" for number in range(2, 50))


BAD_REQUESTS = [
    ("PUT", "/v1/kv/", 400),
    ("GET", "/v1/kv/%", 400),
    ("GET", "/v1/kv/%zz", 400),
    ("PUT", "/v1/kv/" + "k" * 8193, 400),
    ("PUT", "/v1/kv/key?ttl=0", 400),
    ("PUT", "/v1/kv/key?ttl=-1", 400),
    ("PUT", "/v1/kv/key?ttl=soon", 400),
    ("PUT", "/v1/kv/key?ttl=nan", 400),
    ("PUT", "/v1/kv/key?ttl=1e400", 400),
    ("PUT", "/v1/kv/key?unknown=1", 400),
    ("GET", "/v1/kv?limit=0", 400),
    ("GET", "/v1/kv?limit=many", 400),
    ("GET", "/v1/kv?cursor=broken", 400),
    ("GET", "/v1/kv?prefix=%", 400),
    ("POST", "/v1/kv/key", 405),
    ("DELETE", "/v1/storage", 405),
    ("GET", "/v1/storage/flush", 405),
    ("GET", "/v1/nothing", 404),
    ("GET", "/", 404),
    ("POST", "/v1/batch", 400),
]


@pytest.mark.parametrize(("method", "target", "status"), BAD_REQUESTS, ids=lambda part: str(part)[:24])
def test_10_every_error_is_a_documented_answer(shared_node: Node, method: str, target: str, status: int) -> None:
    """A bad request gets its documented status as problem details with a sentence, and the node serves on."""
    answer = shared_node.ask(method, target, b"\xff{" if method in ("PUT", "POST") else None)
    assert answer.status == status, answer
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = json.loads(answer.body)
    assert problem["type"]
    assert problem["status"] == status
    assert len(problem["detail"]) > 10
    assert shared_node.get(b"key").status == 404


@pytest.mark.parametrize(
    "text",
    [
        b"\x00\xff\xfe nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PUT /v1/kv/key HTTP/1.1\r\nHost: n\r\nContent-Length: -1\r\n\r\n",
        b"PUT /v1/kv/key HTTP/1.1\r\nHost: n\r\nContent-Length: ten\r\n\r\n",
        b"PUT /v1/kv/key HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: n\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 40_000 + b"\r\n",
    ],
    ids=["bytes", "no target", "version", "negative", "no number", "chunk", "long target", "many headers"],
)
def test_10_what_is_not_http_is_told_so_or_closed(shared_node: Node, text: bytes) -> None:
    """The answer is a 4xx, or 505, or the connection is closed; never a 500, never silence; others are served."""
    with socket.create_connection(("127.0.0.1", shared_node.port), timeout=REQUEST_SECONDS) as link:
        answered = b""
        try:
            link.sendall(text)
            while part := link.recv(65_536):
                answered += part
        except ConnectionError:
            pass
    status = answered.split(b" ", 2)[1] if answered else b"4xx"
    assert status.startswith(b"4") or status == b"505", answered[:200]
    assert shared_node.get(b"key").status == 404


def test_10_a_body_cut_short_stores_nothing(shared_node: Node) -> None:
    """A client that promises ten bytes, sends three and goes away leaves no key."""
    with socket.create_connection(("127.0.0.1", shared_node.port), timeout=REQUEST_SECONDS) as link:
        link.sendall(b"PUT /v1/kv/key HTTP/1.1\r\nHost: n\r\nContent-Length: 10\r\n\r\nabc")
        link.shutdown(socket.SHUT_WR)
        while link.recv(65_536):
            pass
    assert shared_node.get(b"key").status == 404


def test_11_what_was_written_or_deleted_before_kill_nine_stays_so(new_node: Callable[..., Node]) -> None:
    """Of 300 keys a third is deleted, a third overwritten, then the node is killed, five times over, flushed or not."""
    node = new_node().start()
    held: dict[bytes, bytes | None] = {}
    for turn in range(5):
        for number in range(60):
            key = b"%d/%d" % (turn, number)
            held[key] = b"first %d" % number
            assert node.put(key, held[key] or b"").status == 204
        if turn % 2:
            node.storage("flush")
        for number, key in enumerate(held):
            if held[key] is not None and number % 3 == 0:
                assert node.delete(key).status == 204
                held[key] = None
            elif held[key] is not None and number % 3 == 1:
                held[key] = b"turn %d" % turn
                assert node.put(key, held[key] or b"").status == 204
        node.kill()
        node.start()
        assert {key: node.value(key) for key in held} == held
    node.storage("compact")
    assert {key: node.value(key) for key in held} == held


STRANGE_KEYS = [
    b".",
    b"..",
    b"../..",
    b"./.",
    b"/",
    b"//",
    b"/a//b/",
    b"a/../b",
    b":",
    b"a:b",
    b"%",
    b"%%",
    b"%2F",
    b"%00",
    b"?",
    b"#",
    b"&=+;,",
    b" ",
    b"  two  ",
    b"\n",
    b"\r\n\r\n",
    b"\t",
    b"\x00",
    b"a\x00b",
    b"\x7f",
    b"\xff",
    b"\xff\xfe\xfd",
    b"\xc3\x28",
    "Zürich 雪 🂡".encode(),
    b"{tag}",
    b"{}",
    b'"quoted"',
    b"\\",
    b"k" * 8192,
    b"\x00" * 8192,
    bytes(range(256)),
]


def test_12_any_bytes_in_keys_come_back_exactly(new_node: Callable[..., Node]) -> None:
    """Each strange key is another key, is listed as what it is, and survives kill -9, flush and compaction."""
    node = new_node().start()
    for number, key in enumerate(STRANGE_KEYS):
        assert node.put(key, b"value %d of " % number + key).status == 204, key
    for restart in (False, True):
        if restart:
            node.kill()
            node.start()
            node.storage("flush")
            node.storage("compact")
        for number, key in enumerate(STRANGE_KEYS):
            assert node.value(key) == b"value %d of " % number + key, key
        listed = node.ask("GET", "/v1/kv?keys_only=true").json["items"]
        assert [listed_key(item) for item in listed] == sorted(STRANGE_KEYS)
    for key in STRANGE_KEYS[::2]:
        assert node.delete(key).status == 204, key
    assert [node.value(key) is None for key in STRANGE_KEYS] == [number % 2 == 0 for number in range(len(STRANGE_KEYS))]


def listed_key(item: dict[str, str]) -> bytes:
    """Returns the key that a listing shows, as text or as base64."""
    return item["key"].encode() if "key" in item else base64.b64decode(item["key_base64"])


@pytest.mark.parametrize("key", STRANGE_KEYS, ids=lambda key: repr(bytes(key[:12])))
def test_12_a_key_may_be_sent_as_plainly_as_http_allows(shared_node: Node, key: bytes) -> None:
    """Slashes, dots and colons need no encoding: the raw target and the fully encoded one name the same key."""
    plain = quote_from_bytes(key, safe="/:.,;&=+{}\\\"!*'()")
    value = os.urandom(20)
    assert raw_status(shared_node, b"PUT", plain.encode(), value) == 204
    full = "".join(f"%{byte:02X}" for byte in key)
    assert shared_node.ask("GET", f"/v1/kv/{full}").body == value
    assert shared_node.ask("DELETE", f"/v1/kv/{full}").status == 204
    assert raw_status(shared_node, b"GET", plain.encode(), None) == 404


def raw_status(node: Node, method: bytes, target: bytes, body: bytes | None) -> int:
    """Sends a request of exactly these bytes; returns the status of the answer."""
    length = b"Content-Length: %d\r\n" % len(body) if body is not None else b""
    text = method + b" /v1/kv/" + target + b" HTTP/1.1\r\nHost: n\r\nConnection: close\r\n" + length + b"\r\n"
    with socket.create_connection(("127.0.0.1", node.port), timeout=REQUEST_SECONDS) as link:
        link.sendall(text + (body or b""))
        answered = b""
        while part := link.recv(65_536):
            answered += part
    return int(answered.split(b" ", 2)[1])


@pytest.mark.parametrize("value", [b"", b"\x00", b"\r\n\r\n", bytes(range(256)) * 40, b"\xff" * 8 * 1024 * 1024])
def test_12_any_bytes_in_values_come_back_exactly(shared_node: Node, value: bytes) -> None:
    """The empty value, NULs, line ends, all bytes, and a value of exactly the limit."""
    assert shared_node.put(b"value", value).status == 204
    answer = shared_node.get(b"value")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, value, "application/octet-stream")
    assert shared_node.delete(b"value").status == 204
