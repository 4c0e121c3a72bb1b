"""A forced promotion (R9): if all members in sync are lost, an operator may have a partition go on from another copy.

What only the lost members had is lost for good. That is the operator's decision; here is decided whether there is one
to make, and what the new view is: a higher epoch, one more in the *lineage*, and the one copy alone in sync. Replicas
of an older lineage are strangers, whatever they hold: they drop it and join anew, so that two histories never mix.

Rules:

1. As long as one member in sync lives, nothing is to be recovered: it has everything, and takes over by itself. It is
   told by its replica id: a node that comes back with an empty disk is alive, and the member is gone all the same.
2. Who is listed as alive and does not answer may live: it has to be stopped, or its session to end, first.
3. The copy must be whole and of the present lineage. An empty one counts as whole only where no living node has more.
   One that is not wanted any more, and that nobody has told its node to drop, is as good as any.
4. `min_in_sync` stays. It is a promise about writes, which wait until other nodes have made their copies.

That a member which can be reached by nobody here is really stopped, and not only cut off from here, nobody but the
operator can know.
"""

from collections.abc import Mapping

import msgspec

from corecache.errors import CallerFault, NotDone
from corecache.identity import Epoch, Incarnation, Lineage, Member, NodeId, PartitionId, ReplicaId, Sequence
from corecache.placement.view import View


class Copy(msgspec.Struct, frozen=True, array_like=True):
    """What a node has of a partition. `epoch` is the highest that it accepted, `last` the end of its log.

    Not `whole`: it is a part of a snapshot, or its disk has failed.
    """

    replica: ReplicaId
    lineage: Lineage
    epoch: Epoch
    last: Sequence
    whole: bool


def recovered(
    partition: PartitionId,
    view: View,
    node: NodeId,
    incarnation: Incarnation,
    copies: Mapping[NodeId, Copy | None],
    silent: frozenset[NodeId],
) -> View:
    """Returns the view in which a partition goes on from a node's copy.

    `copies` has what the living nodes hold (None: nothing), that node's own included; `silent` are those that are
    listed as alive and did not answer. Raises: CallerFault `nothing_to_recover` or `not_recoverable`; NotDone.
    """
    for member in view.in_sync:
        copy = copies.get(member.node)
        if copy is not None and copy.replica == member.replica:
            raise CallerFault(
                "nothing_to_recover",
                f"Partition {partition} has lost nothing: {member.node} is alive and has everything, so that it is, or "
                "becomes, primary by itself. If writes wait for more copies, set min-in-sync; if it can't be saved, "
                "stop it first.",
            )
        if member.node in silent:
            raise NotDone(
                "member_silent",
                f"{member.node} is in sync in partition {partition}, is listed as alive, and does not answer: "
                "stop it, or wait until it is listed no more.",
            )
    own = copies.get(node)
    if own is None or not own.whole or own.lineage != view.lineage:
        raise CallerFault("not_recoverable", f"{node} has no whole copy of partition {partition}; choose another node.")
    if not own.last:
        for other, copy in sorted(copies.items()):
            if copy is not None and copy.whole and copy.lineage == view.lineage and copy.last:
                raise CallerFault(
                    "not_recoverable",
                    f"The copy of partition {partition} at {node} is empty, and {other} has one: choose that.",
                )
    member = Member(node, own.replica)
    epoch = Epoch(max(view.epoch, own.epoch) + 1)
    lineage = Lineage(view.lineage + 1)
    replicas = view.replicas if node in view.replicas else (node, *view.replicas)
    return View(lineage, epoch, member, incarnation, (member,), replicas, view.min_in_sync)
