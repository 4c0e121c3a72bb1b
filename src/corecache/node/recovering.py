"""A forced promotion, carried out by the node whose copy is to go on (R9).

Only that node knows its copy, its replica id and its incarnation, and it must not propose itself on hearsay: so the
order is given to it alone, and every other node says whom to ask. Whether there is anything to recover is decided in
`placement/recovery.py`, from the coordinator's present view and list of the living, and from what the living nodes say
that they hold.

Rule: the view is changed by compare-and-set on the version that was judged. If another came first, all is judged anew.
If the answer is lost the view tells whether it was accepted; where that can't be read, the outcome is unknown.
"""

import asyncio
import datetime
from collections.abc import Mapping
from typing import Any

import structlog

from corecache.errors import CallerFault, CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import Incarnation, Milliseconds, NodeId, PartitionId, Timestamp
from corecache.node.calls import Calls
from corecache.node.driver import Driver
from corecache.node.local import Local
from corecache.placement.partition_map import NodeEntry
from corecache.placement.recovery import Copy, recovered
from corecache.placement.view import View
from corecache.ports import Clock, Coordinator, Store
from corecache.reports import RecoveryReport
from corecache.wire.calls import CopyCall, CopyReply

_ATTEMPTS_MAX = 8
_ANSWER_MS = 1000
_CALL_BYTES = 64
_READ_BYTES = 1 << 20

log = structlog.get_logger("corecache.node")


class Recovering:
    """Has partitions go on from this node's copies."""

    def __init__(
        self,
        node: NodeId,
        incarnation: Incarnation,
        coordinator: Coordinator,
        driver: Driver,
        local: Local,
        calls: Calls,
        store: Store,
        clock: Clock,
    ) -> None:
        """Takes who this is, and the parts."""
        self._node = node
        self._incarnation = incarnation
        self._coordinator = coordinator
        self._driver = driver
        self._local = local
        self._calls = calls
        self._store = store
        self._clock = clock

    async def recover(self, partition: PartitionId, node: NodeId, accept_data_loss: bool) -> RecoveryReport:
        """Makes this node primary, with what it has (see `Service.recover`)."""
        await self._check(partition, node, await self._coordinator.nodes())
        tried: RecoveryReport | None = None
        for _ in range(_ATTEMPTS_MAX):
            try:
                confirmed = await self._coordinator.view(partition)
                if tried is not None and self._has_won(tried, confirmed.view):
                    self._driver.view_changed(partition, confirmed)
                    return tried
                view = await self._judged(partition, confirmed.view, await self._coordinator.nodes())
                report = await self._described(partition, view)
            except NotDone as error:
                if tried is not None:
                    raise _doubtful(error) from error
                raise
            if not accept_data_loss:
                raise CallerFault("data_loss_not_accepted", _warning(report))
            log.warning("forcing a promotion", partition=partition, epoch=view.epoch, lineage=view.lineage)
            try:
                accepted = await self._coordinator.propose(partition, view, confirmed.version)
            except OutcomeUnknown:
                tried = report
                continue
            if accepted is not None:
                self._driver.view_changed(partition, accepted)
                return report
        contended = NotDone("view_contended", "The partition's view changes all the time; nothing was done; try again.")
        raise _doubtful(contended) if tried is not None else contended

    def _has_won(self, tried: RecoveryReport, view: View) -> bool:
        """Says whether a proposal whose answer is lost was accepted, whatever has followed since."""
        return view.lineage == tried.lineage and any(member.node == self._node for member in view.in_sync)

    async def _check(self, partition: PartitionId, node: NodeId, alive: Mapping[NodeId, NodeEntry]) -> None:
        facts = await self._coordinator.facts()
        if facts is None:
            raise NotDone("not_ready", "The cluster is not created yet; try again.")
        if partition >= facts.partitions:
            raise CallerFault(
                "bad_parameter", f"There is no partition {partition}; the last one is {facts.partitions - 1}."
            )
        if node == self._node:
            return
        if node not in alive:
            known = ", ".join(sorted(alive))
            raise CallerFault("node_unknown", f"No node {node!r} is alive; alive are {known}.")
        where = alive[node].addresses.get("http", "an address that is not known yet")
        raise CallerFault("other_node", f"Only {node} itself can go on from its copy: ask it, at {where}.")

    async def _judged(self, partition: PartitionId, view: View, alive: Mapping[NodeId, NodeEntry]) -> View:
        """Returns the view to be proposed. Raises: what `recovered` raises."""
        named = dict.fromkeys([*view.replicas, *(member.node for member in view.in_sync)])
        others = [node for node in named if node in alive and node != self._node]
        asked = await asyncio.gather(*(self._copy_at(node, partition) for node in others), return_exceptions=True)
        copies: dict[NodeId, Copy | None] = {self._node: self._local.copy(partition)}
        silent = []
        for node, answer in zip(others, asked, strict=True):
            if isinstance(answer, CopyReply):
                copies[node] = answer.copy
            elif isinstance(answer, NotDone):
                silent.append(node)
            elif isinstance(answer, BaseException):
                raise answer
        return recovered(partition, view, self._node, self._incarnation, copies, frozenset(silent))

    async def _copy_at(self, node: NodeId, partition: PartitionId) -> CopyReply:
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        deadline = Milliseconds(self._clock.now() + _ANSWER_MS)
        self._calls.begin(
            node, partition, lambda number: CopyCall(number, partition, _ANSWER_MS), reply, deadline, _CALL_BYTES, False
        )
        answer: CopyReply = await reply
        return answer

    async def _described(self, partition: PartitionId, view: View) -> RecoveryReport:
        """Returns what the copy holds: all that will be there."""
        records = size_bytes = 0
        newest = Timestamp(0)
        snapshot = self._store.snapshot(partition)
        try:
            last = False
            while not last:
                found, last = await snapshot.read(_READ_BYTES)
                records += len(found)
                size_bytes += sum(len(key) + len(record.value) for key, record in found)
                newest = max([newest, *(record.timestamp for _, record in found)])
        finally:
            snapshot.close()
        return RecoveryReport(partition, self._node, view.lineage, view.epoch, records, size_bytes, newest)


def _warning(report: RecoveryReport) -> str:
    """Returns what an operator must know before he accepts."""
    holds = f"The copy of partition {report.partition} at {report.node} holds {report.records:,} records"
    if report.newest:
        date = datetime.datetime.fromtimestamp(report.newest / 1000, datetime.UTC).isoformat(" ", "seconds")
        holds += f", {report.bytes:,} bytes, the newest written at {date}"
    return (
        f"{holds}. What was written or deleted elsewhere later is lost for good. Bring a node back that is in sync, or "
        "make sure that all of them are stopped, and accept the loss (--accept-data-loss)."
    )


def _doubtful(error: CoreCacheError) -> OutcomeUnknown:
    return OutcomeUnknown("promotion_unknown", f"It may have been done: look at the status ({error.message})")
