"""`corecache scan`: keys and values in byte order, one record a line.

A line is a key, a tab and a value, both escaped (`octets.py`), in a terminal as in a pipe, so that a line is always a
record; with `--json` a line is an object as the API's listing has it. Lines are written as pages arrive: the first does
not wait for the last, and memory holds one page.
"""

import json
from typing import Annotated, Any

import typer

from corecache.cli.node import AsJson, Endpoints, connect
from corecache.cli.octets import KeyInBase64, escaped, octets, say
from corecache.operations import NEVER, Record


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(scan)


def scan(
    context: typer.Context,
    prefix: Annotated[str, typer.Option(metavar="KEY", help="Only keys that begin so.", show_default=False)] = "",
    start: Annotated[str, typer.Option(metavar="KEY", help="Only this key and later ones.", show_default=False)] = "",
    end: Annotated[str, typer.Option(metavar="KEY", help="Only keys before this one.", show_default=False)] = "",
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after so many.", show_default=False)
    ] = None,
    keys_only: Annotated[bool, typer.Option("--keys-only", help="Leave the values out.")] = False,
    as_json: AsJson = False,
    key_base64: KeyInBase64 = False,
    endpoint: Endpoints = None,
) -> None:
    """List keys and values, in byte order of the keys.

    One record a line: key, tab, value; bytes that are not printable are escaped. With --json one object a line.
    """
    with connect(context, endpoint) as client:
        first, last, common = (octets(bound, key_base64) for bound in (start, end, prefix))
        for key, record in client.scan(common, first, last, keys_only, limit):
            if as_json:
                line = json.dumps(as_item(key, record, keys_only))
            else:
                line = escaped(key) if keys_only else f"{escaped(key)}\t{escaped(record.value)}"
            say(line)


def as_item(key: bytes, record: Record, keys_only: bool) -> dict[str, Any]:
    """Returns a record as the API's listing shows it."""
    from corecache.client.requests import as_text

    return {
        **as_text("key", key),
        **({} if keys_only else as_text("value", record.value)),
        "version": record.version,
        "timestamp": record.timestamp,
        **({} if record.expires == NEVER else {"expires": record.expires}),
    }
