"""`corecache get`, `put` and `delete`: one key at a time.

The rule: standard output is the value and nothing but the value. What else there is to say goes to standard error, and
what a script needs to know is in the exit code.
"""

import json
from typing import Annotated, TypeAlias

import typer

from corecache.cli.exits import NO, complain
from corecache.cli.node import AsJson, Endpoints, connect
from corecache.cli.octets import KeyInBase64, escaped, octets, say, value_of, write_out

Key: TypeAlias = Annotated[str, typer.Argument(metavar="KEY", help="The key, as text.", show_default=False)]
IfVersion: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Only if the key has this version.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (get, put, delete):
        app.command()(command)


def get(
    context: typer.Context,
    key: Key,
    key_base64: KeyInBase64 = False,
    as_json: AsJson = False,
    endpoint: Endpoints = None,
) -> int:
    """Print a key's value, byte for byte.

    Exits with 1 if the key has none. With --json also its version and dates.
    """
    raw = octets(key, key_base64)
    with connect(context, endpoint) as client:
        record = client.get(raw)
    if record is None:
        complain(f"key not found: {escaped(raw)}")
        return NO
    if as_json:
        from corecache.cli.scan import as_item

        say(json.dumps(as_item(raw, record, keys_only=False)))
    else:
        write_out(record.value)
    return 0


def put(
    context: typer.Context,
    key: Key,
    value: Annotated[
        str | None,
        typer.Argument(metavar="VALUE", help='The value; "-" or none: standard input.', show_default=False),
    ] = None,
    file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Take the value from a file.", show_default=False)
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Let it expire after this time; decimals allowed.", show_default=False),
    ] = None,
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Only if the key has no value.")] = False,
    if_version: IfVersion = None,
    print_version: Annotated[bool, typer.Option("--print-version", help="Print the new version.")] = False,
    key_base64: KeyInBase64 = False,
    endpoint: Endpoints = None,
) -> int:
    """Store a value under a key.

    Prints nothing when it is done. Exits with 1 if a condition does not hold.
    A value that begins with "-" is given after "--".
    """
    raw = octets(key, key_base64)
    with connect(context, endpoint) as client:
        version = client.put(raw, value_of(value, file), ttl=ttl, if_absent=if_absent, if_version=if_version)
    if print_version:
        say(str(version))
    return 0


def delete(
    context: typer.Context,
    key: Key,
    if_version: IfVersion = None,
    key_base64: KeyInBase64 = False,
    endpoint: Endpoints = None,
) -> int:
    """Remove a key.

    Exits with 1 if there was nothing to remove, or if the condition does not hold.
    """
    raw = octets(key, key_base64)
    with connect(context, endpoint) as client:
        if client.delete(raw, if_version=if_version):
            return 0
    complain(f"key not found: {escaped(raw)}")
    return NO
