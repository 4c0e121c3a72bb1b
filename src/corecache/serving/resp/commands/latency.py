"""How long things took, and LATENCY, which tells it.

There are two kinds of figures. What took too long is kept as samples, by kind of event, a second's longest; what counts
as too long is a setting. All commands are counted by how long they took, in buckets that double. Both are bounded: so
many samples, so many kinds of event, so many buckets; the names of commands are those of the table.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from corecache.serving.resp.commands.command import Arguments, Refusal, echoed
from corecache.serving.resp.commands.containers import container, subcommand
from corecache.wire.resp import Reply, Verbatim

if TYPE_CHECKING:
    from corecache.serving.resp.session import Session

_SAMPLES_MAX: Final = 160
_EVENTS_MAX: Final = 64
_GRAPH_ROWS: Final = 4


class _Event:
    """What took long of one kind: the last samples, of each second the longest, as (second, milliseconds)."""

    def __init__(self) -> None:
        self.samples: deque[tuple[int, int]] = deque(maxlen=_SAMPLES_MAX)
        self.longest_ms = 0

    def note(self, second: int, took_ms: int) -> None:
        self.longest_ms = max(self.longest_ms, took_ms)
        if self.samples and self.samples[-1][0] == second:
            took_ms = max(took_ms, self.samples.pop()[1])
        self.samples.append((second, took_ms))


class Latencies:
    """How long things took: what took too long, by kind of event, and all commands by their names.

    The buckets of a command are powers of two of a microsecond, because one is then found by `int.bit_length`.
    """

    def __init__(self, threshold_ms: int) -> None:
        """Takes what counts as too long; 0: nothing does."""
        self.threshold_ms = threshold_ms
        self.events: dict[str, _Event] = {}
        self._commands: dict[str, list[int]] = {}

    def note(self, event: str, now_ms: int, duration_us: int) -> None:
        """Takes a sample, if it is long enough. There are few kinds of event, or the last ones are not kept."""
        if not self.threshold_ms or duration_us < 1000 * self.threshold_ms:
            return
        if event not in self.events and len(self.events) < _EVENTS_MAX:
            self.events[event] = _Event()
        if event in self.events:
            self.events[event].note(now_ms // 1000, duration_us // 1000)

    def observe(self, command: str, duration_us: int, count: int = 1) -> None:
        """Counts commands that were answered, by their name in the table."""
        buckets = self._commands.get(command)
        if buckets is None:
            buckets = self._commands[command] = [0] * 65
        buckets[min(duration_us.bit_length(), 64)] += count

    def forget(self, event: str) -> bool:
        """Forgets the samples of one kind; says whether there were any."""
        return self.events.pop(event, None) is not None

    def forget_commands(self) -> None:
        """Begins to count commands anew."""
        self._commands.clear()

    def histograms(self, wanted: Callable[[str], bool]) -> dict[Reply, Reply]:
        """Returns for each command how many took up to 1, 2, 4, … µs, as far as that is more than before."""
        return {name: _cumulated(buckets) for name, buckets in self._commands.items() if wanted(name)}


def _cumulated(buckets: list[int]) -> Reply:
    total = 0
    shown: dict[Reply, Reply] = {}
    for exponent, count in enumerate(buckets):
        total += count
        if count:
            shown[2**exponent] = total
    return {"calls": total, "histogram_usec": shown}


def _latency_latest(session: "Session", _: Arguments) -> Reply:
    events = session.server.latencies.events
    return [[name, *each.samples[-1], each.longest_ms] for name, each in events.items()]


def _event(session: "Session", arguments: Arguments) -> _Event | None:
    return session.server.latencies.events.get(arguments[2].decode("utf-8", "replace"))


def _latency_history(session: "Session", arguments: Arguments) -> Reply:
    event = _event(session, arguments)
    return [] if event is None else [list(sample) for sample in event.samples]


def _latency_reset(session: "Session", arguments: Arguments) -> Reply:
    latencies = session.server.latencies
    names = [word.decode("utf-8", "replace") for word in arguments[2:]] or list(latencies.events)
    return sum(latencies.forget(name) for name in names)


def _latency_doctor(session: "Session", _: Arguments) -> Reply:
    latencies = session.server.latencies
    if not latencies.threshold_ms:
        return Verbatim("Nothing is measured: resp.latency_ms is 0 in the configuration.\n")
    if not latencies.events:
        return Verbatim(f"Nothing has taken {latencies.threshold_ms} ms or more since the start or the last RESET.\n")
    lines = [f"In these seconds something took {latencies.threshold_ms} ms or more:"]
    for name, event in latencies.events.items():
        times = [took for _, took in event.samples]
        mean = sum(times) / len(times)
        lines.append(f"{name}: {len(times)} seconds, {mean:.0f} ms on average, {event.longest_ms} ms at the most")
    lines.append("SLOWLOG GET shows which commands took long; /v1/storage shows whether the tree was busy.")
    return Verbatim("\n".join(lines) + "\n")


def _latency_graph(session: "Session", arguments: Arguments) -> Reply:
    """Draws a column for each sample, the oldest left, between the shortest at the foot and the longest."""
    event = _event(session, arguments)
    name = echoed(arguments[2][:128])
    if event is None:
        raise Refusal(f"ERR No samples available for event '{name}'")
    times = [took for _, took in event.samples]
    low, high = min(times), max(times)
    heights = [1 + (_GRAPH_ROWS - 1) * (took - low) // max(1, high - low) for took in times]
    rows = ["".join("#" if height >= row else " " for height in heights) for row in range(_GRAPH_ROWS, 0, -1)]
    title = f"{name} - high {high} ms, low {low} ms (all time high {event.longest_ms} ms)"
    return Verbatim("\n".join([title, *rows]) + "\n")


def _latency_histogram(session: "Session", arguments: Arguments) -> Reply:
    names = {word.lower().decode("utf-8", "replace") for word in arguments[2:]}
    return session.server.latencies.histograms(
        lambda name: not names or name in names or name.partition("|")[0] in names
    )


_HELP: Final = (
    "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Return what was measured, in words.",
    "GRAPH <event>",
    "    Return the samples of an event, drawn with letters.",
    "HISTOGRAM [<command> ...]",
    "    Return how many commands took how long.",
    "HISTORY <event>",
    "    Return the samples of an event, as pairs of second and milliseconds.",
    "LATEST",
    "    Return the last sample and the longest of each event.",
    "RESET [<event> ...]",
    "    Forget the samples, of all events or of these.",
    "HELP",
    "    Print this help.",
)

COMMANDS: Final = (
    container(
        "latency",
        "2.8.13",
        "Tells what took long, and when.",
        "2.8.13",
        _HELP,
        subcommand("latency|doctor", 2, "2.8.13", "Tells in words what took long.", _latency_doctor),
        subcommand("latency|graph", 3, "2.8.13", "Draws the samples of an event.", _latency_graph),
        subcommand("latency|histogram", -2, "7.0.0", "Counts commands by how long they took.", _latency_histogram),
        subcommand("latency|history", 3, "2.8.13", "Lists the samples of an event.", _latency_history),
        subcommand("latency|latest", 2, "2.8.13", "Lists the last sample of each event.", _latency_latest),
        subcommand("latency|reset", -2, "2.8.13", "Forgets samples.", _latency_reset),
    ),
)
