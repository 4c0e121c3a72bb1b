"""All that one node decides: its replicas, its peers, its leases. The pure half of a node has this one face.

Everything that happens comes in by one of its methods, with the time, and everything to be done comes back as a list
of `(partition, action)`; the partition is None for what the node says as a whole. The production node (in `node/`) and
the simulator carry the same lists out.

Rules:

1. A frame counts only between two incarnations that both know of each other: what was meant for an older start of this
   node, or comes from an older start of another, is dropped unread (R8).
2. Beats go to every peer with which this node shares a partition, each `beat_ms`, one frame a peer for all partitions.
3. A node that finds that it has itself stalled suspects nobody before it has had time to read what has come meanwhile.
4. A partition that a view wants here and that is not here is adopted empty, under a new random id; one that no view
   wants here is discarded (`replica.py`).
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from corecache.config import Replication
from corecache.identity import Incarnation, Milliseconds, NodeId, PartitionId
from corecache.placement.view import VersionedView
from corecache.replication.actions import Action, Adopt, Discard, ReadView, Send
from corecache.replication.events import Event, ViewChanged, ViewRefused
from corecache.replication.messages import Beat, Claim, Envelope, Grant, Invite, Message, PartitionMessage
from corecache.replication.peers import Peers
from corecache.replication.recovered import Recovered
from corecache.replication.replica import Replica
from corecache.replication.transfer import Throttle

Asked: TypeAlias = list[tuple[PartitionId | None, Action]]

_ROOM_BEATS = 50
"""How long a disk must have had room before the node leads again what it has handed over for want of it."""
_STALLED_BEATS = 4
_READING_BEATS = 3


class Machine:
    """A node's replicas and what it knows of other nodes. `replicas` is to be read, not changed."""

    def __init__(
        self,
        node: NodeId,
        incarnation: Incarnation,
        settings: Replication,
        recovered: Mapping[PartitionId, Recovered],
        now: Milliseconds,
        grants_end: Milliseconds,
        partitions: int = 16,
    ) -> None:
        """Takes what the disk holds of each replica.

        `grants_end`: when every lease that an earlier process of this node may have granted has run out. `partitions`:
        how many the cluster has; each may keep its part of `log_retention_bytes`.
        """
        self.node = node
        self.incarnation = incarnation
        self.knowledge = Peers()
        self._settings = settings
        self._grants_end = grants_end
        self._throttle = Throttle(settings.transfer_bytes_per_second)
        self._retention_bytes = settings.log_retention_bytes // partitions
        self._ticked_at = now
        self._has_room = True
        self._full_at = Milliseconds(-(1 << 62))
        self._connected = True
        self._adopting: set[PartitionId] = set()
        self.replicas: dict[PartitionId, Replica] = {}
        for partition, each in recovered.items():
            self.replicas[partition] = self._replica(partition, each)

    def _replica(self, partition: PartitionId, recovered: Recovered) -> Replica:
        return Replica(
            partition,
            self.node,
            self.incarnation,
            recovered,
            self._grants_end,
            self._settings,
            self._retention_bytes,
            self.knowledge,
            self._throttle,
        )

    def peers(self) -> set[NodeId]:
        """Returns the nodes that this one must be connected with: all that its replicas' views name."""
        nodes: set[NodeId] = set()
        for replica in self.replicas.values():
            if replica.confirmed is not None:
                view = replica.confirmed.view
                nodes.update(view.replicas)
                nodes.update(member.node for member in view.in_sync)
        nodes.discard(self.node)
        return nodes

    # What happens.

    def handle(self, partition: PartitionId, event: Event, now: Milliseconds) -> Asked:
        """Brings a replica an event; a view may also speak of a partition that is not here yet."""
        replica = self.replicas.get(partition)
        if replica is not None:
            return self._of(partition, replica.handle(event, now))
        if isinstance(event, ViewChanged):
            return self._maybe_adopt(partition, event.confirmed)
        if isinstance(event, ViewRefused):
            return self._maybe_adopt(partition, event.current)
        return []

    def received(self, envelope: Envelope, now: Milliseconds) -> Asked:
        """Takes a frame from another node."""
        if not self._is_for_this(envelope):
            return []
        sender = envelope.sender
        peer = self.knowledge[sender]
        if not self._is_current(envelope):
            return []
        peer.heard_at = now
        peer.gone_at = None
        asked: Asked = []
        for message in envelope.messages:
            if isinstance(message, PartitionMessage):
                replica = self.replicas.get(message.partition)
                if replica is not None:
                    asked += self._of(message.partition, replica.receive(sender, message, now))
            else:
                asked += self._on_node_message(sender, message, now)
        return asked

    def _is_for_this(self, envelope: Envelope) -> bool:
        """Says whether a frame is meant for this start of this node (rule 1)."""
        return envelope.receiver == self.node and envelope.receiver_incarnation == self.incarnation

    def _is_current(self, envelope: Envelope) -> bool:
        """Says whether a frame comes from the latest start of its sender that was heard of (rule 1)."""
        return self.knowledge[envelope.sender].is_of(envelope.sender_incarnation)

    def connected(self, node: NodeId, incarnation: Incarnation, now: Milliseconds) -> Asked:
        """A connection to a node stands: what is sent from now on reaches that incarnation."""
        peer = self.knowledge[node]
        if not peer.is_of(incarnation):
            return []
        peer.linked = True
        peer.gone_at = None
        asked: Asked = []
        for partition, replica in list(self.replicas.items()):
            asked += self._of(partition, replica.connected(node, now))
        return asked

    def lost(self, node: NodeId, refused: bool, now: Milliseconds) -> Asked:
        """The connection to a node is lost; `refused`: nobody listens there any more, so its process has ended."""
        peer = self.knowledge[node]
        peer.linked = False
        if not refused or peer.gone_at is not None:
            return []
        peer.gone_at = now
        return self._tick_replicas(now)

    def session(self, connected: bool, now: Milliseconds) -> Asked:
        """The session with the coordinator is CONNECTED, or is not (R19)."""
        for replica in self.replicas.values():
            replica.state.proposals.connected = connected
        self._connected = connected
        return self._tick_replicas(now) if connected else []

    def adopt(self, partition: PartitionId, recovered: Recovered, confirmed: VersionedView, now: Milliseconds) -> Asked:
        """Takes an empty replica that was made because a view wants one here."""
        self._adopting.discard(partition)
        if partition in self.replicas:
            return []
        replica = self.replicas[partition] = self._replica(partition, recovered)
        replica.state.proposals.connected = self._connected
        return self._of(partition, replica.handle(ViewChanged(confirmed), now))

    def leave(self, now: Milliseconds) -> Asked:
        """Begins to hand over all that this node leads: it is stopping."""
        self.knowledge.leaving = True
        return self.tick(now)

    def room(self, is_there: bool, now: Milliseconds) -> None:
        """Takes note of whether the disk has room for puts: without it, what this node leads is handed over (R13)."""
        self._has_room = is_there
        self._look_for_room(now)

    def _look_for_room(self, now: Milliseconds) -> None:
        if not self._has_room:
            self._full_at = now
        self.knowledge.full = now - self._full_at < _ROOM_BEATS * self._settings.beat_ms

    def tick(self, now: Milliseconds) -> Asked:
        """Sends the beats, and looks at what time has brought about."""
        if now - self._ticked_at > _STALLED_BEATS * self._settings.beat_ms:
            self.knowledge.suspect_from = Milliseconds(now + _READING_BEATS * self._settings.beat_ms)
        self._ticked_at = now
        self._look_for_room(now)
        return self._beats(now) + self._tick_replicas(now)

    def _tick_replicas(self, now: Milliseconds) -> Asked:
        asked: Asked = []
        for partition, replica in list(self.replicas.items()):
            asked += self._of(partition, replica.tick(now))
        return asked

    # Beats and grants (R8).

    def _beats(self, now: Milliseconds) -> Asked:
        claims: dict[NodeId, list[Claim]] = {}
        for replica in self.replicas.values():
            if replica.confirmed is None:
                continue
            for node in _nodes_of(replica):
                if node == self.node:
                    continue
                to_node = claims.setdefault(node, [])
                claim = replica.claim_to(node, now)
                if claim is not None:
                    to_node.append(claim)
        own = self.knowledge
        return [
            (None, Send(node, own[node].beat(tuple(made), own.leaving, own.full, now))) for node, made in claims.items()
        ]

    def _on_node_message(self, sender: NodeId, message: Message, now: Milliseconds) -> Asked:
        if isinstance(message, Beat):
            return self._on_beat(sender, message, now)
        if isinstance(message, Grant):
            return self._on_grant(sender, message, now)
        assert isinstance(message, Invite)
        replica = self.replicas.get(message.partition)
        if replica is None:
            return [(message.partition, ReadView())]
        return self._of(message.partition, replica.invited(now))

    def _on_beat(self, sender: NodeId, beat: Beat, now: Milliseconds) -> Asked:
        """Grants what is claimed, where nothing speaks against it."""
        peer = self.knowledge[sender]
        peer.leaving, peer.full = beat.leaving, beat.full
        if beat.claims is not None and beat.table > peer.table_heard:
            peer.table_heard = beat.table
            peer.claims_heard = beat.claims
        if beat.table != peer.table_heard:
            return [(None, Send(sender, Grant(beat.number, beat.table, False, Milliseconds(0), ())))]
        withheld = [claim.partition for claim in peer.claims_heard if not self._grants(sender, claim, now)]
        lease_ms = Milliseconds(self._settings.lease_ms)
        return [(None, Send(sender, Grant(beat.number, beat.table, True, lease_ms, tuple(withheld))))]

    def _grants(self, sender: NodeId, claim: Claim, now: Milliseconds) -> bool:
        replica = self.replicas.get(claim.partition)
        return replica is not None and replica.grants(sender, claim, now)

    def _on_grant(self, sender: NodeId, grant: Grant, now: Milliseconds) -> Asked:
        asked: Asked = []
        for claim in self.knowledge[sender].granted(grant, self._settings.lease_margin_ms):
            replica = self.replicas.get(claim.partition)
            if replica is not None and replica.primary is not None:
                asked += self._of(claim.partition, replica.look(now))
        return asked

    # Coming and going.

    def _maybe_adopt(self, partition: PartitionId, confirmed: VersionedView) -> Asked:
        if self.node not in confirmed.view.replicas or partition in self._adopting or self.knowledge.leaving:
            return []
        self._adopting.add(partition)
        return [(partition, Adopt(confirmed))]

    def _of(self, partition: PartitionId, actions: Iterable[Action]) -> Asked:
        asked: Asked = [(partition, action) for action in actions]
        for _, action in asked:
            if type(action) is Discard:
                del self.replicas[partition]
        return asked


def _nodes_of(replica: Replica) -> list[NodeId]:
    assert replica.confirmed is not None
    view = replica.confirmed.view
    return list(dict.fromkeys([*view.replicas, *[member.node for member in view.in_sync]]))
