"""What the clients of a campaign ask next, drawn from a seed. Pure: nothing is sent here, and no clock is read.

Rule 1: the same seed and prefix, the same clients in the same turn and the same answers give the same operations.
Rule 2: no value is written twice, and each can be told from any other by its first bytes (`octets_of`, `head_of`).
Rule 3: the history of a key stays short enough to be judged: after so many calls, or so many unknown outcomes, its
generation is retired and a new key takes its place. What is retired is still read now and then, and never written.

There are four families of keys. *Registers* are put, deleted and read, on every condition that a protocol has.
*Counters* are only added to, over Redis's protocol. *Mortals* are put with a time to live. A *ledger* key is written
once and only read from then on: what was acknowledged has to be there at the end.

A few keys of each family are asked far more often than the others, so that calls on one key overlap. A version in a
condition is the one that this client saw last, which is right often and outdated often.
"""

import random
from collections import deque
from typing import Literal

import msgspec

from corecache.chaos.history import ABSENT, PRESENT, Call, Kind, Protocol

Family = Literal["register", "counter", "mortal", "ledger"]

CALLS_MAX = 120
"""So many calls end a key's generation."""

UNKNOWN_MAX = 6
"""So many unknown outcomes do too: each doubles what the judge may have to try."""

_PLACES: dict[Family, int] = {"register": 24, "counter": 6, "mortal": 12}
_FAMILIES: tuple[Family | None, ...] = ("register", "counter", "mortal", "ledger", None)
_SHARES = (62, 14, 12, 6, 6)
"""Of a hundred calls: to each family, the last to read what is written no more."""

_RETIRED_MAX = 200
_TAGGED_EACH = 4
_TAGS = 5
_TTL_MS = (1_000, 10_000)
_READ_SHARES: dict[Family, float] = {"register": 0.44, "counter": 0.5, "mortal": 0.8}
"""Mortals are read most, and put seldom enough that they expire in between."""

_LARGE_SHARE = 0.08
_LARGE_BYTES = (1_024, 20_480)
_SMALL_BYTES = (0, 120)

_HTTP_WRITES = ("put", "put if absent", "put if version", "delete", "delete if version")
_HTTP_WEIGHTS = (42, 11, 23, 9, 15)
_RESP_WRITES = ("put", "put if absent", "put if present", "delete")
_RESP_WEIGHTS = (52, 16, 16, 16)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is to ask, in the words of `history.Call`; `size_bytes` is how long the written value is to be."""

    family: Family
    kind: Kind
    key: str
    value: str | None = None
    size_bytes: int = 0
    amount: int = 0
    condition: int | None = None
    ttl_ms: int | None = None


class _Generation:
    """A key in its place: what was asked of it so far, and the version that each client saw last."""

    __slots__ = ("calls", "key", "number", "unknown", "versions")

    def __init__(self, key: str, number: int) -> None:
        self.key = key
        self.number = number
        self.calls = 0
        self.unknown = 0
        self.versions: dict[int, int] = {}


class Workload:
    """What all clients are to ask. Keys begin with `prefix`, which has to be the campaign's own."""

    def __init__(self, seed: int, prefix: str) -> None:
        self._seed = seed
        self._prefix = prefix
        self._dice: dict[int, random.Random] = {}
        self._families: dict[str, Family] = {}
        self._values = 0
        self._ledger = 0
        self._retired: deque[str] = deque(maxlen=_RETIRED_MAX)
        self._entries: deque[str] = deque(maxlen=_RETIRED_MAX)
        self._by_key: dict[str, tuple[Family, int]] = {}
        self._places: dict[Family, list[_Generation]] = {}
        for family, count in _PLACES.items():
            self._places[family] = [self._generation(family, place, 1) for place in range(count)]

    def next(self, client: int, protocol: Protocol) -> Operation:
        """Returns what a client asks next, over the protocol that it speaks."""
        dice = self._dice_of(client)
        family = dice.choices(_FAMILIES, _SHARES)[0]
        finished = self._retired if dice.random() < 0.5 else self._entries
        if family is None and finished:
            operation = self.reading(dice.choice(finished))
        elif family == "ledger":
            operation = self._entry(dice)
        else:
            operation = self._live(dice, family or "register", client, protocol)
        self._families[operation.key] = operation.family
        return operation

    def seen(self, client: int, call: Call) -> None:
        """Takes what a client was told: versions for its next conditions, and what makes a key's history long."""
        found = self._by_key.get(call.key)
        if found is None:
            return
        family, place = found
        generation = self._places[family][place]
        if call.outcome == "unknown":
            generation.unknown += 1
        elif call.kind == "delete" and call.outcome == "done":
            generation.versions[client] = ABSENT
        elif call.version is not None:
            generation.versions[client] = call.version
        if generation.calls >= CALLS_MAX or generation.unknown >= UNKNOWN_MAX:
            self._retire(family, place)

    def keys(self) -> list[str]:
        """Returns all keys asked so far, in the order in which they first were."""
        return list(self._families)

    def reading(self, key: str) -> Operation:
        """Returns the operation to read a key that was asked before. Raises: KeyError for another."""
        return Operation(family=self._families[key], kind="get", key=key)

    def dice(self, name: str) -> random.Random:
        """Returns new dice: others for each seed, each prefix and each name."""
        return random.Random(f"{self._seed}/{self._prefix}/{name}")  # noqa: S311 they keep no secret

    # What is asked next.

    def _live(self, dice: random.Random, family: Family, client: int, protocol: Protocol) -> Operation:
        places = self._places[family]
        # The square makes the first places hot: of 24, the first is asked at every fifth call. Mortals have to wait.
        chance = dice.random() if family == "mortal" else dice.random() ** 2
        generation = places[int(len(places) * chance)]
        generation.calls += 1
        if dice.random() < _READ_SHARES[family] or (family == "counter" and protocol == "http"):
            return Operation(family=family, kind="get", key=generation.key)
        if family == "counter":
            amount = 1 if dice.random() < 0.5 else dice.randint(2, 9)
            return Operation(family=family, kind="add", key=generation.key, amount=amount)
        if family == "mortal":
            least, most = _TTL_MS
            ttl_ms = least + int((most - least) * dice.random() ** 3)
            return self._put(dice, family, generation.key, ttl_ms=ttl_ms)
        return self._write(dice, generation, client, protocol)

    def _write(self, dice: random.Random, generation: _Generation, client: int, protocol: Protocol) -> Operation:
        names, weights = (_HTTP_WRITES, _HTTP_WEIGHTS) if protocol == "http" else (_RESP_WRITES, _RESP_WEIGHTS)
        kind, _, name = dice.choices(names, weights)[0].partition(" if ")
        condition = None
        match name:
            case "absent":
                condition = ABSENT
            case "present":
                condition = PRESENT
            case "version":
                condition = generation.versions.get(client, ABSENT)
        if kind == "put":
            return self._put(dice, "register", generation.key, condition)
        # A delete can't ask for the absence of what it deletes.
        return Operation(family="register", kind="delete", key=generation.key, condition=condition or None)

    def _entry(self, dice: random.Random) -> Operation:
        self._ledger += 1
        key = self._name("ledger", self._ledger, 1)
        self._entries.append(key)
        return self._put(dice, "ledger", key, ABSENT if dice.random() < 0.3 else None)

    def _put(
        self, dice: random.Random, family: Family, key: str, condition: int | None = None, ttl_ms: int | None = None
    ) -> Operation:
        self._values += 1
        size_bytes = dice.randint(*(_LARGE_BYTES if dice.random() < _LARGE_SHARE else _SMALL_BYTES))
        return Operation(
            family=family,
            kind="put",
            key=key,
            value=f"v{self._values}",
            size_bytes=size_bytes,
            condition=condition,
            ttl_ms=ttl_ms,
        )

    # Keys.

    def _generation(self, family: Family, place: int, number: int) -> _Generation:
        key = self._name(family, place, number)
        self._by_key[key] = (family, place)
        return _Generation(key, number)

    def _retire(self, family: Family, place: int) -> None:
        old = self._places[family][place]
        del self._by_key[old.key]
        self._retired.append(old.key)
        self._places[family][place] = self._generation(family, place, old.number + 1)

    def _name(self, family: Family, place: int, number: int) -> str:
        """Names a key; some have a hash tag, and those with one tag share a partition."""
        turn, rest = divmod(place + number, _TAGGED_EACH)
        tag = "" if rest else f"{{t{turn % _TAGS}}}"
        return f"{self._prefix}{tag}/{family}/{place}/r{number}"

    def _dice_of(self, client: int) -> random.Random:
        if client not in self._dice:
            self._dice[client] = self.dice(f"wishes of {client}")
        return self._dice[client]


def octets_of(head: str, size_bytes: int) -> bytes:
    """Returns a value that names itself twice, and its length; as long as asked, or as short as that takes.

    With a name that stood in it once, a changed digit would make it another's value. Requires: less than 100,000 bytes.
    """
    length = max(size_bytes, 2 * len(head) + 7)
    pattern = f"{head}."
    return (f"{head}/{length:05}/" + pattern * (length // len(pattern) + 1))[:length].encode()


def head_of(octets: bytes) -> str | None:
    """Returns the head of a value, None if these are not exactly the bytes that `octets_of` makes."""
    head = octets[:32].partition(b"/")[0]
    if not (head[:1] == b"v" and head[1:].isdigit()):
        return None
    name = head.decode()
    return name if octets == octets_of(name, len(octets)) else None
