"""A session with ZooKeeper. This is the one file that knows kazoo, and the one where kazoo's threads end.

Rule 1: nothing here blocks the event loop. Kazoo is asked by its `*_async` calls; its answers, watches and states
come from its threads by `call_soon_threadsafe` and are told on the loop.
Rule 2: a read raises NotDone, whatever happened to it. A write raises NotDone only if it was surely not sent, or the
server refused it; once it may have been sent and its answer is lost, it raises OutcomeUnknown. Nothing is sent twice:
to try again is the caller's decision.
Rule 3: a watch fires once, and all of them are gone when the connection is: after each CONNECTED whoever watches reads
again. A session that is lost is followed by a new one, by itself and without end.
Rule 4: what may be under way is bounded, because kazoo wakes its thread through a socket that blocks when it is full.

What is in the znodes, and what follows from a state, is the business of `zookeeper.py`.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionClosedError,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)
from kazoo.protocol.states import EventType, KeeperState, WatchedEvent
from kazoo.retry import KazooRetry
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE

from corecache.config import Coordination
from corecache.coordination.kazoo_parts import KazooLog, KazooThreads
from corecache.errors import CallerFault, NotDone, OutcomeUnknown
from corecache.ports import SessionState

log = structlog.get_logger()

UNDER_WAY_MAX = 128
"""Requests that kazoo may hold at a time. A socket pair takes some 270 wake-ups before it blocks."""
RECONNECT_MS_MAX = 1000
"""The longest pause between two attempts to connect; kazoo's own default grows to an hour."""
CLOSE_MS = 2000
"""What ZooKeeper is given to answer a farewell before the connection is cut."""

_STATES = {
    KazooState.CONNECTED: SessionState.CONNECTED,
    KazooState.SUSPENDED: SessionState.SUSPENDED,
    KazooState.LOST: SessionState.LOST,
}
_ANSWERS = (BadVersionError, NoNodeError, NodeExistsError, NotEmptyError)
"""What the server says of the znode, not of the call: each caller knows what it means."""


class Znode(NamedTuple):
    """A znode as it was read. `mine`: it is ephemeral, and this session's. `date_ms`: when it last changed, there."""

    content: bytes
    version: int
    mine: bool
    date_ms: int


class ZnodeMissing(Exception):
    """A znode that was to be replaced is not there."""


class ZooKeeperSession:
    """One node's session, and what can be asked in it."""

    def __init__(
        self, settings: Coordination, changed: Callable[[SessionState], None], touched: Callable[[str], None]
    ) -> None:
        """Begins to connect; see `meet`. `changed` hears of states, `touched` of the paths whose watch fires."""
        self._settings = settings
        self._changed = changed
        self._touched = touched
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(UNDER_WAY_MAX)
        self._outstanding: set[asyncio.Future[Any]] = set()
        self._closing = False
        self._refused = False
        self.state = SessionState.LOST
        self.connections = 0
        """Counts the times that the session came to be CONNECTED."""
        self._met = asyncio.Event()
        self._log = KazooLog(log)
        self._threads: KazooThreads
        self._client: KazooClient
        self._begin()

    async def meet(self) -> None:
        """Waits until it is CONNECTED. Raises: CallerFault if no server can be reached in time."""
        try:
            async with asyncio.timeout(self._settings.start_timeout_ms / 1000):
                await self._met.wait()
        except TimeoutError as error:
            hosts = self._client.hosts
            why = await asyncio.to_thread(self._threads.failures, hosts)
            where = ", ".join(f"{host}:{port}" for host, port in hosts)
            raise CallerFault(
                "zookeeper_unreachable",
                f"no ZooKeeper at {where} (coordination.zookeeper) within {self._settings.start_timeout_ms} ms: {why}",
            ) from error

    async def read(self, path: str, watched: bool = False) -> Znode | None:
        """Returns a znode, None if it is missing. `watched`: `touched` hears of its next change."""
        try:
            content, stat = await self._ask(False, path, "get_async", path, self._fired if watched else None)
        except NoNodeError:
            return None
        own = self._client.client_id
        return Znode(content, stat.version, own is not None and stat.ephemeralOwner == own[0], stat.mtime)

    async def read_fresh(self, path: str, watched: bool = False) -> Znode | None:
        """Returns a znode no older than the newest at the time of the call (R18)."""
        await self.sync(path)
        return await self.read(path, watched)

    async def sync(self, path: str) -> None:
        """Lets what is read from now on be no older than the newest at the time of the call."""
        await self._ask(False, path, "sync_async", path)

    async def children(self, path: str, watched: bool = False) -> tuple[list[str], int]:
        """Returns the names in a folder, and how often these have changed."""
        try:
            names, stat = await self._ask(
                False, path, "get_children_async", path, self._fired if watched else None, True
            )
        except NoNodeError as error:
            raise NotDone("zookeeper_unprepared", f"the znode {path} is missing; it is made at the start") from error
        return sorted(names), stat.cversion

    async def create(self, path: str, content: bytes, ephemeral: bool = False) -> bool:
        """Makes a znode; False if there is one already."""
        acl = CREATOR_ALL_ACL if self._settings.username else OPEN_ACL_UNSAFE
        try:
            await self._ask(True, path, "create_async", path, content, acl, ephemeral)
        except NodeExistsError:
            return False
        except NoNodeError as error:
            raise NotDone(
                "zookeeper_unprepared", f"the folder of {path} is missing; it is made at the start"
            ) from error
        return True

    async def replace(self, path: str, content: bytes, version: int) -> int | None:
        """Replaces a znode's content if it has this version; returns the new version, None if it had another.

        Raises: ZnodeMissing.
        """
        try:
            stat = await self._ask(True, path, "set_async", path, content, version)
        except BadVersionError:
            return None
        except NoNodeError as error:
            raise ZnodeMissing(path) from error
        return int(stat.version)

    async def remove(self, path: str) -> None:
        """Removes a znode, unless it is missing or a folder with something in it."""
        try:
            await self._ask(True, path, "delete_async", path)
        except (NoNodeError, NotEmptyError):
            return

    async def revive(self) -> None:
        """Begins anew if kazoo has given up, as it does when it is refused or meets an answer that it does not know."""
        if self._client.client_state in (KeeperState.CLOSED, KeeperState.AUTH_FAILED) and not self._closing:
            log.warning("zookeeper session begun anew", hosts=self._settings.zookeeper)
            await self._end_client()
            if not self._closing:
                self._begin()

    async def close(self) -> None:
        """Ends the threads and the session; what is ephemeral goes at once, if ZooKeeper can still be told."""
        self._closing = True
        await self._end_client()
        self.state = SessionState.LOST
        for told in list(self._outstanding):
            if not told.done():
                told.set_exception(ConnectionClosedError("closed"))
                told.exception()

    def _begin(self) -> None:
        hosts = self._settings.zookeeper.partition("/")[0]
        timeout = self._settings.session_timeout_ms / 1000
        self._threads = KazooThreads(timeout / max(2, hosts.count(",") + 1))
        self._client = KazooClient(
            hosts,
            timeout,
            handler=self._threads,
            auth_data=[("digest", f"{self._settings.username}:{self._settings.password}")]
            if self._settings.username
            else None,
            connection_retry=KazooRetry(max_tries=-1, delay=0.1, max_delay=RECONNECT_MS_MAX / 1000),
            logger=self._log,
        )
        # A new session is told of as such even if the one before it ended without a word.
        self._client.add_listener(self._state_changed)
        self._client.start_async()

    async def _end_client(self) -> None:
        """Stops kazoo in a thread of its own; what does not answer is cut off, what still hangs then is left behind."""
        ended = asyncio.Event()
        client, threads = self._client, self._threads

        def end() -> None:
            try:
                client.stop()
                client.close()
            except Exception as error:
                log.warning("zookeeper session ended badly", error=str(error))
            finally:
                self._hop(ended.set)

        threads.ending = True
        threading.Thread(target=end, name="zookeeper-end", daemon=True).start()
        for _ in range(2):
            try:
                async with asyncio.timeout(CLOSE_MS / 1000):
                    await ended.wait()
                return
            except TimeoutError:
                threads.cut()
        log.warning("zookeeper threads left behind", hosts=self._settings.zookeeper)

    async def _ask(self, writes: bool, path: str, call: str, *arguments: Any) -> Any:
        """Has kazoo ask ZooKeeper, and returns the answer. Raises: what rule 2 says, and `_ANSWERS`."""
        patience = self._settings.session_timeout_ms / 1000
        try:
            async with asyncio.timeout(patience):
                await self._slots.acquire()
        except TimeoutError as error:
            raise NotDone("zookeeper_busy", "too much is being asked of ZooKeeper at once; try again") from error
        if self._closing or self.state is not SessionState.CONNECTED or not self._client.connected:
            self._slots.release()
            raise NotDone("coordinator_away", f"the session with ZooKeeper is {self.state.value}; try again")
        told: asyncio.Future[Any] = self._loop.create_future()
        self._outstanding.add(told)
        try:
            getattr(self._client, call)(*arguments).rawlink(lambda result: self._hop(self._answered, told, result))
            async with asyncio.timeout(patience):
                return await asyncio.shield(told)
        except _ANSWERS:
            raise
        except NoAuthError as error:
            raise NotDone("zookeeper_forbidden", self._forbidden(path)) from error
        except (KazooException, TimeoutError) as error:
            if isinstance(error, AuthFailedError):
                self._refused = True
            reason = str(error) or type(error).__name__
            if writes:
                raise OutcomeUnknown(
                    "zookeeper_unknown", f"whether {path} was changed is not known ({reason}): read it"
                ) from error
            raise NotDone("zookeeper_unanswered", f"ZooKeeper did not say what {path} is ({reason})") from error

    def _answered(self, told: "asyncio.Future[Any]", result: Any) -> None:
        """Takes kazoo's answer, on the loop. The slot is free only now, also if nobody waits any more."""
        if told in self._outstanding:
            self._outstanding.remove(told)
            self._slots.release()
        if told.done():
            return
        if result.exception is None:
            told.set_result(result.value)
        else:
            told.set_exception(result.exception)
            told.exception()  # it counts as looked at: the caller may have given up

    def _forbidden(self, path: str) -> str:
        who = f"{self._settings.username!r} with this password" if self._settings.username else "a node without one"
        return (
            f"ZooKeeper refuses {path} to {who}: set coordination.username and coordination.password to those that the "
            "cluster was created with"
        )

    def refusal(self) -> CallerFault:
        """Returns the error for credentials that the server does not take at all."""
        return CallerFault(
            "zookeeper_forbidden",
            f"ZooKeeper does not accept coordination.username {self._settings.username!r} and its password",
        )

    @property
    def refused(self) -> bool:
        """Says whether the server did not take the credentials."""
        return self._refused

    def _state_changed(self, state: KazooState) -> None:
        """Hears of a state in kazoo's thread."""
        if self._client.client_state == KeeperState.AUTH_FAILED:
            self._refused = True
        self._hop(self._enter, _STATES[state])

    def _enter(self, state: SessionState) -> None:
        if self._closing or state is self.state:
            return
        self.state = state
        if state is SessionState.CONNECTED:
            self.connections += 1
            self._met.set()
            self._log.forget()
        else:
            self._met.clear()
        self._changed(state)

    def _fired(self, event: WatchedEvent) -> None:
        """Hears of a watch in kazoo's thread. One that ended with its connection says nothing of its znode."""
        if event.type != EventType.NONE:
            self._hop(self._touch, event.path)

    def _touch(self, path: str) -> None:
        if not self._closing:
            self._touched(path)

    def _hop(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            return  # the loop has ended: nobody is left to be told
