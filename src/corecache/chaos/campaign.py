"""A campaign: a cluster, clients that ask all the time, round after round of faults, and after each round the judge.

A round: faults strike as planned, for a minute or so, while clients ask for keys of the round. Then everything is
mended, the cluster must become whole, the clients stop, all keys of the round are read once more, and the replicas are
compared. What the clients noted is judged, and written to the history. What the round left is read again at the end of
the campaign, when many other faults have passed over it.

A campaign is *void*, and proves nothing, if hardly anything was asked while faults went on.

Rounds bound the memory of a long campaign, and end it at the first violation.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from corecache.chaos.clients import Address, ChaosClients
from corecache.chaos.cluster import COPIES
from corecache.chaos.explain import since_last_write
from corecache.chaos.faults import DEEDS
from corecache.chaos.ground import Ground, MissedError, SkippedError, until
from corecache.chaos.history import READER, Call, history_of
from corecache.chaos.judge import judge
from corecache.chaos.plan import KINDS, Kind, Planned, Planner
from corecache.chaos.processes import GroundError
from corecache.chaos.report import Fault, Violation
from corecache.chaos.timeline import Timeline
from corecache.chaos.workload import Workload

ROUND_SECONDS: Final = 60.0
FAULT_SECONDS_MAX: Final = 180.0
"""A fault that is not over by then is given up: everything in it is bounded, so that this is a defect of its own."""

WHOLE_SECONDS: Final = 120.0
READ_SECONDS: Final = 60.0
EQUAL_SECONDS: Final = 30.0
_ANSWERED_PER_PAUSE_MIN: Final = 10
"""So many calls must have been answered between two faults, in most cases …"""
_ANSWERED_PER_FAULT_MIN: Final = 50
"""… and so many in all for each fault."""

_CALL_SECONDS: Final = 2.0

Tell = Callable[[str], None]


class Wish(msgspec.Struct, frozen=True):
    """What is asked for: the seed, how long faults go on (seconds), and the clients and their calls a second."""

    seed: int
    seconds: float
    http_clients: int
    resp_clients: int
    rate: float


class Totals(msgspec.Struct):
    """What a campaign has come to."""

    rounds: int = 0
    pauses: list[int] = []
    """The calls answered in each time without a fault between two faults."""
    answered: int = 0
    faults: list[Fault] = []
    missed: list[Fault] = []
    """Those that were aimed at a moment, and did not hit it: they are not of the kind that they are named after."""
    violations: list[Violation] = []
    skipped: dict[str, int] = {}
    keys: int = 0
    undecided: dict[str, str] = {}
    broke: str = ""
    """Why the campaign could not go on, if so."""

    @property
    def why_void(self) -> str:
        """Returns why nothing is proven, "" if something is."""
        if self.broke:
            return f"the ground did not hold: {self.broke}"
        if not self.faults:
            return "each fault has missed the moment that it was aimed at" if self.missed else "no fault has struck"
        lively = sum(pause >= _ANSWERED_PER_PAUSE_MIN for pause in self.pauses)
        if self.pauses and lively * 2 <= len(self.pauses):
            return (
                f"in {len(self.pauses) - lively} of {len(self.pauses)} times between faults fewer than "
                f"{_ANSWERED_PER_PAUSE_MIN} calls were answered"
            )
        if self.answered < _ANSWERED_PER_FAULT_MIN * len(self.faults):
            return f"{self.answered:,} calls were answered beside {len(self.faults)} faults: too few"
        if self.undecided:
            key, why = next(iter(self.undecided.items()))
            return f"{len(self.undecided)} of {self.keys:,} keys could not be judged, {key} among them: {why}"
        return ""


class Campaign:
    """One campaign on a ground."""

    def __init__(
        self, wish: Wish, ground: Ground, kinds: Sequence[str], timeline: Timeline, history: Path, tell: Tell
    ) -> None:
        """Takes the kinds of faults that can happen here, the file that the history is written to, and who is told."""
        self.totals = Totals()
        self.wish = wish
        self._ground = ground
        self._timeline = timeline
        self._history = history
        self._tell = tell
        self._planner = Planner(kinds, Random(f"{wish.seed} faults"))  # noqa: S311 a seed must give the same faults
        self._began_ns = time.monotonic_ns()
        self._answered = 0
        self._going_on = 0
        self._ends: dict[str, int] = {}
        self._calls: list[Call] = []
        self._workloads: list[Workload] = []
        self._left: dict[str, str | None] = {}
        """What the rounds left: the value of each key that has no life of its own, None if it is absent."""

    async def run(self) -> None:
        """Goes through all rounds, or to the first violation, or until the ground does not hold."""
        rounds = max(1, round(self.wish.seconds / ROUND_SECONDS))
        try:
            for number in range(rounds):
                await self._round(number, self.wish.seconds / rounds)
                self.totals.rounds += 1
                if self.totals.violations:
                    return
            await self._read_again()
        except (GroundError, OSError) as error:
            self._see_ends()
            self.totals.broke = str(error) or type(error).__name__

    @property
    def seconds(self) -> float:
        """How long it has gone on."""
        return (time.monotonic_ns() - self._began_ns) / 1e9

    # A round.

    async def _round(self, number: int, seconds: float) -> None:
        workload = Workload(self.wish.seed, f"s{self.wish.seed}r{number}")
        self._workloads.append(workload)
        clients = self._clients(workload)
        stop = asyncio.Event()
        digests: dict[int, dict[str, str]] = {}
        asking = asyncio.ensure_future(clients.run(stop))
        try:
            await self._strike(seconds)
            await self._heal()
            stop.set()
            await asking
            unread = await clients.read_all(READ_SECONDS)
            if unread:
                self._violated("readable at the end", unread[0], f"{len(unread)} keys can't be read, all being well")
            self._see_ends()
            digests = await self._digests()
        finally:
            # What was told is judged, however far the round came.
            stop.set()
            await asking
            await self._judge(workload, clients, digests)

    def _clients(self, workload: Workload) -> ChaosClients:
        wish = self.wish
        return ChaosClients(
            self._addresses,
            workload,
            wish.http_clients,
            wish.resp_clients,
            timeout_s=_CALL_SECONDS,
            began_ns=self._began_ns,
            note=self._note,
            pause_s=(wish.http_clients + wish.resp_clients) / wish.rate,
        )

    def _addresses(self) -> list[Address]:
        return [Address(node.name, node.http_url, node.resp) for node in self._ground.present]

    def _note(self, call: Call) -> None:
        self._calls.append(call)
        if call.client != READER:
            self._timeline.add(call)
            if call.outcome in ("done", "failed"):
                self._answered += 1
                self.totals.answered += 1

    async def _strike(self, seconds: float) -> None:
        """Lets faults strike for so many seconds, and waits for the end of the last."""
        ends = time.monotonic() + seconds
        striking: set[asyncio.Task[None]] = set()
        try:
            while time.monotonic() < ends:
                planned = self._planner.next()
                if not planned.together:
                    await self._over(striking, among=lambda kind: kind.strikes != "the members")
                await asyncio.sleep(planned.pause_s)
                striking.add(asyncio.create_task(self._strike_once(planned), name=planned.kind))
            await self._over(striking, among=lambda kind: kind.strikes != "the members")
            _, late = await asyncio.wait(striking, timeout=WHOLE_SECONDS) if striking else ((), ())
            for task in late:
                sentence = f"{WHOLE_SECONDS:.0f} s after the last other fault it has not come to its end"
                self._violated("nodes join and are drained", task.get_name(), sentence)
            await asyncio.gather(*(striking - set(late)))
        finally:
            for task in striking:
                task.cancel()
            await asyncio.gather(*striking, return_exceptions=True)

    async def _over(self, striking: set[asyncio.Task[None]], among: Callable[[Kind], bool]) -> None:
        """Waits until some faults are over. Who joins and leaves does so while others strike."""
        awaited = {task for task in striking if task.done() or among(KINDS[task.get_name()])}
        await asyncio.gather(*awaited)
        striking -= awaited

    async def _strike_once(self, planned: Planned) -> None:
        targets: list[tuple[str, float]] = []
        came_to: list[Fault] | None = self.totals.faults

        def struck(target: str) -> None:
            if not targets:
                self._begun()
            targets.append((target, self.seconds))
            self._tell(f"{planned.kind} {target}, {planned.seconds:.1f} s")

        try:
            within = FAULT_SECONDS_MAX if KINDS[planned.kind].strikes != "the members" else None
            async with asyncio.timeout(within) as deadline:
                await DEEDS[planned.kind](self._ground, planned, struck)
        except SkippedError as reason:
            came_to = None
            self._tell(f"{planned.kind} skipped: {reason}")
            self.totals.skipped[planned.kind] = self.totals.skipped.get(planned.kind, 0) + 1
        except MissedError as reason:
            came_to = self.totals.missed
            self._tell(f"{planned.kind} missed its moment: {reason}")
        except TimeoutError as error:
            if not deadline.expired():
                # Something within the deed has waited too long. It asks the ground, so it is no word of the cluster's.
                raise GroundError(
                    f"{planned.kind} could not go on: {str(error) or 'something in it timed out'}"
                ) from error
            self._violated("faults end", planned.kind, f"it was not over after {FAULT_SECONDS_MAX:.0f} s")
        finally:
            if targets:
                self._going_on -= 1
                self._answered = 0
        if targets and came_to is not None:
            target, began_s = targets[-1][0], targets[0][1]
            came_to.append(Fault(planned.kind, target, began_s, self.seconds, 0.0))

    def _begun(self) -> None:
        """Takes note that a fault has begun, and of what was answered since the last one ended."""
        if not self._going_on and self.totals.faults:
            self.totals.pauses.append(self._answered)
        self._going_on += 1

    # After the faults.

    async def _heal(self) -> None:
        ground = self._ground
        if ground.network is not None:
            ground.network.heal()
        began = time.monotonic()
        self._see_ends()
        if self.totals.violations:
            return
        if not await until(ground.is_whole, WHOLE_SECONDS):
            await asyncio.to_thread(self._not_whole)
        self._tell(f"whole {time.monotonic() - began:.1f} s after the last fault")

    def _not_whole(self) -> None:
        cluster = self._ground.cluster
        lacking = cluster.lacking()
        subject = f"partitions {', '.join(map(str, lacking))}"
        sentence = f"{WHOLE_SECONDS:.0f} s after the last fault they lack copies, or a primary that serves"
        self.totals.violations.append(Violation("whole again", subject, sentence, cluster.lines_of(lacking)))

    def _see_ends(self) -> None:
        """Sees whether nodes have ended that nobody had told to, since it was looked last."""
        for node in self._ground.cluster.nodes:
            codes = node.ends_by_itself()
            if len(codes) > self._ends.get(node.name, 0):
                self._ends[node.name] = len(codes)
                sentence = f"it ended with {codes[-1]}: {node.log_tail(3)}"
                self._violated("nodes don't end by themselves", node.name, sentence)

    async def _digests(self) -> dict[int, dict[str, str]]:
        """Returns the checksums of all replicas, once they are equal, or after a while."""
        cluster = self._ground.cluster
        digests: dict[int, dict[str, str]] = {}

        async def equal() -> bool:
            digests.update(await asyncio.to_thread(cluster.digests))
            return bool(digests) and all(len(set(each.values())) == 1 for each in digests.values())

        with contextlib.suppress(GroundError):  # not level in time: none can be compared
            await until(equal, EQUAL_SECONDS)
        copies = min(COPIES, len(cluster.members))
        for number in range(int(cluster.settings["cluster.partitions"])):
            if len(digests.get(number, {})) < copies:
                sentence = f"{len(digests.get(number, {}))} of {copies} copies can be compared"
                self._violated("replicas come level", f"partition {number}", sentence)
        return digests

    async def _judge(self, workload: Workload, clients: ChaosClients, digests: dict[int, dict[str, str]]) -> None:
        """Judges what was told in a round, and writes it down."""
        for sentence in clients.astonishing:
            self._violated("answers as documented", "", sentence)
        calls = self._noted()
        judged = await asyncio.to_thread(judge, calls, digests)
        # What has a history tells more than that the cluster is not whole, or that a node has ended.
        self.totals.violations[:0] = judged.violations
        self.totals.undecided |= judged.undecided
        self.totals.keys += judged.keys
        for call in calls:
            if call.client == READER and call.outcome == "done" and workload.reading(call.key).family != "mortal":
                self._left[call.key] = call.value

    def _noted(self) -> list[Call]:
        """Returns what was noted since it was asked last, and writes it to the history."""
        calls, self._calls = self._calls, []
        with self._history.open("ab") as file:
            file.writelines(msgspec.json.encode(call) + b"\n" for call in calls)
        return calls

    async def _read_again(self) -> None:
        """Sees that what earlier rounds left is there, after all that has happened since."""
        changed: dict[str, Call] = {}
        for workload in self._workloads[:-1]:
            clients = self._clients(workload)
            try:
                unread = await clients.read_all(READ_SECONDS)
            finally:
                calls = self._noted()
            for call in calls:
                if call.outcome == "done" and call.key in self._left and call.value != self._left[call.key]:
                    changed[call.key] = call
            for sentence in clients.astonishing:
                self._violated("answers as documented", "", sentence)
            if unread:
                self._violated(
                    "readable at the end", unread[0], f"{len(unread)} keys of an earlier round can't be read"
                )
        if changed:
            histories = await asyncio.to_thread(history_of, self._history, changed.keys())
            for key, call in changed.items():
                sentence = f"its round left {self._left[key]}, and now it is {call.value}"
                lines = since_last_write(histories[key])
                self.totals.violations.append(Violation("acknowledged is kept", key, sentence, lines))

    def _violated(self, rule: str, subject: str, sentence: str) -> None:
        self.totals.violations.append(Violation(rule, subject, sentence, []))
