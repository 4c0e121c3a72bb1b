"""A replica under random histories with crashes, against the obvious truth: the log replayed from its beginning.

A schedule is any mix of batches, completions in any legal order, passing time and crashes that lose what was not yet
durable. After each step the disk's records must be the log replayed, and every answered write must be in the log.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from corecache.errors import CoreCacheError
from corecache.identity import Version
from corecache.operations import Delete, IfAbsent, IfMatch, Operation, Put, Read, Record, Written
from corecache.replication.log import Entry
from replication.conversation import Conversation, Disk

KEYS = st.sampled_from([b"a", b"b", b"c"])
CONDITIONS = st.one_of(
    st.none(),
    st.just(IfAbsent()),
    st.just(IfMatch(None)),
    st.builds(lambda version: IfMatch((Version(version),)), st.integers(1, 8)),
)
OPERATIONS = st.one_of(
    st.builds(Put, KEYS, st.binary(max_size=3), st.one_of(st.none(), st.integers(1, 40)), CONDITIONS),
    st.builds(Delete, KEYS),
    st.builds(Read, KEYS),
)
BATCHES = st.lists(st.lists(OPERATIONS, min_size=1, max_size=3), min_size=1, max_size=4)
STEPS = st.lists(st.one_of(BATCHES, st.sampled_from(["append", "apply", "fetch", "crash", "tick"])), max_size=40)


class History:
    """A disk's lives, one process after another."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.talk = Conversation(self.disk).begin()
        self.sent: dict[int, list[Operation]] = {}

    def step(self, step: str | list[list[Operation]]) -> None:
        """Takes one step of the schedule."""
        if isinstance(step, list):
            self.sent |= zip(self.talk.write_all(step), step, strict=True)
        elif step == "crash":
            date = self.talk.date
            self.talk, self.sent = Conversation(self.disk).begin(), {}
            self.talk.date = date
        elif step == "tick":
            self.talk.now += 10
            self.talk.date += 10
        else:
            getattr(self.talk, step)()

    def answered(self) -> set[tuple[bytes, Version]]:
        """Returns the key and the version of every write that this life has answered as a success."""
        return {
            (operation.key, result.version)
            for number, outcome in self.talk.results.items()
            if not isinstance(outcome, CoreCacheError)
            for operation, result in zip(self.sent[number], outcome, strict=True)
            if isinstance(result, Written) and not self._undone(number)
        }

    def _undone(self, number: int) -> bool:
        outcome = self.talk.results[number]
        return not isinstance(outcome, CoreCacheError) and any(
            type(result).__name__ == "ConditionFailed" for result in outcome
        )


def replayed(log: list[Entry], upto: int) -> dict[bytes, Record]:
    """Returns the records that the entries of a log leave, up to a sequence."""
    records: dict[bytes, Record] = {}
    for entry in log:
        if entry.sequence <= upto:
            for operation in entry.operations:
                records.pop(operation.key, None)
                if operation.record is not None:
                    records[operation.key] = operation.record
    return records


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_any_schedule_with_crashes_keeps_every_answered_write(steps: list[str | list[list[Operation]]]) -> None:
    """Answered writes stay in the log, logs keep their prefix, records are the log replayed, all get an answer."""
    history = History()
    answered: set[tuple[bytes, Version]] = set()
    log: list[Entry] = []
    for step in steps:
        history.step(step)
        disk = history.disk
        assert disk.log[: len(log)] == log
        log = list(disk.log)
        answered |= history.answered()
        written = {(op.key, op.record.version) for entry in log for op in entry.operations if op.record is not None}
        assert answered <= written
        assert disk.records == replayed(log, disk.applied.sequence)
    history.talk.finish()

    assert history.talk.results.keys() == history.sent.keys()
    versions = [op.record.version for entry in history.disk.log for op in entry.operations if op.record is not None]
    assert versions == sorted(set(versions))
