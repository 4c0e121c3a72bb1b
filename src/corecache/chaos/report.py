"""What a campaign has to tell: one value that is the JSON, and the ground of the page of text and of the picture."""

from typing import Literal

import msgspec

Verdict = Literal["passed", "violation", "void"]


class Fault(msgspec.Struct, frozen=True):
    """A fault: its kind, whom it struck, when (seconds from the campaign's start), and what clients saw of it.

    `unavailable_s` is the longest time, begun or gone on during the fault, in which some partition was asked and
    answered nobody with success.
    """

    kind: str
    target: str
    began_s: float
    ended_s: float
    unavailable_s: float


class Violation(msgspec.Struct, frozen=True):
    """What must not be: which rule, of which key (or partition), in a sentence, and the least history that shows it."""

    rule: str
    subject: str
    sentence: str
    history: list[str]


class Second(msgspec.Struct, frozen=True):
    """What was answered in one second of the campaign, counted by when the answer came; latencies in ms, 0 if none."""

    at_s: int
    done: int
    not_done: int
    unknown: int
    read_p50_ms: float
    read_p99_ms: float
    write_p50_ms: float
    write_p99_ms: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole campaign. `operations` counts calls by outcome, `not_run` says why a kind of fault did not happen.

    `missed` are faults that were aimed at a moment of their kind, and struck at another: none of them is in `faults`.
    """

    seed: int
    nodes: int
    zookeepers: int
    verdict: Verdict
    why: str
    seconds: float
    rounds: int
    operations: dict[str, int]
    protocols: dict[str, int]
    faults: list[Fault]
    missed: list[Fault]
    not_run: dict[str, str]
    violations: list[Violation]
    timeline: list[Second]
    replay: str
    version: str
