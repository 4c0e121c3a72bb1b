"""SIGKILL at random moments under concurrent writes: what was acknowledged is there, what was not is whole or absent.

Two kinds of client write at once. An *owner* is the only writer of a few keys that share a hash tag, so it knows what
each may hold: what was acknowledged last or, of the one request whose answer was lost, what that would have left. The
*ledger*'s clients share one partition and only ever add keys: versions count its values, so after each crash the
versions found must follow on without a hole. A hole would be a write that was lost while a later one was kept.

Moments are drawn from a seed, which is printed; half of them are counted in acknowledgements, so that each kill meets
writes under way, and some fall into the start itself.
"""

import asyncio
import binascii
import json
import os
import random
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from integration.node_harness import Answer, Node, Shim, key_target
from integration.raw_http import Connection

KILLS = 26
POWER_CUTS = 15
OWNERS = 14
LEDGER_CLIENTS = 4
KEYS_PER_OWNER = 5
PARTITIONS = 16
LEDGER_TAG = "{ledger}"

SETTINGS = {
    "cluster.partitions": PARTITIONS,
    "storage.flush_memtable_bytes": 256 * 1024,
    "storage.compact_level0_files": 2,
}


TWO_FILES = """
import os

def written(name, octets):
    with open(name, "wb") as file:
        file.write(octets)
        file.flush()
        if name == "old":
            os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_ino

for _ in range(1000):
    inode = written("old", b"x" * 1000)
    os.unlink("old")
    if written("new", b"y" * 10) == inode:
        break
"""
"""Writes and syncs a file, removes it, and writes another, until that has the inode of the first."""


class Held(NamedTuple):
    """What a key holds. `version` is 0 if it has no value, and None if the answer that would have told it was lost."""

    value: bytes | None
    version: int | None

    def __repr__(self) -> str:
        """Shows the beginning of a long value."""
        return f"{(self.value or b'')[:30]!r}… {len(self.value or b'')} bytes, version {self.version}"


NOTHING = Held(None, 0)


def partition_of(tag: str) -> int:
    """Returns the partition of a hash tag in braces, by the rule of Redis Cluster."""
    return binascii.crc_hqx(tag[1:-1].encode(), 0) % 16_384 * PARTITIONS // 16_384


def owner_tags() -> Iterator[str]:
    """Yields hash tags whose keys don't share the ledger's partition."""
    number = 0
    while True:
        number += 1
        tag = f"{{owner-{number}}}"
        if partition_of(tag) != partition_of(LEDGER_TAG):
            yield tag


class Round:
    """From a start to the kill: counts acknowledgements, and says when it is time."""

    def __init__(self, acknowledgements: int) -> None:
        self.left = acknowledgements
        self.over = asyncio.Event()

    def acknowledged(self) -> None:
        """Counts one."""
        self.left -= 1
        if self.left <= 0:
            self.over.set()


class Owner:
    """The only writer of its keys, with one request under way at a time."""

    def __init__(self, tag: str, dice: random.Random) -> None:
        self.known = {f"{tag}/{number}".encode(): NOTHING for number in range(KEYS_PER_OWNER)}
        self.pending: dict[bytes, Held] = {}
        self.told: deque[str] = deque(maxlen=40)
        self._dice = dice
        self._written = 0

    async def work(self, connection: Connection, part: Round) -> None:
        """Writes until the connection ends, or an outcome is unknown."""
        while True:
            order: Callable[[Connection], Awaitable[int]] = self._dice.choice(
                (self._put, self._put, self._put, self._conditional, self._delete, self._batch)
            )
            if await order(connection) == 504:
                return
            self.pending = {}
            part.acknowledged()

    async def _ask(
        self,
        connection: Connection,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Asks, and remembers what was asked and answered: a failure tells how it came to what it found."""
        asked = f"{method} {target} {(body or b'')[:200]!r} {headers or ''}"
        self.told.append(f"{asked}: no answer")
        answer = await connection.ask(method, target, body, headers)
        self.told[-1] = f"{asked}: {answer.status} {answer.headers.get('etag', '')} {answer.body[:200]!r}"
        return answer

    async def check(self, connection: Connection) -> None:
        """Reads all keys after a start, and takes what they hold for known."""
        found = {key: await self._read(connection, key) for key in self.known}
        changed = {key for key in self.pending if not same(found[key], self.known[key])}
        for key, held in found.items():
            expected = self.pending[key] if key in changed else self.known[key]
            if not same(held, expected):
                again = await self._read(connection, key)
                pytest.fail(
                    f"{key!r} holds {held}, asked again {again}, not {expected}\nknown: {self.known}\n"
                    f"under way: {self.pending}\nfound: {found}\n" + "\n".join(self.told)
                )
        # A delete of an absent key, or a batch, leaves all its marks or none of them.
        would_change = {key for key, held in self.pending.items() if not same(held, self.known[key])}
        assert changed in (set(), would_change), f"half a batch: {changed} of {would_change}"
        newest = max(held.version or 0 for held in self.known.values())
        assert all((found[key].version or newest + 1) > newest for key in changed), f"versions went back: {found}"
        self.known, self.pending = found, {}
        self.told.append(f"started: {found}")

    async def _put(self, connection: Connection) -> int:
        key = self._key()
        value = self._value(key)
        self.pending = {key: Held(value, None)}
        answer = await self._ask(connection, "PUT", key_target(key), value)
        return self._settle(answer, 204, {key: Held(value, version_of(answer))})

    async def _conditional(self, connection: Connection) -> int:
        key = self._key()
        value = self._value(key)
        present = self.known[key].version
        condition = self._dice.choice(("If-None-Match", "right If-Match", "wrong If-Match"))
        if condition == "If-None-Match":
            wanted, headers = not present, {condition: "*"}
        else:
            wanted = bool(present) and condition == "right If-Match"
            headers = {"If-Match": f'"{present if wanted else (present or 0) + 1_000_000}"'}
        if wanted:
            self.pending = {key: Held(value, None)}
        answer = await self._ask(connection, "PUT", key_target(key), value, headers)
        if not wanted:
            return self._settle(answer, 412, {})
        return self._settle(answer, 204, {key: Held(value, version_of(answer))})

    async def _delete(self, connection: Connection) -> int:
        key = self._key()
        present = self.known[key] != NOTHING
        self.pending = {key: NOTHING}
        answer = await self._ask(connection, "DELETE", key_target(key))
        return self._settle(answer, 204 if present else 404, {key: NOTHING})

    async def _batch(self, connection: Connection) -> int:
        keys = self._dice.sample(sorted(self.known), 3)
        values = {key: self._value(key) for key in keys}
        self.pending = {key: Held(value, None) for key, value in values.items()}
        operations = [{"op": "put", "key": key.decode(), "value": value.decode()} for key, value in values.items()]
        body = json.dumps({"atomic": True, "operations": operations}).encode()
        answer = await self._ask(connection, "POST", "/v1/batch", body, {"Content-Type": "application/json"})
        versions = [result["version"] for result in answer.json["results"]] if answer.status == 200 else [None] * 3
        return self._settle(
            answer, 200, {key: Held(values[key], version) for key, version in zip(keys, versions, strict=True)}
        )

    def _settle(self, answer: Answer, expected: int, left: dict[bytes, Held]) -> int:
        """Takes over what an answered request left; one that was refused for the moment left nothing."""
        assert answer.status in (expected, 503, 504), f"{answer}, expected {expected}; known: {self.known}"
        if answer.status == expected:
            self.known |= left
        return answer.status

    async def _read(self, connection: Connection, key: bytes) -> Held:
        answer = await connection.ask("GET", key_target(key))
        assert answer.status in (200, 404), answer
        return Held(answer.body, answer.version) if answer.status == 200 else NOTHING

    def _key(self) -> bytes:
        return self._dice.choice(sorted(self.known))

    def _value(self, key: bytes) -> bytes:
        self._written += 1
        length = self._dice.choice((0, 10, 100, 1000, 10_000))
        return b"%s #%d %s" % (key, self._written, b"x" * length)


class Ledger:
    """Keys that are written once, by several clients, in one partition."""

    def __init__(self) -> None:
        self.last_version = 0
        self.acknowledged: dict[str, int] = {}
        self.under_way: set[str] = set()
        self._total = 0
        self._kept_unacknowledged = 0

    async def work(self, connection: Connection, part: Round, prefix: str, client: int) -> None:
        """Adds keys until the connection ends, or an outcome is unknown."""
        number = 0
        while True:
            number += 1
            key = f"{prefix}{client}/{number:06}"
            self.under_way.add(key)
            answer = await connection.ask("PUT", key_target(key.encode()), key.encode())
            if answer.status == 504:
                return
            self.under_way.remove(key)
            assert answer.status in (204, 503), answer
            if answer.status == 204:
                self.acknowledged[key] = answer.version
                part.acknowledged()

    async def check(self, connection: Connection, prefix: str) -> None:
        """Lists what a round added: everything acknowledged, at most what was under way besides, without a hole."""
        found = await listed(connection, prefix)
        lost = {key for key, version in self.acknowledged.items() if found.get(key) != version}
        assert not lost, f"acknowledged and lost, or with another version: {sorted(lost)[:10]}"
        assert found.keys() - self.acknowledged.keys() <= self.under_way
        versions = sorted(found.values())
        expected = list(range(self.last_version + 1, self.last_version + 1 + len(versions)))
        assert versions == expected, f"recovery is no prefix: {sorted(set(expected) ^ set(versions))[:10]}"
        self._total += len(versions)
        self._kept_unacknowledged += len(found) - len(self.acknowledged)
        self.last_version += len(versions)
        self.acknowledged, self.under_way = {}, set()

    async def check_all(self, connection: Connection) -> None:
        """Lists everything that all rounds added."""
        found = await listed(connection, LEDGER_TAG)
        assert sorted(found.values()) == list(range(1, self._total + 1))

    def __str__(self) -> str:
        return f"{self._total} added, {self._kept_unacknowledged} of them kept without having been acknowledged"


async def listed(connection: Connection, prefix: str) -> dict[str, int]:
    """Returns the version of every key with a prefix, and sees that each value is the key, whole."""
    found: dict[str, int] = {}
    cursor = ""
    while True:
        answer = await connection.ask("GET", f"/v1/kv?prefix={quote(prefix)}&limit=1000{cursor}")
        assert answer.status == 200, answer
        for item in answer.json["items"]:
            assert item["value"] == item["key"], item
            found[item["key"]] = item["version"]
        if not answer.json.get("cursor"):
            return found
        cursor = f"&cursor={quote(answer.json['cursor'])}"


def same(held: Held, expected: Held) -> bool:
    """Says whether a key holds what is expected; a version that nobody was told may be any."""
    return held.value == expected.value and (expected.version is None or held.version == expected.version)


def version_of(answer: Answer) -> int | None:
    """Returns the version that an answer tells, None if it tells none."""
    return answer.version if "etag" in answer.headers else None


async def lost_connections_are_no_error(work: asyncio.Task[None]) -> None:
    """Awaits a client's work, which ends with its connection; any other error is one."""
    try:
        await work
    except ConnectionError:
        return


@pytest.mark.parametrize("seed", [1, 2])
def test_sigkill_at_random_moments_loses_nothing_acknowledged(new_node: Callable[..., Node], seed: int) -> None:
    """Each start after a kill finds all that was acknowledged, and of the rest a prefix, each write whole."""
    asyncio.run(crashes(new_node(settings=SETTINGS), random.Random(seed), seed, KILLS))


def test_a_power_cut_loses_nothing_acknowledged(new_node: Callable[..., Node], shim: Shim) -> None:
    """The same when each kill also takes away whatever had been written and not yet synced."""
    asyncio.run(crashes(new_node(settings=SETTINGS, shim=shim), random.Random(3), 3, POWER_CUTS))


async def crashes(node: Node, dice: random.Random, seed: int, kills: int) -> None:
    """Starts, loads and kills a node again and again, checking after each start. With a shim, kills are power cuts."""
    sys.stdout.write(f"seed {seed}\n")
    tags = owner_tags()
    owners = [Owner(next(tags), random.Random(dice.random())) for _ in range(OWNERS)]
    ledger = Ledger()
    prefix = f"{LEDGER_TAG}/none/"
    lost_bytes = 0
    for kill in range(kills):
        await asyncio.to_thread(node.spawn)
        if dice.random() < 0.2:
            await asyncio.sleep(dice.uniform(0, 0.6))
        else:
            await asyncio.to_thread(node.await_ready)
            await check(node, owners, ledger, prefix)
            prefix = f"{LEDGER_TAG}/{kill:03}/"
            await load(node, owners, ledger, prefix, dice)
        await asyncio.to_thread(node.kill)
        if node.shim is not None:
            lost_bytes += node.shim.cut_power(node.data_dir, dice)
    await asyncio.to_thread(node.start)
    await check(node, owners, ledger, prefix)
    await asyncio.to_thread(node.stop)
    await asyncio.to_thread(node.start)
    await check(node, owners, ledger, f"{LEDGER_TAG}/none/")
    connection = Connection(node.port)
    await ledger.check_all(connection)
    connection.close()
    sys.stdout.write(f"{kills} kills; ledger: {ledger}; {lost_bytes} bytes were lost with the power\n")
    assert node.shim is None or lost_bytes > 0, "nothing was ever written ahead of a sync: the power cuts were none"


async def check(node: Node, owners: list[Owner], ledger: Ledger, prefix: str) -> None:
    """Compares everything after a start."""
    connection = Connection(node.port)
    for owner in owners:
        await owner.check(connection)
    await ledger.check(connection, prefix)
    connection.close()


async def load(node: Node, owners: list[Owner], ledger: Ledger, prefix: str, dice: random.Random) -> None:
    """Has all clients write at once, and kills the node under them."""
    part = Round(dice.randrange(1, 600))
    connections = [Connection(node.port) for _ in range(OWNERS + LEDGER_CLIENTS)]
    works = [owner.work(connections[place], part) for place, owner in enumerate(owners)]
    works += [ledger.work(connections[OWNERS + client], part, prefix, client) for client in range(LEDGER_CLIENTS)]
    tasks = [asyncio.create_task(work) for work in works]
    over = asyncio.create_task(part.over.wait())
    # A client that found an error ends its task at once; nothing is won by going on.
    await asyncio.wait([over, *tasks], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(dice.choice((0.0, 0.0, 0.001, 0.005)))
    node.kill()
    over.cancel()
    for task in tasks:
        await lost_connections_are_no_error(task)
    for connection in connections:
        connection.close()


def test_a_power_cut_takes_what_a_new_file_has_though_an_older_one_had_its_inode(tmp_path: Path, shim: Shim) -> None:
    """What was synced was the older file's."""
    data = tmp_path / "data"
    data.mkdir()
    subprocess.run([sys.executable, "-c", TWO_FILES], cwd=data, env=os.environ | shim.environment, check=True)
    assert shim.cut_power(data) == 10
    assert (data / "new").read_bytes() == b""
