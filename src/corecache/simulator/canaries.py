"""Canaries: one rule of the protocol broken on purpose, so that it can be seen that the checks would notice.

A check that has never failed proves nothing. Each canary takes the place of a few small methods, only while a run goes
on and only in the process of the simulator; nothing but the simulator imports this module. The run must then be found
guilty of a *safety* violation within a number of seeds that stands beside the canary.

Some rules have a second line of defence that hides that the first is broken. Then a canary breaks both, and says so.

How a canary flies: `with canary.flying(): run(draw(seed))`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import msgspec

from corecache.identity import Epoch, Member, Milliseconds, NodeId, ReplicaId, Sequence
from corecache.placement.view import View
from corecache.replication.actions import Action, Answer, ProposeView
from corecache.replication.backup import Backup
from corecache.replication.backups import Backups
from corecache.replication.events import ViewRefused
from corecache.replication.grants import Grants
from corecache.replication.machine import Asked, Machine
from corecache.replication.membership import Membership
from corecache.replication.messages import Envelope, Grant, Released, Replicated
from corecache.replication.primary import Primary, Told
from corecache.replication.replica import Replica
from corecache.replication.roles import Roles
from corecache.simulator.driver import Driver
from corecache.simulator.service import Service

Patch = tuple[type[Any], str, Callable[[Any], Any]]
"""A class, the name of a method, and what makes the false method of the true one."""


class Canary(NamedTuple):
    """A rule broken on purpose. `seeds`: within how many, from 0 on, it must be caught."""

    name: str
    rule: str
    breaks: str
    seeds: int
    patches: tuple[Patch, ...]

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


def _always(answer: object) -> Callable[[Any], Any]:
    return lambda true: lambda *given: answer


# R10, R13: who may lead when.


def _same_epoch(true: Callable[..., Any]) -> Callable[..., Any]:
    def lead_again(self: Roles) -> list[Action]:
        asked: list[Action] = true(self)
        return [
            _with_epoch(each, Epoch(each.view.epoch - 1)) if isinstance(each, ProposeView) else each for each in asked
        ]

    return lead_again


def _with_epoch(proposal: ProposeView, epoch: Epoch) -> ProposeView:
    return ProposeView(msgspec.structs.replace(proposal.view, epoch=epoch), proposal.expected)


def _serves_when_begun(true: Callable[..., Any]) -> Callable[..., Any]:
    def may_answer(self: Primary, now: Milliseconds) -> bool:
        return self.begun and self.holds_leases(now)

    return may_answer


def _decides_as_if_activated(true: Callable[..., Any]) -> Callable[..., Any]:
    def decide(self: Membership, now: Milliseconds) -> list[Action]:
        activated, self.activated = self.activated, True
        try:
            actions: list[Action] = true(self, now)
        finally:
            self.activated = activated
        return actions

    return decide


def _hands_over_when_activated(true: Callable[..., Any]) -> Callable[..., Any]:
    def handed_over(self: Membership, now: Milliseconds) -> View | None:
        # What is broken is who is taken in; a hand-over before activation would be another canary.
        barrier = self._backups.barrier
        wanted: View | None = true(self, now) if barrier and self._state.log.applied >= barrier else None
        return wanted

    return handed_over


def _releases_with_the_proposal(true: Callable[..., Any]) -> Callable[..., Any]:
    def decide(self: Membership, now: Milliseconds) -> list[Action]:
        actions: list[Action] = true(self, now)
        handed = self._handed
        for each in actions[:]:
            if isinstance(each, ProposeView) and handed is not None and each.view == handed:
                actions += self._state.send(Released, handed.primary, each.expected + 1)
        return actions

    return decide


# R18: proposals.


def _counts_no_proposal(true: Callable[..., Any]) -> Callable[..., Any]:
    def count(self: Membership) -> None:
        named = [*self.view.in_sync]
        if not self._unsettled():
            named += [each.member for each in self._backups.progress.values() if each.counted_since is not None]
        self._backups.required = tuple(dict.fromkeys(member for member in named if member != self._state.member))

    return count


def _proposes_it_again(true: Callable[..., Any]) -> Callable[..., Any]:
    def on_view_refused(self: Replica, event: ViewRefused, now: Milliseconds) -> list[Action]:
        state = self.state
        wanted, before = state.proposals.unsettled[-1:], state.confirmed
        actions: list[Action] = true(self, event, now)
        overtaken = before is not None and event.current.version > before.version
        if wanted and overtaken and state.proposals.possible and wanted[0] != event.current.view:
            actions += state.proposals.propose(wanted[0], event.current.version)
        return actions

    return on_view_refused


# R1, R3: acknowledgements.


def _acknowledges_what_is_matched(true: Callable[..., Any]) -> Callable[..., Any]:
    def acknowledged(self: Backup) -> Sequence:
        return self.matched

    return acknowledged


def _counts_no_further_than_its_log(true: Callable[..., Any]) -> Callable[..., Any]:
    def on_replicated(
        self: Backups, message: Replicated, sender: Member, now: Milliseconds
    ) -> tuple[bool, list[Action]]:
        upto = min(message.upto, self._state.log.last)
        counted: tuple[bool, list[Action]] = true(self, msgspec.structs.replace(message, upto=upto), sender, now)
        return counted

    return on_replicated


def _acknowledges_what_is_durable(true: Callable[..., Any]) -> Callable[..., Any]:
    def acknowledged(self: Backup) -> Sequence:
        return self._state.log.durable

    return acknowledged


def _believes_every_commit_point(true: Callable[..., Any]) -> Callable[..., Any]:
    def commit_limit(self: Backup) -> Sequence:
        return self._state.log.last

    return commit_limit


# R8: leases.


def _counts_from_the_answer(true: Callable[..., Any]) -> Callable[..., Any]:
    def on_grant(self: Machine, sender: NodeId, grant: Grant, now: Milliseconds) -> Asked:
        sent = self.knowledge[sender]._sent
        for at, (number, _, table, claims) in enumerate(sent):
            if number == grant.number:
                sent[at] = (number, now, table, claims)
        asked: Asked = true(self, sender, grant, now)
        return asked

    return on_grant


def _takes_grants_of_all_incarnations(true: Callable[..., Any]) -> Callable[..., Any]:
    def received(self: Machine, envelope: Envelope, now: Milliseconds) -> Asked:
        if self._is_for_this(envelope) and self.knowledge[envelope.sender].incarnation <= envelope.sender_incarnation:
            asked: Asked = true(self, envelope, now)
            return asked
        asked = []
        tables = {number: table for number, _, table, _ in self.knowledge[envelope.sender]._sent}
        for each in envelope.messages:
            if isinstance(each, Grant) and each.number in tables:
                grant = msgspec.structs.replace(each, table=tables[each.number])
                asked += self._on_grant(envelope.sender, grant, now)
        return asked

    return received


# R7: reads.


def _fetches_at_any_time(true: Callable[..., Any]) -> Callable[..., Any]:
    def epoch_before(self: Service, replica: Replica | None) -> Epoch:
        return Epoch(-1) if replica is not None else Epoch(0)

    return epoch_before


def _looks_only_after_the_fetch(true: Callable[..., Any]) -> Callable[..., Any]:
    def epoch_after(self: Service, replica: Replica, before: Epoch) -> Epoch:
        return before if true(self, replica, before) else Epoch(0)

    return epoch_after


def _answers_all(true: Callable[..., Any]) -> Callable[..., Any]:
    def answer(self: Primary, answers: list[Told], now: Milliseconds) -> list[Action]:
        return [Answer(answers)]

    return answer


# Members.


def _takes_the_old_id(true: Callable[..., Any]) -> Callable[..., Any]:
    def id_of_empty(self: Driver, view: View) -> ReplicaId:
        for member in view.in_sync:
            if member.node == self.name:
                return member.replica
        fresh: ReplicaId = true(self, view)
        return fresh

    return id_of_empty


CANARIES: Final = (
    Canary(
        "no-grant-wait",
        "R10",
        "a new primary does not wait until the leases that it has granted have run out",
        2000,
        ((Grants, "have_ended", _always(True)),),
    ),
    Canary(
        "no-union",
        "R4, R18",
        "the members of an unsettled proposal are not counted in the required set, nor is meanwhile who joins",
        2000,
        ((Membership, "count", _counts_no_proposal),),
    ),
    Canary(
        "same-epoch-after-restart",
        "R14",
        "a primary that has started again goes on in its old epoch",
        2000,
        ((Roles, "lead_again", _same_epoch),),
    ),
    Canary(
        "acknowledge-before-disk",
        "R3",
        "a backup acknowledges what it has received and not yet synced",
        2000,
        ((Backup, "_acknowledged", _acknowledges_what_is_matched),),
    ),
    Canary(
        "serve-before-barrier",
        "R10",
        "a primary answers reads when its barrier is appended, and not applied",
        2000,
        ((Primary, "may_answer", _serves_when_begun),),
    ),
    Canary(
        "add-before-activation",
        "R12",
        "a primary that is not activated takes members in; nor does it wait for its barrier to serve those who join",
        2000,
        (
            (Membership, "decide", _decides_as_if_activated),
            (Membership, "_handed_over", _hands_over_when_activated),
            (Backups, "_takes_joiners", _always(True)),
        ),
    ),
    Canary(
        "released-early",
        "R13",
        "`Released` is said with the proposal to hand over, not when that is accepted",
        2000,
        ((Membership, "decide", _releases_with_the_proposal),),
    ),
    Canary(
        "lease-from-answer",
        "R8",
        "a lease is counted from the time of the answer, not of the beat",
        2000,
        ((Machine, "_on_grant", _counts_from_the_answer),),
    ),
    Canary(
        "grants-without-incarnation",
        "R8",
        "grants are matched by the number of the beat alone, whatever start of a node they were meant for",
        2000,
        ((Machine, "received", _takes_grants_of_all_incarnations),),
    ),
    Canary(
        "acknowledge-beyond-match",
        "R1",
        "a backup acknowledges all that its disk has, matched in this epoch or not; "
        "nor does a primary halt that hears of more than it has",
        2000,
        (
            (Backup, "_acknowledged", _acknowledges_what_is_durable),
            (Backups, "on_replicated", _counts_no_further_than_its_log),
        ),
    ),
    Canary(
        "commit-beyond-match",
        "R1",
        "a backup believes the primary's commit point for all of its own log",
        2000,
        ((Backup, "_commit_limit", _believes_every_commit_point),),
    ),
    Canary(
        "read-before-activation",
        "R7",
        "a record that was fetched before the primary was activated is answered afterwards",
        2000,
        ((Service, "epoch_before", _fetches_at_any_time), (Service, "epoch_after", _looks_only_after_the_fetch)),
    ),
    Canary(
        "blind-retry",
        "R18",
        "a proposal that was refused is made again on the newer version",
        2000,
        ((Replica, "_on_view_refused", _proposes_it_again),),
    ),
    Canary(
        "wiped-node-trusted",
        "R14",
        "a node whose disk was wiped makes its empty replica under the id that the view has for it",
        2000,
        ((Driver, "_id_of_empty", _takes_the_old_id),),
    ),
    Canary(
        "condition-without-lease",
        "R7",
        "an answer that wrote nothing, as a failed condition, is given without the checks of a read",
        2000,
        ((Primary, "_answer", _answers_all),),
    ),
)
"""All of them."""


def named(name: str) -> Canary | None:
    """Returns a canary, None if there is none of that name."""
    return next((canary for canary in CANARIES if canary.name == name), None)
