"""The plans of one connection that are under way, and what keeps commands on one key in their order.

Writes are handed to the key's primary one after another, without waiting for each other. A read that memory can answer
is answered at once, unless a write of this connection to its key is under way: then it goes the way of the writes,
behind it (R7). A write on a key that is being read elsewhere waits for that read.

Rule 1: *not done* of a kind that another try can cure is tried again, in the order of the commands and until their
deadline, unless a later command on one of the keys was carried out meanwhile.
Rule 2: while something is to be tried again, or too much is being read, nothing new is begun.
"""

import asyncio
from collections.abc import Callable, Sequence

from corecache.errors import CoreCacheError, NotDone
from corecache.identity import Milliseconds
from corecache.operations import Absent, Found, Operation, Read, Result, keys_of
from corecache.ports import Uncached
from corecache.serving.resp.answers import failure_of
from corecache.serving.resp.commands.command import Plan, Refusal
from corecache.serving.resp.routing import moved, one_slot
from corecache.serving.resp.session import Session
from corecache.serving.resp.shared import Shared
from corecache.serving.resp.slots import Answers, Slot, defect
from corecache.wire.resp import Reply

_ABSENT = Absent()
_READS_MAX = 32
"""So many reads of one connection may wait for a disk or another node, each with a value as long as may be."""


class Execution:
    """What is under way. `happened` is called when something was answered, or may be begun again."""

    def __init__(self, shared: Shared, answers: Answers, happened: Callable[[], None]) -> None:
        self._shared = shared
        self._answers = answers
        self._happened = happened
        self._peek = shared.service.peek
        self._begin_write = shared.service.begin
        self._writing: dict[bytes, int] = {}
        self._reading: dict[bytes, int] = {}
        self._under_way = 0
        self._reads = 0
        self._failed: list[tuple[Slot, NotDone]] = []
        self._number = 0
        self._carried_out: dict[bytes, int] = {}
        self._retrying: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def pauses(self) -> bool:
        """Says whether nothing may be begun at the moment (rule 2)."""
        return bool(self._failed) or self._retrying is not None or self._reads >= _READS_MAX

    def is_written(self, key: bytes) -> bool:
        """Says whether a write to a key is under way."""
        return key in self._writing

    def is_read(self, key: bytes) -> bool:
        """Says whether a key is being read elsewhere."""
        return key in self._reading

    def begin(self, plan: Plan, slot: Slot, session: Session, deadline: Milliseconds) -> bool:
        """Begins a plan, or answers it. False if it must wait until all before it is answered. Raises: Refusal."""
        service, operations = self._shared.service, plan.operations
        keys: Sequence[bytes] = keys_of(operations[0])
        if len(operations) > 1 or len(keys) > 1:
            keys = list(dict.fromkeys(key for operation in operations for key in keys_of(operation)))
            one_slot(keys)
            if len(operations) > self._shared.config.resp.operations_max:
                raise Refusal("ERR the command has too many keys (resp.operations_max)")
        reads = all(type(operation) is Read for operation in operations)
        elsewhere = (session.cluster_aware or session.readonly) and not service.leads(keys[0])
        if elsewhere and session.cluster_aware and not (reads and session.readonly):
            raise moved(self._shared, keys[0])
        slot.operations, slot.answer, slot.keys, slot.deadline = operations, plan.answer, keys, deadline
        if reads and not any(key in self._writing for key in keys):
            if elsewhere:
                self._begin_read(slot, stale=True)
                return True
            results = self._peek_all(operations)
            if results is not None:
                self._give(slot, slot.answered(results))
                return True
            if len(keys) == 1:
                self._begin_read(slot, stale=False)
                return True
        if self._reading and any(key in self._reading for key in keys):
            return False
        self.submit(slot)
        return True

    def submit(self, slot: Slot) -> None:
        """Hands operations to their primary, as the newest command."""
        self._answers.waiting.append(slot)
        writing = self._writing
        for key in slot.keys:
            writing[key] = writing.get(key, 0) + 1
        self._under_way += 1
        self._number += 1
        slot.number = self._number
        try:
            self._begin_write(slot.operations, slot.deadline, slot)
        except CoreCacheError as error:
            self.failed(slot, error)
        except Exception:
            self._leave(slot)
            self.fill(slot, slot.encoded(defect(slot.arguments)))

    def _peek_all(self, operations: Sequence[Operation]) -> list[Result] | None:
        results: list[Result] = []
        for operation in operations:
            record = self._peek(operation.key)
            if isinstance(record, Uncached):
                return None
            results.append(_ABSENT if record is None else Found(record))
        return results

    def _begin_read(self, slot: Slot, stale: bool) -> None:
        self._answers.waiting.append(slot)
        self._reads += 1
        for key in slot.keys:
            self._reading[key] = self._reading.get(key, 0) + 1
        self._shared.spawn(self._read(slot, stale))

    async def _read(self, slot: Slot, stale: bool) -> None:
        service = self._shared.service
        reply: Reply
        try:
            results: list[Result] = []
            for operation in slot.operations:
                if stale:
                    record, _ = await service.get_stale(operation.key)
                else:
                    record = await service.get(operation.key, slot.deadline)
                results.append(_ABSENT if record is None else Found(record))
            reply = slot.answered(results)
        except CoreCacheError as error:
            reply = failure_of(error)
        except Exception:
            reply = defect(slot.arguments)
        for key in slot.keys:
            _count_down(self._reading, key)
        self._reads -= 1
        self.fill(slot, slot.encoded(reply))

    # Outcomes.

    def carried_out(self, slot: Slot, octets: bytes) -> None:
        """Takes a plan's answer."""
        self._note_end(slot)
        self.fill(slot, octets)
        self._retry_if_time()

    def failed(self, slot: Slot, error: CoreCacheError) -> None:
        """Takes that there is no result."""
        if isinstance(error, NotDone):
            if self._shared.may_cure(error) and not (self._closed or self._is_overtaken(slot)):
                # Before it leaves: what was carried out is forgotten when nothing is under way or to be tried.
                self._failed.append((slot, error))
            else:
                self.fill(slot, slot.encoded(failure_of(error)))
            self._leave(slot)
        else:
            self._note_end(slot)
            self.fill(slot, slot.encoded(failure_of(error)))
        self._retry_if_time()

    def _note_end(self, slot: Slot) -> None:
        """Takes note that a command was, or may have been, carried out: none before it on its keys may follow it."""
        for key in slot.keys:
            self._carried_out[key] = max(slot.number, self._carried_out.get(key, 0))
        self._leave(slot)

    def _is_overtaken(self, slot: Slot) -> bool:
        return any(self._carried_out.get(key, 0) > slot.number for key in slot.keys)

    def _leave(self, slot: Slot) -> None:
        self._under_way -= 1
        for key in slot.keys:
            _count_down(self._writing, key)
        if not self._under_way and not self._failed:
            self._carried_out.clear()

    def _retry_if_time(self) -> None:
        if self._failed and not self._under_way and self._retrying is None:
            self._retrying = self._shared.spawn(self._retry())

    async def _retry(self) -> None:
        """Has another try at all that was not done (rule 1)."""
        failed, self._failed = self._failed, []
        failed.sort(key=lambda each: each[0].number)
        again: list[Slot] = []
        for slot, error in failed:
            if self._is_overtaken(slot):
                self.fill(slot, slot.encoded(failure_of(error)))
            else:
                again.append(slot)
        self._carried_out.clear()
        try:
            deadline = max((slot.deadline for slot in again), default=Milliseconds(0))
            outcomes = await self._shared.service.write_many([slot.operations for slot in again], deadline)
            for slot, outcome in zip(again, outcomes, strict=True):
                reply = failure_of(outcome) if isinstance(outcome, CoreCacheError) else slot.answered(outcome)
                self.fill(slot, slot.encoded(reply))
        except Exception:
            for slot in again:
                if not slot.done():
                    self.fill(slot, slot.encoded(defect(slot.arguments)))
        self._retrying = None
        self._happened()

    # Answers.

    def _give(self, slot: Slot, reply: Reply) -> None:
        self._shared.note_time(slot.session, slot.command, slot.arguments, slot.begun_us)
        self._answers.give(slot, slot.encoded(reply))

    def fill(self, slot: Slot, octets: bytes) -> None:
        """Puts an answer into its place."""
        if self._closed:
            return
        self._shared.note_time(slot.session, slot.command, slot.arguments, slot.begun_us)
        self._answers.fill(slot, octets)
        self._happened()

    def close(self) -> None:
        """Tells nobody any more. What is under way goes on."""
        self._closed = True
        self._answers.drop()


def _count_down(counts: dict[bytes, int], key: bytes) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
