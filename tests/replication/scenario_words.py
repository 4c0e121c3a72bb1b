"""The words of a scenario's trace: how actions and messages read, one short item each.

Beats and grants are told only where a scenario asks for them. Numbers are those of the log: `Replicate 9..11` carries
the entries 9 to 11. A node's first replica goes by the node's name; `n2/2` is its second, a stranger to the first.
"""

from collections.abc import Sequence as Many

from corecache.errors import CoreCacheError
from corecache.identity import Member, NodeId
from corecache.operations import (
    Absent,
    ConditionFailed,
    Delete,
    Deleted,
    Expire,
    Found,
    IfAbsent,
    IfMatch,
    Operation,
    Put,
    Read,
    Result,
    Written,
)
from corecache.placement.view import View
from corecache.replication import actions
from corecache.replication import messages as said
from corecache.replication.log import Entry


def member_words(member: Member) -> str:
    """Returns a member's name."""
    return str(member.node) if member.replica.endswith("/1") else str(member.replica)


def members_words(members: Many[Member]) -> str:
    """Returns several members' names."""
    return ",".join(member_words(member) for member in members)


def entries_words(entries: Many[Entry]) -> str:
    """Returns which entries these are."""
    if not entries:
        return "nothing"
    first, last = entries[0].sequence, entries[-1].sequence
    return str(first) if first == last else f"{first}..{last}"


def view_words(view: View) -> str:
    """Returns what a view says; `min` and `lineage` only where they are not 1."""
    words = f"epoch={view.epoch} primary={member_words(view.primary)} in_sync={members_words(view.in_sync)}"
    if view.min_in_sync != 1:
        words += f" min={view.min_in_sync}"
    return words if view.lineage == 1 else f"{words} lineage={view.lineage}"


def operation_words(operation: Operation) -> str:
    """Returns an operation as a scenario asks for it."""
    key = operation.key.decode()
    match operation:
        case Put(_, value, _, condition):
            words = f"put {key}={value.decode()}"
            if isinstance(condition, IfMatch):
                return f"{words} if={','.join(map(str, condition.versions or ()))}"
            return f"{words} if=absent" if isinstance(condition, IfAbsent) else words
        case Delete():
            return f"delete {key}"
        case Expire():
            return f"expire {key}"
        case Read():
            return f"read {key}"
        case _:
            return f"{type(operation).__name__.lower()} {key}"


def result_words(result: Result) -> str:
    """Returns a result."""
    match result:
        case Written(version):
            return f"written {version}"
        case Deleted():
            return "deleted"
        case Absent():
            return "absent"
        case ConditionFailed(present):
            return f"condition failed, present is {present}"
        case Found(record):
            return f"found {record.value.decode()}"
        case _:
            return repr(result)


def error_words(error: CoreCacheError) -> str:
    """Returns an error's class and code."""
    return f"{type(error).__name__} {error.code}"


def action_words(node: NodeId, action: actions.Action) -> str | None:  # noqa: C901 (one case for each kind)
    """Returns what an action means for a reader; None for those that only keep the machine going."""
    match action:
        case actions.ProposeView(view, _):
            return f"{node} proposes {view_words(view)}"
        case actions.ReadView():
            return f"{node} reads the view"
        case actions.Save(facts):
            return f"{node} saves epoch={facts.epoch}"
        case actions.Truncate(above):
            return f"{node} cuts its log above {above}"
        case actions.Append(entries, _):
            return f"{node} append {entries_words(entries)}"
        case actions.Apply(entries, _):
            return f"{node} apply {entries_words(entries)}"
        case actions.Cut(upto):
            return f"{node} lets go of its log up to {upto}"
        case actions.ReadLog(_, above, upto, _):
            return f"{node} reads its log {above + 1}..{upto}"
        case actions.ReadSnapshot(transfer, number, _):
            return f"{node} reads part {number} of snapshot {transfer}"
        case actions.BeginInstall(transfer, _):
            return f"{node} drops all" + (f" for snapshot {transfer}" if transfer else "")
        case actions.Install(_, number, _, point, last, _):
            return f"{node} installs part {number}" + (f", whole as of {point.sequence}" if last else "")
        case actions.Adopt():
            return f"{node} makes an empty replica"
        case actions.Discard():
            return f"{node} discards its replica"
        case actions.StepDown():
            return f"{node} steps down"
        case actions.Halt(broken):
            return f"{node} HALTS: {broken}"
        case _:
            return None


def message_words(message: said.Message) -> str:  # noqa: C901 (one case for each kind)
    """Returns a message's kind and what it is about."""
    match message:
        case said.Replicate(epoch=epoch, entries=entries, commit=commit):
            return f"Replicate {entries_words(entries)} epoch={epoch} commit={commit}"
        case said.Offer(transfer=transfer, point=point):
            return f"Offer {transfer} as of {point.sequence}"
        case said.Chunk(number=number, records=records, last=last):
            return f"Chunk {number} of {len(records)} records" + (", the last" if last else "")
        case said.Released(version=version):
            return f"Released version={version}"
        case said.Standing(commit=commit, last=last, version=version):
            return f"Standing commit={commit.sequence} last={last.sequence} version={version}"
        case said.Replicated(upto=upto, commit=commit):
            return f"Replicated {upto} commit={commit}"
        case said.Accepted(transfer=transfer):
            return f"Accepted {transfer}"
        case said.Installed(number=number):
            return f"Installed {number}"
        case said.Failing():
            return "Failing"
        case said.Fenced(epoch=epoch):
            return f"Fenced epoch={epoch}"
        case said.Invite():
            return "Invite"
        case said.Beat(number, _, claims, leaving, full):
            claimed = (
                ""
                if not claims
                else "".join(f" claims epoch={claim.epoch}{' stuck' if claim.stuck else ''}" for claim in claims)
            )
            return f"Beat {number}{claimed}{' leaving' if leaving else ''}{' full' if full else ''}"
        case said.Grant(number, _, known, _, withheld):
            return f"Grant {number}" + (" withheld" if withheld else "") + ("" if known else " of an unknown table")
