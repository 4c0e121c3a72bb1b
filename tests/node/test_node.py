"""A node on memory twins: group commit, deadlines, limits, failures, and the way it comes to life."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from corecache.coordination.memory import MemoryCoordinator
from corecache.errors import Broken, CallerFault, CoreCacheError, NotDone, OutcomeUnknown
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.operations import Absent, Delete, IfAbsent, Put, Written
from corecache.placement.partition_map import NodeEntry
from corecache.placement.slots import partition_of
from corecache.placement.view import VersionedView, View
from corecache.replication.events import StorageFailed
from corecache.storage.memory import MemoryDisk
from node.running import GatedStore, Running, config_of, running


def run(test: Callable[[Running], Awaitable[None]], **limits: int) -> None:
    """Runs a test against a started node."""

    async def whole() -> None:
        async with running(config_of(**limits)) as node:
            await test(node)
            assert node.broken == []

    asyncio.run(whole())


def test_writes_that_arrive_during_an_append_share_the_next_one() -> None:
    """Group commit: one round is at the disk, everything that comes meanwhile goes with the next."""

    async def test(at: Running) -> None:
        at.store.gate.clear()
        at.store.rounds.clear()
        first = asyncio.create_task(at.node.write((Put(b"first", b"v"),), at.deadline()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rest = [asyncio.create_task(at.node.write((Put(b"k%d" % n, b"v"),), at.deadline())) for n in range(50)]
        await asyncio.sleep(0)
        at.store.gate.set()
        await asyncio.gather(first, *rest)

        assert at.store.rounds == [1, 50]

    run(test)


def test_writes_that_wait_for_an_entry_are_told_when_its_primary_steps_down() -> None:
    """Nothing commits any more that they could wait for: they are refused at once, not at their deadline."""

    async def test(at: Running) -> None:
        partition = partition_of(b"a", 4)
        replica = at.driver.machine.replicas[partition]
        at.driver._is_busy = lambda partition: replica.primary is not None  # type: ignore[method-assign]
        held = asyncio.create_task(at.node.write((Put(b"a", b"v"),), at.deadline()))
        await asyncio.sleep(0.01)
        assert not held.done()
        at.driver.deliver(partition, StorageFailed("The disk is gone."))
        async with asyncio.timeout(2):
            with pytest.raises(NotDone) as refused:
                await held
        assert refused.value.code == "storage_failed"

    run(test)


def test_a_write_queued_behind_a_hanging_disk_is_not_done_at_its_deadline() -> None:
    """Nobody is left without an answer, and what was not appended never happens."""

    async def test(at: Running) -> None:
        at.store.gate.clear()
        appended = asyncio.create_task(at.node.write((Put(b"a", b"v"),), at.deadline(1000)))
        await asyncio.sleep(0.01)
        queued = asyncio.create_task(at.node.write((Put(b"b", b"v"),), at.deadline(1000)))
        await asyncio.sleep(0.01)
        at.clock.steady += 1000
        with pytest.raises(NotDone):
            await queued
        with pytest.raises(OutcomeUnknown):
            await appended
        at.store.gate.set()
        (result,) = await at.node.write((Delete(b"b"),), at.deadline())

        assert result == Absent()
        assert at.driver.queues.admission.requests == 0

    run(test)


def test_the_queue_refuses_beyond_its_limit_and_takes_again_when_it_is_empty() -> None:
    """Overload is said at once, and passes."""

    async def test(at: Running) -> None:
        at.store.gate.clear()
        writes = [asyncio.create_task(at.node.write((Put(b"k%d" % n, b"v"),), at.deadline())) for n in range(10)]
        await asyncio.sleep(0.01)
        with pytest.raises(NotDone) as refused:
            await at.node.write((Put(b"more", b"v"),), at.deadline())
        at.store.gate.set()
        await asyncio.gather(*writes)

        assert refused.value.code == "overloaded"
        assert await at.node.write((Put(b"more", b"v"),), at.deadline())
        assert (at.driver.queues.admission.requests, at.driver.queues.admission.size_bytes) == (0, 0)

    run(test, uncommitted_requests_max=10)


def test_a_client_that_goes_away_leaves_nothing_behind() -> None:
    """A cancelled request is counted out, whether it was appended or still queued."""

    async def test(at: Running) -> None:
        at.store.gate.clear()
        for number in range(3):
            task = asyncio.create_task(at.node.write((Put(b"k%d" % number, b"v"),), at.deadline()))
            await asyncio.sleep(0.01)
            task.cancel()
        at.store.gate.set()
        await at.node.write((Put(b"last", b"v"),), at.deadline())

        assert (at.driver.queues.admission.requests, at.driver.queues.admission.size_bytes) == (0, 0)

    run(test)


def test_a_failed_append_is_unknown_and_everything_later_is_not_done() -> None:
    """R3: no lie about the write under way, none after it, and no read from a node that stepped down."""

    async def test(at: Running) -> None:
        await at.node.write((Put(b"k", b"v"),), at.deadline())
        at.store.failing = True
        with pytest.raises(OutcomeUnknown):
            await at.node.write((Put(b"k", b"w"),), at.deadline())
        with pytest.raises(NotDone) as refused:
            await at.node.write((Put(b"k", b"x"),), at.deadline())
        with pytest.raises(NotDone):
            await at.node.get(b"k", at.deadline())

        assert refused.value.code == "storage_failed"
        assert at.node.unready() == "The disk is gone; replace it."

    run(test)


def test_an_expired_record_is_absent_and_gone_from_the_store() -> None:
    """R17: a read of an expired key removes it through the log before it says so."""

    async def test(at: Running) -> None:
        await at.node.write((Put(b"k", b"v", ttl_ms=100),), at.deadline())
        assert await at.node.get(b"k", at.deadline()) is not None
        at.clock.date += 100
        assert await at.node.get(b"k", at.deadline()) is None
        at.clock.date -= 100
        assert await at.node.get(b"k", at.deadline()) is None
        page = await at.node.scan(b"", None, 10, at.deadline())
        assert page.items == ()

    run(test)


def test_many_requests_are_answered_in_their_order_each_with_its_own_outcome() -> None:
    """A batch of requests shares rounds, keeps the order on each key, and mixes outcomes."""

    async def test(at: Running) -> None:
        outcomes = await at.node.write_many(
            [
                (Put(b"k", b"1"),),
                (Put(b"k", b"2", condition=IfAbsent()),),
                (Delete(b"k"),),
                (Put(b"k", b"3", condition=IfAbsent()),),
                (Put(b"a", b"1"), Put(b"b", b"1")),
            ],
            at.deadline(),
        )
        record = await at.node.get(b"k", at.deadline())

        assert not isinstance(outcomes[0], CoreCacheError)
        assert isinstance(outcomes[0][0], Written)
        assert isinstance(outcomes[4], CallerFault)
        assert outcomes[4].code == "cross_partition"
        assert record is not None
        assert record.value == b"3"

    run(test)


def test_a_scan_goes_over_all_partitions_in_byte_order() -> None:
    """Where a key is placed can't be seen in a listing."""

    async def test(at: Running) -> None:
        keys = [b"%03d" % number for number in range(40)]
        await at.node.write_many([(Put(key, key),) for key in keys], at.deadline())
        first = await at.node.scan(b"005", b"030", 10, at.deadline())
        assert first.resume is not None
        second = await at.node.scan(first.resume, b"030", 100, at.deadline())

        assert [item.key for item in first.items + second.items] == keys[5:30]
        assert second.resume is None

    run(test)


def test_a_restart_keeps_the_id_and_leads_under_the_next_incarnation() -> None:
    """R14: the directory remembers who it is; each start counts."""

    async def test() -> None:
        disk, coordinator = MemoryDisk(), MemoryCoordinator()
        async with running(store=GatedStore(disk), coordinator=coordinator) as at:
            await at.node.write((Put(b"k", b"v"),), at.deadline())
            first = at.node.cluster()
        disk.crash()
        async with running(store=GatedStore(disk), coordinator=coordinator) as at:
            record = await at.node.get(b"k", at.deadline())
            second = at.node.cluster()

        assert record is not None
        assert second.node == first.node
        assert (first.nodes[0].incarnation, second.nodes[0].incarnation) == (1, 2)
        epochs = [partition.view.epoch for partition in second.partitions if partition.view is not None]
        assert epochs == [2, 2, 2, 2]

    asyncio.run(test())


def test_an_old_copy_of_a_directory_is_refused() -> None:
    """R14: whoever knows of fewer starts than the coordinator is a copy."""

    async def test() -> None:
        coordinator = MemoryCoordinator()
        disk = MemoryDisk()
        async with running(store=GatedStore(disk), coordinator=coordinator):
            pass
        disk.crash()
        await coordinator.register(NodeEntry(NodeId("node-id1"), Incarnation(7)))
        with pytest.raises(Broken) as refused:
            async with running(store=GatedStore(disk), coordinator=coordinator):
                pass

        assert refused.value.code == "data_dir_outdated"

    asyncio.run(test())


def test_a_lost_coordinator_file_is_made_again_from_the_replicas() -> None:
    """The database alone is enough: the views of a cluster of one follow from its facts."""

    async def test() -> None:
        disk = MemoryDisk()
        async with running(store=GatedStore(disk)) as at:
            await at.node.write((Put(b"k", b"v"),), at.deadline())
        disk.crash()
        async with running(store=GatedStore(disk)) as at:
            assert await at.node.get(b"k", at.deadline()) is not None

    asyncio.run(test())


def test_a_coordinator_file_of_another_database_is_refused() -> None:
    """Its views name replicas that this directory does not hold: to serve them would be to invent data."""

    async def test() -> None:
        coordinator = MemoryCoordinator()
        async with running(coordinator=coordinator, first_id=100):
            pass
        with pytest.raises(Broken) as refused:
            async with running(coordinator=coordinator):
                pass

        assert refused.value.code == "data_dir_incomplete"

    asyncio.run(test())


def test_a_directory_of_another_configuration_is_refused() -> None:
    """The number of partitions is fixed when the cluster is created."""

    async def test() -> None:
        disk = MemoryDisk()
        async with running(store=GatedStore(disk)):
            pass
        disk.crash()
        with pytest.raises(CallerFault) as refused:
            async with running(config_of(partitions=5), store=GatedStore(disk)):
                pass

        assert refused.value.code == "data_dir_of_another"
        assert "cluster.partitions = 4" in refused.value.message

    asyncio.run(test())


@pytest.mark.parametrize("partitions", [1, 3, 64])
def test_any_number_of_partitions_serves(partitions: int) -> None:
    """The number of partitions is a setting, and nothing else knows it."""

    async def test(at: Running) -> None:
        await at.node.write_many([(Put(b"%d" % n, b"v"),) for n in range(100)], at.deadline())
        page = await at.node.scan(b"", None, 1000, at.deadline(), values=False)
        assert len(page.items) == 100
        report = at.node.cluster()
        assert sum(part.last_slot - part.first_slot + 1 for part in report.partitions) == 16_384

    run(test, partitions=partitions)


def test_a_read_of_an_expired_record_is_never_told_that_a_write_may_have_happened() -> None:
    """The removal that a read waits for is not the reader's: at the deadline he is told to read again."""

    async def test(at: Running) -> None:
        await at.node.write((Put(b"k", b"v", ttl_ms=100),), at.deadline())
        at.clock.date += 100
        at.store.gate.clear()
        reads = [
            asyncio.create_task(at.node.get(b"k", at.deadline(1000))),
            asyncio.create_task(at.node.scan(b"", None, 10, at.deadline(1000))),
        ]
        await asyncio.sleep(0.01)
        at.clock.steady += 1000
        for read in reads:
            with pytest.raises(NotDone):
                await read
        at.store.gate.set()

    run(test)


@pytest.mark.parametrize(("missed", "tries"), [(1, 1), (3, 4)])
def test_an_old_database_beside_a_newer_coordinator_is_refused_every_time(missed: int, tries: int) -> None:
    """R14: a refused start counts nothing, so that an old copy never comes level with what it has missed."""

    async def test() -> None:
        disk, coordinator = MemoryDisk(), MemoryCoordinator()
        async with running(store=GatedStore(disk), coordinator=coordinator) as at:
            await at.node.write((Put(b"k", b"old"),), at.deadline())
        disk.crash()
        old = list(disk.writes)
        for _ in range(missed):
            async with running(store=GatedStore(disk), coordinator=coordinator) as at:
                await at.node.write((Put(b"k", b"new"),), at.deadline())
            disk.crash()
        disk.writes = old
        for _ in range(tries):
            with pytest.raises(Broken) as refused:
                async with running(store=GatedStore(disk), coordinator=coordinator):
                    pass
            assert refused.value.code == "data_dir_outdated"
            disk.crash()

    asyncio.run(test())


def test_a_busy_partition_does_not_hold_up_a_quiet_one() -> None:
    """Whoever had a share of the last round comes last in the next one."""

    async def test(at: Running) -> None:
        keys = [b"%d" % number for number in range(1000)]
        busy = partition_of(keys[0], 4)
        crowd = [key for key in keys if partition_of(key, 4) == busy]
        quiet = next(key for key in keys if partition_of(key, 4) != busy)
        at.store.gate.clear()
        flood = asyncio.ensure_future(at.node.write_many([(Put(key, b"v"),) for key in crowd * 4], at.deadline()))
        await asyncio.sleep(0.01)
        one = asyncio.ensure_future(at.node.write((Put(quiet, b"v"),), at.deadline()))
        await asyncio.sleep(0.01)
        at.store.rounds.clear()
        at.store.gate.set()
        await one

        # Twenty rounds of the busy one were waiting; a few pass while the answer is on its way.
        assert len(at.store.rounds) <= 10
        assert not flood.done()
        await flood

    run(test, batch_requests_max=50)


def test_one_request_alone_is_admitted_however_large() -> None:
    """A limit that nothing could ever pass would be a refusal for ever."""

    async def test(at: Running) -> None:
        large = bytes(2 << 20)
        assert await at.node.write((Put(b"k", large),), at.deadline())
        at.store.gate.clear()
        first = asyncio.ensure_future(at.node.write((Put(b"k", large),), at.deadline()))
        await asyncio.sleep(0.01)
        with pytest.raises(NotDone):
            await at.node.write((Put(b"k", b"v"),), at.deadline())
        at.store.gate.set()
        await first

    run(test, uncommitted_bytes_max=1 << 20)


def test_a_write_after_the_stop_is_refused() -> None:
    """A connection that outlives the drain gets an answer, too."""

    async def test() -> None:
        async with running() as at:
            pass
        with pytest.raises(NotDone) as refused:
            await at.node.write((Put(b"k", b"v"),), at.deadline())

        assert refused.value.code == "stopping"

    asyncio.run(test())


def test_a_proposal_that_keeps_failing_is_not_made_in_a_hot_loop() -> None:
    """A coordinator whose disk is full gets a moment between two tries."""

    async def test() -> None:
        disk, coordinator = MemoryDisk(), FailingCoordinator()
        async with running(store=GatedStore(disk), coordinator=coordinator):
            pass
        disk.crash()
        coordinator.failing = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4), running(store=GatedStore(disk), coordinator=coordinator):
                pass

        assert coordinator.proposals == 4

    asyncio.run(test())


class FailingCoordinator(MemoryCoordinator):
    """A coordinator that can't store proposals while it is `failing`."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False
        self.proposals = 0

    async def propose(self, partition: PartitionId, view: View, expected: int) -> VersionedView | None:
        """Counts, and fails if it is to. Raises: NotDone."""
        if self.failing:
            self.proposals += 1
            raise NotDone("coordinator_full", "No space is left; free some.")
        return await super().propose(partition, view, expected)
