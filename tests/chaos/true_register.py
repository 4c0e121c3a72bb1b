"""A register that is one, asked by clients that overlap, whose answers come late or get lost: the source of histories.

It shares no line with the model that the judge holds against it: a value, a version that counts, an expiry date.
"""

import random
from typing import Any

from chaos.histories import MS
from corecache.chaos.history import ABSENT, PRESENT, Call


class TrueRegister:
    def __init__(self) -> None:
        self.value: str | None = None
        self.version = 0
        self.expires = 0
        self._counted = 0

    def ask(self, now: int, asked: dict[str, Any]) -> dict[str, Any]:
        """Does what was asked at a moment, in ms, and returns what there is to answer."""
        if self.expires and self.expires <= now:
            self.value, self.version, self.expires = None, 0, 0
        kind, condition = asked["kind"], asked.get("condition")
        if kind == "get":
            return {"outcome": "done", "value": self.value, "version": self.version}
        holds = {None: True, ABSENT: self.value is None, PRESENT: self.value is not None}
        if not holds.get(condition, self.version == condition) or (kind == "delete" and self.value is None):
            return {"outcome": "failed", "version": self.version}
        self._counted += 1
        if kind == "delete":
            self.value, self.version, self.expires = None, 0, 0
            return {"outcome": "done"}
        self.version = self._counted
        if kind == "add":
            self.value = str(int(self.value or "0") + asked["amount"])
            return {"outcome": "done", "value": self.value}
        self.value = asked["value"]
        self.expires = now + asked["ttl_ms"] if asked.get("ttl_ms") else 0
        return {"outcome": "done", "version": self.version}


def observed(dice: random.Random, calls: int, clients: int, style: str, lost: float = 0.15) -> list[Call]:
    """Gives what clients noted of a true register. `lost` is how likely a call has no answer; it may still act late.

    The last call is a get by client -1, when nothing is under way any more.
    """
    free = [0] * clients
    asked: list[tuple[int, int, int, dict[str, Any], str]] = []
    for number in range(calls):
        client = min(range(clients), key=lambda one: free[one])
        begin = free[client] + dice.randint(1, 4)
        free[client] = end = begin + dice.randint(0, 12)
        fate = dice.choices(["answered", "lost", "not_done"], [1 - lost - 0.02, lost, 0.02])[0]
        acts = dice.randint(begin, end) if fate == "answered" else begin + dice.choice([0, 3, 40, 300])
        asked.append((acts, begin, end, _question(dice, style, number, client), fate))
    register = TrueRegister()
    history = []
    for acts, begin, end, question, fate in sorted(asked, key=lambda each: each[0]):
        noted = dict(question)
        if noted.get("condition") == "version":
            question["condition"] = noted["condition"] = dice.choice([register.version or 1, 1 + dice.randrange(9)])
        if fate == "answered":
            answer = register.ask(acts, question)
            if question["protocol"] == "resp":
                answer["version"] = None
            noted |= answer
        elif fate == "lost":
            if dice.random() < 0.6:
                register.ask(acts, question)
            noted["outcome"] = "unknown"
        else:
            noted["outcome"] = "not_done"
        history.append(Call(node="n1", key="k", begin_ns=begin * MS, end_ns=end * MS, **noted))
    begin_ns = max([each.end_ns for each in history] + [acts * MS for acts, *_ in asked]) + MS
    answer = register.ask(begin_ns // MS, {"kind": "get"})
    final: dict[str, Any] = {"client": -1, "protocol": "http", "node": "n1", "kind": "get", "key": "k"}
    history.append(Call(begin_ns=begin_ns, end_ns=begin_ns + MS, **final, **answer))
    return sorted(history, key=lambda each: (each.begin_ns, each.client))


def _question(dice: random.Random, style: str, number: int, client: int) -> dict[str, Any]:
    question: dict[str, Any] = {"client": client, "protocol": dice.choice(["http", "resp"])}
    kinds = {"counter": ["get", "add"], "mixed": ["get", "put", "delete", "add"]}.get(
        style, ["get", "put", "put", "delete"]
    )
    kind = question["kind"] = dice.choice(kinds)
    if kind == "add":
        question["amount"] = dice.choice([1, 1, 2, 5] if style == "counter" else [-1, 1, 2])
    if kind == "put":
        question["value"] = str(number + 1) if style == "mixed" else f"v{number}"
        question["condition"] = dice.choice([None, None, ABSENT, PRESENT, "version"])
        if style in ("ttl", "mixed"):
            question["ttl_ms"] = dice.choice([None, 5, 30])
    if kind == "delete":
        question["condition"] = dice.choice([None, None, PRESENT, "version"])
    return question
