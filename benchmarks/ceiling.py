"""The stack's ceiling: the least that a durable key-value server on the same parts can do, to measure the node against.

A bare ASGI callable on uvicorn (httptools, uvloop, no log of requests, one process) that does one RocksDB put or get
and nothing else: no partitions, versions, conditions, expiry, limits, metrics or error pages. Whatever the node adds to
this is the node's own cost.

The group commit is the node's: puts that arrive while a batch is being written and synced gather in the next batch,
and share its sync. The write and the sync run on one thread of their own; the sync lets the event loop run meanwhile.

It is no product: a key that is too long, a full disk or a bad request ends as uvicorn and RocksDB let it end.

    python -m benchmarks.ceiling --port 9000 --directory /somewhere/empty
"""

import argparse
import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from queue import SimpleQueue
from typing import Any, TypeAlias

import uvicorn
import uvloop
from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

SWITCH_INTERVAL_SECONDS = 0.0005
"""The node's own (see `corecache/assembly.py`)."""

MEMTABLE_BYTES = 16 * 1024 * 1024
CACHE_BYTES = 128 * 1024 * 1024
"""These two, and the filter below, are what the node derives from its default budget of 256 MiB."""

BLOOM_BITS_PER_KEY = 10
PREFIX_LENGTH = len("/v1/kv/")

NO_CONTENT: Message = {"type": "http.response.start", "status": 204, "headers": []}
NOT_FOUND: Message = {"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]}
EMPTY: Message = {"type": "http.response.body", "body": b""}


class GroupCommit:
    """Writes batches one after another; a put that arrives meanwhile joins the next one."""

    def __init__(self, database: Rdict) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._begun: SimpleQueue[tuple[WriteBatch, list[asyncio.Future[None]]] | None] = SimpleQueue()
        self._batch = WriteBatch(raw_mode=True)
        self._waiting: list[asyncio.Future[None]] = []
        self._busy = False
        self._thread = threading.Thread(target=self._write_batches, name="group-commit")
        self._thread.start()

    def put(self, key: bytes, value: bytes) -> asyncio.Future[None]:
        """Returns a future that is done when the value is on the disk."""
        durable = self._loop.create_future()
        self._batch.put(key, value)
        self._waiting.append(durable)
        if not self._busy:
            # Not at once: the puts that arrived in the same turn of the loop are to share the sync.
            self._busy = True
            self._loop.call_soon(self._begin)
        return durable

    def stop(self) -> None:
        """Waits for the batch under way, and ends the thread."""
        self._begun.put(None)
        self._thread.join()

    def _begin(self) -> None:
        self._begun.put((self._batch, self._waiting))
        self._batch = WriteBatch(raw_mode=True)
        self._waiting = []

    def _written(self, waiting: list[asyncio.Future[None]]) -> None:
        for durable in waiting:
            if not durable.done():
                durable.set_result(None)
        if self._waiting:
            self._begin()
        else:
            self._busy = False

    def _write_batches(self) -> None:
        write, sync, call_soon = self._database.write, self._database.flush_wal, self._loop.call_soon_threadsafe
        while (begun := self._begun.get()) is not None:
            batch, waiting = begun
            write(batch)
            sync(True)
            call_soon(self._written, waiting)


class Ceiling:
    """The ASGI application: PUT and GET of `/v1/kv/{key}`, the key taken as it stands in the request line."""

    def __init__(self, database: Rdict) -> None:
        self._get = database.get
        self._commit = GroupCommit(database)

    def stop(self) -> None:
        """Ends the thread that writes."""
        self._commit.stop()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request: 204 to a PUT, 200 with the value or 404 to anything else."""
        key = scope["raw_path"][PREFIX_LENGTH:]
        if scope["method"] != "PUT":
            value = self._get(key)
            if value is None:
                await send(NOT_FOUND)
                await send(EMPTY)
                return
            headers = [(b"content-length", b"%d" % len(value))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": value})
            return
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        await self._commit.put(key, body)
        await send(NO_CONTENT)
        await send(EMPTY)


def open_database(directory: str) -> Rdict:
    """Opens RocksDB with the few options that make its reads comparable with the node's."""
    table = BlockBasedOptions()
    table.set_block_cache(Cache(CACHE_BYTES))
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(MEMTABLE_BYTES)
    options.set_max_write_buffer_number(4)
    options.set_block_based_table_factory(table)
    return Rdict(directory, options)


async def serve(port: int, directory: str) -> None:
    """Serves on 127.0.0.1 until SIGTERM or SIGINT."""
    database = open_database(directory)
    ceiling = Ceiling(database)
    server = uvicorn.Server(
        uvicorn.Config(
            ceiling,
            host="127.0.0.1",
            port=port,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            date_header=False,
            proxy_headers=False,
        )
    )
    try:
        await server.serve()
    finally:
        ceiling.stop()
        database.close()


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description="The stack's ceiling: one RocksDB put or get a request.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", required=True, help="where RocksDB keeps its files; made if missing")
    chosen = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    uvloop.run(serve(chosen.port, chosen.directory))


if __name__ == "__main__":
    main()
