"""The disk's budget between two looks."""

import asyncio
from pathlib import Path

from corecache.config import Storage
from corecache.storage.space import Watch, look

MIB = 1 << 20


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
