"""Fuzzes `config/` and `settings.py`: a configuration file, as TOML that means anything or nothing.

The bytes are tried as a file, which also has to survive being no TOML and no text, and, if they are TOML, as the plain
mapping that `config.parse` judges.
"""

import tempfile
import tomllib
from pathlib import Path

from corecache.config import Config, ConfigError, parse
from corecache.settings import load

WORDS = (
    *(b"[node]\n", b"[cluster]\n", b"[http]\n", b"[limits]\n", b"[replication]\n", b"[storage]\n", b"[log]\n", b"\n"),
    *(b'id = "', b'data_dir = "', b"partitions = ", b"port = ", b"port_range_first = ", b"memory_bytes = ", b'"'),
    *(b'durability = "fsync"', b'compression = "', b"value_bytes_max = ", b"flush_memtables_max = ", b"unknown = 1"),
    *(b"true", b"1.5", b"inf", b"nan", b"-1", b"0x10", b"1979-05-27", b"[]", b"{}", b"{ a = 1 }", b"9" * 30, b"\\n"),
    *(b"@int 5", b"@format {this}", b"@jinja {{ 1 }}", b"dynaconf_merge = true", b"default", b"\xff", b"\x00", b"."),
)

_directory = tempfile.TemporaryDirectory(prefix="corecache-fuzz-")
_path = Path(_directory.name) / "corecache.toml"


def target(data: bytes) -> None:
    """Whatever a file holds: it is a whole configuration, or `ConfigError` with a message of one line."""
    _path.write_bytes(data)
    try:
        assert isinstance(load(_path, {}, {}), Config)
    except ConfigError as error:
        _check_message(error)
    try:
        settings = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return
    try:
        assert isinstance(parse(settings), Config)
    except ConfigError as error:
        _check_message(error)


def _check_message(error: ConfigError) -> None:
    message = str(error)
    assert message, "an error says something"
    assert message.isprintable(), f"one line that a terminal can show: {message!r}"
