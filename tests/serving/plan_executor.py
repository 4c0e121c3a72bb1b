"""Carries keyed commands out in memory, with the primary's own rules (`replication/pending.py`) and a dict for a store.

`stale_entries` says for how many entries the store may lag behind, so that both ways are gone: records of the overlay,
and records that are fetched. As the node does, it fetches values only where they are asked for.
"""

from collections import defaultdict
from collections.abc import Sequence

from corecache.config import Config
from corecache.identity import Epoch, Milliseconds, Timestamp, Version
from corecache.identity import Sequence as LogSequence
from corecache.operations import Operation, Record, Resolved, Result
from corecache.replication.events import Request
from corecache.replication.log import Entry
from corecache.replication.pending import Pending
from corecache.serving.resp.commands import expiry, keyspace, lcs, strings
from corecache.serving.resp.commands.command import Command, Refusal
from corecache.wire.resp import Failure, Reply

COMMANDS = (*strings.COMMANDS, *lcs.COMMANDS, *keyspace.COMMANDS, *expiry.COMMANDS)
TABLE = {command.name: command for command in COMMANDS}


class Executor:
    """One partition, at a date that the test sets."""

    def __init__(self, config: Config | None = None, stale_entries: int = 0) -> None:
        self.config = config or Config()
        self.date = Timestamp(1_700_000_000_000)
        self.store: dict[bytes, Record] = {}
        self._stale_entries = stale_entries
        self._entries: list[Entry] = []
        self._sequence = LogSequence(0)
        self._pending = Pending(Version(0))

    def ask(self, *words: bytes | str | int) -> Reply:
        """Answers a command as the node would."""
        arguments = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        command = _command_of(arguments)
        if not command.takes(len(arguments)):
            return Failure(f"ERR wrong number of arguments for '{command.name}' command")
        assert command.plan is not None
        try:
            plan = command.plan(arguments, self.config)
        except Refusal as refusal:
            return Failure(str(refusal))
        return plan.answer(self.carry_out(plan.operations))

    def carry_out(self, operations: Sequence[Operation]) -> list[Result]:
        """Carries operations out as one request."""
        pending, resolved, request = self._pending, list[Resolved](), Request(operations, Milliseconds(0), 0)
        self._sequence = LogSequence(self._sequence + 1)
        told: dict[LogSequence, list[tuple[Request, list[Result]]]] = defaultdict(list)
        parked, _ = pending.take([request], self._sequence, self.date, resolved, told)
        if parked:
            assert not resolved
            fetch = pending.park(Epoch(1), parked)
            fetched = {key: self._fetched(key, key in fetch.with_values) for key in fetch.keys}
            group = pending.unpark()
            results, _ = pending.resolve(request, fetched, self._sequence, self.date, resolved)
            pending.release(group, LogSequence(self._sequence - len(self._entries) - 1))
        else:
            ((_, results),) = [each for answers in told.values() for each in answers]
        self._entries.append(Entry(Epoch(1), self._sequence, tuple(resolved)))
        while len(self._entries) > self._stale_entries:
            self._apply(self._entries.pop(0))
        return results

    def _fetched(self, key: bytes, with_value: bool) -> Record | None:
        record = self.store.get(key)
        if record is None or with_value:
            return record
        return Record(b"", record.version, record.timestamp, record.expires)

    def _apply(self, entry: Entry) -> None:
        for operation in entry.operations:
            if operation.record is None:
                self.store.pop(operation.key, None)
            else:
                self.store[operation.key] = operation.record
        self._pending.note_applied([entry], entry.sequence)


def _command_of(arguments: list[bytes]) -> Command:
    command = TABLE[arguments[0].decode().lower()]
    if command.subcommands and len(arguments) > 1:
        return {each.name: each for each in command.subcommands}[f"{command.name}|{arguments[1].decode().lower()}"]
    return command
