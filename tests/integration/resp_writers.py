"""Clients that count up keys as long as they are let, and note what was acknowledged: for tests that kill a node."""

import asyncio
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
import valkey

from integration.resp_harness import NODE_MODULES, NODE_SCRIPT, program
from integration.resp_users import closed, done

KEYS = 12
"""Enough for some on every node."""
BEGUN_SECONDS = 30.0


class Writer:
    """A client in a thread of its own that counts up its keys, one after another, and notes what was acknowledged."""

    def __init__(self, name: str, connect: Callable[[], Any]) -> None:
        self.name = name
        self.acknowledged: dict[str, int] = {}
        self.tried: dict[str, int] = {}
        self.moments: dict[str, float] = {}
        """When each key's last acknowledged write began."""
        self.failures: list[str] = []
        self._connect = connect
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._life(),), daemon=True)

    def start(self) -> None:
        """Starts the client."""
        self._thread.start()

    def stop(self) -> None:
        """Stops it, and waits for its end."""
        self._stopping.set()
        self._thread.join(60.0)
        assert not self._thread.is_alive(), f"{self.name} does not end"

    async def _life(self) -> None:
        client = self._connect()
        keys = [f"{self.name}/{number}" for number in range(KEYS)]
        turn = 0
        while not self._stopping.is_set():
            turn += 1
            for key in keys:
                began = time.monotonic()
                self.tried[key] = turn
                try:
                    answer = await done(client.set(key, turn))
                except (redis.RedisError, valkey.ValkeyError, OSError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}"[:200])
                    await asyncio.sleep(0.02)
                    continue
                assert answer
                self.acknowledged[key] = turn
                self.moments[key] = began
        await closed(client)

    def resumed(self, since: float) -> bool:
        """Says whether each key had a write that began after a moment and was acknowledged."""
        return len(self.moments) == KEYS and all(moment > since for moment in self.moments.values())


class RedisCli:
    """redis-cli as a client: lines into it, answers out of it; after an error it is begun anew."""

    def __init__(self, port: int, *options: str) -> None:
        self._command = [program("redis-cli"), "-p", str(port), *options]
        self._process: subprocess.Popen[str] | None = None

    def set(self, key: str, value: int) -> bool:
        """Sets a key. Raises: OSError with whatever else than OK was printed."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f'SET "{key}" {value}\n')
        self._process.stdin.flush()
        # With -c it tells of each redirection in a line before the answer.
        while (said := self._process.stdout.readline()).startswith("->"):
            pass
        if said != "OK\n":
            self.close()
            raise OSError(f"redis-cli: {said}")
        return True

    def close(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class NodeWriter:
    """node-redis, doing the same as `Writer` in a process of its own: `scene` is one of `resp_node.js`."""

    def __init__(self, scene: str, *ports: int) -> None:
        self.name = f"node-redis, {scene}"
        self._process = subprocess.Popen(
            [program("node"), str(NODE_SCRIPT), scene, *map(str, ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"NODE_PATH": str(NODE_MODULES)},
        )

    def await_begun(self) -> None:
        """Waits until each key was set once."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], BEGUN_SECONDS)
        assert ready, f"{self.name} has not written every key within {BEGUN_SECONDS} s"
        assert self._process.stdout.readline() == "begun\n", self.name

    def stop(self) -> tuple[dict[str, int], dict[str, int]]:
        """Ends it when each key was set once more; returns by key what was acknowledged, and what was tried last."""
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, said
        told = json.loads(said.splitlines()[-1])
        sys.stdout.write(f"{self.name}: {told['failures']} failures, {told['last']}\n")
        return told["acknowledged"], told["tried"]

    def end(self) -> None:
        """Ends whatever is left."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
