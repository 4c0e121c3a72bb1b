"""How the model test asks a node: by HTTP here, by Redis's protocol in `integration/test_resp_model.py`.

A voice asks, judges how the answer looks, and returns what it says of keys and versions; whether that may be so is the
model's to judge. What a protocol does not tell of a record is None, but for a version: `UNTOLD`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import quote

from hypothesis import note

from integration.node_harness import Answer, Node, key_target
from properties.model import UNTOLD, Condition, Window, date_ms
from properties.steps import Kind, headers_of, octets_of, tags_of


class Outcome(NamedTuple):
    """What became of a write. `present` is the version that a condition met, None if there was no record."""

    how: Literal["done", "absent", "refused"]
    asked: Window
    version: int = UNTOLD
    present: int | None = None


class Seen(NamedTuple):
    """A record as it was shown. `value` and `timestamp` may not have been told (None), nor its end (`UNTOLD`)."""

    key: bytes
    version: int
    value: bytes | None
    timestamp: int | None
    expires: int | None
    length: int | None = None


class Voice(Protocol):
    """Asks a node."""

    kinds: Mapping[Kind, Kind]
    """The kind of condition that stands for each, where it can't say all."""
    undoes: bool
    """Whether one operation that fails undoes all of an atomic batch."""
    ordered: bool
    """Whether a listing is in byte order, and each key once."""

    def put(self, key: bytes, value: bytes, ttl_ms: int | None, condition: Condition | None) -> Outcome:
        """Writes."""

    def delete(self, key: bytes, condition: Condition | None) -> Outcome:
        """Deletes; without a condition, an absent key is "absent"."""

    def read(self, key: bytes, method: str, unless: Condition | None, stale: bool) -> tuple[Seen | None, Window]:
        """Reads the value, or (HEAD) only whether it is there; None if the key is absent."""

    def pages(
        self, prefix: bytes, limit: int, keys_only: bool, start: bytes | None, end: bytes | None
    ) -> Iterator[tuple[list[Seen], Window]]:
        """Lists, page by page."""

    def batch(self, operations: Sequence[Mapping[str, Any]], atomic: bool) -> tuple[list[Any], Window]:
        """Carries out operations as in a batch by HTTP; returns the results as there, values as `octets`."""


class HttpVoice:
    """Asks by HTTP."""

    kinds: Mapping[Kind, Kind] = {}
    undoes = True
    ordered = True

    def __init__(self, node: Node) -> None:
        self._node = node

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Answer, Window]:
        """Asks the node; returns the answer, and between which dates it was made."""
        begin = date_ms()
        try:
            answer = self._node.ask(method, target, body, headers)
        except OSError as error:
            raise AssertionError(f"no answer to {method} {target}:\n{self._node.log()}") from error
        window = Window(begin, date_ms())
        note(f"{method} {target} {dict(headers or {})} -> {answer.status} {dict(answer.headers)} {window}")
        return answer, window

    def put(self, key: bytes, value: bytes, ttl_ms: int | None, condition: Condition | None) -> Outcome:
        """Puts."""
        query = "" if ttl_ms is None else f"?ttl={ttl_ms / 1000:.3f}"
        outcome = self._outcome(*self.ask("PUT", key_target(key, query), value, headers_of(condition)))
        assert (outcome.how == "done") == (outcome.version != UNTOLD), outcome
        return outcome

    def delete(self, key: bytes, condition: Condition | None) -> Outcome:
        """Deletes."""
        answer, asked = self.ask("DELETE", key_target(key), headers=headers_of(condition))
        if condition is None and answer.status == 404:
            assert answer.json["code"] == "key_not_found"
            return Outcome("absent", asked)
        return self._outcome(answer, asked)

    def _outcome(self, answer: Answer, asked: Window) -> Outcome:
        assert answer.status in (204, 412), (answer, self._node.log())
        if answer.status == 204:
            return Outcome("done", asked, answer.version if "etag" in answer.headers else UNTOLD)
        assert (answer.json["code"], answer.json["outcome"]) == ("condition_failed", "not_done")
        return Outcome("refused", asked, present=answer.version if "etag" in answer.headers else None)

    def read(self, key: bytes, method: str, unless: Condition | None, stale: bool) -> tuple[Seen | None, Window]:
        """Gets, or asks for the head."""
        headers = {} if unless is None else {"If-None-Match": tags_of(unless)}
        answer, asked = self.ask(method, key_target(key, "?consistency=stale" if stale else ""), headers=headers)
        assert ("x-corecache-sequence" in answer.headers) == stale or answer.status == 304, answer
        if answer.status == 404:
            return None, asked
        unchanged = unless is not None and unless.holds(answer.version)
        assert answer.status == (304 if unchanged else 200), (answer, self._node.log())
        if unchanged:
            return Seen(key, answer.version, None, None, UNTOLD), asked
        assert answer.headers["content-type"] == "application/octet-stream"
        expires = answer.headers.get("x-corecache-expires")
        length = int(answer.headers["content-length"])
        assert len(answer.body) == (length if method == "GET" else 0)
        value = answer.body if method == "GET" else None
        timestamp = int(answer.headers["x-corecache-timestamp"])
        return Seen(key, answer.version, value, timestamp, None if expires is None else int(expires), length), asked

    def pages(
        self, prefix: bytes, limit: int, keys_only: bool, start: bytes | None, end: bytes | None
    ) -> Iterator[tuple[list[Seen], Window]]:
        """Lists, page by page."""
        query = f"/v1/kv?prefix={quote(prefix, safe='')}&limit={limit}&keys_only={str(keys_only).lower()}"
        query += "" if start is None else f"&start={quote(start, safe='')}"
        query += "" if end is None else f"&end={quote(end, safe='')}"
        cursor = ""
        while True:
            answer, asked = self.ask("GET", query + cursor)
            assert answer.status == 200, (answer, self._node.log())
            assert len(answer.json["items"]) <= limit
            yield [_seen(item, keys_only) for item in answer.json["items"]], asked
            if answer.json["cursor"] is None:
                return
            cursor = f"&cursor={answer.json['cursor']}"

    def batch(self, operations: Sequence[Mapping[str, Any]], atomic: bool) -> tuple[list[Any], Window]:
        """Posts a batch."""
        body = json.dumps({"atomic": atomic, "operations": operations}).encode()
        answer, asked = self.ask("POST", "/v1/batch", body, {"Content-Type": "application/json"})
        assert answer.status == 200, (answer, self._node.log())
        results: list[Any] = answer.json["results"]
        for result in results:
            if result["status"] == 200:
                result["octets"] = octets_of(result, "value")
        return results, asked


def _seen(item: Mapping[str, Any], keys_only: bool) -> Seen:
    if keys_only:
        assert "value" not in item
        assert "value_base64" not in item
    value = None if keys_only else octets_of(item, "value")
    return Seen(octets_of(item, "key"), item["version"], value, item["timestamp"], item.get("expires"))
