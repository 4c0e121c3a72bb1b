"""Canaries: nodes with one rule broken each, which a fault campaign on real processes must convict.

A campaign that has never convicted anybody proves nothing. Each canary takes the place of a few small methods, in a
process of its own (`canary_node.py`) that is a node in all else; nothing that is installed knows of it. It flies under
the kinds of faults that its rule is for, and must be found guilty of one of the rules named beside it, not just of
anything: a node that does not start would be no proof. What else may follow from it is not named.

Where a rule is broken for a moment only, many impatient clients ask: whoever waits for the side that is cut off asks
nobody, and few clients all wait there soon, just when somebody has to read what that side should not answer.

Some rules have a second line of defence that hides that the first is broken. Then a canary breaks both, and says so.
Where the last of them is that a replica halts rather than guess, the canary is guilty of a cluster that is never whole.

The simulator's canaries (`corecache.simulator.canaries`) break finer rules. Those of them that take an instant at which
no fault of real processes can aim are convicted only there.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from corecache.chaos import judge
from corecache.errors import NotDone
from corecache.identity import Epoch, Milliseconds, NodeId, PartitionId, ReplicaId, Sequence, Timestamp
from corecache.node.calls import Calls, Waiting
from corecache.node.local import Local
from corecache.node.transfers import Transfers
from corecache.operations import Put, Record, Resolved, Until, Written
from corecache.ports import UNCACHED, Uncached
from corecache.replication import actions, updating
from corecache.replication.backup import Backup
from corecache.replication.backups import Backups
from corecache.replication.grants import Grants
from corecache.replication.log import Entry
from corecache.replication.peers import Peer
from corecache.replication.pending import Pending
from corecache.replication.primary import Primary
from corecache.replication.recovered import NOTHING_APPLIED, Recovered, ReplicaFacts
from corecache.simulator import mutations
from corecache.storage.rocksdb import RocksStore
from corecache.storage.rocksdb_writer import Writer

Patch: TypeAlias = tuple[type[Any] | ModuleType, str, Callable[[Any], Any]]
"""A class or a module, the name of a function in it, and what makes the false function of the true one."""

USUAL: Final[Mapping[str, str | int]] = {}
PATIENT: Final[Mapping[str, str | int]] = {"replication.lease_ms": 5000, "replication.grace_ms": 6000}
"""Nobody is replaced for want of hearing from him before he is back."""


class Canary(NamedTuple):
    """A rule broken on purpose, the kinds of faults under which it shows, and the rules of which it is found guilty.

    `seconds` is how long faults go on, `rate` the calls a second, `settings` are all nodes' (`"section.name"`). There
    are `clients_each` of each protocol, who wait for an answer for `call_seconds`.
    """

    name: str
    breaks: str
    faults: tuple[str, ...]
    guilty: tuple[str, ...]
    patches: tuple[Patch, ...]
    seconds: float = 8.0
    rate: float = 400.0
    settings: Mapping[str, str | int] = USUAL
    clients_each: int = 8
    call_seconds: float = 2.0

    def fly(self) -> None:
        """Breaks the rule in this process, for good."""
        for owner, name, make in self.patches:
            setattr(owner, name, make(getattr(owner, name)))


# The disk.


def appends_without_sync(true: Callable[..., Any]) -> Callable[..., Any]:
    """Appends as if the operating system were the disk."""

    async def append(self: RocksStore, *given: Any) -> None:
        self._durable = False
        await true(self, *given)

    return append


# Replication.


def counts_only_itself(true: Callable[..., Any]) -> Callable[..., Any]:
    """Takes what the own disk has for committed."""

    def committed(self: Backups, own: Sequence) -> Sequence:
        return own

    return committed


def skips_deletes(true: Callable[..., Any]) -> Callable[..., Any]:
    """Takes entries without the deletes in them."""

    def take(self: Backup, entries: tuple[Entry, ...], *given: Any) -> Any:
        without = [
            msgspec.structs.replace(entry, operations=tuple(each for each in entry.operations if each.record))
            for entry in entries
        ]
        return true(self, tuple(without), *given)

    return take


def reads_a_log_with_a_hole(true: Callable[..., Any]) -> Callable[..., Any]:
    """Empties one entry of those that are read for who lags."""

    async def read_log(self: RocksStore, *given: Any) -> tuple[Entry, ...]:
        entries: tuple[Entry, ...] = await true(self, *given)
        full = next((number for number, entry in enumerate(entries) if entry.operations), None)
        if full is None:
            return entries
        hole = msgspec.structs.replace(entries[full], operations=())
        return (*entries[:full], hole, *entries[full + 1 :])

    return read_log


def takes_the_old_id(true: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an empty replica under the id that the view trusts, as the simulator's canary of that name does."""

    async def adopt(self: Transfers, partition: PartitionId, action: actions.Adopt) -> None:
        view = action.confirmed.view
        old = next((each.replica for each in view.in_sync if each.node == self._machine.node), None)
        facts = ReplicaFacts(old or ReplicaId(self._draw_id()), Epoch(0), view.lineage)
        await self._store.save(None, {partition: facts})
        self._adopted(partition, Recovered(facts, NOTHING_APPLIED, ()), action)

    return adopt


# Conditions and times to live.


def waits_for_every_record(true: Callable[..., Any]) -> Callable[..., Any]:
    """Has each operation that needs a record wait for the store's, though a newer one is pending."""

    def must_wait(self: Pending, request: Any) -> bool:
        plain = all(type(each) is Put and each.condition is None for each in request.operations)
        return bool(true(self, request)) or not plain

    return must_wait


def prefers_the_applied_record(true: Callable[..., Any]) -> Callable[..., Any]:
    """Looks at what the store gave before what is pending."""

    def newest(self: Pending, key: bytes, fetched: Mapping[bytes, Record | None]) -> Record | None:
        record: Record | None = fetched[key] if key in fetched else true(self, key, fetched)
        return record

    return newest


def halves_the_life_of_a_put(true: Callable[..., Any]) -> Callable[..., Any]:
    """Has a put expire when half its time has passed."""

    def put(self: Pending, put: Put, sequence: Sequence, date: Timestamp, resolved: list[Resolved]) -> Written:
        if put.ttl_ms is not None:
            put = msgspec.structs.replace(put, ttl_ms=put.ttl_ms // 2)
        written: Written = true(self, put, sequence, date, resolved)
        return written

    return put


def halves_the_life_of_an_update(true: Callable[..., Any]) -> Callable[..., Any]:
    """Has what Redis's commands store expire when half its time has passed."""

    def end(until: Until, date: Timestamp) -> Timestamp:
        if until.after_ms is not None:
            until = Until(until.after_ms // 2)
        found: Timestamp = true(until, date)
        return found

    return end


# Answers.


def peeks_at_any_replica(true: Callable[..., Any]) -> Callable[..., Any]:
    """Answers a linearizable read from whatever replica is here."""

    def peek(self: Local, partition: PartitionId, key: bytes) -> Record | Uncached | None:
        return self._store.peek(partition, key) if partition in self._replicas else UNCACHED

    return peek


def ignores_a_failed_sync(true: Callable[..., Any]) -> Callable[..., Any]:
    """Syncs the newest log by itself, and does not look whether that worked: RocksDB would write no more."""

    async def sync(self: Writer) -> None:
        self._database.flush_wal(False)
        newest = max(self._path.rglob("*.log"))

        def call() -> None:
            with suppress(OSError), newest.open("rb") as file:
                os.fdatasync(file.fileno())

        await asyncio.to_thread(call)

    return sync


def gives_up_soon(true: Callable[..., Any]) -> Callable[..., Any]:
    """Waits for the answer to a call for a fifth of a second, however much time it has."""

    def begin(
        self: Calls,
        node: NodeId,
        partition: PartitionId,
        make: Any,
        reply: Any,
        deadline: Milliseconds,
        *given: Any,
        **named: Any,
    ) -> None:
        soon = Milliseconds(min(deadline, self._clock.now() + 100))
        true(self, node, partition, make, reply, soon, *given, **named)

    return begin


def tells_lost_writes(code: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Tells a write whose answer is lost to be not done; whether it is then tried again is up to the code."""

    def made(true: Callable[..., Any]) -> Callable[..., Any]:
        def give_up(self: Calls, number: int, waiting: Waiting, what: str) -> None:
            if not waiting.writes:
                true(self, number, waiting, what)
                return
            self._leave(number, waiting)
            if not waiting.reply.done():
                waiting.reply.set_exception(NotDone(code, what))

        return give_up

    return made


CANARIES: Final = (
    Canary(
        "no-sync",
        "a node acknowledges before its fsync",
        ("power-cut-all",),
        (judge.ACKNOWLEDGED,),
        ((RocksStore, "append", appends_without_sync),),
    ),
    Canary(
        "failed-sync-ignored",
        "a node acknowledges what its disk has failed to sync",
        ("dying-disks",),
        (judge.ACKNOWLEDGED,),
        ((Writer, "sync", ignores_a_failed_sync),),
    ),
    Canary(
        "no-backups",
        "a primary acknowledges without its backups",
        ("cut-minority",),
        (judge.LINEARIZABLE, judge.ACKNOWLEDGED),
        ((Backups, "committed", counts_only_itself),),
    ),
    Canary(
        "no-lease",
        "a primary serves reads without a lease",
        ("cut-minority",),
        (judge.LINEARIZABLE,),
        ((Primary, "holds_leases", mutations.always(True)),),
        seconds=15.0,
        rate=800.0,
        clients_each=24,
        call_seconds=0.5,
    ),
    Canary(
        "no-grant-wait",
        "a backup takes over before a lease has passed, and does not wait until those that it granted have run out",
        ("cut-minority",),
        (judge.LINEARIZABLE,),
        ((Backup, "_patience_ms", mutations.always(300)), (Grants, "have_ended", mutations.always(True))),
        seconds=15.0,
        rate=800.0,
        clients_each=24,
        call_seconds=0.5,
        settings=PATIENT,
    ),
    Canary(
        "not-level",
        "a new primary serves before its barrier is applied",
        ("kill",),
        (judge.LINEARIZABLE,),
        ((Primary, "may_answer", mutations.always(True)),),
        rate=800.0,
        clients_each=24,
        call_seconds=0.5,
    ),
    Canary(
        "wiped-node-trusted",
        "a node whose directory was emptied comes back under its old replica ids, before anybody has missed it",
        ("wipe",),
        ("whole again",),
        ((Transfers, "_adopt", takes_the_old_id), (Peer, "gone", lambda true: property(lambda peer: False))),
        settings=PATIENT,
    ),
    Canary(
        "no-deletes",
        "a backup skips deletes",
        ("kill",),
        (judge.DELETED, judge.EQUAL),
        ((Backup, "_take", skips_deletes),),
    ),
    Canary(
        "log-with-a-hole",
        "a catch-up skips an entry",
        ("kill",),
        (judge.EQUAL,),
        ((RocksStore, "read_log", reads_a_log_with_a_hole),),
    ),
    Canary(
        "lost-update",
        "conditions are judged against the applied record, not the pending one",
        ("pause-short",),
        (judge.LINEARIZABLE,),
        ((Pending, "_must_wait", waits_for_every_record), (Pending, "_newest", prefers_the_applied_record)),
        rate=800.0,
    ),
    Canary(
        "half-a-life",
        "keys expire when half their time has passed",
        ("pause-short",),
        (judge.EXPIRED_EARLY,),
        ((Pending, "_put", halves_the_life_of_a_put), (updating, "_end", halves_the_life_of_an_update)),
    ),
    Canary(
        "any-replica",
        "a backup answers linearizable reads",
        ("pause-short",),
        (judge.LINEARIZABLE,),
        ((Local, "peek", peeks_at_any_replica),),
    ),
    Canary(
        "asked-again",
        "a write whose outcome is unknown is asked again",
        ("pause-short",),
        (judge.LINEARIZABLE,),
        ((Calls, "begin", gives_up_soon), (Calls, "_give_up", tells_lost_writes("unanswered"))),
    ),
    Canary(
        "unknown-told-not-done",
        "a write whose outcome is unknown is told to be not done",
        ("pause-long",),
        (judge.NOT_DONE, judge.LINEARIZABLE),
        ((Calls, "_give_up", tells_lost_writes("deadline_passed")),),
        seconds=15.0,
        settings=PATIENT,
        clients_each=24,
    ),
)
"""All of them."""


def named(name: str) -> Canary:
    """Returns a canary. Raises: StopIteration if there is none of that name."""
    return next(canary for canary in CANARIES if canary.name == name)
