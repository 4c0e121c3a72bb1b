"""The rounds of the store: all that was asked to be written since the last one began goes to the disk in one call.

An append round saves facts and then appends the entries of all partitions, so that all of it shares one fsync (group
commit); an apply round brings the records up to committed entries; a cut round takes what is long applied off the logs.
They run side by side. While a round is at the disk, the next one fills up.

Rules:

1. The writes of one partition reach the store in the order in which they were asked for, as far as it matters to a
   crash: facts before the entries that lean on them, an entry before its application. A backup may be told to apply
   what its own log does not have yet: that waits for the append (`_held`).
2. A truncation drops what is queued above it, and goes to the store with the next append of its partition.
3. `Appended` speaks of the last entry of a partition in its round, with the generation of that one.
4. After a failure nothing that was queued is written any more.
"""

import asyncio
from collections.abc import Callable, Iterable

from corecache.errors import Broken
from corecache.identity import PartitionId, Sequence
from corecache.ports import Store
from corecache.replication import actions
from corecache.replication.events import Appended, Applied, Event, Saved
from corecache.replication.log import Entry
from corecache.replication.recovered import ReplicaFacts

Happened = Iterable[tuple[PartitionId, Event]]


class Rounds:
    """What waits to be written, and the loops that write it. `count` is the number of append rounds so far."""

    def __init__(
        self,
        store: Store,
        happened: Callable[[Happened], None],
        hand_over: Callable[[], None],
        failed: Callable[[Broken], None],
    ) -> None:
        """`happened` takes completions; `hand_over` brings the replicas what clients wait for, before each round."""
        self.count = 0
        self.to_append = asyncio.Event()
        self._store = store
        self._happened = happened
        self._hand_over = hand_over
        self._failed = failed
        self._saves: dict[PartitionId, ReplicaFacts] = {}
        self._appends: list[tuple[PartitionId, Entry]] = []
        self._generations: dict[PartitionId, int] = {}
        self._truncated: dict[PartitionId, Sequence] = {}
        self._first_unstored: dict[PartitionId, Sequence] = {}
        self._applies: list[tuple[PartitionId, Entry]] = []
        self._installs: dict[PartitionId, int] = {}
        self._held: list[tuple[PartitionId, actions.Apply]] = []
        self._cuts: dict[PartitionId, Sequence] = {}
        self._to_apply = asyncio.Event()
        self._to_cut = asyncio.Event()
        self._appending: frozenset[PartitionId] = frozenset()
        self._applying: frozenset[PartitionId] = frozenset()
        self._cutting: frozenset[PartitionId] = frozenset()
        self._waiters: list[asyncio.Future[None]] = []

    # What is asked for.

    def save(self, partition: PartitionId, action: actions.Save) -> None:
        """Queues facts; newer ones take the place of those that are not begun."""
        self._saves[partition] = action.facts
        self.to_append.set()

    def truncate(self, partition: PartitionId, action: actions.Truncate) -> None:
        """Drops queued entries above a sequence, and has the log cut there with the next append."""
        above = action.above
        if partition in self._first_unstored:
            self._appends = [each for each in self._appends if each[0] != partition or each[1].sequence <= above]
        self._truncated[partition] = min(above, self._truncated.get(partition, above))

    def append(self, partition: PartitionId, action: actions.Append) -> None:
        """Queues entries."""
        entries = action.entries
        self._appends += [(partition, entry) for entry in entries]
        self._generations[partition] = action.generation
        self._first_unstored.setdefault(partition, entries[0].sequence)
        self.to_append.set()

    def apply(self, partition: PartitionId, action: actions.Apply) -> None:
        """Queues entries to be applied, once the log has them."""
        first = self._first_unstored.get(partition)
        if first is not None and action.entries[-1].sequence >= first:
            self._held.append((partition, action))
            return
        self._applies += [(partition, entry) for entry in action.entries]
        self._installs[partition] = action.generation
        self._to_apply.set()

    def cut(self, partition: PartitionId, action: actions.Cut) -> None:
        """Notes up to where the log may go."""
        self._cuts[partition] = action.upto
        self._to_cut.set()

    def drop(self, partition: PartitionId, facts_too: bool) -> None:
        """Forgets what is queued for a partition whose content goes; `facts_too`: nor are its facts wanted any more."""
        self._appends = [each for each in self._appends if each[0] != partition]
        self._applies = [each for each in self._applies if each[0] != partition]
        self._held = [each for each in self._held if each[0] != partition]
        self._truncated.pop(partition, None)
        self._cuts.pop(partition, None)
        if facts_too:
            self._saves.pop(partition, None)
        if partition not in self._appending:
            self._first_unstored.pop(partition, None)

    async def quiet(self, partition: PartitionId) -> None:
        """Returns when nothing of a partition is queued or at the disk."""
        while self._touches(partition):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _touches(self, partition: PartitionId) -> bool:
        at_disk = partition in self._appending or partition in self._applying or partition in self._cutting
        queued = partition in self._saves or partition in self._first_unstored or partition in self._cuts
        return at_disk or queued or any(each[0] == partition for each in self._applies)

    # The loops.

    async def append_rounds(self) -> None:
        """Saves and appends, until it is cancelled."""
        while True:
            await self.to_append.wait()
            self.to_append.clear()
            try:
                if self._saves:
                    await self._save_round()
                self._hand_over()
                if self._appends:
                    await self._append_round()
            except Broken as failure:
                self._fail(failure)
            self._note_end()

    async def _save_round(self) -> None:
        saves, self._saves = self._saves, {}
        self._appending = frozenset(saves)
        try:
            await self._store.save(None, saves)
        finally:
            self._appending = frozenset()
        self._happened((partition, Saved(facts.epoch)) for partition, facts in saves.items())

    async def _append_round(self) -> None:
        entries, self._appends = self._appends, []
        last = {partition: entry.sequence for partition, entry in entries}
        generations, truncated = self._generations, {}
        self._generations = {}
        if self._truncated:
            truncated = {partition: above for partition, above in self._truncated.items() if partition in last}
            self._truncated = {at: above for at, above in self._truncated.items() if at not in last}
        self._appending = frozenset(last)
        self.count += 1
        try:
            await self._store.append(entries, truncated)
        finally:
            self._appending = frozenset()
            self._first_unstored = {}
            for partition, entry in self._appends:
                self._first_unstored.setdefault(partition, entry.sequence)
        if self._held:
            self._release_held()
        self._happened((partition, Appended(upto, generations[partition])) for partition, upto in last.items())

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for partition, action in held:
            self.apply(partition, action)

    async def apply_rounds(self) -> None:
        """Applies, until it is cancelled."""
        while True:
            await self._to_apply.wait()
            self._to_apply.clear()
            try:
                if self._applies:
                    await self._apply_round()
            except Broken as failure:
                self._fail(failure)
            self._applying = frozenset()
            self._note_end()

    async def _apply_round(self) -> None:
        entries, self._applies = self._applies, []
        installs, self._installs = self._installs, {}
        last = {partition: entry.sequence for partition, entry in entries}
        self._applying = frozenset(last)
        await self._store.apply(entries)
        self._applying = frozenset()
        self._happened((partition, Applied(upto, installs[partition])) for partition, upto in last.items())

    async def cut_rounds(self) -> None:
        """Cuts logs, until it is cancelled; nobody waits for it."""
        while True:
            await self._to_cut.wait()
            self._to_cut.clear()
            cuts, self._cuts = self._cuts, {}
            self._cutting = frozenset(cuts)
            try:
                await self._store.cut(cuts)
            except Broken as failure:
                self._fail(failure)
            self._cutting = frozenset()
            self._note_end()

    def _fail(self, failure: Broken) -> None:
        self._saves.clear()
        self._appends.clear()
        self._applies.clear()
        self._held.clear()
        self._truncated.clear()
        self._first_unstored.clear()
        self._failed(failure)

    def _note_end(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
