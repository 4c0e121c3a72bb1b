"""A worker's load on real connections. Where it waits for a time, the time is handed in."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from corecache.loadgen.load import DRAIN_S, SILENCE_S, RunningLoad
from corecache.loadgen.messages import Job
from corecache.loadgen.pace import ClosedPace, OpenPace, Pace
from corecache.loadgen.requests import key
from loadgen.jobs import FIRST_INSERTED, job
from loadgen.resp_server import OK, PATIENCE_S, SILENCE, resp_server

S = 1_000_000_000


@asynccontextmanager
async def connected(wish: Job) -> AsyncIterator[RunningLoad]:
    """Gives a load with its connections."""
    load = RunningLoad(wish, asyncio.get_running_loop())
    try:
        await load.connect()
        yield load
    finally:
        load.close()


def begin(load: RunningLoad, operations: int | None = None, warm_up_s: int = 0) -> None:
    """Begins a closed loop."""
    measured_from_ns = load.now_ns() + warm_up_s * S
    load.begin(ClosedPace(measured_from_ns, None, operations), measured_from_ns)


async def ended(load: RunningLoad) -> None:
    """Returns when the load is over."""
    async with asyncio.timeout(PATIENCE_S):
        await load.finished


def counted(load: RunningLoad) -> tuple[dict[str, int], dict[str, int]]:
    """Returns how many of each kind were done, and how many failed by their code."""
    tick = load.tally.take()
    return {kind: sum(counts.values()) for kind, counts in tick.latencies.items()}, tick.failures


def run(scene: Callable[[], Awaitable[None]]) -> None:
    """Runs a scene on a loop of its own."""

    async def scenes() -> None:
        await scene()

    asyncio.run(scenes())


def test_a_connection_has_its_depth_under_way_and_never_more() -> None:
    """The server answers four together: with fewer under way nothing would ever be answered."""

    async def scene() -> None:
        async with resp_server(at_once=4) as (server, target), connected(job(target, connections=2, depth=4)) as load:
            begin(load, operations=24)
            await ended(load)
            assert (len(server.commands), server.at_once_max, len(server.connections)) == (24, 4, 2)
            assert counted(load) == ({"update": 24}, {})
            assert load.took_s > 0

    run(scene)


def test_stopped_before_it_begins_it_asks_nothing() -> None:
    """And is over at once, whatever the pace."""

    async def scene() -> None:
        paces: list[Pace] = [ClosedPace(0, None, None), OpenPace(10**18, 10**18, None, None, 100, None)]
        for pace in paces:
            async with resp_server() as (server, target), connected(job(target)) as load:
                load.stop()
                load.begin(pace, load.now_ns())
                assert load.finished.done()
                assert (server.commands, counted(load)) == ([], ({}, {}))

    run(scene)


def test_stopped_it_awaits_what_is_under_way() -> None:
    """The three that had been sent are answered after it, and counted; a fourth is never sent."""

    async def scene() -> None:
        async with resp_server(at_once=3) as (server, target), connected(job(target, depth=3)) as load:
            begin(load)
            load.stop()
            assert not load.finished.done()
            await ended(load)
            assert (len(server.commands), counted(load)) == (3, ({"update": 3}, {}))

    run(scene)


def test_what_is_never_answered_is_a_failure() -> None:
    """After the time that it is waited for, and not before."""

    async def scene() -> None:
        async with resp_server(lambda words: SILENCE) as (server, target), connected(job(target, depth=3)) as load:
            begin(load)
            await server.until(3)
            load.stop()
            stopped_ns = load.now_ns()
            load.look(stopped_ns + int((DRAIN_S - 1) * S))
            assert not load.finished.done()
            load.look(stopped_ns + int((DRAIN_S + 1) * S))
            assert load.finished.done()
            assert counted(load) == ({}, {"unanswered": 3})

    run(scene)


def test_a_count_of_operations_ends_when_the_server_is_silent_for_good() -> None:
    """It has no end of its own: half a minute without an answer is one."""

    async def scene() -> None:
        async with resp_server(lambda words: SILENCE) as (_, target), connected(job(target, operations=5)) as load:
            begin(load, operations=5)
            silent_ns = load.now_ns() + int((SILENCE_S + 1) * S)
            load.look(silent_ns)
            assert not load.finished.done()
            load.look(silent_ns + int((DRAIN_S + 1) * S))
            assert load.finished.done()
            assert counted(load) == ({}, {"unanswered": 1})

    run(scene)


def test_the_warm_up_is_not_counted() -> None:
    """Neither what succeeds in it nor what fails."""
    answers = [OK, b"-ERR no\r\n"]

    async def scene() -> None:
        async with (
            resp_server(lambda words: answers[words[2][0] % 2]) as (server, target),
            connected(job(target)) as load,
        ):
            begin(load, warm_up_s=1000)
            await server.until(20)
            load.stop()
            await ended(load)
            assert (counted(load), load.took_s) == (({}, {}), 0)

    run(scene)


def test_a_read_modify_write_is_one_operation_of_two_commands() -> None:
    """The key that was read is written; when the read fails nothing is written, and it is counted as failed."""
    refused = key(3)

    async def scene() -> None:
        async with (
            resp_server(lambda words: b"-NO\r\n" if words[1] == refused else OK) as (server, target),
            connected(job(target, workload="f")) as load,
        ):
            begin(load, operations=200)
            await ended(load)
            done, failures = counted(load)
            by_word = Counter(words[0] for words in server.commands)
            assert sum(done.values()) + failures["NO"] == 200
            assert by_word[b"SET"] == done["read-modify-write"] > 0
            assert by_word[b"GET"] == 200
            assert failures["NO"] == server.keys.count(refused) > 0
            for before, words in zip(server.commands, server.commands[1:], strict=False):
                assert words[0] == b"GET" or before[:2] == [b"GET", words[1]]

    run(scene)


def test_inserted_keys_are_the_runs_own() -> None:
    """They are written in order, from the run's first number on; all others were loaded."""

    async def scene() -> None:
        async with resp_server() as (server, target), connected(job(target, workload="d")) as load:
            begin(load, operations=200)
            await ended(load)
            inserted = [words[1] for words in server.commands if words[0] == b"SET"]
            assert inserted == [key(FIRST_INSERTED + number) for number in range(load.plan.inserted)]
            assert set(server.keys) <= {*inserted, *map(key, range(10))}
            assert 0 < len(inserted) < 200

    run(scene)


@pytest.mark.parametrize("open_loop", [False, True])
def test_a_lost_connection_is_made_anew_at_the_next_target(open_loop: bool) -> None:
    """Its server breaks it off with the fifth command and is gone: the other one answers what is left."""

    async def scene() -> None:
        async with (
            resp_server(lambda words: OK if len(first.commands) < 5 else None) as (first, first_target),
            resp_server() as (second, second_target),
            connected(job(first_target, second_target, rate=1000.0 if open_loop else None)) as load,
        ):
            if open_loop:
                now_ns = load.now_ns()
                load.begin(OpenPace(now_ns, now_ns, None, 50, 1000, None), now_ns)
            else:
                begin(load, operations=50)
            await ended(load)
            assert counted(load) == ({"update": 49}, {"connection_lost": 1})
            assert (len(first.commands), len(second.commands)) == (5, 45)

    run(scene)


def test_no_connection_at_all() -> None:
    """Nobody listens: it says where."""

    async def scene() -> None:
        async with resp_server() as (_, target):
            pass
        with pytest.raises(OSError, match=f"^{target}: "):
            async with connected(job(target)):
                pass

    run(scene)
