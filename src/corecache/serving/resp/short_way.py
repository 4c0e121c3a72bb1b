"""The short way of what most clients say all the time: plain GETs and SETs, without plans, tables and refusals.

It gives the answers of the long way (`connection.py`, `execution.py`), and leaves to that whatever is not as usual: a
key that is being written or is not in memory, a length that is not allowed, a session in which GET and SET mean more.
"""

from time import perf_counter_ns

from corecache.identity import Milliseconds
from corecache.operations import KEY_BYTES_MAX, Put, Record
from corecache.serving.resp.execution import Execution
from corecache.serving.resp.session import Session
from corecache.serving.resp.shared import Shared
from corecache.serving.resp.slots import Answers, Slot
from corecache.wire.resp import encode
from corecache.wire.resp_gets import keys_of_gets

_GET = frozenset((b"GET", b"get"))
_SET = frozenset((b"SET", b"set"))
_AT_ONCE_MAX = 256
_AT_ONCE_BYTES_MAX = 64 * 1024


class ShortWay:
    """One connection's. `reads` counts the GETs that `take` has answered."""

    def __init__(self, shared: Shared, session: Session, execution: Execution, answers: Answers) -> None:
        self.reads = 0
        self._shared = shared
        self._session = session
        self._execution = execution
        self._answers = answers
        self._peek = shared.service.peek
        self._peek_many = shared.service.peek_many
        self._value_bytes_max = shared.config.limits.value_bytes_max

    def is_open(self) -> bool:
        """Says whether this client has said nothing by which a plain GET or SET would mean something else."""
        session = self._session
        return session.queued is None and session.replies == "on" and not (session.cluster_aware or session.readonly)

    def answered(self, data: bytes) -> bytes | None:
        """Returns the answers to what came, if it is nothing but GETs of records that are at hand.

        Requires: nothing that came before is still to be answered, or not whole.
        """
        session = self._session
        # A client that uses the map gets what is led here like any other.
        if session.queued is not None or session.replies != "on":
            return None
        keys = keys_of_gets(data)
        if keys is None or len(keys) > _AT_ONCE_MAX:
            return None
        begun_us = perf_counter_ns() // 1000
        octets = self._value_of(keys[0]) if len(keys) == 1 else self._values_of(keys)
        if octets is not None:
            session.command = "get"
            self._shared.commands_total += len(keys)
            self._shared.note_reads(len(keys), len(keys), begun_us)
        return octets

    def _value_of(self, key: bytes) -> bytes | None:
        record = self._peek(key)
        return b"$%d\r\n%b\r\n" % (len(record.value), record.value) if type(record) is Record else None

    def _values_of(self, keys: list[bytes]) -> bytes | None:
        records = self._peek_many(keys)
        if records is None or sum([len(record.value) for record in records]) > _AT_ONCE_BYTES_MAX:
            return None
        return b"".join([b"$%d\r\n%b\r\n" % (len(record.value), record.value) for record in records])

    def take(self, arguments: list[bytes], deadline: Milliseconds, turn_us: int) -> bool:
        """Carries out a plain GET or SET; False if it is another command, or needs the long way.

        Requires: `is_open`.
        """
        count = len(arguments)
        if count == 2 and arguments[0] in _GET:
            return self._take_get(arguments, turn_us)
        if count == 3 and arguments[0] in _SET:
            return self._take_set(arguments, deadline, turn_us)
        return False

    def _take_get(self, arguments: list[bytes], turn_us: int) -> bool:
        key, session = arguments[1], self._session
        if self._execution.is_written(key) or not 0 < len(key) <= KEY_BYTES_MAX:
            return False
        record = self._peek(key)
        if type(record) is Record:
            octets = b"$%d\r\n%b\r\n" % (len(record.value), record.value)
        elif record is None:
            octets = encode(None, session.protocol)
        else:
            return False
        if self._answers.waiting:
            self._answers.give(Slot(self._execution, session, arguments, False, turn_us), octets)
        else:
            self._answers.out += octets
        self.reads += 1
        session.command = "get"
        self._shared.commands_total += 1
        return True

    def _take_set(self, arguments: list[bytes], deadline: Milliseconds, turn_us: int) -> bool:
        _, key, value = arguments
        if self._execution.is_read(key) or not 0 < len(key) <= KEY_BYTES_MAX or len(value) > self._value_bytes_max:
            return False
        slot = Slot(self._execution, self._session, arguments, False, turn_us)
        slot.command, slot.operations, slot.keys, slot.deadline = "set", (Put(key, value),), (key,), deadline
        self._execution.submit(slot)
        self._session.command = "set"
        self._shared.commands_total += 1
        return True
