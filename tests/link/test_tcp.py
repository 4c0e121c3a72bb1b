"""The link over TCP, with real sockets: what goes over them, and what becomes of peers that are gone, odd or slow."""

import asyncio
import gc
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import msgspec
import pytest
from structlog.testing import capture_logs

from corecache.config import MIB
from corecache.errors import CallerFault
from corecache.identity import Incarnation, NodeId, PartitionId
from corecache.link.dialled import DialFailure, dial
from corecache.link.greeting import Local
from corecache.link.notices import LinkCounts
from corecache.wire.calls import ReadCall
from corecache.wire.frame import frame_of
from corecache.wire.link_codec import Farewell, Hello, OpenFrame, Post, Refusal, Welcome
from link.link_lab import (
    CLUSTER,
    N1,
    N2,
    PARTITIONS,
    SETTINGS,
    Acceptor,
    Hand,
    Node,
    free_port,
    hello,
    in_loop,
    invite,
    logged,
    replicate,
    until,
)

N3 = NodeId("n3")
CHILD = Path(__file__).with_name("child_node.py")


async def greeted(acceptor: Acceptor, incarnation: int = 1) -> tuple[Hand, Hello]:
    """Welcomes the next connection as n2; returns it with what it said."""
    hand = await acceptor.next()
    said = await hand.hear()
    assert isinstance(said, Hello)
    hand.say(Welcome(N2, Incarnation(incarnation)))
    return hand, said


@in_loop
async def test_a_turn_of_the_loop_is_one_frame_on_the_wire() -> None:
    """Whatever is sent in one turn, messages and calls, leaves as one frame in the order of the sending."""
    read = ReadCall(1, PartitionId(2), b"colour", 500)
    async with Acceptor() as acceptor, Node(N1) as one:
        one.link.meet({N2: acceptor.address})
        hand, said = await greeted(acceptor)
        assert said == hello(N1, N2)
        await one.heard.until_told(("connected", N2, 1))
        for number in range(100):
            one.link.send(N2, [invite(number)])
        assert one.link.call(N2, [read])
        assert one.link.counts.frames_sent == 1, "only the greeting"
        assert await hand.hear() == Post((*(invite(number) for number in range(100)), read))
        assert one.link.counts.frames_sent == 2
        one.link.send(N2, [invite(1)])
        assert await hand.hear() == Post((invite(1),))


@in_loop
async def test_a_killed_process_is_lost_refused_and_found_again() -> None:
    """SIGKILL is noticed at once, in two steps; the next process at the address is another incarnation."""
    port = free_port()

    async def child(incarnation: int) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(CHILD), str(port), str(incarnation), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"listening\n"
        return process

    async with Node(N1) as one:
        for incarnation in (1, 2):
            process = await child(incarnation)
            one.link.meet({N2: f"127.0.0.1:{port}"})
            await one.heard.until_told(("connected", N2, incarnation))
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await one.heard.until_told(("lost", N2, False), ("lost", N2, True))
            assert not one.link.call(N2, [ReadCall(1, PartitionId(2), b"b", 500)])


@in_loop
async def test_a_lost_connection_alone_is_not_a_refusal() -> None:
    """Where somebody still listens, a loss is told as a loss, and the connection is made again."""
    async with Acceptor() as acceptor, Node(N1) as one:
        one.link.meet({N2: acceptor.address})
        for incarnation in (4, 4, 6):
            hand, _ = await greeted(acceptor, incarnation)
            await one.heard.until_told(("connected", N2, incarnation))
            hand.close()
            await one.heard.until_told(("lost", N2, False))


@in_loop
async def test_who_answers_nothing_is_not_a_refusal() -> None:
    """A peer that accepts and does not greet is given up after a time and tried again; its node is told nothing."""
    settings = msgspec.structs.replace(SETTINGS, connect_timeout_ms=100)
    async with Acceptor() as acceptor, Node(N1, settings=settings) as one:
        with capture_logs() as lines:
            one.link.meet({N2: acceptor.address})
            for _ in range(3):
                hand = await acceptor.next()
                assert isinstance(await hand.hear(), Hello)
                assert await hand.hear() is None
        assert one.heard.told == []
        (line,) = logged(lines, "can't connect; trying again")
        assert (line["node"], line["code"]) == (N2, "silent")


@in_loop
async def test_a_refusal_is_logged_once_with_its_sentence() -> None:
    """However often it is refused, a node says so once on either side, until it was welcome."""
    async with Node(N1) as one, Node(N2, cluster="blue") as two:
        with capture_logs() as lines:
            one.link.meet({N2: two.address})
            await dialled_again(two)
        (refused,) = logged(lines, "refused a connection")
        (told,) = logged(lines, "can't connect; trying again")
        assert refused["reason"] == told["reason"]
        assert 'Node "n1" is of cluster "red", this is "blue": give it the right cluster.name' in told["reason"]
        assert told["code"] == "other_cluster"
        assert one.heard.told == []


async def dialled_again(node: Node, times: int = 3) -> None:
    """Waits for a node to be dialled some times more."""
    before = node.link.counts.bytes_received
    per_greeting = len(msgspec.msgpack.encode(hello())) + 8
    await until(lambda: node.link.counts.bytes_received >= before + times * per_greeting)


@in_loop
async def test_another_version_is_refused_in_words() -> None:
    """A greeting of another version, whatever else it says, is answered with a sentence that names both versions."""
    async with Node(N1) as one:
        hand = await Hand.dial(one)
        payload = msgspec.msgpack.encode(["corecache", 9, {"quite": "different"}])
        hand.send(payload)
        answer = await hand.hear()
        assert isinstance(answer, Refusal)
        assert answer.code == "other_version"
        assert "version 9 of the link's protocol, this one 1" in answer.reason
        assert await hand.hear() is None


@in_loop
async def test_a_node_does_not_speak_to_itself_or_to_its_double() -> None:
    """Who greets with this node's own id is refused, and so is who wants another node."""
    async with Node(N1) as one:
        for greeting, code in ((hello(N1, N1), "itself"), (hello(N2, N3), "other_node")):
            hand = await Hand.dial(one)
            hand.say(greeting)
            answer = await hand.hear()
            assert isinstance(answer, Refusal)
            assert answer.code == code


@in_loop
async def test_another_node_that_answers_is_not_taken_for_the_wanted_one() -> None:
    """A welcome by somebody else ends the connection."""
    async with Acceptor() as acceptor, Node(N1) as one:
        with capture_logs() as lines:
            one.link.meet({N2: acceptor.address})
            hand = await acceptor.next()
            hand.say(Welcome(N3, Incarnation(1)))
            assert isinstance(await hand.hear(), Hello)
            assert await hand.hear() is None
            await acceptor.next()
        assert logged(lines, "can't connect; trying again")[0]["code"] == "other_node"
        assert one.heard.told == []


@in_loop
async def test_who_hears_its_own_greeting_has_dialled_nobody() -> None:
    """The kernel may choose the port that is dialled for the dialling end, if nobody listens there."""
    async with Acceptor() as acceptor, Node(N1) as one:
        with capture_logs() as lines:
            one.link.meet({N2: acceptor.address})
            hand = await acceptor.next()
            said = await hand.hear()
            assert isinstance(said, Hello)
            hand.say(said)
            assert await hand.hear() is None
            await one.heard.until_told(("lost", N2, True))
        assert logged(lines, "can't connect; trying again")[0]["code"] == "refused"


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\x00\x00\x00\x02\x00\x00\x00\x00ab",
        bytes(8),
        "post",
    ],
)
@in_loop
async def test_garbage_is_closed_with_one_quiet_line(noise: bytes | str) -> None:
    """Whatever begins with no greeting is closed without an answer; the log has a line that is no warning."""
    async with Node(N1) as one:
        with capture_logs() as lines:
            hand = await Hand.dial(one)
            hand.writer.write(framed_post() if isinstance(noise, str) else noise)
            assert await hand.hear() is None
        (line,) = lines
        assert line["event"] == "closed a connection that is not from a node"
        assert line["log_level"] == "info"
        assert one.heard.envelopes == []


def framed_post() -> bytes:
    """Returns a frame that only a node that was welcomed may send."""
    frame = OpenFrame()
    frame.add([invite(1)])
    return bytes(frame.sealed())


@in_loop
async def test_who_connects_and_says_nothing_is_closed() -> None:
    """A connection that does not greet within link.connect_timeout_ms is closed."""
    async with Node(N1, settings=msgspec.structs.replace(SETTINGS, connect_timeout_ms=300)) as one:
        welcomed = await Hand.dial(one, hello())
        silent = await Hand.dial(one)
        assert await silent.hear() is None
        welcomed.writer.write(framed_post())
        await one.heard.until(lambda: one.heard.messages == [invite(1)])


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        ((2 * MIB).to_bytes(4, "big") + bytes(4), "2,097,152 bytes, and 1,048,576 are allowed"),
        (framed_post()[:-1] + b"\x02", "wrong checksum"),
        (frame_of(b"\xc1"), "can't be read"),
    ],
)
@in_loop
async def test_a_node_that_sends_nonsense_is_cut_off(octets: bytes, reason: str) -> None:
    """Frames that are too long, damaged or unreadable end the connection; what was whole before counts, later not."""
    async with Node(N1, settings=msgspec.structs.replace(SETTINGS, frame_bytes_max=MIB)) as one:
        with capture_logs() as lines:
            hand = await Hand.dial(one, hello())
            hand.writer.write(framed_post() + octets + framed_post())
            farewell = await hand.hear()
            assert isinstance(farewell, Farewell)
            assert reason in farewell.reason
            assert await hand.hear() is None
        (line,) = logged(lines, "cut a node off")
        assert line["node"] == N2
        assert reason in line["reason"]
        assert one.heard.messages == [invite(1)]
        again = await Hand.dial(one, hello())
        again.writer.write(framed_post())
        await one.heard.until(lambda: len(one.heard.messages) == 2)


@in_loop
async def test_a_farewell_tells_the_dialer_why() -> None:
    """The reason that the other side gives stands in the log."""
    async with Acceptor() as acceptor, Node(N1) as one:
        with capture_logs() as lines:
            one.link.meet({N2: acceptor.address})
            hand, _ = await greeted(acceptor)
            await one.heard.until_told(("connected", N2, 1))
            hand.say(Farewell("cut off: your frame\nis too long"))
            await one.heard.until_told(("lost", N2, False))
        assert logged(lines, "lost a connection")[0]["reason"] == repr("cut off: your frame\nis too long")


@in_loop
async def test_a_peer_that_does_not_read_costs_no_more_than_the_limit() -> None:
    """Beyond link.queued_bytes_max nothing is taken; when nothing has moved for a while the peer is dialled anew."""
    settings = msgspec.structs.replace(SETTINGS, queued_bytes_max=MIB)
    async with Acceptor() as acceptor, Node(N1, settings=settings, stall_ms=100) as one:
        with capture_logs() as lines:
            one.link.meet({N2: acceptor.address})
            hand, _ = await greeted(acceptor)
            await one.heard.until_told(("connected", N2, 1))
            hand.writer.transport.pause_reading()  # type: ignore[attr-defined] # of asyncio's read transports
            big = replicate(1, bytes(100_000))
            read = ReadCall(1, PartitionId(2), bytes(100_000), 500)
            while one.link.call(N2, [read]):
                one.link.send(N2, [big])
                await asyncio.sleep(0)
            dropped = one.link.counts.messages_dropped
            one.link.send(N2, [big, big])
            assert one.link.counts.messages_dropped == dropped + 2
            await one.heard.until_told(("lost", N2, False))
            assert "has read nothing for 100 ms" in logged(lines, "lost a connection")[0]["reason"]
        hand, _ = await greeted(acceptor, 2)
        await one.heard.until_told(("connected", N2, 2))
        one.link.send(N2, [invite(1)])
        assert await hand.hear() == Post((invite(1),))


@in_loop
async def test_a_peer_that_reads_slowly_is_kept() -> None:
    """As long as something moves, a connection with a long queue is not given up."""
    settings = msgspec.structs.replace(SETTINGS, queued_bytes_max=64 * MIB)
    async with Acceptor() as acceptor, Node(N1, settings=settings, stall_ms=1000) as one:
        one.link.meet({N2: acceptor.address})
        hand, _ = await greeted(acceptor)
        await one.heard.until_told(("connected", N2, 1))
        hand.writer.transport.pause_reading()  # type: ignore[attr-defined] # of asyncio's read transports
        for number in range(40):
            one.link.send(N2, [replicate(1, bytes(1_000_000)), invite(number)])
            await asyncio.sleep(0)
        hand.writer.transport.resume_reading()  # type: ignore[attr-defined]
        heard = 0
        while heard < 40:
            post = await hand.hear()
            assert isinstance(post, Post)
            heard += post.items.count(invite(heard))
            await asyncio.sleep(0.03)
        assert one.heard.told == []


@in_loop
async def test_bulk_does_not_delay_what_is_small() -> None:
    """A bulk connection that is full, and not read, holds up nothing that is sent on the other."""
    async with Acceptor() as acceptor, Node(N1) as one:
        one.link.meet({N2: acceptor.address})
        main, said = await greeted(acceptor)
        assert not said.bulk
        await one.heard.until_told(("connected", N2, 1))
        for _ in range(10):
            one.link.send(N2, [replicate(1, bytes(1_000_000))], bulk=True)
        bulk, said = await greeted(acceptor)
        assert said.bulk
        bulk.writer.transport.pause_reading()  # type: ignore[attr-defined] # of asyncio's read transports
        one.link.send(N2, [invite(1)])
        assert await main.hear() == Post((invite(1),))
        bulk.writer.transport.resume_reading()  # type: ignore[attr-defined]
        bulk.decoder.bytes_max = 128 * MIB
        post = await bulk.hear()
        assert isinstance(post, Post)
        assert len(post.items) == 10


@in_loop
async def test_a_bulk_connection_that_is_lost_is_made_again_at_need() -> None:
    """Its loss is not told; what is sent as bulk later dials it anew, and the main connection stays."""
    async with Acceptor() as acceptor, Node(N1) as one:
        one.link.meet({N2: acceptor.address})
        main, _ = await greeted(acceptor)
        await one.heard.until_told(("connected", N2, 1))
        one.link.send(N2, [invite(1)], bulk=True)
        bulk, _ = await greeted(acceptor)
        assert await bulk.hear() == Post((invite(1),))
        bulk.close()
        while acceptor.arrived.empty():
            one.link.send(N2, [invite(2)], bulk=True)
            await asyncio.sleep(0)
        bulk, said = await greeted(acceptor)
        assert said.bulk
        post = await bulk.hear()
        assert isinstance(post, Post)
        assert set(post.items) == {invite(2)}
        one.link.send(N2, [invite(3)])
        assert await main.hear() == Post((invite(3),))
        assert one.heard.told == []


@in_loop
async def test_bulk_never_reaches_another_incarnation() -> None:
    """A bulk connection that is welcomed by another process than the main one is dropped with what it had."""
    async with Acceptor() as acceptor, Node(N1) as one:
        one.link.meet({N2: acceptor.address})
        await greeted(acceptor, 1)
        await one.heard.until_told(("connected", N2, 1))
        one.link.send(N2, [invite(1)], bulk=True)
        bulk, _ = await greeted(acceptor, 2)
        assert await bulk.hear() is None
        assert one.link.counts.messages_dropped == 1


@in_loop
async def test_a_newer_incarnation_ends_the_older_and_never_the_other_way() -> None:
    """Connections of an older process of a node are ended by a newer one's, and refused after it."""
    async with Node(N1) as one:
        old = await Hand.dial(one, hello(incarnation=1))
        old_bulk = await Hand.dial(one, hello(incarnation=1, bulk=True))
        new = await Hand.dial(one, hello(incarnation=2))
        assert await old.hear() is None
        assert await old_bulk.hear() is None
        older = await Hand.dial(one)
        older.say(hello(incarnation=1, bulk=True))
        answer = await older.hear()
        assert isinstance(answer, Refusal)
        assert answer.code == "old_incarnation"
        new.writer.write(framed_post())
        await one.heard.until(lambda: one.heard.envelopes)
        assert one.heard.envelopes[0].sender_incarnation == 2


@in_loop
async def test_a_second_connection_takes_the_place_of_the_first() -> None:
    """A node that dials again has lost the connection that it had; its bulk connection stays."""
    async with Node(N1) as one:
        first = await Hand.dial(one, hello())
        bulk = await Hand.dial(one, hello(bulk=True))
        second = await Hand.dial(one, hello())
        assert await first.hear() is None
        bulk.writer.write(framed_post())
        second.writer.write(framed_post())
        await one.heard.until(lambda: len(one.heard.messages) == 2)


@in_loop
async def test_no_more_connections_than_are_allowed() -> None:
    """The one too many is told so; when another leaves there is room again."""
    async with Node(N1, settings=msgspec.structs.replace(SETTINGS, connections_max=2)) as one:
        first = await Hand.dial(one, hello())
        await Hand.dial(one, hello(bulk=True))
        third = await Hand.dial(one)
        third.say(hello(N3))
        answer = await third.hear()
        assert isinstance(answer, Refusal)
        assert answer.code == "too_many"
        await Hand.dial(one, hello())
        assert await first.hear() is None
        await Hand.dial(one, hello(incarnation=2))
        await Hand.dial(one, hello(N3))


@in_loop
async def test_ports_in_use_are_passed_over() -> None:
    """The first free port of the range is taken; when there is none the error names the link's settings."""
    async with Node(N1) as one:
        settings = msgspec.structs.replace(SETTINGS, port=one.port)
        with pytest.raises(CallerFault, match=rf"Port {one.port} is in use .*link\.port") as caught:
            await Node(N2, settings=settings).link.start()
        assert caught.value.code == "port_in_use"


@in_loop
async def test_all_refused_addresses_of_a_name_are_a_refusal() -> None:
    """A name is refused if every address that it has refuses; a name that has none is not."""
    async with Node(N1) as one:
        one.link.meet({N2: f"localhost:{free_port()}"})
        await one.heard.until_told(("lost", N2, True))
    for address in ("no such host:1", "localhost", "localhost:99999", ""):
        async with Node(N1) as one:
            with capture_logs() as lines:
                one.link.meet({N2: address})
                await until(lambda: logged(lines, "can't connect; trying again"))
            assert lines[0]["code"] == "unreachable"
            assert one.heard.told == []


@in_loop
async def test_nothing_reaches_a_new_incarnation_before_it_is_told_of() -> None:
    """What a node sends in the belief that the old process is still there is dropped, not given to the new one."""
    async with Acceptor() as acceptor, Node(N1) as one:
        one.link.meet({N2: acceptor.address})
        hand, _ = await greeted(acceptor, 1)
        await one.heard.until_told(("connected", N2, 1))
        hand.close()
        turns = 0
        while ("connected", N2, 2) not in one.heard.told:
            one.link.send(N2, [invite(1)])
            if turns == 0 and not acceptor.arrived.empty():
                hand, _ = await greeted(acceptor, 2)
                turns += 1
            await asyncio.sleep(0)
        one.link.send(N2, [invite(2)])
        assert await hand.hear() == Post((invite(2),))


@in_loop
async def test_an_error_of_the_node_ends_no_connection() -> None:
    """Who hears of a connection and fails is told of the next all the same; the error goes to the loop's handler."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    async with Acceptor() as acceptor, Node(N1) as one:
        told, trouble = one.heard.connected, [ValueError("a defect")]

        def connected(node: NodeId, incarnation: Incarnation) -> None:
            told(node, incarnation)
            if trouble:
                raise trouble[0]

        one.heard.connected = connected  # type: ignore[method-assign]
        one.link.meet({N2: acceptor.address})
        hand, _ = await greeted(acceptor)
        await one.heard.until_told(("connected", N2, 1))
        one.link.send(N2, [invite(1)])
        assert await hand.hear() == Post((invite(1),))
        assert errors == [trouble.pop()]


@in_loop
async def test_who_hangs_up_at_once_costs_nobody_else_a_connection() -> None:
    """A descriptor that is closed twice is, the second time, somebody else's: what is said there would go astray."""
    acceptor = socket.create_server(("127.0.0.1", 0), backlog=100)

    def hang_up() -> None:
        with suppress(OSError):
            while True:
                connection, _ = acceptor.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

    hanging_up = Thread(target=hang_up)
    hanging_up.start()
    address = f"127.0.0.1:{acceptor.getsockname()[1]}"
    local = Local(CLUSTER, PARTITIONS, N1, Incarnation(1))
    bystanders: list[tuple[socket.socket, int]] = []

    async def dialling() -> None:
        for _ in range(100):
            with pytest.raises(DialFailure):
                await dial(address, local, N2, False, SETTINGS, 1000, LinkCounts())
            bystander = socket.socket()
            bystanders.append((bystander, os.fstat(bystander.fileno()).st_ino))

    await asyncio.gather(*(dialling() for _ in range(5)))
    acceptor.shutdown(socket.SHUT_RDWR)
    acceptor.close()
    hanging_up.join()
    gc.collect()
    assert [os.fstat(each.fileno()).st_ino for each, _ in bystanders] == [known for _, known in bystanders]
    for each, _ in bystanders:
        each.close()
