"""Connections of the load, to a socket on which a test answers byte by byte."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from corecache.loadgen.lane import HttpLane, Lane, RespLane, Step
from corecache.loadgen.targets import Target

PATIENCE_S = 30.0


class Heard:
    """All that a lane tells."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str | None, bool]] = []
        self.losses: list[tuple[list[int], str]] = []
        self._more = asyncio.Event()

    def now_ns(self) -> int:
        return 5

    def answered(self, lane: Lane, step: Step, now_ns: int, error: str | None, absent: bool) -> None:
        assert now_ns == 5
        self.answers.append((step.number, error, absent))
        self._more.set()

    def lost(self, lane: Lane, steps: list[Step], code: str) -> None:
        self.losses.append(([step.number for step in steps], code))
        self._more.set()

    async def until(self, enough: Callable[[], bool]) -> None:
        """Returns when it has heard enough."""
        async with asyncio.timeout(PATIENCE_S):
            while not enough():
                self._more.clear()
                await self._more.wait()


Scene = Callable[[Lane, Heard, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def play(kind: Callable[[Heard, Target], Lane], scene: Scene) -> Heard:
    """Connects a lane, plays a scene with both ends of the connection, and returns what was heard."""

    async def played() -> Heard:
        accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        server = await asyncio.start_server(lambda *ends: accepted.put_nowait(ends), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        heard = Heard()
        lane = kind(heard, Target("127.0.0.1", port))
        await asyncio.get_running_loop().create_connection(lambda: lane, "127.0.0.1", port)
        reader, writer = await accepted.get()
        try:
            await scene(lane, heard, reader, writer)
        finally:
            lane.close()
            writer.transport.abort()
            server.close()
            await server.wait_closed()
        return heard

    return asyncio.run(played())


def ask(lane: Lane, *numbers: int) -> None:
    """Sends an operation of each number."""
    for number in numbers:
        lane.ask(b"PING\r\n", Step("read", 1, number))


def test_redis_answers_come_in_order_and_mean_what_they_say() -> None:
    """A value, none, and an error's code, however the bytes are cut."""

    async def scene(lane: Lane, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ask(lane, 1, 2, 3, 4)
        assert await reader.readexactly(24) == b"PING\r\n" * 4
        assert lane.under_way == 4
        for octet in b"$4\r\n\r\n\r\n\r\n$-1\r\n-NOREPLICAS too few\r\n+OK\r\n":
            lane.data_received(bytes([octet]))
        assert (lane.under_way, heard.losses) == (0, [])

    heard = play(RespLane, scene)
    assert heard.answers == [(1, None, False), (2, None, True), (3, "NOREPLICAS", False), (4, None, False)]


@pytest.mark.parametrize(
    ("answers", "right", "lost"),
    [(b"+OK\r\nHTTP/1.1 400\r\n", [1], [2]), (b"+OK\r\n+OK\r\n+OK\r\n", [1, 2], [])],
)
def test_what_is_no_answer_ends_a_connection_of_redis(answers: bytes, right: list[int], lost: list[int]) -> None:
    """Other bytes, and an answer that nobody asked for: what was answered before counts, the rest is lost once."""

    async def scene(lane: Lane, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ask(lane, 1, 2)
        writer.write(answers)
        await heard.until(lambda: bool(heard.losses))
        assert not lane.usable

    heard = play(RespLane, scene)
    assert [number for number, _, _ in heard.answers] == right
    assert heard.losses == [(lost, "bad_answer")]


@pytest.mark.parametrize("kind", [RespLane, HttpLane])
def test_a_lost_connection_tells_what_was_under_way(kind: Callable[[Heard, Target], Lane]) -> None:
    """All of it, once."""

    async def scene(lane: Lane, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ask(lane, 1, 2)
        writer.transport.abort()
        await heard.until(lambda: bool(heard.losses))
        assert (lane.usable, lane.under_way) == (False, 0)

    heard = play(kind, scene)
    assert (heard.answers, heard.losses) == ([], [([1, 2], "connection_lost")])


def test_a_lane_that_is_closed_tells_nothing_of_what_was_under_way() -> None:
    """Who closes it knows."""

    async def scene(lane: Lane, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ask(lane, 1)
        lane.close()
        await heard.until(lambda: bool(heard.losses))

    heard = play(RespLane, scene)
    assert (heard.answers, heard.losses) == ([], [([], "connection_lost")])


@pytest.mark.parametrize(
    ("answer", "error", "absent"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", None, False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None, False),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", None, True),
        (b'HTTP/1.1 503 No\r\nContent-Length: 19\r\n\r\n{"code":"no_lease"}', "no_lease", False),
        (b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nabc", "status_500", False),
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}", "status_500", False),
    ],
)
def test_http_answers_mean_what_they_say(answer: bytes, error: str | None, absent: bool) -> None:
    """One after the other, however the bytes are cut; the second shows that nothing is left of the first."""

    async def scene(lane: Lane, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in (1, 2):
            ask(lane, number)
            for octet in answer:
                lane.data_received(bytes([octet]))

    assert play(HttpLane, scene).answers == [(1, error, absent), (2, error, absent)]


@pytest.mark.parametrize(("answer", "under_way"), [(b"+OK\r\n", [1]), (b"HTTP/1.1 204 No Content\r\n\r\n" * 2, [])])
def test_what_is_no_answer_ends_a_connection_of_http(answer: bytes, under_way: list[int]) -> None:
    """Another protocol's, and one that nobody asked for."""

    async def scene(lane: Lane, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ask(lane, 1)
        writer.write(answer)
        await heard.until(lambda: bool(heard.losses))

    assert play(HttpLane, scene).losses == [(under_way, "bad_answer")]


def test_a_server_that_says_close_is_believed() -> None:
    """The answer counts, and the connection is not used again."""

    async def scene(lane: Lane, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ask(lane, 1)
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await heard.until(lambda: bool(heard.answers))
        assert not lane.usable
        await heard.until(lambda: bool(heard.losses))

    heard = play(HttpLane, scene)
    assert (heard.answers, heard.losses) == ([(1, None, False)], [([], "connection_lost")])
