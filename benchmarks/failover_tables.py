"""What kills cost, as people read it: a row for each kill, and the spread of each phase over all of them."""

from collections.abc import Callable
from statistics import median

from benchmarks.report import Failover, Failovers

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Its head and its rows."""

PHASES: tuple[tuple[str, Callable[[Failover], float]], ...] = (
    ("detection", lambda each: each.detection_ms),
    ("view change", lambda each: each.view_change_ms),
    ("activation", lambda each: each.activation_ms),
    ("pause of the partitions that it led", lambda each: each.led_pause_ms),
    ("pause of the others", lambda each: each.other_pause_ms),
)


def spread(failovers: Failovers) -> Table:
    """Returns the table of phases: the least, the median and the most of each."""
    rows: list[tuple[str, ...]] = []
    for name, of in PHASES:
        found = [of(each) for each in failovers.kills]
        rows.append((name, *(f"{each:.0f} ms" for each in (min(found), median(found), max(found)))))
    whole = [each.whole_seconds for each in failovers.kills]
    rows.append(
        ("whole again after its return", *(f"{each:.1f} s" for each in (min(whole), median(whole), max(whole))))
    )
    return (f"{len(failovers.kills)} kills", "Least", "Median", "Most"), rows


def each_kill(failovers: Failovers) -> Table:
    """Returns the table of kills."""
    head = ("Kill", "Node", "Led", *(name[0].upper() + name[1:] for name, _ in PHASES))
    rows: list[tuple[str, ...]] = []
    for number, each in enumerate(failovers.kills, 1):
        rows.append((str(number), each.node, str(each.led), *(f"{of(each):.0f} ms" for _, of in PHASES)))
    return head, rows
