"""A node is a dict with versions and expiry by Redis's protocol too, and by both protocols in turn.

The steps, the dict and what must be true are `properties/test_http_model.py`'s. Here is how Redis's protocol says the
same (`RespVoice`), what only it can do (WATCH), and a machine that changes its protocol between steps.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, note
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from integration.resp_harness import OK, QUEUED, Reply, RespNode, Word, running
from properties.model import UNTOLD, Condition, Window, date_ms
from properties.steps import PLACES, Kind, Place
from properties.test_http_model import NodeAndDict
from properties.voices import HttpVoice, Outcome, Seen, Voice


class RespVoice:
    """Asks by Redis's protocol. It has no versions: only NX and XX."""

    kinds: Mapping[Kind, Kind] = {"right": "any", "wrong": "none", "several": "any"}
    undoes = False
    ordered = False

    def __init__(self, node: RespNode, protocol: int) -> None:
        self._node = node
        self._protocol = protocol

    def ask(self, *commands: Sequence[Word]) -> tuple[list[Reply], Window]:
        """Asks on a connection of its own, all commands in one go."""
        begin = date_ms()
        try:
            with self._node.resp(self._protocol) as connection:
                replies = connection.ask_all(commands)
        except (OSError, EOFError) as error:
            raise AssertionError(f"no answer to {commands}:\n{self._node.log()}") from error
        window = Window(begin, date_ms())
        note(f"RESP{self._protocol} {commands} -> {'; '.join(map(str, replies))} {window}")
        return replies, window

    def together(self, *commands: Sequence[Word]) -> tuple[list[Reply], Window]:
        """Asks for all commands in one transaction; returns what its EXEC answers."""
        replies, window = self.ask(["MULTI"], *commands, ["EXEC"])
        assert replies[:-1] == [OK, *[QUEUED] * len(commands)], replies
        assert replies[-1].kind == "array", replies
        return list(replies[-1].value), window

    def put(self, key: bytes, value: bytes, ttl_ms: int | None, condition: Condition | None) -> Outcome:
        """SET, SETNX or PSETEX."""
        [reply], asked = self.ask(_set(key, value, ttl_ms, condition))
        if reply == OK:
            return Outcome("done", asked)
        assert reply.kind == ("null bulk" if self._protocol == 2 else "null"), reply
        assert condition is not None
        return Outcome("refused", asked, present=UNTOLD if condition.absent else None)

    def delete(self, key: bytes, condition: Condition | None) -> Outcome:
        """DEL, which always is on the condition that there is something."""
        [reply], asked = self.ask(["DEL", key])
        assert reply.kind == "integer"
        assert reply.value in (0, 1)
        return Outcome("done" if reply.value else "refused" if condition is not None else "absent", asked)

    def read(self, key: bytes, method: str, unless: Condition | None, stale: bool) -> tuple[Seen | None, Window]:
        """GET with the end, or STRLEN and EXISTS, as one transaction; there is no condition."""
        words: list[list[Word]] = [["EXISTS", key], ["STRLEN", key], ["PEXPIRETIME", key]]
        words += [["GET", key]] if method == "GET" else []
        (present, length, expires, *value), asked = self.together(*words)
        if present.value == 0:
            assert (length.value, expires.value) == (0, -2)
            assert [each.value for each in value] in ([], [None])
            return None, asked
        return _shown(key, value[0].value if value else None, length.value, expires.value), asked

    def pages(
        self, prefix: bytes, limit: int, keys_only: bool, start: bytes | None, end: bytes | None
    ) -> Iterator[tuple[list[Seen], Window]]:
        """SCAN, and MGET what it finds slot by slot."""
        cursor = b"0"
        while True:
            [reply], asked = self.ask(["SCAN", cursor, "MATCH", prefix + b"*", "COUNT", limit])
            assert reply.kind == "array", reply
            cursor, keys = reply.plain
            inside = [key for key in keys if (start is None or key >= start) and (end is None or key < end)]
            yield [Seen(key, UNTOLD, None, None, UNTOLD) for key in inside], asked
            if not keys_only:
                for key in inside:
                    seen, read = self.read(key, "GET", None, stale=False)
                    if seen is not None:
                        yield [seen], read
            if cursor == b"0":
                return

    def batch(self, operations: Sequence[Mapping[str, Any]], atomic: bool) -> tuple[list[Any], Window]:
        """A transaction, or a pipeline."""
        commands = [_command(operation) for operation in operations]
        replies, asked = (self.together if atomic else self.ask)(*commands)
        return [_result(each, reply) for each, reply in zip(operations, replies, strict=True)], asked


def _set(key: bytes, value: bytes, ttl_ms: int | None, condition: Condition | None) -> list[Word]:
    """Returns a write; without a condition, in the older words."""
    if condition is None:
        return ["SET", key, value] if ttl_ms is None else ["PSETEX", key, ttl_ms, value]
    words: list[Word] = ["SET", key, value, "NX" if condition.absent else "XX"]
    return words if ttl_ms is None else [*words, "PX", ttl_ms]


def _shown(key: bytes, value: bytes | None, length: int, expires: int) -> Seen:
    assert expires == -1 or expires > 0
    return Seen(key, UNTOLD, value, None, None if expires == -1 else expires, length)


def _command(operation: Mapping[str, Any]) -> list[Word]:
    key = b64decode(operation["key_base64"])
    if operation["op"] == "put":
        ttl_ms = round(1000 * operation["ttl"]) if "ttl" in operation else None
        condition = (
            Condition(absent="if_absent" in operation) if operation.keys() & {"if_absent", "if_present"} else None
        )
        return _set(key, b64decode(operation["value_base64"]), ttl_ms, condition)
    return ["GET" if operation["op"] == "get" else "DEL", key]


def _result(operation: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    """Returns an answer as the result of a batch by HTTP."""
    present = UNTOLD if "if_absent" in operation else None
    if operation["op"] == "put":
        return {"status": 204 if reply == OK else 412, "version": UNTOLD, "present": present}
    if operation["op"] == "delete":
        return {"status": 204 if reply.value else 412 if "if_present" in operation else 404, "present": present}
    if reply.value is None:
        return {"status": 404}
    return {"status": 200, "version": UNTOLD, "octets": reply.value, "expires": UNTOLD}


class RespAndDict(NodeAndDict):
    """The steps of the model in Redis's protocol, and WATCH."""

    def __init__(self, node: RespNode, voices: Sequence[Voice]) -> None:
        super().__init__(node)
        self.resp_node = node
        self.voices = voices
        self.voice = voices[0]

    @rule(
        place=st.sampled_from(PLACES), value=st.binary(max_size=20), disturbed=st.booleans(), protocol=st.integers(2, 3)
    )
    def write_if_unchanged(self, place: Place, value: bytes, disturbed: bool, protocol: int) -> None:
        """Watches a key and writes it in a transaction, which another's write in between undoes, in any protocol."""
        key = self.key(place)
        self.await_expiry_of(key)
        with self.resp_node.resp(protocol) as connection:
            assert connection.ask("WATCH", key) == OK
            if disturbed:
                self.put(place, b"between", None, "none")
            assert connection.ask("MULTI") == OK
            assert connection.ask("SET", key, value) == QUEUED
            begin = date_ms()
            done = connection.ask("EXEC")
        assert (done == Reply("array", (OK,))) != disturbed, (done, disturbed)
        if not disturbed:
            self.model.see_written(place.partition, key, value, UNTOLD, None, Window(begin, date_ms()))


class BothAndDict(RespAndDict):
    """A machine that changes its protocol."""

    @rule(choice=st.integers(0, 2))
    def speak(self, choice: int) -> None:
        """Goes on in one of the protocols."""
        self.voice = self.voices[choice]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RespNode]:
    """A node whose sweeper looks often. Each example has keys of its own."""
    directory: Path = tmp_path_factory.mktemp("model") / "node"
    with running(RespNode(directory, {"replication.sweep_interval_ms": 50})) as node:
        yield node


def see(machine: type[NodeAndDict], examples: int) -> None:
    """Runs a machine; the same examples every time."""
    settings = hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        stateful_step_count=40,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=settings)


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_node_is_a_dict_by_resp(node: RespNode, protocol: int) -> None:
    """Whatever steps are taken, every answer is the one that the dict would give."""

    class OnThisNode(RespAndDict):
        def __init__(self) -> None:
            super().__init__(node, [RespVoice(node, protocol)])

    see(OnThisNode, 10)


def test_a_node_is_a_dict_by_both_protocols(node: RespNode) -> None:
    """Also if every step may be in another protocol: values, times to live and versions are the same in all."""

    class OnThisNode(BothAndDict):
        def __init__(self) -> None:
            super().__init__(node, [HttpVoice(node), RespVoice(node, 2), RespVoice(node, 3)])

    see(OnThisNode, 20)
