"""ZooKeeper goes away: servers are stopped, killed, paused and started again, answers are lost, sessions expire.

What all coordinators promise is in `contracts/test_coordinator.py`; what is in the znodes, in `test_zookeeper.py`.
"""

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from coordination.coordinator_stage import DEADLINE_SECONDS, Ear, ViewEar, ZooKeeperStage, created, entry, view
from coordination.zookeeper_lab import CONNECTED, LOST, ONE, SUSPENDED, TWO, LossyWire, listed, play, settings
from corecache.chaos.zookeeper import Ensemble, ZooKeeperServer
from corecache.errors import NotDone, OutcomeUnknown
from corecache.identity import NodeId, PartitionId
from corecache.placement.view import VersionedView
from corecache.ports import SessionState


def test_a_server_that_is_restarted_costs_no_session(own_server: ZooKeeperServer) -> None:
    """SUSPENDED, then CONNECTED; calls meanwhile are not done; what was missed is told; the node stayed listed."""

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        states: Ear[SessionState] = Ear()
        elected: Ear[bool] = Ear()
        heard = ViewEar()
        await created(node)
        await node.register(entry())
        node.watch(heard)
        node.follow([ONE])
        node.watch_session(states)
        node.campaign(elected)
        await heard.until(ONE, 0)
        await elected.until(bool)
        await asyncio.to_thread(own_server.kill)
        await states.until(lambda told: told[-1] is SUSPENDED)
        assert elected.heard == [True, False]
        for call in (node.propose(ONE, view(1), 0), node.view(ONE), node.views(), node.nodes(), node.orders()):
            with pytest.raises(NotDone):
                await call
        await asyncio.to_thread(own_server.start)
        await states.until(lambda told: told[-1] is CONNECTED)
        await elected.until(lambda won: won == [True, False, True])
        assert states.heard == [CONNECTED, SUSPENDED, CONNECTED]
        assert await node.nodes() == {NodeId("n1"): entry()}
        assert await node.propose(ONE, view(1), 0) == VersionedView(view(1), 1)
        await heard.until(ONE, 1)
        heard.check_growing()

    play(settings(own_server.address, session_timeout_ms=60_000), scene)


def test_a_server_that_takes_a_connection_and_never_answers_it_costs_no_session(own_server: ZooKeeperServer) -> None:
    """As one does that is just starting: the greeting is given up and said anew long before the session's time is out.

    Found by a node that waited a minute for a server that had been back for twenty seconds.
    """

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        states: Ear[SessionState] = Ear()
        await node.register(entry())
        node.watch_session(states)
        await states.until(bool)
        await asyncio.to_thread(own_server.kill)
        with socket.create_server((own_server.host, own_server.port)) as silent:
            silent.settimeout(DEADLINE_SECONDS)
            taken, _ = await asyncio.to_thread(silent.accept)
        with taken:
            await asyncio.to_thread(own_server.start)
            await states.until(lambda told: told[-1] is CONNECTED)
            assert states.heard == [CONNECTED, SUSPENDED, CONNECTED]

    play(settings(own_server.address, session_timeout_ms=60_000), scene)


def test_a_session_that_outlived_its_time_is_replaced(own_server: ZooKeeperServer) -> None:
    """The server comes back with the session expired: LOST, then CONNECTED, and the node is listed again."""

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        states: Ear[SessionState] = Ear()
        await node.register(entry())
        node.watch_session(states)
        await states.until(bool)
        first = node._session._client.client_id
        await stage.expire(node)
        await states.until(lambda told: told[-2:] == [LOST, CONNECTED])
        assert node._session._client.client_id != first
        await listed(node, NodeId("n1"))

    play(settings(own_server.address), scene)


def test_a_server_that_stands_still_is_noticed(own_server: ZooKeeperServer) -> None:
    """Connections stay open and nothing answers: reads are not done, proposals unknown, the end is quick."""

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        await created(node)
        states: Ear[SessionState] = Ear()
        node.watch_session(states)
        own_server.pause()
        with pytest.raises(OutcomeUnknown, match="/partitions/"):
            await node.propose(ONE, view(1), 0)
        await states.until(lambda told: SUSPENDED in told)
        with pytest.raises(NotDone):
            await node.view(ONE)
        began = time.monotonic()
        await node.close()
        assert time.monotonic() - began < 6

    try:
        play(settings(own_server.address, session_timeout_ms=1500), scene)
    finally:
        own_server.resume()


def test_an_end_while_no_server_is_there_is_quick(own_server: ZooKeeperServer) -> None:
    """No thread is left."""

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        states: Ear[SessionState] = Ear()
        node.watch_session(states)
        await asyncio.to_thread(own_server.kill)
        await states.until(lambda told: SUSPENDED in told)
        began = time.monotonic()
        await node.close()
        assert time.monotonic() - began < 3

    play(settings(own_server.address), scene)
    deadline = time.monotonic() + 10
    while left := [thread.name for thread in threading.enumerate() if thread.name.startswith("zookeeper")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_a_proposal_whose_answer_is_lost_is_unknown_and_can_be_settled(own_server: ZooKeeperServer) -> None:
    """The server dies with the proposal: whatever became of it, a second one on the version read afterwards decides."""

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        await created(node)
        states: Ear[SessionState] = Ear()
        node.watch_session(states)
        await states.until(bool)
        unknown = 0
        for _ in range(3):
            version = (await node.view(ONE)).version
            own_server.pause()
            proposal = asyncio.create_task(node.propose(ONE, view(7), version))
            await asyncio.sleep(0)
            await asyncio.to_thread(own_server.kill)
            with pytest.raises(OutcomeUnknown):
                await proposal
            unknown += 1
            states.heard.clear()
            await asyncio.to_thread(own_server.start)
            await states.until(lambda told: CONNECTED in told)
            found = await node.view(ONE)
            assert found.version in (version, version + 1)
            settled = await node.propose(ONE, view(8), found.version)
            assert settled == VersionedView(view(8), found.version + 1) == await node.view(ONE)
        assert unknown == 3

    play(settings(own_server.address, session_timeout_ms=15_000), scene)


def test_what_a_watch_missed_is_found_by_the_sweep(zookeeper_address: str) -> None:
    """With every watch lost, the last change is told all the same; nothing is told twice."""

    async def scene(stage: ZooKeeperStage) -> None:
        node, other = await stage.coordinator(), await stage.coordinator()
        heard = ViewEar()
        await created(node)
        node.watch(heard)
        node.follow([ONE, TWO])
        await heard.until(TWO, 0)
        await heard.until(ONE, 0)
        for _ in range(3):
            node._session._client._data_watchers.clear()
            version = (await other.view(ONE)).version
            await other.propose(ONE, view(1), version)
            await heard.until(ONE, version + 1)
        assert heard.versions[TWO] == [0]
        heard.check_growing()

    play(settings(zookeeper_address, sweep_interval_ms=200), scene)


def test_only_followed_views_are_read(zookeeper_address: str) -> None:
    """Changes of a thousand views that a node does not follow cost it nothing."""

    async def scene(stage: ZooKeeperStage) -> None:
        node, other = await stage.coordinator(), await stage.coordinator()
        heard = ViewEar()
        await created(node, 64)
        node.watch(heard)
        node.follow([ONE])
        await heard.until(ONE, 0)
        asked: list[str] = []
        ask = node._session._ask

        async def counting(writes: bool, path: str, call: str, *arguments: Any) -> Any:
            asked.append(path)
            return await ask(writes, path, call, *arguments)

        node._session._ask = counting  # type: ignore[method-assign]
        await asyncio.gather(*(other.propose(PartitionId(n), view(1), 0) for n in range(64) if n != ONE))
        await other.propose(ONE, view(1), 0)
        await heard.until(ONE, 1)
        assert [path.rpartition("/")[2] for path in asked] == ["1"]

    play(settings(zookeeper_address), scene)


def test_a_thousand_partitions_are_created_and_read_quickly(zookeeper_address: str) -> None:
    """Measured on two busy cores at under a second each; the limits here are generous, and the loop is never held."""
    partitions = 1024

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        heard = ViewEar()
        longest = 0.0

        async def pulse() -> None:
            nonlocal longest
            while True:
                began = time.monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, time.monotonic() - began)

        beating = asyncio.create_task(pulse())
        began = time.monotonic()
        await created(node, partitions)
        made = time.monotonic()
        assert len(await node.views()) == partitions
        read = time.monotonic()
        node.watch(heard)
        node.follow([PartitionId(n) for n in range(partitions)])
        for number in range(partitions):
            await heard.until(PartitionId(number), 0)
        beating.cancel()
        assert made - began < 10
        assert read - made < 5
        assert longest < 1

    play(settings(zookeeper_address), scene)


def test_an_ensemble_that_loses_its_head_goes_on(tmp_path: Path) -> None:
    """Three servers; the one that orders the writes is killed: the session lives on, and so does the cluster."""
    with Ensemble(tmp_path, 3) as ensemble:

        async def scene(stage: ZooKeeperStage) -> None:
            node, other = await stage.coordinator(), await stage.coordinator()
            heard = ViewEar()
            await created(node)
            await node.register(entry())
            node.watch(heard)
            node.follow([ONE])
            await heard.until(ONE, 0)
            head = ensemble.leader()
            assert head is not None
            await asyncio.to_thread(head.kill)
            version = 0
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    try:
                        version = (await other.view(ONE)).version
                        confirmed = await other.propose(ONE, view(5), version)
                    except (NotDone, OutcomeUnknown):
                        await asyncio.sleep(0.05)
                        continue
                    if confirmed is not None:
                        break
            await heard.until(ONE, confirmed.version)
            heard.check_growing()
            assert NodeId("n1") in await other.nodes()

        play(settings(ensemble.address + "/x", session_timeout_ms=10_000), scene)


def test_a_dead_thread_of_kazoo_is_replaced(zookeeper_address: str) -> None:
    """Kazoo's loop ends with an error that it does not know: the next sweep begins a new session."""

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        await node.register(entry())
        states: Ear[SessionState] = Ear()
        node.watch_session(states)
        await states.until(bool)
        client = node._session._client

        class Poison:
            type = 0

            def serialize(self) -> bytes:
                raise RuntimeError("poison")

        await asyncio.to_thread(client._call, Poison(), client.handler.async_result())
        await states.until(lambda told: told[-2:] == [LOST, CONNECTED])
        await listed(node, NodeId("n1"))

    play(settings(zookeeper_address, sweep_interval_ms=300), scene)


def test_an_outage_is_a_few_lines_of_the_log(own_server: ZooKeeperServer, capsys: pytest.CaptureFixture[str]) -> None:
    """However long it lasts; and no line has the password."""

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        states: Ear[SessionState] = Ear()
        node.watch_session(states)
        await asyncio.to_thread(own_server.kill)
        await states.until(lambda told: SUSPENDED in told)
        attempts = node._session._threads
        asked: Ear[int] = Ear()
        connect = attempts.create_connection
        loop = asyncio.get_running_loop()

        def counted(*arguments: Any, **options: Any) -> Any:
            loop.call_soon_threadsafe(asked, 1)
            return connect(*arguments, **options)

        attempts.create_connection = counted  # type: ignore[method-assign]
        await asked.until(lambda heard: len(heard) >= 4)

    play(settings(own_server.address, username="nodes", password="s3cret"), scene)
    said = capsys.readouterr()
    assert 1 <= len(said.out.splitlines()) <= 6, said.out
    assert "s3cret" not in said.out + said.err


@pytest.mark.parametrize("rival", [False, True])
def test_a_proposal_that_won_without_an_answer_is_found_out(zookeeper_address: str, rival: bool) -> None:
    """It is unknown to the proposer, and what is read afterwards is the truth, also if a rival came in between."""

    async def scene(stage: ZooKeeperStage) -> None:
        server, _, chroot = zookeeper_address.partition("/")
        wire = LossyWire(server)
        other = await stage.coordinator()
        stage.settings = settings(f"{await wire.open()}/{chroot}")
        node = await stage.coordinator()
        await created(node)
        states: Ear[SessionState] = Ear()
        node.watch_session(states)
        wire.mute()
        proposal = asyncio.create_task(node.propose(ONE, view(7), 0))
        await wire.swallowed.wait()
        if rival:
            assert await other.propose(ONE, view(8), 1) == VersionedView(view(8), 2)
        wire.cut()
        with pytest.raises(OutcomeUnknown):
            await proposal
        await states.until(lambda told: told[-2:] == [SUSPENDED, CONNECTED])
        found = await node.view(ONE)
        assert found == (VersionedView(view(8), 2) if rival else VersionedView(view(7), 1))
        assert await node.propose(ONE, found.view, found.version) == VersionedView(found.view, found.version + 1)
        await node.close()
        wire.close()

    play(settings(zookeeper_address), scene)
