"""CONFIG: the settings, as far as there are such in Redis too.

They are told under Redis's names and in its units, for clients that look them up. They are changed in the configuration
file alone, so that a node that starts again is the node that it was: CONFIG SET and REWRITE are refused.
"""

import os
from typing import TYPE_CHECKING, Final

from corecache.serving.resp.commands.arguments import OK, SYNTAX
from corecache.serving.resp.commands.command import Arguments, Refusal
from corecache.serving.resp.commands.containers import container, subcommand
from corecache.serving.resp.glob import Glob
from corecache.wire.resp import Reply

if TYPE_CHECKING:
    from corecache.serving.resp.session import Server, Session

_PATTERNS_MAX = 64


def settings_of(server: "Server") -> dict[str, str]:
    """Returns the settings that there are in Redis too, under Redis's names and in its units."""
    config = server.config
    resp = config.resp
    return {
        "appendfsync": "always" if config.replication.durability == "fsync" else "no",
        "appendonly": "yes",
        "bind": resp.host,
        "cluster-enabled": "yes" if config.coordination.zookeeper else "no",
        "databases": "1",
        "dir": os.path.abspath(config.node.data_dir),
        "enable-debug-command": resp.debug_commands,
        "latency-monitor-threshold": str(resp.latency_ms),
        "maxclients": str(resp.connections_max),
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
        "notify-keyspace-events": "",
        "port": str(server.port),
        "proto-max-bulk-len": str(config.limits.value_bytes_max),
        "requirepass": "",
        "save": "",
        "slowlog-log-slower-than": str(resp.slowlog_us),
        "slowlog-max-len": str(resp.slowlog_entries_max),
        "timeout": str(-(-resp.idle_timeout_ms // 1000)),
    }


def _config_get(session: "Session", arguments: Arguments) -> Reply:
    if len(arguments) > _PATTERNS_MAX + 2:
        raise Refusal(f"ERR at most {_PATTERNS_MAX} patterns at once")
    patterns = [Glob(word.lower()) for word in arguments[2:]]
    settings = settings_of(session.server).items()
    return {name: value for name, value in settings if any(each.matches(name.encode()) for each in patterns)}


def _config_set(session: "Session", arguments: Arguments) -> Reply:
    """Changes nothing, ever."""
    if len(arguments) % 2:
        raise Refusal(SYNTAX)
    known = settings_of(session.server)
    for word in arguments[2::2]:
        name = word[:128].decode("utf-8", "replace")
        if name.lower() not in known:
            raise Refusal(f"ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
    first = arguments[2].decode("utf-8", "replace")
    raise Refusal(
        f"ERR CONFIG SET failed (possibly related to argument '{first}') - can't set immutable config: "
        "change the configuration file and restart the node"
    )


def _config_resetstat(session: "Session", _: Arguments) -> Reply:
    """Counts anew, but not the connections: their count is what they are numbered by."""
    server = session.server
    server.commands_total = server.refused_total = 0
    server.latencies.forget_commands()
    return OK


def _config_rewrite(_: "Session", __: Arguments) -> Reply:
    raise Refusal("ERR CONFIG REWRITE is not supported: nothing can differ from the configuration file")


_HELP: Final = (
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern> [<pattern> ...]",
    "    Return the settings whose names match, under Redis's names.",
    "RESETSTAT",
    "    Count commands and refused connections anew.",
    "REWRITE",
    "    Not supported.",
    "SET <name> <value>",
    "    Not supported: settings are in the configuration file.",
    "HELP",
    "    Print this help.",
)

COMMANDS: Final = (
    container(
        "config",
        "2.0.0",
        "Tells the settings.",
        "5.0.0",
        _HELP,
        subcommand("config|get", -3, "2.0.0", "Tells settings by their names.", _config_get),
        subcommand("config|resetstat", 2, "2.0.0", "Counts anew.", _config_resetstat),
        subcommand("config|rewrite", 2, "2.8.0", "Is refused.", _config_rewrite),
        subcommand("config|set", -4, "2.0.0", "Is refused: settings are in the configuration file.", _config_set),
    ),
)
