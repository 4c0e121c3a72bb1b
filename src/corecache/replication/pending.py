"""Resolving operations against the newest appended record of their key, pending ones included (R16).

Between the moment a write is given its sequence and the moment the store shows it, the newest record of its key is
known only here: the *overlay*. A conditional operation on such a key is resolved at once. On any other key it needs the
store's record, which may lie on the disk: it is *parked* until that has been fetched, and with it every later request
on a key of a parked one, so that requests on a key keep their order.

Invariants:

1. The overlay holds, for each key, the newest appended record that the store may not show yet; while a key is being
   fetched it keeps what was applied meanwhile too, because the fetched record may be older than that.
2. Parked groups are resolved in the order of their fetches, each whole.

It leaves to `primary.py` when an answer may be given, and to whom nothing may be answered any more.
"""

from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence as Many

import msgspec

from corecache.identity import Epoch, Milliseconds, Sequence, Timestamp, Version
from corecache.operations import (
    NEVER,
    Absent,
    Assign,
    AssignNew,
    Check,
    ConditionFailed,
    Delete,
    Deleted,
    Duplicate,
    Expire,
    Found,
    IfAbsent,
    IfMatch,
    Operation,
    Put,
    Read,
    Record,
    Rejected,
    Resolved,
    Result,
    Updated,
    Written,
    keys_of,
)
from corecache.replication.actions import Fetch
from corecache.replication.events import Request
from corecache.replication.log import Entry
from corecache.replication.updating import Change, updated

WRITTEN_BYTES_MAX = 32 << 20
"""What updates may write into one entry, and one request beyond what it brought: a small one can write much."""

_ABSENT = Absent()
_DELETED = Deleted()


class Group(msgspec.Struct):
    """Requests parked together, the keys whose records they need, and every key that waits behind them."""

    requests: list[Request]
    keys: list[bytes]
    touched: list[bytes]


class Pending:
    """The overlay of unapplied records, and the requests parked behind a fetch."""

    __slots__ = ("_fetching", "_groups", "_overlay", "_touched", "version")

    def __init__(self, version: Version) -> None:
        """Takes the highest version given so far."""
        self.version = version
        self._overlay: dict[bytes, tuple[Sequence, Record | None]] = {}
        self._groups: deque[Group] = deque()
        self._fetching: dict[bytes, int] = {}
        self._touched: dict[bytes, int] = {}

    def replay(self, entry: Entry) -> None:
        """Notes an entry of an earlier process that is in the log and not yet applied."""
        for operation in entry.operations:
            self._overlay[operation.key] = (entry.sequence, operation.record)
            if operation.record is not None:
                self.version = max(self.version, operation.record.version)

    def take(
        self,
        requests: Many[Request],
        sequence: Sequence,
        date: Timestamp,
        resolved: list[Resolved],
        told: dict[Sequence, list[tuple[Request, list[Result]]]],
    ) -> tuple[list[Request], Many[Request]]:
        """Resolves requests in their order as part of the entry `sequence`.

        What changes is added to `resolved`; a request's results to `told`, by the sequence that they lean on. Returns
        the requests that must be parked, held, and those that were not looked at, because the entry is full.
        """
        touched, usual, parked = self._touched, told[sequence], []
        left_bytes = WRITTEN_BYTES_MAX
        for index, request in enumerate(requests):
            operations = request.operations
            operation = operations[0]
            # The usual request first: one put without a condition, on a key that nobody waits for.
            plain = type(operation) is Put and operation.condition is None and len(operations) == 1
            if plain and operation.key not in touched:
                assert type(operation) is Put
                usual.append((request, [self._put(operation, sequence, date, resolved)]))
            elif self._must_wait(request):
                self._hold(request)
                parked.append(request)
            else:
                before = len(resolved)
                results, leans_on = self.resolve(request, {}, sequence, date, resolved)
                told[leans_on].append((request, results))
                left_bytes -= written_bytes(resolved, before)
                if left_bytes < 0:
                    return parked, requests[index + 1 :]
        return parked, ()

    def _must_wait(self, request: Request) -> bool:
        """Says whether a request can't be resolved yet, for want of a record or behind one that can't."""
        for operation in request.operations:
            needed = _needs_record(operation)
            for key in keys_of(operation):
                if (self._touched and key in self._touched) or (needed and key not in self._overlay):
                    return True
        return False

    def _hold(self, request: Request) -> None:
        """Makes later requests on this one's keys wait behind it."""
        for key in _all_keys(request.operations):
            self._touched[key] = self._touched.get(key, 0) + 1

    def park(self, epoch: Epoch, requests: list[Request]) -> Fetch:
        """Parks the requests that `take` held as one group; returns what must be fetched for it."""
        operations = [operation for request in requests for operation in request.operations]
        needed = dict.fromkeys(_all_keys([operation for operation in operations if _needs_record(operation)]))
        group = Group(requests, list(needed), _all_keys(operations))
        self._groups.append(group)
        for key in group.keys:
            self._fetching[key] = self._fetching.get(key, 0) + 1
        return Fetch(epoch, group.keys, {operation.key for operation in operations if _needs_value(operation)})

    def unpark(self) -> Group:
        """Takes the oldest parked group out, to be resolved now. Requires: there is one. Follow with `release`."""
        return self._groups.popleft()

    def release(self, group: Group, applied: Sequence) -> None:
        """Forgets what was kept for a group that has been resolved; `applied` is what the store shows by now."""
        for key in group.touched:
            _count_down(self._touched, key)
        for key in group.keys:
            _count_down(self._fetching, key)
            known = self._overlay.get(key)
            if known is not None and known[0] <= applied and key not in self._fetching:
                del self._overlay[key]

    def parked(self) -> list[Request]:
        """Returns all parked requests, oldest first."""
        return [request for group in self._groups for request in group.requests]

    def take_overdue(self, now: Milliseconds) -> list[Request]:
        """Takes the parked requests out whose deadline has passed. Their keys wait for the fetch as before."""
        overdue = [request for request in self.parked() if request.deadline <= now]
        for group in self._groups:
            group.requests = [request for request in group.requests if request.deadline > now]
        return overdue

    def abandon(self) -> list[Request]:
        """Takes all parked requests out, for good, and returns them."""
        requests = self.parked()
        self._groups.clear()
        self._fetching.clear()
        self._touched.clear()
        return requests

    def note_applied(self, entries: Many[Entry], upto: Sequence) -> None:
        """Drops what the store shows by now from the overlay."""
        overlay, fetching = self._overlay, self._fetching
        for entry in entries:
            for operation in entry.operations:
                key = operation.key
                known = overlay.get(key)
                if known is not None and known[0] <= upto and key not in fetching:
                    del overlay[key]

    def resolve(
        self,
        request: Request,
        fetched: Mapping[bytes, Record | None],
        sequence: Sequence,
        date: Timestamp,
        resolved: list[Resolved],
    ) -> tuple[list[Result], Sequence]:
        """Resolves a request as part of the entry `sequence`, at a date; adds what it changes to `resolved`.

        Returns a result for each operation, and the sequence whose entry must be applied before they may be told: the
        newest that the results depend on, 0 if they depend on nothing pending.

        Requires: the overlay or `fetched` holds the records of the keys that it needs.
        """
        operations = request.operations
        for key in _all_keys([operation for operation in operations if _needs_record(operation)]):
            self._remove_if_expired(key, fetched, sequence, date, resolved)
        # From here on a failed condition undoes all.
        before, version = len(resolved), self.version
        keys = _all_keys(operations)
        undo = {key: self._overlay.get(key) for key in keys}
        left_bytes = request.size_bytes + WRITTEN_BYTES_MAX
        results: list[Result] = []
        for operation in operations:
            at = len(resolved)
            results.append(self._resolve_one(operation, fetched, sequence, date, resolved))
            left_bytes -= written_bytes(resolved, at)
            if left_bytes < 0:
                results = [Rejected("too_long")] * len(operations)
                break
        if left_bytes < 0 or any(type(result) is ConditionFailed for result in results):
            del resolved[before:]
            self.version = version
            for key, known in undo.items():
                if known is None:
                    self._overlay.pop(key, None)
                else:
                    self._overlay[key] = known
        pending = (self._overlay.get(key) for key in keys)
        return results, max((known[0] for known in pending if known is not None), default=Sequence(0))

    def _remove_if_expired(
        self,
        key: bytes,
        fetched: Mapping[bytes, Record | None],
        sequence: Sequence,
        date: Timestamp,
        resolved: list[Resolved],
    ) -> None:
        # Whoever is told that an expired key is absent must never see its value again: the delete goes into the log
        # first, whatever becomes of the request, and the answer leans on it (R17).
        record = self._newest(key, fetched)
        if record is not None and NEVER < record.expires <= date:
            self._remove(key, sequence, resolved)

    def _resolve_one(
        self,
        operation: Operation,
        fetched: Mapping[bytes, Record | None],
        sequence: Sequence,
        date: Timestamp,
        resolved: list[Resolved],
    ) -> Result:
        if type(operation) is Put and operation.condition is None:
            return self._put(operation, sequence, date, resolved)
        record = self._newest(operation.key, fetched)
        if type(operation) is Put or type(operation) is Delete:
            if not _holds(operation.condition, record):
                return ConditionFailed(record.version if record is not None else None)
            if type(operation) is Put:
                return self._put(operation, sequence, date, resolved)
            if record is None:
                return _ABSENT
            self._remove(operation.key, sequence, resolved)
            return _DELETED
        if type(operation) is Read:
            return Found(record) if record is not None else _ABSENT
        if type(operation) is Expire:
            # What was to be removed is gone by now (see above); a record that is still there is another, or not due.
            return ConditionFailed(record.version) if record is not None else _ABSENT
        if type(operation) is Duplicate:
            return self._duplicate(operation, record, fetched, sequence, date, resolved)
        if type(operation) is AssignNew:
            return self._assign_new(operation, fetched, sequence, date, resolved)
        assert not isinstance(operation, Put | Delete | Read | Expire | Duplicate | AssignNew)
        change, result = updated(operation, record, date)
        if change is not None:
            self._change(operation.key, change, sequence, resolved)
        return result

    def _assign_new(
        self,
        assign: AssignNew,
        fetched: Mapping[bytes, Record | None],
        sequence: Sequence,
        date: Timestamp,
        resolved: list[Resolved],
    ) -> Result:
        if any(self._newest(key, fetched) is not None for key, _ in assign.pairs):
            return Updated(False)
        for key, value in assign.pairs:
            self._change(key, Change(value, date, NEVER), sequence, resolved)
        return Updated(True)

    def _duplicate(
        self,
        duplicate: Duplicate,
        record: Record | None,
        fetched: Mapping[bytes, Record | None],
        sequence: Sequence,
        date: Timestamp,
        resolved: list[Resolved],
    ) -> Result:
        if record is None:
            return Rejected("absent")
        same = duplicate.to == duplicate.key
        if not duplicate.replaces and (same or self._newest(duplicate.to, fetched) is not None):
            return Updated(False)
        if same:
            # Nothing is different: who is told so must be told by a primary that still is one (R7).
            return Updated(False)
        self._change(duplicate.to, Change(record.value, record.timestamp, record.expires), sequence, resolved)
        if duplicate.moves:
            self._remove(duplicate.key, sequence, resolved)
        return Updated(True)

    def _newest(self, key: bytes, fetched: Mapping[bytes, Record | None]) -> Record | None:
        known = self._overlay.get(key)
        return known[1] if known is not None else fetched[key]

    def _put(self, put: Put, sequence: Sequence, date: Timestamp, resolved: list[Resolved]) -> Written:
        self.version = version = Version(self.version + 1)
        expires = NEVER if put.ttl_ms is None else Timestamp(date + put.ttl_ms)
        record = Record(put.value, version, date, expires)
        self._overlay[put.key] = (sequence, record)
        resolved.append(Resolved(put.key, record))
        return Written(version)

    def _change(self, key: bytes, change: Change, sequence: Sequence, resolved: list[Resolved]) -> None:
        if change.value is None:
            # A key that is stored with a date in the past may have had no record.
            self._remove(key, sequence, resolved)
            return
        self.version = version = Version(self.version + 1)
        record = Record(change.value, version, change.timestamp, change.expires)
        self._overlay[key] = (sequence, record)
        resolved.append(Resolved(key, record))

    def _remove(self, key: bytes, sequence: Sequence, resolved: list[Resolved]) -> None:
        self._overlay[key] = (sequence, None)
        resolved.append(Resolved(key, None))


def written_bytes(resolved: Many[Resolved], first: int) -> int:
    """Returns the bytes of the values that were resolved from a place on."""
    if first == len(resolved):
        return 0
    return sum(len(each.record.value) for each in resolved[first:] if each.record is not None)


def _all_keys(operations: Many[Operation]) -> list[bytes]:
    return [key for operation in operations for key in keys_of(operation)]


def _needs_record(operation: Operation) -> bool:
    return type(operation) is not Put or operation.condition is not None


_BLIND = frozenset((Put, Delete, Expire, Check, AssignNew))


def _needs_value(operation: Operation) -> bool:
    """Says whether the value of an operation's own key counts, and not only that it is there."""
    kind = type(operation)
    if kind in _BLIND:
        return False
    return not isinstance(operation, Assign) or operation.with_old


def _holds(condition: IfAbsent | IfMatch | None, record: Record | None) -> bool:
    if condition is None:
        return True
    if type(condition) is IfAbsent:
        return record is None
    assert isinstance(condition, IfMatch)
    return record is not None and (condition.versions is None or record.version in condition.versions)


def _count_down(counts: dict[bytes, int], key: bytes) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
