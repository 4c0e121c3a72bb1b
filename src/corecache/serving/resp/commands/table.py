"""All commands, by their names in lower case."""

from collections.abc import Mapping
from typing import Final

from corecache.serving.resp import transactions
from corecache.serving.resp.commands import (
    administration,
    clients,
    cluster,
    configuration,
    expiry,
    information,
    introspection,
    keyspace,
    latency,
    lcs,
    slow_log,
    strings,
    whole,
)
from corecache.serving.resp.commands.command import Arguments, Command, Refusal, echoed

_MODULES = (
    strings,
    lcs,
    keyspace,
    expiry,
    transactions,
    clients,
    introspection,
    information,
    administration,
    configuration,
    slow_log,
    latency,
    whole,
    cluster,
)

TABLE: Final[Mapping[bytes, Command]] = {
    command.name.encode(): command for module in _MODULES for command in module.COMMANDS
}

_SUBCOMMANDS: Final[Mapping[str, Mapping[bytes, Command]]] = {
    command.name: {each.name.partition("|")[2].encode(): each for each in command.subcommands}
    for command in TABLE.values()
}


def subcommand_of(command: Command, arguments: Arguments) -> Command:
    """Returns the subcommand that the arguments name. Requires: there are two or more. Raises: Refusal."""
    found = _SUBCOMMANDS[command.name].get(arguments[1].lower())
    if found is None:
        raise Refusal(f"ERR unknown subcommand '{echoed(arguments[1][:128])}'. Try {command.name.upper()} HELP.")
    return found
