"""One node's replica of a partition: the law for every role, and the one door, `Replica.handle`.

An event and the time come in, a list of actions goes out, and a finished action comes back as the next event. Nothing
here waits, asks for the time, throws a die or touches a disk, so that what the simulator runs is what ships.

Here is decided which role the replica has: what a view means to it (R14: after a restart it must lead under a new
epoch), when it becomes primary (R10, steps 1 to 3), and when it stops (R3: a failed disk). What a primary does with
clients' requests is in `primary.py`. Views of one member need no backup role; a view that names another primary makes
this replica a bystander that refuses.

Invariants:

1. `facts.epoch` is durable before the replica appends anything in that epoch.
2. There is a `Primary` only if the newest view names this member with this incarnation.
3. Once `failed` is set, nothing is appended or applied any more in this process.
"""

from collections.abc import Callable
from typing import Any

from corecache.errors import CoreCacheError, NotDone
from corecache.identity import Epoch, Incarnation, Member, Milliseconds, NodeId, PartitionId
from corecache.placement.view import VersionedView, View
from corecache.replication.actions import Action, ProposeView, Refuse, Save, StepDown, WakeAt
from corecache.replication.events import (
    Appended,
    Applied,
    ClientWrites,
    Event,
    Fetched,
    Saved,
    StorageFailed,
    ViewChanged,
    ViewRefused,
    Woken,
)
from corecache.replication.log import Log
from corecache.replication.primary import Primary
from corecache.replication.recovered import Recovered, ReplicaFacts


class Replica:
    """A replica, from the opening of its disk to the end of the process."""

    def __init__(
        self,
        partition: PartitionId,
        node: NodeId,
        incarnation: Incarnation,
        recovered: Recovered,
        grants_end: Milliseconds,
        log_retention_bytes: int,
    ) -> None:
        """Takes what the disk holds. `grants_end`: when every lease that this node may have granted has run out."""
        self.partition = partition
        self.member = Member(node, recovered.facts.replica)
        self.incarnation = incarnation
        self.facts = recovered.facts
        self.confirmed: VersionedView | None = None
        self.primary: Primary | None = None
        self.failed: str | None = None
        self.log = Log(recovered.applied.sequence, recovered.applied.epoch)
        for entry in recovered.entries:
            self.log.append(entry)
        self.log.durable = self.log.last
        self._version = recovered.applied.version
        self._grants_end = grants_end
        self._log_retention_bytes = log_retention_bytes
        self._on: dict[type[Any], Callable[[Any, Milliseconds], list[Action]]] = {
            ViewChanged: self._on_view_changed,
            ViewRefused: self._on_view_refused,
            Saved: self._on_saved,
            ClientWrites: self._on_client_writes,
            Fetched: self._on_fetched,
            Appended: self._on_appended,
            Applied: self._on_applied,
            StorageFailed: self._on_storage_failed,
            Woken: self._on_woken,
        }

    def handle(self, event: Event, now: Milliseconds) -> list[Action]:
        """Takes what happened and the steady clock's time; returns what to do, in order (see `actions.py`)."""
        return self._on[type(event)](event, now)

    def may_serve_reads(self, now: Milliseconds) -> bool:
        """Says whether a record fetched from the store before this call is the newest committed one (R7).

        Requires: the same call was true before the record was fetched. A view of one member needs no lease.
        """
        return self.primary is not None and self.primary.activated

    def refusal(self) -> CoreCacheError:
        """Returns why clients can't be served now. Requires: the replica does not serve."""
        if self.failed is not None:
            return NotDone("storage_failed", self.failed)
        if self.confirmed is not None and self.confirmed.view.primary != self.member:
            return NotDone(
                "no_primary", f"Node {self.confirmed.view.primary.node} is primary of this partition; try it."
            )
        return NotDone("no_primary", "The partition's primary is not ready yet; try again.", 100)

    def _on_view_changed(self, event: ViewChanged, now: Milliseconds) -> list[Action]:
        confirmed = event.confirmed
        if self.confirmed is not None and confirmed.version <= self.confirmed.version:
            return []
        self.confirmed = confirmed
        view = confirmed.view
        if view.primary != self.member:
            return self._step_down(f"The partition's primary is node {view.primary.node} now.")
        if view.incarnation > self.incarnation:
            # Two processes of one node would take the partition from each other for ever: the older one yields.
            return self._step_down("A later start of this node is the partition's primary now.")
        if view.incarnation < self.incarnation:
            return self._lead_again(view, confirmed.version)
        if self.primary is not None and self.primary.view.epoch == view.epoch:
            self.primary.view = view
            return []
        assert view.epoch > self.facts.epoch, f"epoch {view.epoch} was given out before"
        self.facts = ReplicaFacts(self.facts.replica, view.epoch)
        return [Save(self.facts)]

    def _lead_again(self, view: View, version: int) -> list[Action]:
        # R14: an entry of the old epoch may have left this node without being on its disk. Under the same epoch it
        # could be written a second time with another content.
        if self.failed is not None:
            return []
        return [
            ProposeView(
                View(
                    lineage=view.lineage,
                    epoch=Epoch(max(view.epoch, self.facts.epoch) + 1),
                    primary=self.member,
                    incarnation=self.incarnation,
                    in_sync=view.in_sync,
                    replicas=view.replicas,
                    min_in_sync=view.min_in_sync,
                ),
                version,
            )
        ]

    def _on_view_refused(self, event: ViewRefused, now: Milliseconds) -> list[Action]:
        current = event.current
        if self.confirmed is None or current.version > self.confirmed.version:
            return self._on_view_changed(ViewChanged(current), now)
        # The same view stands as before the proposal, which therefore came to nothing, or may yet win. To propose again
        # on this very version settles it: of the two, the coordinator accepts one (R18).
        if current.view.primary == self.member and current.view.incarnation < self.incarnation:
            return self._lead_again(current.view, current.version)
        return []

    def _on_saved(self, event: Saved, now: Milliseconds) -> list[Action]:
        view = self.confirmed.view if self.confirmed is not None else None
        if self.failed is not None or view is None or view.primary != self.member or view.epoch != self.facts.epoch:
            return []
        self.primary = Primary(self.member, view, self.log, self._version, self._log_retention_bytes)
        return self.primary.begin() if now >= self._grants_end else [WakeAt(self._grants_end)]

    def _on_woken(self, event: Woken, now: Milliseconds) -> list[Action]:
        if self.primary is None:
            return []
        if not self.primary.begun:
            return self.primary.begin() if now >= self._grants_end else [WakeAt(self._grants_end)]
        return self.primary.on_woken(now)

    def _on_client_writes(self, event: ClientWrites, now: Milliseconds) -> list[Action]:
        if self.primary is None:
            return [Refuse(event.requests, self.refusal())]
        return self.primary.on_client_writes(event, now)

    def _on_fetched(self, event: Fetched, now: Milliseconds) -> list[Action]:
        return self.primary.on_fetched(event, now) if self.primary is not None else []

    def _on_appended(self, event: Appended, now: Milliseconds) -> list[Action]:
        return self.primary.on_appended(event) if self.primary is not None else []

    def _on_applied(self, event: Applied, now: Milliseconds) -> list[Action]:
        return self.primary.on_applied(event, now) if self.primary is not None else []

    def _on_storage_failed(self, event: StorageFailed, now: Milliseconds) -> list[Action]:
        self.failed = event.reason
        return self._step_down(event.reason)

    def _step_down(self, reason: str) -> list[Action]:
        if self.primary is None:
            return []
        actions = self.primary.step_down(reason)
        self.primary = None
        return [*actions, StepDown(reason)]
