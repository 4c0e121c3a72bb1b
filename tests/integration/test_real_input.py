"""Real files: the Python standard library, thousands of them, stored over HTTP, through a crash and a compaction.

Every regular file below the library's directory is stored under its path. A second round overwrites them with their
bytes in reverse order, and the node is killed in the middle of it. What the oracle remembers of a value is its SHA-256
as it was sent: some of these files are rewritten by whoever else runs Python just then.
"""

import asyncio
import hashlib
import os
import random
import sys
import sysconfig
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from integration.node_harness import Node
from integration.raw_http import Connection

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
VALUE_BYTES_MAX = 8 * 1024 * 1024
CLIENTS = 6
FILES_MIN = 500
"""There are thousands in any complete installation; fewer than this would mean that the test looks in a wrong place."""

Work = Callable[[Connection, bytes], Awaitable[None]]


class Sent(NamedTuple):
    """What the oracle knows of a stored value. `etag` is None while the answer is awaited."""

    sha256: bytes
    etag: str | None


def library_files() -> dict[bytes, Path]:
    """Returns all regular files below the library's directory by their relative paths, without installed packages."""
    files: dict[bytes, Path] = {}
    for place, folders, names in os.walk(LIBRARY):
        folders[:] = sorted(set(folders) - {"site-packages", "dist-packages"})
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                files[os.fsencode(path.relative_to(LIBRARY))] = path
    return files


def target(key: bytes) -> str:
    """Returns the request target of a path, its slashes as they are."""
    return "/v1/kv/" + quote(key)


class Shelf:
    """The files, and what the node was told of them."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.files = library_files()
        self.known: dict[bytes, Sent | None] = {}
        self.under_way: dict[bytes, Sent] = {}
        self.acknowledged = 0
        self.too_large = 0
        self.kill_after: int | None = None

    async def store(self, connection: Connection, key: bytes) -> None:
        """Puts a file as it is. One above the limit is refused with 413 and leaves nothing."""
        await self._put(connection, key, self.files[key].read_bytes())

    async def overwrite(self, connection: Connection, key: bytes) -> None:
        """Puts a file's bytes in reverse order; at the chosen acknowledgement the node is killed."""
        if self.known[key] is not None:
            await self._put(connection, key, self.files[key].read_bytes()[::-1])
            if self.acknowledged == self.kill_after:
                self.node.kill()

    async def _put(self, connection: Connection, key: bytes, value: bytes) -> None:
        sent = Sent(hashlib.sha256(value).digest(), None)
        if len(value) <= VALUE_BYTES_MAX:
            self.under_way[key] = sent
        answer = await connection.ask("PUT", target(key), value)
        if len(value) > VALUE_BYTES_MAX:
            assert answer.status == 413, answer
            self.too_large += 1
            self.known[key] = None
            return
        assert answer.status == 204, (key, answer)
        del self.under_way[key]
        self.known[key] = sent._replace(etag=answer.headers["etag"])
        self.acknowledged += 1

    async def compare(self, connection: Connection, key: bytes) -> None:
        """Reads a value: it is the acknowledged one, or the one that was under way when the node was killed."""
        answer = await connection.ask("GET", target(key))
        expected = self.known[key]
        if expected is None:
            assert answer.status == 404, (key, answer.status)
            return
        assert answer.status == 200, (key, answer)
        found = Sent(hashlib.sha256(answer.body).digest(), answer.headers["etag"])
        pending = self.under_way.pop(key, None)
        if found != expected:
            assert pending is not None, f"{key!r} was acknowledged with another value or version"
            assert found.sha256 == pending.sha256, f"{key!r} is neither the old nor the new value"
            self.known[key] = found

    async def delete(self, connection: Connection, key: bytes) -> None:
        """Deletes a value."""
        answer = await connection.ask("DELETE", target(key))
        assert answer.status == (204 if self.known[key] is not None else 404), (key, answer)
        self.known[key] = None

    async def all(self, work: Work, keys: list[bytes]) -> None:
        """Works on many keys with several clients at once; ends early if the node does."""
        waiting = iter(keys)

        async def client() -> None:
            connection = Connection(self.node.port)
            try:
                for key in waiting:
                    await work(connection, key)
            except ConnectionError:
                assert not self.node.running, f"a connection was lost:\n{self.node.log()}"
            finally:
                connection.close()

        await asyncio.gather(*(client() for _ in range(CLIENTS)))


def test_the_standard_library_survives_a_crash_and_a_compaction(new_node: Callable[..., Node]) -> None:
    """Every acknowledged file comes back byte for byte after SIGKILL, and half of them after delete and compact."""
    asyncio.run(scene(new_node(settings={"storage.memory_bytes": 64 * 1024 * 1024})))


async def scene(node: Node) -> None:
    """Stores, overwrites, kills, compares, deletes, compacts, restarts, compares."""
    dice = random.Random(3)
    shelf = Shelf(node)
    keys = list(shelf.files)
    assert len(keys) >= FILES_MIN
    await asyncio.to_thread(node.start)

    await shelf.all(shelf.store, keys)
    dice.shuffle(keys)
    shelf.kill_after = shelf.acknowledged + len(keys) // 2
    await shelf.all(shelf.overwrite, keys)
    assert not node.running, "the second round ended before the kill"

    await asyncio.to_thread(node.start)
    await shelf.all(shelf.compare, keys)
    assert not shelf.under_way

    await shelf.all(shelf.delete, keys[::2])
    await asyncio.to_thread(node.storage, "flush")
    report = await asyncio.to_thread(node.storage, "compact")
    assert report["tombstones"] == 0
    await asyncio.to_thread(node.stop)
    await asyncio.to_thread(node.start)
    await shelf.all(shelf.compare, keys)
    sys.stdout.write(f"{len(keys)} files, {shelf.too_large} too large; {shelf.acknowledged} puts acknowledged\n")
