"""What the clients of a campaign asked, what they were told, and when: the evidence, and all that the judge sees.

Rule 1: a call is noted as the client saw it. What the answer left open stays open (`unknown`); nothing is guessed.
Rule 2: each value that is written is written once in a campaign, so a value found names its writer. Counters are the
exception: their keys are only ever added to, and their values are decimal numbers.
Rule 3: times are nanoseconds of one steady clock of this machine, from the campaign's start.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import msgspec

Kind = Literal["get", "put", "delete", "add"]
Outcome = Literal["done", "failed", "not_done", "unknown"]
Protocol = Literal["http", "resp"]

READER = -1
"""The number of the client that reads everything when all faults are over."""

ABSENT = 0
"""As a version: the key has no record. As a condition: it must have none."""

PRESENT = -1
"""As a condition: the key must have a record, of whatever version."""


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client asked of a key, and what it was told.

    `outcome`: *done* took effect, or read; *failed* was answered and had no effect, since its condition did not hold or
    there was nothing to delete; *not_done* surely had no effect; *unknown* may have had its effect at any time after
    `begin_ns`, or never. `end_ns` is when the answer was there, or the client gave up.

    `value` is what a put wrote, what a get found (None: absent), or the sum that an add answered; None if unanswered.
    `amount` is what an add adds. `condition`: None, ABSENT, PRESENT, or the version that the key must have. `version`:
    of what was written or found, ABSENT if there is no record, of what stood in the way if it failed; None if the
    protocol does not tell. `ttl_ms` is the life of what a put wrote. `detail` is the error's code.
    """

    client: int
    protocol: Protocol
    node: str
    kind: Kind
    key: str
    begin_ns: int
    end_ns: int
    outcome: Outcome
    value: str | None = None
    amount: int = 0
    condition: int | None = None
    version: int | None = None
    ttl_ms: int | None = None
    detail: str = ""


def history_of(file: Path, keys: Collection[str]) -> dict[str, list[Call]]:
    """Returns the calls of some keys, in the order in which they were written: a line each, as JSON."""
    calls: dict[str, list[Call]] = {key: [] for key in keys}
    with file.open("rb") as lines:
        for line in lines:
            call = msgspec.json.decode(line, type=Call)
            if call.key in calls:
                calls[call.key].append(call)
    return calls
