"""The false methods of the canaries: each breaks one rule of the protocol, in the place of the true method.

Each function takes the true method and returns the false one. They reach into the replicas' parts, as nothing else may:
what is broken on purpose is private. Which of them belong to which canary is in `canaries.py`.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from corecache.identity import Epoch, Member, Milliseconds, NodeId, ReplicaId, Sequence
from corecache.placement.view import View
from corecache.replication.actions import Action, Answer, ProposeView
from corecache.replication.backup import Backup
from corecache.replication.backups import Backups
from corecache.replication.events import ViewRefused
from corecache.replication.machine import Asked, Machine
from corecache.replication.membership import Membership
from corecache.replication.messages import Envelope, Grant, Released, Replicated
from corecache.replication.primary import Primary, Told
from corecache.replication.replica import Replica
from corecache.replication.roles import Roles
from corecache.simulator.driver import Driver
from corecache.simulator.service import Service


def always(answer: object) -> Callable[[Any], Any]:
    """Returns what makes a method that always says the same."""
    return lambda true: lambda *given: answer


# R10, R13: who may lead when.


def same_epoch(true: Callable[..., Any]) -> Callable[..., Any]:
    """Leads again under the epoch of the last life."""

    def lead_again(self: Roles) -> list[Action]:
        asked: list[Action] = true(self)
        return [
            _with_epoch(each, Epoch(each.view.epoch - 1)) if isinstance(each, ProposeView) else each for each in asked
        ]

    return lead_again


def _with_epoch(proposal: ProposeView, epoch: Epoch) -> ProposeView:
    return ProposeView(msgspec.structs.replace(proposal.view, epoch=epoch), proposal.expected)


def serves_when_begun(true: Callable[..., Any]) -> Callable[..., Any]:
    """Answers reads as soon as the barrier is appended."""

    def may_answer(self: Primary, now: Milliseconds) -> bool:
        return self.begun and self.holds_leases(now)

    return may_answer


def decides_as_if_activated(true: Callable[..., Any]) -> Callable[..., Any]:
    """Decides on members as an activated primary does."""

    def decide(self: Membership, now: Milliseconds) -> list[Action]:
        activated, self.activated = self.activated, True
        try:
            actions: list[Action] = true(self, now)
        finally:
            self.activated = activated
        return actions

    return decide


def hands_over_when_activated(true: Callable[..., Any]) -> Callable[..., Any]:
    """Leaves hand-overs as they are: that would be another canary."""

    def handed_over(self: Membership, now: Milliseconds) -> View | None:
        # What is broken is who is taken in; a hand-over before activation would be another canary.
        barrier = self._backups.barrier
        wanted: View | None = true(self, now) if barrier and self._state.log.applied >= barrier else None
        return wanted

    return handed_over


def releases_with_the_proposal(true: Callable[..., Any]) -> Callable[..., Any]:
    """Says `Released` together with the proposal."""

    def decide(self: Membership, now: Milliseconds) -> list[Action]:
        actions: list[Action] = true(self, now)
        handed = self._handed
        for each in actions[:]:
            if isinstance(each, ProposeView) and handed is not None and each.view == handed:
                actions += self._state.send(Released, handed.primary, each.expected + 1)
        return actions

    return decide


# R18: proposals.


def counts_no_proposal(true: Callable[..., Any]) -> Callable[..., Any]:
    """Counts the confirmed view alone, while a proposal is unsettled."""

    def count(self: Membership) -> None:
        named = [*self.view.in_sync]
        if not self._unsettled():
            named += [each.member for each in self._backups.progress.values() if each.counted_since is not None]
        self._backups.require(member for member in named if member != self._state.member)

    return count


def proposes_it_again(true: Callable[..., Any]) -> Callable[..., Any]:
    """Proposes what was refused again, on the version that has won."""

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


def acknowledges_what_is_matched(true: Callable[..., Any]) -> Callable[..., Any]:
    """Acknowledges what has come, synced or not."""

    def acknowledged(self: Backup) -> Sequence:
        return self.matched

    return acknowledged


def counts_no_further_than_its_log(true: Callable[..., Any]) -> Callable[..., Any]:
    """Takes an acknowledgement beyond the own log for one of all of it."""

    def on_replicated(
        self: Backups, message: Replicated, sender: Member, now: Milliseconds
    ) -> tuple[bool, list[Action]]:
        upto = min(message.upto, self._state.log.last)
        counted: tuple[bool, list[Action]] = true(self, msgspec.structs.replace(message, upto=upto), sender, now)
        return counted

    return on_replicated


def acknowledges_what_is_durable(true: Callable[..., Any]) -> Callable[..., Any]:
    """Acknowledges what is synced, matched or not."""

    def acknowledged(self: Backup) -> Sequence:
        return self._state.log.durable

    return acknowledged


def believes_every_commit_point(true: Callable[..., Any]) -> Callable[..., Any]:
    """Believes a commit point as far as the own log goes."""

    def commit_limit(self: Backup) -> Sequence:
        return self._state.log.last

    return commit_limit


# R8: leases.


def counts_from_the_answer(true: Callable[..., Any]) -> Callable[..., Any]:
    """Takes a beat for sent when its answer comes."""

    def on_grant(self: Machine, sender: NodeId, grant: Grant, now: Milliseconds) -> Asked:
        sent = self.knowledge[sender]._sent
        for at, (number, _, table, claims) in enumerate(sent):
            if number == grant.number:
                sent[at] = (number, now, table, claims)
        asked: Asked = true(self, sender, grant, now)
        return asked

    return on_grant


def takes_grants_of_all_incarnations(true: Callable[..., Any]) -> Callable[..., Any]:
    """Takes the grants of a frame that is for, or of, another start of a node."""

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


def fetches_at_any_time(true: Callable[..., Any]) -> Callable[..., Any]:
    """Fetches records whether the replica may serve or not."""

    def epoch_before(self: Service, replica: Replica | None) -> Epoch:
        return Epoch(-1) if replica is not None else Epoch(0)

    return epoch_before


def looks_only_after_the_fetch(true: Callable[..., Any]) -> Callable[..., Any]:
    """Looks whether the replica may serve after the fetch alone."""

    def epoch_after(self: Service, replica: Replica, before: Epoch) -> Epoch:
        return before if true(self, replica, before) else Epoch(0)

    return epoch_after


def answers_all(true: Callable[..., Any]) -> Callable[..., Any]:
    """Answers whatever is applied, lease or not."""

    def answer(self: Primary, answers: list[Told], now: Milliseconds) -> list[Action]:
        return [Answer(answers)]

    return answer


# Members.


def takes_the_old_id(true: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an empty replica under the id that the view trusts."""

    def id_of_empty(self: Driver, view: View) -> ReplicaId:
        for member in view.in_sync:
            if member.node == self.name:
                return member.replica
        fresh: ReplicaId = true(self, view)
        return fresh

    return id_of_empty
