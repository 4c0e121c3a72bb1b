"""The disk's budget between two looks."""

import asyncio
from pathlib import Path

import structlog

from corecache.config import Storage
from corecache.storage.space import Watch, look

MIB = 1 << 20
DEADLINE_S = 30.0


def test_what_is_written_since_the_last_look_counts_at_once(tmp_path: Path) -> None:
    """A client that writes faster than the room is looked at does not get past the reserve."""

    async def test() -> None:
        written = 0
        settings = Storage(disk_bytes=100 * MIB, disk_reserve_bytes=60 * MIB)

        async def reclaim() -> None:
            raise AssertionError("nothing is looked at in this test")

        watch = Watch(tmp_path, settings, look(tmp_path, settings), lambda: written, lambda: 0, reclaim)
        assert watch.accepts_puts()
        written = 39 * MIB
        assert watch.accepts_puts()
        written = 41 * MIB
        assert not watch.accepts_puts()
        watch.cancel()
        watch.stop()

    asyncio.run(test())


def test_no_failure_ends_the_looking(tmp_path: Path) -> None:
    """Whatever the count of tombstones or the reclaiming raises, it is logged once, and puts come in again later."""

    async def test() -> None:
        settings = Storage(disk_bytes=1 * MIB, disk_reserve_bytes=MIB // 2)
        ballast = tmp_path / "ballast"
        ballast.write_bytes(bytes(MIB))
        failures: list[Exception] = [RuntimeError("one"), RuntimeError("one"), KeyError("two")]
        done = asyncio.Event()

        def tombstones() -> int:
            if failures:
                raise failures.pop(0)
            return 1

        async def reclaim() -> None:
            ballast.unlink()
            done.set()

        with structlog.testing.capture_logs() as said:
            watch = Watch(tmp_path, settings, look(tmp_path, settings), lambda: 0, tombstones, reclaim)
            async with asyncio.timeout(DEADLINE_S):
                await done.wait()
                while not watch.accepts_puts():  # noqa: ASYNC110 - the next look sets no event
                    await asyncio.sleep(0.01)
        watch.cancel()
        watch.stop()
        assert [line["reason"] for line in said] == ["RuntimeError: one", "KeyError: 'two'"]

    asyncio.run(test())
