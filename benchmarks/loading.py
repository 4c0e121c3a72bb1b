"""Loads many records through `POST /v1/batch`, over a few connections, as fast as the node takes them.

The bodies are put together as text around values cut from one random string: a JSON encoder would cost this process
more than the node has to spend on reading them. Keys are the twelve digits that `requests.lua` asks for.

A batch that is refused for now (503, or the single operations of it) is sent again after a pause, and counted: feeling
the node's back-pressure is part of loading. Any other refusal ends the load.
"""

import base64
import http.client
import itertools
import os
import threading
import time
from collections.abc import Callable

import msgspec

from benchmarks.wrk import LoadError

BATCH_RECORDS = 1000
CONNECTIONS = 4
POOL_BYTES = 1 << 16
RETRY_SECONDS = 0.2
ANSWER_SECONDS_MAX = 60
SAY_EVERY_SECONDS = 5.0


class _Outcome(msgspec.Struct):
    status: int


class _Answer(msgspec.Struct):
    results: list[_Outcome]


class Loader:
    """Loads `records` values of `value_bytes` each; `run` returns how often a batch had to be sent again."""

    def __init__(self, port: int, records: int, value_bytes: int, say: Callable[[str], None]) -> None:
        self._port = port
        self._records = records
        self._value_bytes = value_bytes
        self._say = say
        self._pool = base64.b64encode(os.urandom(POOL_BYTES + value_bytes)).decode()
        # Both are shared by the threads; `next` of a count is atomic, the list only grows.
        self._batches = itertools.count()
        self._failures: list[str] = []
        self._loaded = [0] * CONNECTIONS
        self._retries = [0] * CONNECTIONS

    def run(self) -> int:
        """Loads all records. Raises: LoadError."""
        threads = [threading.Thread(target=self._load, args=(number,)) for number in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        said = begun = time.perf_counter()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                if time.perf_counter() - said >= SAY_EVERY_SECONDS:
                    said = time.perf_counter()
                    loaded = sum(self._loaded)
                    self._say(f"loaded {loaded:,} of {self._records:,} records ({loaded / (said - begun):,.0f}/s)")
        if self._failures:
            raise LoadError(self._failures[0])
        return sum(self._retries)

    def _load(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS_MAX)
        try:
            while not self._failures:
                first = next(self._batches) * BATCH_RECORDS
                if first >= self._records:
                    return
                count = min(BATCH_RECORDS, self._records - first)
                while not self._send(connection, self._body(first, count), count):
                    self._retries[number] += 1
                    time.sleep(RETRY_SECONDS)
                self._loaded[number] += count
        except (OSError, http.client.HTTPException, LoadError) as error:
            self._failures.append(f"loading ended: {error!r}")
        finally:
            connection.close()

    def _body(self, first: int, count: int) -> bytes:
        pool, length = self._pool, self._value_bytes
        puts = [
            f'{{"op":"put","key":"{key:012d}","value":"{pool[start : start + length]}"}}'
            for key, start in ((key, key * 127 % POOL_BYTES) for key in range(first, first + count))
        ]
        return f'{{"operations":[{",".join(puts)}]}}'.encode()

    def _send(self, connection: http.client.HTTPConnection, body: bytes, count: int) -> bool:
        """Sends a batch and says whether all of it was done; False: not all, send it again. Raises: LoadError."""
        connection.request("POST", "/v1/batch", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status == 503:
            return False
        if answer.status != 200:
            raise LoadError(f"a batch was answered {answer.status}: {said[:500].decode(errors='replace')}")
        statuses = [each.status for each in msgspec.json.decode(said, type=_Answer).results]
        if len(statuses) != count or any(status >= 300 and status != 503 for status in statuses):
            raise LoadError(f"a batch of {count} was answered: {said[:500].decode(errors='replace')}")
        return 503 not in statuses
