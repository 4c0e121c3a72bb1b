"""What a replica is and knows, whatever its role: its identity, its facts, its log, its view, its peers.

`replica.py` keeps it; the roles read it, and change the log. What is said to another replica is addressed here, so that
every message carries both replicas' ids and the epoch (see `messages.py`).
"""

from typing import TYPE_CHECKING

from corecache.config import Replication
from corecache.identity import (
    Epoch,
    Incarnation,
    Lineage,
    Member,
    Milliseconds,
    NodeId,
    PartitionId,
    ReplicaId,
    Sequence,
)
from corecache.placement.view import VersionedView
from corecache.replication.actions import Action, Apply, Cut, Save, Send
from corecache.replication.log import Entry, Log, Retention, size_of
from corecache.replication.messages import PartitionMessage
from corecache.replication.peers import Peers
from corecache.replication.proposals import Proposals
from corecache.replication.recovered import NOTHING_APPLIED, AppliedPoint, Recovered, ReplicaFacts

if TYPE_CHECKING:
    from collections.abc import Callable

_ALONE_SHARE = 16


class Contradiction(Exception):
    """Something that must not be was found: a broken invariant. The replica halts; the text says what, for people."""


class State:
    """A replica's identity and knowledge. `durable_epoch` is the highest epoch that its disk is known to have."""

    __slots__ = (
        "applying",
        "confirmed",
        "durable_epoch",
        "facts",
        "incarnation",
        "installing",
        "installs",
        "log",
        "node",
        "partition",
        "peers",
        "proposals",
        "retention",
        "save_due",
        "settings",
        "transfers",
    )

    def __init__(
        self,
        partition: PartitionId,
        node: NodeId,
        incarnation: Incarnation,
        recovered: Recovered,
        settings: Replication,
        retention_bytes: int,
        peers: Peers,
    ) -> None:
        """Takes what the disk holds, and what the node knows of the others."""
        self.partition = partition
        self.node = node
        self.incarnation = incarnation
        self.facts = recovered.facts
        self.durable_epoch: Epoch = recovered.facts.epoch
        self.settings = settings
        self.peers = peers
        self.confirmed: VersionedView | None = None
        self.proposals = Proposals()
        self.installs = 0
        self.installing = False
        """Whether the disk is at work on a snapshot for this replica, so that nothing else may be written."""
        self.save_due = False
        self.transfers = 0
        applied = recovered.applied
        self.log = Log(applied.sequence, applied.epoch, applied.version, recovered.cut)
        for entry in recovered.entries:
            self.log.append(entry)
        self.log.durable = self.log.last
        self.applying: Sequence = self.log.applied
        self.retention = Retention(retention_bytes, settings.log_retention_seconds * 1000, self.log.applied)

    @property
    def member(self) -> Member:
        """Returns who this replica is."""
        return Member(self.node, self.facts.replica)

    @property
    def names_this(self) -> bool:
        """Says whether the confirmed view names this replica, in this process, primary, and no later epoch is known."""
        if self.confirmed is None:
            return False
        view = self.confirmed.view
        named = view.primary == self.member and view.incarnation == self.incarnation
        return named and view.epoch >= self.facts.epoch

    @property
    def is_leftover(self) -> bool:
        """Says whether the confirmed view has no use for what is here, and its primary is there.

        A view that names nobody who is there may be somebody's mistake: by that alone nothing is dropped.
        """
        if self.confirmed is None or self.confirmed.view.epoch < self.facts.epoch:
            return False
        view = self.confirmed.view
        primary = self.peers[view.primary.node]
        wanted = self.member in view.in_sync or self.node in view.replicas
        return not wanted and primary.linked and primary.incarnation >= view.incarnation

    def send(
        self, make: "Callable[..., PartitionMessage]", to: Member, *fields: object, bulk: bool = False
    ) -> list[Action]:
        """Returns a message of a kind to another member, with the epoch that this replica has accepted."""
        message = make(self.partition, self.facts.epoch, self.facts.replica, to.replica, *fields)
        return [Send(to.node, message, bulk)]  # type: ignore[arg-type]  # each kind that is sent is one of `Message`

    def accept(self, epoch: Epoch, lineage: Lineage) -> list[Action]:
        """Takes note, durably, of an epoch (R2)."""
        facts = self.facts
        if epoch == facts.epoch and lineage == facts.lineage:
            return []
        self.facts = ReplicaFacts(facts.replica, epoch, lineage, facts.installing)
        return self._save()

    def _save(self) -> list[Action]:
        # While the disk is at work on a snapshot, it writes facts of its own: ours wait until it is done.
        if self.installing:
            self.save_due = True
            return []
        return [Save(self.facts)]

    def save_what_waited(self) -> list[Action]:
        """Saves the facts that changed while the disk was at work on a snapshot. Requires: it no longer is."""
        due, self.save_due = self.save_due, False
        return self._save() if due else []

    def begin_apply(self) -> list[Action]:
        """Begins to apply what is committed and not under way (R6)."""
        if self.log.commit <= self.applying:
            return []
        entries = self.log.between(self.applying, self.log.commit)
        self.applying = self.log.commit
        return [Apply(entries, self.installs)]

    def note_applied(self, upto: Sequence, now: Milliseconds) -> tuple[list[Entry], list[Action]]:
        """Takes note of what the store shows by now; cuts what nobody may need any more (R15)."""
        entries = self.log.note_applied(upto)
        cut = self.retention.cut(upto, size_of(entries), now, _ALONE_SHARE if self.alone else 1)
        return entries, self.cut(cut) if cut is not None else []

    @property
    def alone(self) -> bool:
        """Says whether no other node has, or is to have, a replica."""
        view = self.confirmed.view if self.confirmed is not None else None
        return view is not None and len(view.replicas) == len(view.in_sync) == 1

    def cut(self, upto: Sequence) -> list[Action]:
        """Cuts applied entries off the log."""
        if upto <= self.log.cut or self.installing:
            # A disk that is told to drop everything has no log to cut.
            return []
        self.log.cut = upto
        return [Cut(upto)]

    def emptied(self, replica: ReplicaId, installing: bool) -> None:
        """Takes note that nothing is here any more, and that the replica has another id."""
        assert self.confirmed is not None
        self.installing = False
        self.facts = ReplicaFacts(replica, self.facts.epoch, self.confirmed.view.lineage, installing)
        self._begin_anew(NOTHING_APPLIED)

    def whole(self, point: AppliedPoint) -> None:
        """Takes note that a snapshot is installed: the log begins after its edge."""
        self.facts = ReplicaFacts(self.facts.replica, self.facts.epoch, self.facts.lineage, False)
        self._begin_anew(point)

    def _begin_anew(self, point: AppliedPoint) -> None:
        self.installs += 1
        self.applying = point.sequence
        self.log.reset(point.sequence, point.epoch, point.version, point.sequence)
