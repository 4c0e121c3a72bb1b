"""A campaign's report as a page of text: what a stranger wants to know first stands first.

The order: the verdict and why; what must not have been, with the history that shows it; how to run it again; what was
asked and how it was answered; what was done to the cluster and how long its users felt it; what could not be tried.

Rule 1: the page has one length, whatever happened: it names the kinds of faults, not each of them, and of many
violations the first few. Everything else is in the JSON.
Rule 2: plain text of up to 100 columns, the same in a terminal, in a file and in a mail.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from textwrap import wrap
from typing import Final

from corecache.chaos.report import Fault, Report, Second, Violation

_WIDTH: Final = 100
_VIOLATIONS_SHOWN: Final = 3
_HISTORY_SHOWN: Final = 12
_VERDICTS: Final = {"passed": "PASSED", "violation": "VIOLATION", "void": "VOID"}


def page(report: Report, files: Sequence[Path] = ()) -> str:
    """Returns the report as text that ends with a newline; `files` are where the JSON and the picture are."""
    lines = [*_head(report), *_violations(report.violations), *_calls(report)]
    lines += [*_faults(report.faults), *_missed(report), *_not_run(report.not_run)]
    if files:
        lines += ["", f"Written: {', '.join(str(path) for path in files)}"]
    return "\n".join(lines) + "\n"


def _head(report: Report) -> Iterator[str]:
    yield from _wrapped(f"{_VERDICTS[report.verdict]}: {report.why}", "")
    yield ""
    struck, kinds = len(report.faults), len({fault.kind for fault in report.faults})
    yield (
        f"Campaign    {_span(report.seconds)}, {_number(report.rounds, 'round')}, {_number(struck, 'fault')} of "
        f"{_number(kinds, 'kind')}, {_number(sum(report.operations.values()), 'call')}"
    )
    yield (
        f"Cluster     {_number(report.nodes, 'node')}, {_number(report.zookeepers, 'ZooKeeper server')}, "
        f"CoreCache {report.version}"
    )
    yield f"Seed        {report.seed}"
    yield f"Run again   {report.replay}"


def _violations(violations: Sequence[Violation]) -> Iterator[str]:
    for violation in violations[:_VIOLATIONS_SHOWN]:
        yield ""
        yield from _wrapped(f"Violation of {violation.rule}, {violation.subject}: {violation.sentence}", "  ")
        for line in violation.history[:_HISTORY_SHOWN]:
            yield f"    {line}"
        if len(violation.history) > _HISTORY_SHOWN:
            yield f"    … and {len(violation.history) - _HISTORY_SHOWN:,} more in the JSON"
    if len(violations) > _VIOLATIONS_SHOWN:
        yield ""
        yield f"And {_number(len(violations) - _VIOLATIONS_SHOWN, 'more violation')}: see the JSON."


def _calls(report: Report) -> Iterator[str]:
    meanings = {
        "done": "took effect, or read",
        "failed": "answered; the condition did not hold",
        "not_done": "refused; surely without effect",
        "unknown": "unanswered; may have taken effect",
    }
    total = sum(report.operations.values())
    yield ""
    yield f"{'Calls':<12}{'number':>11}{'share':>10}"
    for outcome, calls in report.operations.items():
        name = outcome.replace("_", " ")
        yield f"  {name:<10}{calls:>11,}{calls / max(total, 1):>10.2%}   {meanings.get(outcome, '')}".rstrip()
    protocols = ", ".join(f"{calls:,} over {name.upper()}" for name, calls in report.protocols.items())
    yield f"  {protocols or 'none'}"
    yield from _speed(report.timeline)


def _speed(timeline: Sequence[Second]) -> Iterator[str]:
    """What an ordinary second looks like: the medians over all seconds."""
    if not timeline:
        return
    parts = [f"{median(second.done for second in timeline):,.0f} answered"]
    for name, seconds in (
        ("reads", [(second.read_p50_ms, second.read_p99_ms) for second in timeline if second.read_p50_ms]),
        ("writes", [(second.write_p50_ms, second.write_p99_ms) for second in timeline if second.write_p50_ms]),
    ):
        if seconds:
            p50, p99 = (median(column) for column in zip(*seconds, strict=True))
            parts.append(f"{name} p50 {_milliseconds(p50)}, p99 {_milliseconds(p99)}")
    yield from _wrapped(f"In the median second: {'; '.join(parts)}", "    ", "  ")


def _faults(faults: Sequence[Fault]) -> Iterator[str]:
    by_kind: dict[str, list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    if not by_kind:
        yield from ("", "Faults: none")
        return
    width = max(len("Faults"), *(len(kind) for kind in by_kind)) + 4
    yield ""
    yield f"{'Faults':<{width}}{'times':>7}   some partition answered nobody for"
    yield f"{'':<{width}}{'':>7}{'median':>11}{'longest':>11}   the longest: when, at"
    for kind, struck in sorted(by_kind.items(), key=lambda entry: -max(fault.unavailable_s for fault in entry[1])):
        worst = max(struck, key=lambda fault: fault.unavailable_s)
        middle = _duration(median(fault.unavailable_s for fault in struck))
        where = f"{_clock(worst.began_s)} {worst.target}".rstrip()
        line = f"  {kind:<{width - 2}}{len(struck):>7,}{middle:>11}{_duration(worst.unavailable_s):>11}   {where}"
        yield line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"


def _missed(report: Report) -> Iterator[str]:
    """Those that struck, but not at the moment that makes them what they were to be."""
    if not report.missed:
        return
    turns = Counter(fault.kind for fault in (*report.faults, *report.missed))
    missed = Counter(fault.kind for fault in report.missed)
    kinds = (f"{kind} {times:,} of {_number(turns[kind], 'time')}" for kind, times in sorted(missed.items()))
    yield from ("", *_wrapped(f"Aimed, missed: {', '.join(kinds)}", "  "))


def _not_run(not_run: dict[str, str]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for kind, reason in not_run.items():
        by_reason.setdefault(reason, []).append(kind)
    if by_reason:
        yield ""
        yield "Not run"
    for reason, kinds in by_reason.items():
        yield from _wrapped(f"{', '.join(kinds)}: {reason}", "    ", "  ")


def _wrapped(text: str, indent: str, first: str = "") -> Iterable[str]:
    return wrap(text, _WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    parts = ((minutes // 60, "h"), (minutes % 60, "min"), (rest, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _duration(seconds: float) -> str:
    return "none" if seconds == 0 else f"{seconds:.2f} s"


def _milliseconds(milliseconds: float) -> str:
    return f"{milliseconds:.{2 if milliseconds < 10 else 0}f} ms"
