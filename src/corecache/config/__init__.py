"""Every setting: its name, unit, default, range and reason. What an operator may want to change is here.

A constant elsewhere belongs to a format or to how a part is built: nobody who runs a node has a reason to change it.

A setting is declared once, as a field of a section, in the files beside this one. From the declaration come the
validation (`parse`), the commented example file (`docs/corecache.example.toml`, kept equal by a test) and the names of
the environment variables (`CORECACHE_SECTION__NAME`).

Rule 1: units stand last in the name: `_bytes`, `_ms`, `_max` for a count.
Rule 2: 0 means "derived" or "none" only where the description says so.
Rule 3: this module reads nothing. Files and variables are the business of `settings.py`, which hands a plain mapping
to `parse`.
Rule 4: settings that must fit each other are judged together, in `_RELATIONS`, after each was judged by itself.
"""

import difflib
import ipaddress
from collections.abc import Mapping
from typing import Final

import msgspec

from corecache.config.cluster import Cluster, Coordination, Link, Replication
from corecache.config.serving import Http, Limits, Log, Node, Resp
from corecache.config.storage import Storage
from corecache.config.units import GIB, KIB, MIB
from corecache.declaration import Declaration, declarations, shown

__all__ = [
    "DECLARATIONS",
    "GIB",
    "KIB",
    "LIKENESS_LEAST",
    "MIB",
    "Cluster",
    "Config",
    "ConfigError",
    "Coordination",
    "Http",
    "Limits",
    "Link",
    "Log",
    "Node",
    "Replication",
    "Resp",
    "Storage",
    "check",
    "parse",
]

LIKENESS_LEAST: Final = 0.75
"""How like an unknown name a known one must be to be suggested. With less, any name of a section is like all others."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings, validated. Made by `parse`."""

    node: Node = Node()
    cluster: Cluster = Cluster()
    coordination: Coordination = Coordination()
    http: Http = Http()
    resp: Resp = Resp()
    link: Link = Link()
    limits: Limits = Limits()
    replication: Replication = Replication()
    storage: Storage = Storage()
    log: Log = Log()


class ConfigError(ValueError):
    """A setting is unknown or bad. The message is one line: the name, the value, what is allowed."""


DECLARATIONS: Final = tuple(declarations(Config))
"""Every setting, in the order of the example file."""

_BY_PATH: Final[Mapping[str, Declaration]] = {declaration.path: declaration for declaration in DECLARATIONS}
_SECTIONS: Final = tuple(dict.fromkeys(declaration.section for declaration in DECLARATIONS))

_RELATIONS: Final = (
    ("http.port_range_first", "<=", "http.port_range_last"),
    ("resp.port_range_first", "<=", "resp.port_range_last"),
    ("link.port_range_first", "<=", "link.port_range_last"),
    ("replication.beat_ms", "<", "replication.lease_ms"),
    ("replication.lease_margin_ms", "<", "replication.lease_ms"),
    ("replication.lease_ms", "<", "replication.grace_ms"),
    ("http.request_timeout_ms", "<=", "http.request_timeout_max_ms"),
    ("limits.value_bytes_max", "<=", "http.buffered_bytes_max"),
    ("limits.value_bytes_max", "<=", "resp.request_bytes_max"),
    ("limits.batch_bytes_max", "<=", "http.buffered_bytes_max"),
    ("limits.page_bytes_max", "<=", "http.buffered_bytes_max"),
    ("limits.value_bytes_max", "<=", "replication.uncommitted_bytes_max"),
    ("limits.batch_bytes_max", "<=", "replication.uncommitted_bytes_max"),
    ("storage.compact_level0_files", "<", "storage.slow_level0_files"),
    ("storage.slow_level0_files", "<", "storage.stop_level0_files"),
    ("storage.flush_memtable_bytes", "<=", "storage.memory_bytes"),
    ("storage.disk_reserve_bytes", "<", "storage.disk_bytes"),
)
"""What must fit together: a body that is allowed must fit into the room for bodies and for writes that wait, and a tree
slows writes down before it holds them back. Where the second is 0, it is derived, and nothing is compared."""


def check(settings: Mapping[str, object]) -> None:
    """Judges each setting of `{section: {name: value}}` by itself; what is left out is not missed.

    Raises: ConfigError, with one line for the first setting that is unknown or out of its range.
    """
    for section, values in settings.items():
        if section not in _SECTIONS:
            raise ConfigError(_unknown(section, values))
        if not isinstance(values, Mapping):
            raise ConfigError(f"{section} = {shown(values)}: must be a table, which a file begins with [{section}]")
        for name, value in values.items():
            path = f"{section}.{name}"
            declaration = _BY_PATH.get(path)
            if declaration is None:
                raise ConfigError(_unknown(path, value))
            if not declaration.accepts(value):
                raise ConfigError(f"{path} = {shown(value)}: must be {declaration.allowed}")


def parse(settings: Mapping[str, object]) -> Config:
    """Returns the validated configuration from `{section: {name: value}}`; what is left out takes its default.

    Raises: ConfigError, with one line for the first setting that is unknown, out of its range, or does not fit another.
    """
    check(settings)
    config = msgspec.convert(settings, Config)
    for low, sign, high in _RELATIONS:
        low_value, high_value = _value(config, low), _value(config, high)
        if high_value and (low_value > high_value or (sign == "<" and low_value == high_value)):
            relation = "at most" if sign == "<=" else "less than"
            raise ConfigError(f"{low} = {low_value}: must be {relation} {high}, which is {high_value}")
    if config.coordination.zookeeper:
        _check_reach(config.node.advertise_host, config.link.host)
    return config


def _check_reach(advertised: str, listens: str) -> None:
    """Refuses what a cluster on several machines would be told of a node, and could not reach it by."""
    if _is_loopback(listens) and advertised and not _is_loopback(advertised):
        raise ConfigError(
            f"node.advertise_host = {shown(advertised)}: other nodes would find nobody there, since link.host is "
            f"{listens}; set link.host (or --host) to an address of this machine that they reach"
        )
    if listens in ("0.0.0.0", "::") and not advertised:  # noqa: S104 (it is refused)
        raise ConfigError(
            f"link.host = {shown(listens)}: other nodes can't be told that; set node.advertise_host (--advertise-host) "
            "to the name or address by which they reach this machine"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _value(config: Config, path: str) -> int:
    section, name = path.split(".")
    value = getattr(getattr(config, section), name)
    assert isinstance(value, int)
    return value


def _unknown(path: str, value: object) -> str:
    """Says that there is no such setting, and which one may have been meant."""
    ending = f".{path.rpartition('.')[2].lower()}"
    elsewhere = [known for known in _BY_PATH if known.endswith(ending)]
    near = elsewhere or difflib.get_close_matches(path.lower(), (*_SECTIONS, *_BY_PATH), n=1, cutoff=LIKENESS_LEAST)
    hint = f"did you mean {near[0]}?" if near else "docs/configuration.md lists them all"
    name = shown(path).strip('"')
    return f"{name} = {shown(value)}: there is no such setting; {hint}"
