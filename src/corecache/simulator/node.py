"""A simulated node: one disk, one clock, and the processes that come and go on it.

Its start is that of `node/startup.py`, step by step, so that a crash may come between any two: the coordinator tells
how often the node has started; a disk that knows of fewer starts is an old copy, or empty, and its replicas take new
ids (R14); half-installed ones are emptied (R12); the new incarnation is durable, then registered; only then is there a
machine, and anybody who listens.

A paused process (SIGSTOP) keeps everything and does nothing: what comes meanwhile waits, while its clock runs on. A
killed one leaves its disk as written, a power cut only what was synced (see `disk.py`).
"""

from collections.abc import Callable
from typing import Any

import msgspec

from corecache.errors import CoreCacheError, NotDone
from corecache.identity import Incarnation, Milliseconds, NodeId, PartitionId
from corecache.operations import Operation
from corecache.replication.events import Event, ViewChanged
from corecache.replication.recovered import NodeFacts, ReplicaFacts
from corecache.simulator.clock import NodeClock
from corecache.simulator.contents import Contents, Held
from corecache.simulator.disk import Disk
from corecache.simulator.driver import Driver
from corecache.simulator.requests import Tell
from corecache.simulator.service import Service
from corecache.simulator.world import World

_START_STEP_MS = 8
_SWEEP_BEATS = 10
_VIEW_SWEEP_BEATS = 60


class SimulatedNode:
    """A node, whatever process of it runs."""

    def __init__(self, name: NodeId, world: World) -> None:
        self.name = name
        self.world = world
        self.dice = world.dice(f"node {name}")
        self.disk = Disk(world.schedule, world.dice(f"disk {name}"))
        drift = int((self.dice.random() * 2 - 1) * world.options.drift_ppm_max)
        self.clock = NodeClock(int(self.dice.random() * 100_000), drift, int((self.dice.random() - 0.5) * 200_000))
        self.incarnation = Incarnation(0)
        self.life = 0
        self.up = False
        self.powered = True
        self.paused = False
        self.leaving = False
        self.stutters: Callable[[object], None] | None = None
        """Called in the moment after the next beats have gone out."""
        self.echoes = False
        """Whether its next process hears again what this one has heard, all of it as long after its start."""
        self._heard: list[tuple[int, bytes]] = []
        self._alive_at = 0
        self.driver: Driver | None = None
        self.service: Service | None = None
        self._ticks = 0
        self._deferred: list[tuple[Callable[[Any], None], object]] = []
        world.network.stations[name] = self
        world.checks.disks[name] = self.disk

    @property
    def listening(self) -> bool:
        """Says whether its process takes connections."""
        return self.driver is not None

    # Life and death.

    def start(self) -> None:
        """Starts a process. Requires: none runs."""
        assert not self.up
        self.up = self.powered = True
        self.life += 1
        self.world.note(self.name, "start", None, f"life {self.life}")
        self.disk.open(self._storage_failed)
        self._step(self._look, None)

    def _step(self, target: Callable[[Any], None], event: object) -> None:
        """Goes on with the start in a moment, if the process still lives."""
        delay = 1 + int(self.dice.random() * _START_STEP_MS)
        self.world.schedule.after(delay, self._of_life, (self.life, target, event))

    def _of_life(self, event: tuple[int, Callable[[Any], None], object]) -> None:
        life, target, argument = event
        if life == self.life and not self.defer(self._of_life, event):
            target(argument)

    def _look(self, event: object) -> None:
        """Asks how often the node has started, and notes the next incarnation on the disk."""
        known = self.disk.contents.node
        highest = self.world.coordinator.register(self, known.incarnation if known is not None else Incarnation(0))
        if highest is None:
            self._step(self._look, None)
            return
        outdated = highest > (known.incarnation if known is not None else 0)
        # A disk that knows of no grant may be an empty one in the place of another (R10, step 3).
        granted_ms = self.world.settings.lease_ms if highest else 0
        incarnation = Incarnation(highest + 1)
        self.disk.lost = False
        self.disk.write_now(lambda disk: self._renew(disk, incarnation, outdated))
        self._step(self._register, (incarnation, granted_ms))

    def _renew(self, disk: Contents, incarnation: Incarnation, outdated: bool) -> None:
        """Writes the facts of this start; gives new ids to replicas that can't be trusted under their old ones."""
        world = self.world
        lease_ms = Milliseconds(world.settings.lease_ms)
        disk.node = NodeFacts("simulated", world.options.partitions, self.name, incarnation, lease_ms)
        for partition in sorted(disk.replicas):
            facts = disk.replicas[partition].facts
            if facts.installing:
                disk.replicas[partition] = Held(ReplicaFacts(self._id(partition), facts.epoch, facts.lineage))
            elif outdated:
                disk.replicas[partition].facts = msgspec.structs.replace(facts, replica=self._id(partition))

    def _id(self, partition: PartitionId) -> Any:
        # The same for both copies of what the disk holds: drawn once for each start.
        return f"r-{self.name}-{self.life}-{partition}"

    def _register(self, event: tuple[Incarnation, int]) -> None:
        """Tells the coordinator, and comes to life."""
        incarnation, granted_ms = event
        if self.world.coordinator.register(self, incarnation) is None:
            self._step(self._register, event)
            return
        self.incarnation = incarnation
        self._alive_at = self.world.schedule.now
        self._echo()
        now = self.clock.local(self.world.schedule.now)
        grants_end = Milliseconds(now + granted_ms)
        self.driver = Driver(
            self.name, incarnation, self.life, self.world, self.disk, self.clock, self.dice, self, grants_end
        )
        self.service = Service(self.driver, self.dice)
        self._ticks = int(self.dice.random() * _VIEW_SWEEP_BEATS)
        self.world.note(self.name, "alive", None, f"incarnation {incarnation}")
        for partition in sorted(self.world.coordinator.views):
            confirmed = self.world.coordinator.views[partition]
            if partition in self.driver.machine.replicas or self.name in confirmed.view.replicas:
                self.driver.viewed((partition, ViewChanged(confirmed)))
        self._tick(None)

    def _echo(self) -> None:
        heard, self._heard = self._heard, []
        if self.echoes:
            self.echoes = False
            for age, frame in heard:
                self.world.schedule.after(age + 1, self._of_life, (self.life, self._take_frame, frame))

    def stop(self, power: bool) -> None:
        """Ends the process at once. `power`: its machine goes with it, and the disk loses what was not synced."""
        self.world.note(self.name, "power cut" if power else "killed", None)
        self.life += 1
        self.up = self.paused = self.leaving = False
        self.powered = not power
        if self.driver is not None:
            self.driver.ended = True
            self.world.checks.closed(self.name)
        self.driver = self.service = None
        self._deferred.clear()
        self.disk.crash(power)
        self.world.network.left(self, power)
        self.world.coordinator.left(self.name)

    def pause(self) -> None:
        """Stops the process where it stands."""
        self.world.note(self.name, "paused", None)
        self.paused = True

    def resume(self, frames_first: bool) -> None:
        """Lets the process go on, with what has come meanwhile; `frames_first`: before what time has brought."""
        if not self.paused:
            return
        self.world.note(self.name, "resumed", None)
        self.paused = False
        deferred, self._deferred = self._deferred, []
        if frames_first:
            deferred.sort(key=lambda each: each[0] != self._take_frame)
        life = self.life
        for target, event in deferred:
            if self.life == life:
                target(event)

    def defer(self, target: Callable[[Any], None], event: object) -> bool:
        """Keeps an event for later, and says so, if the process is paused."""
        if self.paused:
            self._deferred.append((target, event))
        return self.paused

    def leave(self) -> None:
        """Asks the process to hand over what it leads, as SIGTERM does."""
        if self.driver is not None and not self.paused:
            self.leaving = True
            self.driver.leave()

    def leads(self) -> bool:
        """Says whether it is primary of anything."""
        if self.driver is None:
            return False
        return any(replica.primary is not None for replica in self.driver.machine.replicas.values())

    def _tick(self, event: object) -> None:
        driver, service = self.driver, self.service
        if driver is None or service is None:
            return
        self._ticks += 1
        driver.tick()
        self.world.network.meet(self, sorted(driver.machine.peers()))
        if self.world.options.expiries and self._ticks % _SWEEP_BEATS == 0:
            service.sweep()
        if self._ticks % _VIEW_SWEEP_BEATS == 0:
            self.world.coordinator.sweep(self.name)
        self.world.schedule.after(self.world.settings.beat_ms, self._of_life, (self.life, self._tick, None))
        if self.stutters is not None:
            stutters, self.stutters = self.stutters, None
            self.world.schedule.after(1, stutters, None)

    def _storage_failed(self) -> None:
        if self.driver is not None and not self.defer(self._tell_failure, None):
            self.driver.storage_failed()

    def _tell_failure(self, event: object) -> None:
        self._storage_failed()

    # What the network, the coordinator and the clients bring.

    def frame(self, frame: bytes) -> None:
        """Takes a frame."""
        if self.world.options.sharp:
            self._heard.append((self.world.schedule.now - self._alive_at, frame))
        if not self.defer(self._take_frame, frame):
            self._take_frame(frame)

    def _take_frame(self, frame: bytes) -> None:
        if self.driver is not None:
            self.driver.received(frame)

    def connected(self, node: NodeId, incarnation: Incarnation) -> None:
        """Takes that a connection is there."""
        if self.driver is not None:
            self.driver.due((self.driver.connected, (node, incarnation)))

    def lost(self, node: NodeId, refused: bool) -> None:
        """Takes that a connection is lost."""
        if self.driver is not None:
            self.driver.due((self.driver.lost, (node, refused)))

    def viewed(self, life: int, partition: PartitionId, event: Event) -> None:
        """Takes what the coordinator tells of a view."""
        if life == self.life and self.driver is not None:
            self.driver.due((self.driver.viewed, (partition, event)))

    def session(self, life: int, connected: bool) -> None:
        """Takes a change of the session."""
        if life == self.life and self.driver is not None:
            self.driver.due((self.driver.session, connected))

    def follows(self) -> list[PartitionId]:
        """Returns the partitions whose views it watches."""
        return sorted(self.driver.machine.replicas) if self.driver is not None else []

    def write(self, event: tuple[PartitionId, Operation, Tell]) -> None:
        """Takes a client's write. Nobody answers while there is no process."""
        partition, operation, tell = event
        if self.service is None:
            tell(_nobody_there())
        elif not self.defer(self.write, event):
            self.service.write(partition, operation, tell)

    def read(self, event: tuple[PartitionId, bytes, Tell]) -> None:
        """Takes a client's read."""
        partition, key, tell = event
        if self.service is None:
            tell(_nobody_there())
        elif not self.defer(self.read, event):
            self.service.read(partition, key, tell)


def _nobody_there() -> CoreCacheError:
    return NotDone("refused", "The connection was refused.")
