"""Commands that do nothing themselves: CONFIG, SLOWLOG, LATENCY, each with its subcommands, HELP among them.

What a subcommand does is its own module's business. All of these are for those who look after a node: they are
"dangerous" in Redis's sense, but for HELP.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from corecache.serving.resp.commands.command import Arguments, Command, Instant
from corecache.wire.resp import Reply, Status

if TYPE_CHECKING:
    from corecache.serving.resp.session import Session

ADMIN: Final = ("admin", "noscript", "loading", "stale")
DANGEROUS: Final = ("admin", "slow", "dangerous")


def subcommand(
    name: str, arity: int, since: str, summary: str, instant: Instant, flags: tuple[str, ...] = ADMIN
) -> Command:
    """Returns a subcommand; its name is the whole one, as in `config|get`."""
    return Command(
        name,
        arity,
        flags,
        categories=DANGEROUS,
        group="server",
        since=since,
        summary=summary,
        instant=instant,
    )


def container(
    name: str, since: str, summary: str, help_since: str, help_lines: Sequence[str], *subcommands: Command
) -> Command:
    """Returns a command that does nothing itself, with HELP among what belongs to it."""

    def tell_help(_: "Session", __: Arguments) -> Reply:
        return [Status(line) for line in help_lines]

    helped = Command(
        f"{name}|help",
        2,
        ("loading", "stale"),
        categories=("slow",),
        group="server",
        since=help_since,
        summary="Lists the subcommands.",
        instant=tell_help,
    )
    return Command(
        name,
        -2,
        categories=("slow",),
        group="server",
        since=since,
        summary=summary,
        subcommands=(*subcommands, helped),
    )
