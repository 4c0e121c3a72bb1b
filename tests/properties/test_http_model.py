"""A node is a dict with versions and expiry: the same steps on both, with flushes, kills and restarts in between.

The node is a real process, asked by HTTP. What the dict says is in `model.py`, what steps are made of in `steps.py`. A
failing run prints the shortest steps that lead there; `docs/testing.md` says how to repeat it.
"""

import contextlib
import itertools
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import hypothesis
from hypothesis import HealthCheck, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from integration.node_harness import Node, wait_until
from properties.model import UNTOLD, Condition, Known, Model, Window, date_ms
from properties.steps import (
    CONDITIONS,
    PLACES,
    SHORT_MS,
    STEPS,
    TTLS_MS,
    VALUES,
    Kind,
    Place,
    Step,
)
from properties.voices import HttpVoice, Outcome, Seen, Voice

_EXAMPLES = itertools.count(1)

FAR = 1 << 32
"""So much higher is a version that nobody has been given, and that no operation of the same batch can come to have."""


class NodeAndDict(RuleBasedStateMachine):
    """The same steps on a node and on a dict."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        revive(node)
        self.node = node
        self.voice: Voice = HttpVoice(node)
        self.prefix = b"example %d/" % next(_EXAMPLES)
        self.model = Model()

    # Asking

    def key(self, place: Place) -> bytes:
        """Returns a place's key in this example."""
        return self.prefix + place.partition + place.rest

    def condition(self, key: bytes, kind: Kind) -> Condition | None:
        """Returns the condition of a kind, "right" being what holds if the model knows the key."""
        kind = self.voice.kinds.get(kind, kind)
        known = self.model.records.get(key)
        if known is not None and known.version == UNTOLD and kind in ("right", "wrong", "several"):
            self.see(key, *self.voice.read(key, "HEAD", None, stale=False))
            known = self.model.records.get(key)
        right = 0 if known is None else known.version
        return {
            "none": None,
            "absent": Condition(absent=True),
            "right": Condition(versions=(right,)),
            "wrong": Condition(versions=(right + FAR,)),
            "several": Condition(versions=(right + FAR, right)),
            "any": Condition(),
        }[kind]

    # One key

    @rule(place=st.sampled_from(PLACES), value=VALUES, ttl_ms=TTLS_MS, kind=CONDITIONS)
    def put(self, place: Place, value: bytes, ttl_ms: int | None, kind: Kind) -> None:
        """Writes, perhaps on a condition, perhaps for a time."""
        key = self.key(place)
        condition = self.condition(key, kind)
        outcome = self.voice.put(key, value, ttl_ms, condition)
        self.see_write(key, condition, outcome)
        if outcome.how == "done":
            self.model.see_written(place.partition, key, value, outcome.version, ttl_ms, outcome.asked)

    @rule(place=st.sampled_from(PLACES), kind=st.sampled_from(["none", "right", "wrong", "several", "any"]))
    def delete(self, place: Place, kind: Kind) -> None:
        """Deletes, perhaps on a condition."""
        key = self.key(place)
        condition = self.condition(key, kind)
        outcome = self.voice.delete(key, condition)
        if outcome.how == "absent":
            self.model.see_absent(key, outcome.asked)
            return
        self.see_write(key, condition, outcome)
        if outcome.how == "done":
            assert key in self.model.records, f"{key!r} is absent, and was deleted"
            self.model.see_present(key, self.model.records[key].version, outcome.asked)
            del self.model.records[key]

    def see_write(self, key: bytes, condition: Condition | None, outcome: Outcome) -> None:
        """Takes whether a write's condition held."""
        self.model.see_condition(key, condition, outcome.how == "done", outcome.present, outcome.asked)

    @rule(
        place=st.sampled_from(PLACES),
        method=st.sampled_from(["GET", "HEAD"]),
        unless=st.sampled_from(["none", "none", "right", "wrong", "several", "any"]),
        stale=st.booleans(),
    )
    def read(self, place: Place, method: str, unless: Kind, stale: bool) -> None:
        """Reads, perhaps unless the version is known."""
        key = self.key(place)
        condition = self.condition(key, unless)
        self.see(key, *self.voice.read(key, method, condition, stale))

    def see(self, key: bytes, seen: Seen | None, asked: Window) -> None:
        """Takes a record as it is shown, or that a key has none."""
        if seen is None:
            self.model.see_absent(key, asked)
            return
        known = self.model.see_present(key, seen.version, asked)
        if seen.timestamp is not None:
            known.see_dates(seen.timestamp, seen.expires)
        elif seen.expires != UNTOLD:
            known.see_expiry(seen.expires)
        assert seen.value in (None, known.value), (seen, known)
        assert seen.length in (None, len(known.value)), (seen, known)

    # Many keys

    @rule(
        limit=st.integers(1, 4),
        keys_only=st.booleans(),
        start=st.one_of(st.none(), st.sampled_from(PLACES)),
        end=st.one_of(st.none(), st.sampled_from(PLACES)),
    )
    def list_pages(self, limit: int, keys_only: bool, start: Place | None, end: Place | None) -> None:
        """Lists the example's keys, or those of a range, page by page."""
        first = None if start is None else self.key(start)
        beyond = None if end is None else self.key(end)
        listed: list[bytes] = []
        begin = date_ms()
        for page, asked in self.voice.pages(self.prefix, limit, keys_only, first, beyond):
            for seen in page:
                listed.append(seen.key)
                self.see(seen.key, seen, asked)
        assert not self.voice.ordered or listed == sorted(set(listed)), "keys come in byte order, each once"
        assert all((first is None or key >= first) and (beyond is None or key < beyond) for key in listed)
        for key in sorted(self.model.records):
            if key not in listed and (first is None or key >= first) and (beyond is None or key < beyond):
                self.model.see_absent(key, Window(begin, date_ms()))

    @rule(steps=st.lists(STEPS, max_size=6), atomic=st.booleans())
    def batch(self, steps: list[Step], atomic: bool) -> None:
        """Asks for several operations at once; if atomic, on keys of one partition."""
        if atomic:
            steps = [step._replace(place=step.place._replace(partition=PLACES[0].partition)) for step in steps]
        for step in steps:
            # What expires in the middle of a batch makes its outcome a matter of luck.
            self.await_expiry_of(self.key(step.place))
        asked_for = [self.in_batch(step) for step in steps]
        results, asked = self.voice.batch([operation for operation, _ in asked_for], atomic)
        note(f"batch {asked_for} -> {results}")
        assert len(results) == len(steps)
        if self.voice.undoes and atomic and any(result["status"] == 412 for result in results):
            self.see_undone(steps, [condition for _, condition in asked_for], results)
            return
        before = dict(self.model.latest)
        written: dict[bytes, list[int]] = {}
        for step, (_, condition), result in zip(steps, asked_for, results, strict=True):
            if step.op == "put" and result["status"] == 204 and result["version"] != UNTOLD:
                # Operations on different keys of a batch have no order: only those on one key have.
                written.setdefault(step.place.partition, []).append(result["version"])
                known = self.model.records.get(self.key(step.place))
                assert known is None or result["version"] > known.version, (known, result)
                self.model.latest = dict(before)
            self.see_result(step, condition, result, asked)
        for partition, versions in written.items():
            assert len(set(versions)) == len(versions), "two values, two versions"
            self.model.latest[partition] = max(versions)

    def in_batch(self, step: Step) -> tuple[dict[str, Any], Condition | None]:
        """Returns a step as a batch's JSON, and its condition, if it can have one."""
        key = self.key(step.place)
        operation: dict[str, Any] = {"op": step.op, "key_base64": b64encode(key).decode()}
        kind: Kind = "none" if step.op == "get" or (step.op, step.kind) == ("delete", "absent") else step.kind
        condition = self.condition(key, kind)
        if condition is not None and condition.absent:
            operation["if_absent"] = True
        elif condition is not None and condition.versions is not None:
            operation["if_version"] = condition.versions[0]
        elif condition is not None:
            operation["if_present"] = True
        if step.op == "put":
            operation["value_base64"] = b64encode(step.value).decode()
            if step.ttl_ms is not None:
                operation["ttl"] = step.ttl_ms / 1000
        return operation, condition

    def see_result(self, step: Step, condition: Condition | None, result: Mapping[str, Any], asked: Window) -> None:
        """Takes the result of one operation of a batch."""
        key = self.key(step.place)
        if step.op == "get":
            assert result["status"] in (200, 404), result
            if result["status"] == 404:
                self.model.see_absent(key, asked)
            else:
                dates = result.get("timestamp"), result.get("expires")
                self.see(key, Seen(key, result["version"], result["octets"], *dates), asked)
            return
        if condition is None and step.op == "delete" and result["status"] == 404:
            self.model.see_absent(key, asked)
            return
        assert result["status"] in (204, 412), result
        self.model.see_condition(key, condition, result["status"] == 204, result.get("present"), asked)
        if result["status"] == 412:
            return
        if step.op == "put":
            self.model.see_written(step.place.partition, key, step.value, result["version"], step.ttl_ms, asked)
        else:
            assert self.model.records.pop(key, None) is not None, f"{key!r} is absent, and was deleted"

    def see_undone(
        self, steps: Sequence[Step], conditions: Sequence[Condition | None], results: Sequence[Mapping[str, Any]]
    ) -> None:
        """Takes that an atomic batch did nothing, because a condition would not have held in its turn."""
        # None: absent; -1: written by this batch, under a version that nobody can have named.
        present: dict[bytes, int | None] = {key: known.version for key, known in self.model.records.items()}
        for step, condition, result in zip(steps, conditions, results, strict=True):
            key = self.key(step.place)
            if condition is not None and not condition.holds(present.get(key)):
                assert result["status"] == 412, (step, result)
                continue
            assert (result["status"], result["code"]) == (424, "not_executed"), (step, result)
            if step.op == "put":
                present[key] = -1
            elif step.op == "delete":
                present[key] = None

    # Time, the tree, the process

    def soon_to_expire(self) -> dict[bytes, Known]:
        """Returns the records that expire while the test runs."""
        return {
            key: known
            for key, known in self.model.records.items()
            if known.ttl_ms is not None and known.ttl_ms <= SHORT_MS
        }

    def await_expiry_of(self, key: bytes) -> None:
        """Waits until a key that expires soon is absent, by the node's own clock."""
        known = self.soon_to_expire().get(key)
        if known is None:
            return

        def absent() -> bool:
            seen, asked = self.voice.read(key, "HEAD", None, stale=False)
            self.see(key, seen, asked)
            return seen is None

        wait_until(absent, f"the expiry of {key!r}: {known}", seconds=10)

    @precondition(lambda self: self.soon_to_expire())
    @rule(choice=st.integers(0, 7))
    def await_expiry(self, choice: int) -> None:
        """Waits until a key has expired."""
        expiring = sorted(self.soon_to_expire())
        self.await_expiry_of(expiring[choice % len(expiring)])

    @rule(order=st.sampled_from(["flush", "compact"]))
    def work_on_the_tree(self, order: str) -> None:
        """Flushes or compacts: nothing that is read may change."""
        self.node.storage(order)

    @rule(dice=st.integers(0, 7), how=st.sampled_from(["stop", "kill"]))
    def restart(self, dice: int, how: str) -> None:
        """Stops or kills the node, one time in eight, and starts it again: nothing that is read may change."""
        if dice == 7:
            if how == "kill":
                self.node.kill()
            else:
                self.node.stop()
            self.node.start()

    def teardown(self) -> None:
        """Compares everything once more."""
        self.list_pages(4, keys_only=False, start=None, end=None)
        for place in PLACES:
            self.read(place, "GET", "none", stale=False)


def revive(node: Node) -> None:
    """Starts the node if an example before this one has brought it down: that was its failure, not this one's."""
    with contextlib.suppress(OSError):
        if node.ask("GET", "/readyz").status == 200:
            return
    if node.running:
        node.kill()
    node.start()


def test_a_read_never_says_that_a_write_may_have_happened(node: Node) -> None:
    """A deadline that passes while a read removes an expired record is "not done": who reads has nothing to doubt."""
    for number in range(50):
        key = b"soon gone/%d" % number
        assert node.put(key, b"", query="?ttl=0.001").status == 204
        assert node.get(key, X_CoreCache_Timeout="1").status in (200, 404, 503)
        listed = node.ask("GET", f"/v1/kv?prefix={quote(key, safe='')}", headers={"X-CoreCache-Timeout": "1"})
        assert listed.status in (200, 503)


def test_a_node_is_a_dict_with_versions_and_expiry(node: Node) -> None:
    """Whatever steps are taken, every answer is the one that the dict would give."""

    class OnThisNode(NodeAndDict):
        def __init__(self) -> None:
            super().__init__(node)

    settings = hypothesis.settings(
        max_examples=15,
        stateful_step_count=40,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(OnThisNode, settings=settings)
