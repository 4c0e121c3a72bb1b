"""Canaries: one rule of the protocol broken on purpose, so that it can be seen that the checks would notice.

A check that has never failed proves nothing. Each canary takes the place of a few small methods, only while a run goes
on and only in the process of the simulator; nothing but the simulator imports this module. Each flies in a weather of
its own, a sharp run with the few kinds of faults that its rule is for, and must be found guilty of a *safety* violation
within the number of seeds that stands beside it: several times as many as it takes on average.

Some rules have a second line of defence that hides that the first is broken. Then a canary breaks both, and says so.

How a canary flies: `with canary.flying(): run(draw(seed, weather=canary.weather))`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from corecache.replication.backup import Backup
from corecache.replication.backups import Backups
from corecache.replication.grants import Grants
from corecache.replication.machine import Machine
from corecache.replication.membership import Membership
from corecache.replication.primary import Primary
from corecache.replication.replica import Replica
from corecache.replication.roles import Roles
from corecache.simulator import mutations
from corecache.simulator.driver import Driver
from corecache.simulator.options import FRENZIED
from corecache.simulator.service import Service

Patch = tuple[type[Any], str, Callable[[Any], Any]]
"""A class, the name of a method, and what makes the false method of the true one."""


class Canary(NamedTuple):
    """A rule broken on purpose. `faults`: what comes in a frenzy; `seeds`: within how many, from 0 on, it is caught."""

    name: str
    rule: str
    breaks: str
    faults: tuple[str, ...]
    seeds: int
    patches: tuple[Patch, ...]

    @property
    def weather(self) -> dict[str, int]:
        """Returns how often which fault comes in its runs."""
        return dict.fromkeys(self.faults, FRENZIED)

    @contextmanager
    def flying(self) -> Iterator[None]:
        """Breaks the rule for a while."""
        true = [(owner, name, owner.__dict__[name]) for owner, name, _ in self.patches]
        try:
            for (owner, name, method), (_, _, make) in zip(true, self.patches, strict=True):
                setattr(owner, name, make(method))
            yield
        finally:
            for owner, name, method in true:
                setattr(owner, name, method)


CANARIES: Final = (
    Canary(
        "no-grant-wait",
        "R10",
        "a new primary does not wait until the leases that it has granted have run out",
        ("refused", "watches"),
        40,
        ((Grants, "have_ended", mutations.always(True)),),
    ),
    Canary(
        "no-union",
        "R4, R18",
        "the members of an unsettled proposal are not counted in the required set, nor is meanwhile who joins",
        ("unanswered", "kill"),
        40,
        ((Membership, "count", mutations.counts_no_proposal),),
    ),
    Canary(
        "same-epoch-after-restart",
        "R14",
        "a primary that has started again goes on in its old epoch",
        ("kill",),
        40,
        ((Roles, "lead_again", mutations.same_epoch),),
    ),
    Canary(
        "acknowledge-before-disk",
        "R3",
        "a backup acknowledges what it has received and not yet synced",
        ("slow_disk",),
        40,
        ((Backup, "_acknowledged", mutations.acknowledges_what_is_matched),),
    ),
    Canary(
        "serve-before-barrier",
        "R10",
        "a primary answers reads when its barrier is appended, and not applied",
        ("kill", "slow_disk", "handover"),
        80,
        ((Primary, "may_answer", mutations.serves_when_begun),),
    ),
    Canary(
        "add-before-activation",
        "R12",
        "a primary that is not activated takes members in; nor does it wait for its barrier to serve those who join",
        ("relay",),
        200,
        (
            (Membership, "decide", mutations.decides_as_if_activated),
            (Membership, "_handed_over", mutations.hands_over_when_activated),
            (Backups, "_takes_joiners", mutations.always(True)),
        ),
    ),
    Canary(
        "released-early",
        "R13",
        "`Released` is said with the proposal to hand over, not when that is accepted",
        ("crossed", "handover"),
        40,
        ((Membership, "decide", mutations.releases_with_the_proposal),),
    ),
    Canary(
        "lease-from-answer",
        "R8",
        "a lease is counted from the time of the answer, not of the beat",
        ("stutter",),
        40,
        ((Machine, "_on_grant", mutations.counts_from_the_answer),),
    ),
    Canary(
        "grants-without-incarnation",
        "R8",
        "grants are matched by the number of the beat alone, whatever start of a node they were meant for",
        ("echo",),
        80,
        ((Machine, "received", mutations.takes_grants_of_all_incarnations),),
    ),
    Canary(
        "acknowledge-beyond-match",
        "R1",
        "a backup acknowledges all that its disk has, matched in this epoch or not; "
        "nor does a primary halt that hears of more than it has",
        ("deaf", "refused", "handover"),
        200,
        (
            (Backup, "_acknowledged", mutations.acknowledges_what_is_durable),
            (Backups, "on_replicated", mutations.counts_no_further_than_its_log),
        ),
    ),
    Canary(
        "commit-beyond-match",
        "R1",
        "a backup believes the primary's commit point for all of its own log",
        ("deaf",),
        80,
        ((Backup, "_commit_limit", mutations.believes_every_commit_point),),
    ),
    Canary(
        "read-before-activation",
        "R7",
        "a record that was fetched before the primary was activated is answered afterwards",
        ("refused", "kill", "handover"),
        80,
        (
            (Service, "epoch_before", mutations.fetches_at_any_time),
            (Service, "epoch_after", mutations.looks_only_after_the_fetch),
        ),
    ),
    Canary(
        "blind-retry",
        "R18",
        "a proposal that was refused is made again on the newer version",
        ("unanswered", "crossed", "suspended"),
        200,
        ((Replica, "_on_view_refused", mutations.proposes_it_again),),
    ),
    Canary(
        "wiped-node-trusted",
        "R14",
        "a node whose disk was wiped makes its empty replica under the id that the view has for it",
        ("wipe",),
        40,
        ((Driver, "_id_of_empty", mutations.takes_the_old_id),),
    ),
    Canary(
        "condition-without-lease",
        "R7",
        "an answer that wrote nothing, as a failed condition, is given without the checks of a read",
        ("stutter", "deaf", "refused"),
        80,
        ((Primary, "_answer", mutations.answers_all),),
    ),
)
"""All of them."""


def named(name: str) -> Canary | None:
    """Returns a canary, None if there is none of that name."""
    return next((canary for canary in CANARIES if canary.name == name), None)
