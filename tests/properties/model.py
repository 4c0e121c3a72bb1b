"""What a node must answer: a dict with versions, dates and expiry, judged from outside.

The model knows the records that were acknowledged. A date is the node's to choose, but it lies between the sending of
the request and its answer (both run on this machine's clock), and from the first time that it is seen it is the same
for ever. So is the expiry: exactly the time to live later. Around that moment, and only there, the model takes both
"present" and "absent" for an answer, and from then on expects what was answered.

Rule: a method of the model is told what the node said, asserts that it may say so, and then holds it to that.
"""

import time
from dataclasses import dataclass, field
from typing import NamedTuple

EDGE_MS = 2
"""What the machine's clock may be set back while a test runs."""
UNTOLD = 0
"""The version of a record as a protocol tells it that has no versions: of some."""


class Window(NamedTuple):
    """The time between a request and its answer, as dates in milliseconds."""

    begin: int
    end: int


def date_ms() -> int:
    """Returns the date."""
    return time.time_ns() // 1_000_000


@dataclass
class Known:
    """An acknowledged record; `timestamp` is None until the node has told it, and `version` may be `UNTOLD`.

    `after`: the latest version of its partition that was told before it.
    """

    value: bytes
    version: int
    ttl_ms: int | None
    accepted: Window
    timestamp: int | None = None
    after: int = 0

    def expiry(self) -> Window | None:
        """Returns the earliest and the latest date at which it may expire, None if it never does."""
        if self.ttl_ms is None:
            return None
        first, last = self.accepted if self.timestamp is None else (self.timestamp, self.timestamp)
        return Window(first + self.ttl_ms - EDGE_MS, last + self.ttl_ms + EDGE_MS)

    def see_dates(self, timestamp: int, expires: int | None) -> None:
        """Takes what the node says of this record's dates."""
        if self.timestamp is None:
            assert self.accepted.begin - EDGE_MS <= timestamp <= self.accepted.end + EDGE_MS, (timestamp, self)
            self.timestamp = timestamp
        assert timestamp == self.timestamp, "a record's timestamp never changes"
        assert expires == (None if self.ttl_ms is None else timestamp + self.ttl_ms), (expires, self)

    def see_expiry(self, expires: int | None) -> None:
        """Takes what the node says of this record's end, by a protocol that does not tell of its beginning."""
        assert (expires is None) == (self.ttl_ms is None), (expires, self)
        if expires is not None:
            assert self.ttl_ms is not None
            self.see_dates(expires - self.ttl_ms, expires)


@dataclass
class Condition:
    """The condition of a write: the key is absent, or has one of these versions, or (None) any."""

    absent: bool = False
    versions: tuple[int, ...] | None = None

    def holds(self, present: int | None) -> bool:
        """Says whether it holds for a key with this version, None if it is absent."""
        if self.absent:
            return present is None
        return present is not None and (self.versions is None or present in self.versions)


@dataclass
class Model:
    """The records, and the latest version that each partition has given. `partition` is any name for one."""

    records: dict[bytes, Known] = field(default_factory=dict)
    latest: dict[bytes, int] = field(default_factory=dict)

    def see_present(self, key: bytes, version: int, asked: Window) -> Known:
        """Takes that a key had a record of this version at some moment of the request."""
        assert key in self.records, f"{key!r} is absent, and the node shows version {version}"
        known = self.records[key]
        if known.version == UNTOLD != version:
            assert version > known.after, (version, known)
            known.version = version
        assert version in (UNTOLD, known.version), (version, known)
        expiry = known.expiry()
        assert expiry is None or asked.begin <= expiry.end, f"expired before it was asked for: {known}, {asked}"
        return known

    def see_absent(self, key: bytes, asked: Window) -> None:
        """Takes that a key had no record at some moment of the request. From now on it is absent."""
        known = self.records.pop(key, None)
        if known is not None:
            expiry = known.expiry()
            assert expiry is not None, f"lost: {key!r}, {known}"
            assert asked.end >= expiry.begin, f"absent before it expired: {key!r}, {known}, {asked}"

    def see_condition(
        self, key: bytes, condition: Condition | None, done: bool, present: int | None, asked: Window
    ) -> None:
        """Takes that a condition held (`done`), or did not, since the key had the version `present`."""
        if condition is None:
            assert done, f"refused without a condition: {key!r}"
        elif done:
            if condition.absent:
                self.see_absent(key, asked)
            else:
                assert key in self.records, f"{key!r} is absent, and the condition held"
                version = self.records[key].version
                assert condition.holds(version), (condition, version)
                self.see_present(key, version, asked)
        else:
            assert not condition.holds(present), (condition, present)
            if present is None:
                self.see_absent(key, asked)
            else:
                self.see_present(key, present, asked)

    def see_written(
        self, partition: bytes, key: bytes, value: bytes, version: int, ttl_ms: int | None, asked: Window
    ) -> None:
        """Takes that a value was accepted and became this version."""
        latest = self.latest.get(partition, 0)
        if version != UNTOLD:
            assert version > latest, f"version {version} of {key!r} is not new"
            self.latest[partition] = version
        self.records[key] = Known(value, version, ttl_ms, asked, after=latest)
