"""What is noted of commands: how long they took, which took too long, and which are none yet."""

import asyncio
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from corecache.config import Config, Resp
from corecache.serving.resp.session import Session
from corecache.serving.resp.shared import Shared
from serving.memory_service import MemoryService
from serving.resp_lab import Lab, served
from serving.resp_session import Clock

DAY_MS = 86_400_000
AN_HOUR_US = 3_600_000_000


class Noting:
    """What the connections of a node share, a session of it, and a clock that a test turns on."""

    def __init__(self, **resp: Any) -> None:
        self.clock = Clock()
        self.clock.date = DAY_MS
        self.shared = Shared(MemoryService(), Config(resp=Resp(**resp)), self.clock, 1000)
        self.session = Session(self.shared, 1, "127.0.0.1:50001", "127.0.0.1:6379", DAY_MS)

    def note(self, *durations_us: int) -> None:
        """Notes commands, a millisecond apart, each named for how long it took."""
        for duration_us in durations_us:
            assert self.clock.date is not None
            self.clock.date += 1
            self.shared.note_slow(self.session, [b"%d" % duration_us], duration_us)

    def took(self, duration_us: int, command: str, *arguments: bytes) -> None:
        """Lets a command have been answered after at least so long."""
        self.shared.note_time(self.session, command, arguments, perf_counter_ns() // 1000 - duration_us)

    @property
    def slow(self) -> list[bytes]:
        """The first words of what the slow log has, in its order."""
        return [entry.arguments[0] for entry in self.shared.slow_log.entries]

    @property
    def samples_ms(self) -> list[int]:
        """What LATENCY knows of the last seconds."""
        event = self.shared.latencies.events.get("command")
        return [] if event is None else [took for _, took in event.samples]

    @property
    def counted(self) -> dict[str, int]:
        """How many commands were counted, by name."""
        counts: Any = self.shared.latencies.histograms(lambda _: True)
        return {name: each["calls"] for name, each in counts.items()}


def noting(**resp: Any) -> Callable[[Callable[[Noting], None]], Callable[[], None]]:
    """Hands a test what it notes in; `resp` are settings of the section."""

    def decorate(test: Callable[[Noting], None]) -> Callable[[], None]:
        async def run() -> None:
            test(Noting(**resp))

        def runner() -> None:
            asyncio.run(run())

        runner.__name__, runner.__doc__ = test.__name__, test.__doc__
        return runner

    return decorate


@noting(slowlog_us=10_000, latency_ms=100)
def test_each_has_its_threshold_which_is_long_enough(it: Noting) -> None:
    """What took as long as the setting says is noted, and nothing that took less."""
    it.note(9_999, 10_000, 99_999, 100_000)
    assert it.slow == [b"100000", b"99999", b"10000"]
    assert it.samples_ms == [100]


@noting(slowlog_us=200_000, latency_ms=50)
def test_latency_does_not_lean_on_the_slow_log(it: Noting) -> None:
    """The lower one of the thresholds may be that of LATENCY."""
    it.took(60_000, "get", b"GET", b"a")
    assert it.slow == []
    assert it.samples_ms[0] >= 60


@noting(slowlog_us=10_000, latency_ms=0)
def test_latency_can_be_off(it: Noting) -> None:
    """Then the slow log goes on, and nothing else."""
    it.took(20_000, "get", b"GET", b"a")
    assert it.slow == [b"GET"]
    assert it.samples_ms == []


@noting(slowlog_us=0, slowlog_entries_max=3)
def test_the_newest_are_kept_first_and_numbered_on(it: Noting) -> None:
    """So many, the newest first; numbers are not given twice, not after a reset either."""
    it.note(1, 2, 3, 4, 5)
    assert it.slow == [b"5", b"4", b"3"]
    it.shared.slow_log.clear()
    it.note(6)
    assert [(entry.id, entry.duration_us) for entry in it.shared.slow_log.entries] == [(5, 6)]


@noting(slowlog_us=0, slowlog_entries_max=0)
def test_a_slow_log_may_keep_nothing(it: Noting) -> None:
    """None is a number too."""
    it.note(1, 2)
    assert it.slow == []


@noting(slowlog_us=0)
def test_one_of_each_millisecond_is_noted(it: Noting) -> None:
    """The first; all are counted."""
    it.took(0, "set", b"SET", b"a", b"b")
    it.took(0, "get", b"GET", b"a")
    assert it.slow == [b"SET"]
    it.clock.date = DAY_MS + 1
    it.took(0, "get", b"GET", b"b")
    assert it.slow == [b"GET", b"SET"]
    assert it.counted == {"set": 1, "get": 2}


@noting(slowlog_us=0)
def test_an_entry_says_who_when_and_what(it: Noting) -> None:
    """The date in seconds, the client's address and name, the words without a password."""
    it.session.name = b"me"
    it.took(7_000_000, "hello", b"HELLO", b"3", b"AUTH", b"user", b"password")
    (entry,) = it.shared.slow_log.entries
    assert (entry.time, entry.address, entry.name) == (DAY_MS // 1000, "127.0.0.1:50001", b"me")
    assert 7_000_000 <= entry.duration_us < AN_HOUR_US
    assert entry.arguments == (b"HELLO", b"3", b"AUTH", b"(redacted)", b"(redacted)")


@noting(slowlog_us=0)
def test_what_is_not_carried_out_is_neither_counted_nor_noted(it: Noting) -> None:
    """What is unknown, has a wrong number of words, or waits in a transaction, has no name here."""
    it.took(7_000_000, "", b"nosuch")
    assert it.slow == []
    assert it.counted == {}


@noting(slowlog_us=AN_HOUR_US, latency_ms=0)
def test_reads_of_a_turn_share_its_time(it: Noting) -> None:
    """They are counted as GETs, each with the time of a command of the turn."""
    it.shared.note_reads(3, 4, perf_counter_ns() // 1000 - 4_000)
    histogram: Any = it.shared.latencies.histograms(lambda _: True)["get"]
    assert histogram["calls"] == 3
    assert min(histogram["histogram_usec"]) >= 1000


async def calls(lab: Lab) -> dict[str, int]:
    """Returns how many commands were counted, by name."""
    wire = await lab.connect()
    reply = await wire.ask("LATENCY HISTOGRAM")
    counted = dict(zip(reply[::2], reply[1::2], strict=True))
    return {name.decode(): counts[1] for name, counts in counted.items()}


@served()
async def test_a_command_of_a_transaction_is_counted_when_it_is_carried_out(lab: Lab) -> None:
    """Not when it is queued, as in Redis: nor if the transaction is dropped, or is spoiled."""
    wire = await lab.connect()
    await wire.ask("MULTI", "GET a", "PING", "CLIENT ID", "DISCARD")
    await wire.ask("MULTI", "GET a", "MGET a b", "EXEC")
    assert await calls(lab) == {"multi": 2, "discard": 1, "exec": 1}
    await wire.ask("MULTI", "SET a 1", "GET a", "GET a", "PING", "CLIENT ID", "EXEC")
    executed = {"set": 1, "get": 2, "ping": 1, "client|id": 1}
    assert await calls(lab) == {"multi": 3, "discard": 1, "exec": 2, "latency|histogram": 1, **executed}
    await wire.ask("WATCH w", "SET w 1", "MULTI", "GET a", "EXEC")
    assert (await calls(lab))["get"] == 2
