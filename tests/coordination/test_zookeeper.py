"""What is in ZooKeeper, whose it is, and how a start finds it or says why not.

What happens when ZooKeeper goes away is in `test_zookeeper_outages.py`.
"""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from coordination.coordinator_stage import (
    DEADLINE_SECONDS,
    Ear,
    ViewEar,
    ZooKeeperStage,
    created,
    entry,
    facts_given,
    view,
)
from coordination.zookeeper_lab import (
    ONE,
    TWO,
    found_paths,
    other_client,
    play,
    root_of,
    settings,
    view_path,
)
from corecache.chaos.processes import PortLease
from corecache.chaos.zookeeper import ZooKeeperServer
from corecache.coordination.zookeeper import ZooKeeperCoordinator
from corecache.errors import Broken, CallerFault, CoreCacheError
from corecache.identity import NodeId, PartitionId
from corecache.placement.partition_map import ClusterFacts


def test_a_creation_that_ended_halfway_counts_for_nothing(zookeeper_address: str) -> None:
    """Views without facts are nobody's: the next creator's stand, all of them, and there was no cluster before."""
    root = root_of(zookeeper_address)

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        await node._write_views({PartitionId(n): view(9) for n in range(5)})
        assert await node.facts() is None
        assert await node.views() == {}
        await created(node)
        assert {found.view.epoch for found in (await node.views()).values()} == {0}

    play(settings(zookeeper_address), scene)
    with other_client(zookeeper_address) as client:
        assert len(client.get_children(f"{root}/partitions")) == 2


def test_a_creation_that_came_second_cleans_up(zookeeper_address: str) -> None:
    """Its views go; those of the first stay."""
    root = root_of(zookeeper_address)

    async def scene(stage: ZooKeeperStage) -> None:
        nodes = [await stage.coordinator() for _ in range(3)]
        await asyncio.gather(*(created(node) for node in nodes))
        folders, deadline = [""] * 3, time.monotonic() + DEADLINE_SECONDS
        while len(folders) > 1 and time.monotonic() < deadline:
            folders, _ = await nodes[0]._session.children(f"{root}/partitions")
        assert len(folders) == 1
        assert len(await nodes[1].views()) == 8

    play(settings(zookeeper_address), scene)


def test_a_view_that_makes_no_sense_concerns_its_partition_alone(
    zookeeper_address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`view` is Broken and names the znode, `views` leaves it out, followers go on, and the log says it once."""
    root = root_of(zookeeper_address)
    spoiled: list[bytes] = [b"", b"\xff\x00", b"{}", b"[1]", b'{"lineage": 0, "epoch": "x"}']

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        heard = ViewEar()
        await created(node)
        with other_client(zookeeper_address) as client:
            path = view_path(client, root, ONE)
            node.watch(heard)
            node.follow([ONE, TWO])
            await heard.until(ONE, 0)
            for text in spoiled:
                await asyncio.to_thread(client.set, path, text)
                with pytest.raises(Broken, match=path) as error:
                    await node.view(ONE)
                assert error.value.code == "znode_malformed"
                assert error.value.message.isprintable()
            assert sorted(await node.views()) == [0, *range(2, 8)]
            await node.propose(TWO, view(1), 0)
            await heard.until(TWO, 1)
            await asyncio.to_thread(client.delete, path)
            with pytest.raises(Broken, match="is gone"):
                await node.view(ONE)
            with pytest.raises(Broken, match="is gone"):
                await node.propose(ONE, view(1), 0)
        assert heard.versions == {ONE: [0], TWO: [0, 1]}

    play(settings(zookeeper_address), scene)
    said = capsys.readouterr().out
    assert said.count("makes no sense (JSON is malformed") + said.count("makes no sense (Input data was truncated") >= 1


def test_facts_of_a_newer_release_and_facts_that_make_no_sense_are_refused(zookeeper_address: str) -> None:
    """Neither is guessed at."""
    root = root_of(zookeeper_address)

    async def scene(stage: ZooKeeperStage) -> None:
        first = await stage.coordinator()
        await created(first)
        with other_client(zookeeper_address) as client:
            for text, kind, code in (
                (b'{"format": 2}', CallerFault, "cluster_newer"),
                (b'{"format": 1}', Broken, "znode_malformed"),
                (b"nonsense", Broken, "znode_malformed"),
            ):
                await asyncio.to_thread(client.set, f"{root}/cluster", text)
                with pytest.raises(kind, match=f"{root}/cluster") as error:
                    await (await stage.coordinator()).facts()
                assert isinstance(error.value, CoreCacheError)
                assert error.value.code == code

    play(settings(zookeeper_address), scene)


def test_nodes_whose_entries_make_no_sense_are_left_out(zookeeper_address: str) -> None:
    """The others are listed."""
    root = root_of(zookeeper_address)

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        await node.register(entry())
        with other_client(zookeeper_address) as client:
            await asyncio.to_thread(client.create, f"{root}/alive/n%2F2", b"?")
            assert await node.nodes() == {NodeId("n1"): entry()}

    play(settings(zookeeper_address), scene)


def test_names_that_are_no_paths_are_kept_apart(zookeeper_address: str) -> None:
    """A node may have any name: slashes and dots are written as percent codes."""

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        names = ["a/b", "..", ".", "naïve node", "%2E"]
        for name in names:
            await node.register(entry(name))
        assert sorted(await node.nodes()) == sorted(names)

    play(settings(zookeeper_address), scene)


def test_all_that_is_made_belongs_to_the_credentials(own_server: ZooKeeperServer) -> None:
    """With a username every znode is the creator's alone: others can neither read nor change any."""

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        await created(node)
        await node.register(entry())
        elected: Ear[bool] = Ear()
        node.campaign(elected)
        await elected.until(bool)
        assert await node.order((await node.orders())[0], 0)
        await node.propose(ONE, view(1), 0)

        def look() -> None:
            with other_client(own_server.address, auth_data=[("digest", "nodes:s3cret:é")]) as client:
                paths = found_paths(client, "/some")
                acls = [client.get_acls(path)[0] for path in paths]
            assert len(paths) > 17
            assert all(
                [(acl.perms, acl.id.scheme, acl.id.id.partition(":")[0]) for acl in found] == [(31, "digest", "nodes")]
                for found in acls
            )

        await asyncio.to_thread(look)

    async def enter(stage: ZooKeeperStage) -> None:
        await stage.coordinator()

    given = settings(f"{own_server.address}/some/where", username="nodes", password="s3cret:é")
    play(given, scene)
    for other in ({}, {"username": "nodes", "password": "wrong"}, {"username": "else", "password": "s3cret:é"}):
        with pytest.raises(CallerFault, match=r"coordination\.username") as error:
            play(settings(given.zookeeper, **other), enter)
        assert error.value.code == "zookeeper_forbidden"
        assert "wrong" not in error.value.message
        assert "s3cret" not in error.value.message


def test_without_credentials_all_is_open(zookeeper_address: str) -> None:
    """Any client may look, and repair."""

    async def scene(stage: ZooKeeperStage) -> None:
        await created(await stage.coordinator())

    play(settings(zookeeper_address), scene)
    with other_client(zookeeper_address) as client:
        for path in found_paths(client, f"/{zookeeper_address.partition('/')[2]}"):
            assert [(acl.perms, acl.id.scheme) for acl in client.get_acls(path)[0]] == [(31, "world")]


def test_clusters_and_chroots_do_not_see_each_other(zookeeper_address: str) -> None:
    """A chroot is made if it is missing; a cluster of another name, or under another chroot, is another cluster."""

    async def scene(stage: ZooKeeperStage) -> None:
        node = await stage.coordinator()
        await created(node)
        other_name = await stage.coordinator("blue")
        assert await other_name.facts() is None
        stage.settings = settings(zookeeper_address + "/deeper//still/")
        other_place = await stage.coordinator()
        assert await other_place.facts() is None
        assert await (await stage.coordinator("red")).facts() is None
        await created(other_place, 3)
        assert await facts_given(node) == ClusterFacts("red", 8)
        names = [await each.facts() for each in (node, other_place)]
        assert len({each.creation for each in names if each is not None}) == 2

    play(settings(zookeeper_address), scene)


@pytest.mark.parametrize("chroot", ["/.", "/../x", "/a/./b"])
def test_a_chroot_that_is_no_path_is_refused(chroot: str) -> None:
    """Before anything is asked of ZooKeeper."""

    async def scene() -> None:
        with pytest.raises(CallerFault, match=r"coordination\.zookeeper"):
            await ZooKeeperCoordinator.open(settings(f"127.0.0.1:1{chroot}"), "red")

    asyncio.run(scene())


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A start that finds no ZooKeeper ends in time, with one line that says of each server what is wrong with it."""
    lease = PortLease()
    port = lease.number

    async def scene() -> None:
        given = settings(f"127.0.0.1:{port},nowhere.invalid:2181/x", start_timeout_ms=1000)
        began = time.monotonic()
        with pytest.raises(CallerFault, match=rf"127\.0\.0\.1:{port} fails: Connection refused") as error:
            await ZooKeeperCoordinator.open(given, "red")
        assert error.value.code == "zookeeper_unreachable"
        assert "nowhere.invalid:2181 can't be resolved" in error.value.message
        assert "\n" not in error.value.message
        assert time.monotonic() - began < 10

    asyncio.run(scene())
    lease.end()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("zookeeper")] == []


def test_a_server_that_comes_up_late_is_waited_for(tmp_path: Path) -> None:
    """Nodes and ZooKeeper may be started in any order."""
    server = ZooKeeperServer(tmp_path)

    async def scene(stage: ZooKeeperStage) -> None:
        opening = asyncio.create_task(stage.coordinator())
        await asyncio.to_thread(server.start)
        assert await (await opening).facts() is None

    try:
        play(settings(server.address), scene)
    finally:
        server.end()


def test_a_server_that_takes_no_passwords_is_named_as_such(tmp_path: Path) -> None:
    """Where the digest scheme is switched off, the start says that the credentials are the matter."""
    off = ("zookeeper.DigestAuthenticationProvider.enabled=false",)

    async def scene(stage: ZooKeeperStage) -> None:
        with pytest.raises(CallerFault, match=r"coordination\.username") as error:
            await stage.coordinator()
        assert error.value.code == "zookeeper_forbidden"

    with ZooKeeperServer(tmp_path, properties=off) as server:
        play(settings(server.address, username="nodes", password="s3cret"), scene)
