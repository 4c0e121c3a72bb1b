"""The node that a command talks to: the options that name it, and the client that is opened with them.

An endpoint on the command line, before or after the command, goes before `CORECACHE_ENDPOINTS`, and that before the
address where a node listens by default. The client gives up quickly when nothing listens at all: a person waits.
"""

import os
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from corecache.client import Client

ENDPOINTS_VARIABLE = "CORECACHE_ENDPOINTS"
ROUNDS_MAX = 3

Endpoints: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        show_default=False,
        help=f"A node's address; repeatable. Else {ENDPOINTS_VARIABLE} (commas between), else http://127.0.0.1:8000.",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def endpoints_of(context: typer.Context, given: list[str] | None) -> list[str]:
    """Returns the addresses to use: those given with the command, before it, in the environment, or the default."""
    from corecache.client.endpoints import DEFAULT_ENDPOINT

    named = given or context.find_root().obj
    if named:
        return list(named)
    variable = os.environ.get(ENDPOINTS_VARIABLE, "")
    return [each.strip() for each in variable.split(",") if each.strip()] or [DEFAULT_ENDPOINT]


def connect(context: typer.Context, given: list[str] | None) -> "Client":
    """Returns a client of the node or cluster that the options name."""
    from corecache.client import Client

    return Client(endpoints_of(context, given), rounds_max=ROUNDS_MAX)
