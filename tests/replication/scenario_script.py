"""Scripts for the lab: a file of steps, `---`, and the trace that they leave.

    # R2: a primary of an older epoch is fenced.
    cluster nodes=3 primary=n1 epoch=4
    hold views n1
    view primary=n2 epoch=5
    ---

A step is a verb and its words; what follows `#` is for people. Each verb is a method here, with its words in its first
line. The trace repeats each step that left something, and below it what was done, in order. `expect` says what must be
true at that point, for what a trace shows badly.
"""

from pathlib import Path

from corecache.config import Replication
from corecache.identity import Epoch, Incarnation, Lineage, Member, Milliseconds, NodeId, ReplicaId, Timestamp, Version
from corecache.operations import Delete, IfAbsent, IfMatch, Operation, Put
from corecache.placement.view import View
from corecache.replication import events
from replication.scenario_lab import Lab, Node
from replication.scenario_words import error_words, members_words

_WIDTH = 116


def split(text: str) -> tuple[list[str], str]:
    """Returns a file's steps and its expected trace."""
    script, _, expected = text.partition("\n---\n")
    steps = [line.split("#")[0].strip() for line in script.splitlines()]
    return [step for step in steps if step], expected


def play(path: Path) -> str:
    """Plays a file's steps; returns the trace. A step that fails has the trace up to it as a note."""
    script = Script()
    lines: list[str] = []
    for step in split(path.read_text())[0]:
        try:
            items = script.step(step)
        except AssertionError as failure:
            failure.add_note("\n".join([*lines, *_step_lines(step, script.items)]))
            raise
        if items:
            lines += _step_lines(step, items)
    return "\n".join(lines) + "\n"


def _step_lines(step: str, items: list[str]) -> list[str]:
    """Returns a step, and below it what was done, in lines that fit; no item is broken."""
    lines = [step]
    for item in items:
        if len(lines) > 1 and len(lines[-1]) + len(item) + 3 <= _WIDTH:
            lines[-1] += f" · {item}"
        else:
            lines.append(f"  {item}" if len(lines) == 1 else f"  · {item}")
    return lines


class Script:
    """A lab, and the verbs that move it."""

    def __init__(self) -> None:
        self._lab = Lab(Replication())

    def step(self, step: str) -> list[str]:
        """Takes a step and lets everything go that is not held; returns the trace of both."""
        verb, *words = step.split()
        self._lab.items = []
        getattr(self, f"_on_{verb}")(*words)
        if verb != "cluster":
            self._lab.settle()
        return self._lab.items if verb != "cluster" else []

    @property
    def items(self) -> list[str]:
        """Returns what the present step has left so far."""
        return self._lab.items

    def _node(self, name: str) -> Node:
        return self._lab.nodes[NodeId(name)]

    def _members(self, names: str) -> tuple[Member, ...]:
        return tuple(self._member(name) for name in names.split(",") if name)

    def _member(self, name: str) -> Member:
        node, _, number = name.partition("/")
        return Member(NodeId(node), ReplicaId(f"{node}/{number or 1}"))

    # The cluster and its parts.

    def _on_cluster(self, *words: str) -> None:
        """nodes=3 primary=n1 in_sync=n1,n2,n3 replicas=n1,n2,n3 epoch=4 min=1 log=7 and settings by their names."""
        given = dict(word.split("=") for word in words)
        nodes = int(given.pop("nodes", "3"))
        everybody = ",".join(f"n{number}" for number in range(1, nodes + 1))
        epoch, primary = Epoch(int(given.pop("epoch", "4"))), self._member(given.pop("primary", "n1"))
        in_sync = self._members(given.pop("in_sync", everybody))
        replicas = tuple(NodeId(name) for name in given.pop("replicas", everybody).split(","))
        least, entries = int(given.pop("min", "1")), int(given.pop("log", "7"))
        settings: dict[str, int] = {name: int(value) for name, value in given.items()}
        self._lab = Lab(Replication(**settings))  # type: ignore[arg-type]  # numbers, all that scenarios set
        self._lab.begin(nodes, entries, View(Lineage(1), epoch, primary, Incarnation(1), in_sync, replicas, least))

    def _on_crash(self, name: str, silently: str = "") -> None:
        """NODE [silently]: its process ends; silently: the others can't tell, as when a machine loses its power."""
        self._lab.crash(self._node(name), refused=not silently)

    def _on_restart(self, name: str) -> None:
        """NODE: its next process starts."""
        self._lab.start(self._node(name))

    def _on_wipe(self, name: str) -> None:
        """NODE: its disk is empty (it is down)."""
        self._node(name).disk.wipe()

    def _on_shorten(self, name: str, upto: str) -> None:
        """NODE SEQUENCE: its disk loses the end of the log (it is down)."""
        self._node(name).disk.shorten(int(upto))

    def _on_fail(self, name: str) -> None:
        """NODE: a write to its disk has failed."""
        self._node(name).disk.failed = True
        self._lab.feed(self._node(name), events.StorageFailed("The disk has failed."))

    def _on_pause(self, name: str) -> None:
        """NODE: its process stands still."""
        self._node(name).paused = True

    def _on_resume(self, name: str) -> None:
        """NODE: its process goes on, and finds what has come meanwhile after its first tick."""
        node = self._node(name)
        node.paused = False
        assert node.machine is not None
        self._lab.perform(node, node.machine.tick(self._lab.now))

    def _on_leave(self, name: str) -> None:
        """NODE: it begins to stop."""
        node = self._node(name)
        assert node.machine is not None
        self._lab.perform(node, node.machine.leave(self._lab.now))

    def _on_room(self, name: str, is_there: str) -> None:
        """NODE yes|no: its disk has room for puts, or has none."""
        node = self._node(name)
        assert node.machine is not None
        node.machine.room(is_there == "yes", self._lab.now)

    # The coordinator.

    def _on_view(self, *words: str) -> None:
        """epoch=5 primary=n2 in_sync=n2,n3 replicas=… min=2 lineage=2: another changes what it names in the view."""
        assert self._lab.confirmed is not None
        given, view = dict(word.split("=") for word in words), self._lab.confirmed.view
        primary = self._member(given["primary"]) if "primary" in given else view.primary
        incarnation = self._node(primary.node).incarnation if "primary" in given else view.incarnation
        in_sync = self._members(given["in_sync"]) if "in_sync" in given else view.in_sync
        replicas = tuple(map(NodeId, given["replicas"].split(","))) if "replicas" in given else view.replicas
        epoch, lineage = Epoch(int(given.get("epoch", view.epoch))), Lineage(int(given.get("lineage", view.lineage)))
        least = int(given.get("min", view.min_in_sync))
        self._lab.change(View(lineage, epoch, primary, incarnation, in_sync, replicas, least))

    def _on_session(self, name: str, state: str) -> None:
        """NODE lost | connected."""
        node = self._node(name)
        node.connected = state == "connected"
        assert node.machine is not None
        self._lab.perform(node, node.machine.session(node.connected, self._lab.now))
        self._lab.tell(node)

    def _on_lose(self, name: str) -> None:
        """NODE: the answer to its held proposal is lost, and the proposal itself is still on its way."""
        self._lab.lose(self._node(name))

    def _on_late(self) -> None:
        """The oldest proposal whose answer was lost comes to the coordinator at last."""
        if not self._lab.compare_and_set(self._lab.late.pop(0)):
            self._lab.items.append("the late proposal is refused")

    # What is held.

    def _on_hold(self, *what: str) -> None:
        """n1->n2 | disk n2 | views n1 | proposals n1."""
        self._lab.held[" ".join(what)] = None

    def _on_free(self, *what: str) -> None:
        """The same: what was held goes on."""
        del self._lab.held[" ".join(what)]

    def _on_deliver(self, *what: str) -> None:
        """The same, and a number: the oldest of what is held goes on."""
        *label, count = what if what[-1].isdigit() else (*what, "1000")
        self._lab.deliver(" ".join(label), int(count))

    def _on_drop(self, *what: str) -> None:
        """The same: what is held is lost."""
        self._lab.drop(" ".join(what))

    def _on_cut(self, *names: str) -> None:
        """n1 n2: the connections between them break | n1->n2: what the one sends is lost, and it does not notice."""
        if len(names) == 1:
            one, other = names[0].split("->")
            self._lab.cuts.add((NodeId(one), NodeId(other)))
            self._lab.silence(self._node(one), self._node(other))
            return
        one, other = names
        for a, b in ((one, other), (other, one)):
            self._lab.cuts.add((NodeId(a), NodeId(b)))
            self._lab.disconnect(self._node(a), self._node(b), refused=False)

    def _on_heal(self) -> None:
        """All connections stand again."""
        cuts, self._lab.cuts = sorted(self._lab.cuts), set()
        for one, other in cuts:
            if one < other or (other, one) not in cuts:
                self._lab.connect(self._node(one), self._node(other))

    # Time.

    def _on_advance(self, milliseconds: str) -> None:
        """MILLISECONDS."""
        self._lab.advance(int(milliseconds))

    def _on_show(self, _: str) -> None:
        """beats: from now on they are part of the trace."""
        self._lab.shows_beats = True

    # Clients.

    def _on_put(self, name: str, written: str, *options: str) -> None:
        """NODE KEY=VALUE [if=VERSION|absent] [ttl=MS] [timeout=MS]."""
        key, value = written.encode().split(b"=")
        given = dict(option.split("=") for option in options)
        condition: IfAbsent | IfMatch | None = None
        if "if" in given:
            condition = IfAbsent() if given["if"] == "absent" else IfMatch((Version(int(given["if"])),))
        ttl_ms = int(given["ttl"]) if "ttl" in given else None
        self._ask(name, Put(key, value, ttl_ms, condition), int(given.get("timeout", "5000")))

    def _on_puts(self, name: str, count: str) -> None:
        """NODE COUNT: as many puts, of keys p1, p2, …, one after another."""
        for number in range(1, int(count) + 1):
            self._ask(name, Put(b"p%d" % number, b"v"), 5000)
            self._lab.settle()

    def _on_delete(self, name: str, key: str) -> None:
        """NODE KEY."""
        self._ask(name, Delete(key.encode()), 5000)

    def _ask(self, name: str, operation: Operation, timeout_ms: int) -> None:
        deadline = Milliseconds(self._lab.now + timeout_ms)
        request = events.Request([operation], deadline, 100)
        self._lab.feed(self._node(name), events.ClientWrites([request], Timestamp(self._lab.wall)))

    def _on_read(self, name: str, key: str) -> None:
        """NODE KEY: a linearizable read, as the node does it."""
        self._on_fetch(name, key)
        self._on_finish(name)

    def _on_fetch(self, name: str, key: str) -> None:
        """NODE KEY: the first half of a read: the record is fetched from the store."""
        node = self._node(name)
        assert node.replica is not None
        epoch = node.replica.serving_epoch(self._lab.now)
        node.fetched = (key.encode(), epoch, node.disk.records.get(key.encode()))

    def _on_finish(self, name: str) -> None:
        """NODE: the second half of a read: it is answered, or not."""
        node = self._node(name)
        assert node.replica is not None
        assert node.fetched is not None
        key, epoch, record = node.fetched
        if epoch and node.replica.serving_epoch(self._lab.now) == epoch:
            told = "absent" if record is None else record.value.decode()
        else:
            told = error_words(node.replica.refusal())
        self._lab.items.append(f"{name} answers read {key.decode()}: {told}")

    # What must be true.

    def _on_expect(self, name: str, *facts: str) -> None:
        """View in_sync=n1,n2 epoch=5 primary=n1 | NODE serves | idle | primary | failed | nothing | K=V | log=9."""
        for fact in facts:
            is_so = self._of_view(fact) if name == "view" else self._of_node(name, fact)
            assert is_so, f"not true: {name} {fact}"

    def _of_view(self, fact: str) -> bool:
        assert self._lab.confirmed is not None
        view, (name, wanted) = self._lab.confirmed.view, fact.split("=")
        if name == "epoch":
            return view.epoch == int(wanted)
        return members_words(view.in_sync if name == "in_sync" else (view.primary,)) == wanted

    def _of_node(self, name: str, fact: str) -> bool:
        node = self._node(name)
        replica, (word, _, wanted) = node.replica, fact.partition("=")
        if word == "nothing":
            return replica is None
        assert replica is not None, f"{name} has no replica"
        numbers = {"log": replica.log.last, "commit": replica.log.commit, "cut": replica.log.cut}
        if word in numbers:
            return numbers[word] == int(wanted)
        if word in ("serves", "idle"):
            return bool(replica.serving_epoch(self._lab.now)) == (word == "serves")
        if word in ("primary", "failed"):
            return (replica.primary if word == "primary" else replica.failed) is not None
        record = node.disk.records.get(word.encode())
        return record is not None and record.value.decode() == wanted if wanted else record is None
