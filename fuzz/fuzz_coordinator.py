"""Fuzzes `coordination/local.py`: the file of the embedded coordinator.

The bytes are tried twice: as the file itself, and as the ledger within a file whose checksum is right, because random
changes never get past a checksum, and a file that somebody edited does.
"""

import asyncio
import hashlib
import tempfile
from pathlib import Path

import msgspec

from corecache.coordination.local import FORMAT, VERSIONS_READ, LocalCoordinator
from corecache.errors import Broken, CallerFault
from corecache.identity import PartitionId
from corecache.placement.view import VersionedView

WORDS = (
    *(b'"format":', b'"corecache-coordinator"', b'"version":', b'"checksum":', b'"ledger":', b'"views":', b'"view":'),
    *(
        b'"orders":',
        b'"orders_version":',
        b'"draining":',
        b'"replication_factor":',
        b'"cluster":',
        b'"partitions":',
        b'"incarnations":',
        b'"epoch":',
        b'"primary":',
        b'"in_sync":',
        b"null",
        b"[]",
    ),
    *(b"{", b"}", b"[", b"]", b",", b'"', b"-1", b"1e999", b"18446744073709551616", b"\\ud800", b"\xff", b"[" * 2000),
)

_directory = tempfile.TemporaryDirectory(prefix="corecache-fuzz-")
_path = Path(_directory.name) / "coordinator.json"
_runner = asyncio.Runner()


def target(data: bytes) -> None:
    """Whatever bytes the file has: it opens, twice with the same views, or raises `CallerFault` or `Broken`."""
    _check(data)
    try:
        ledger = msgspec.json.encode(msgspec.json.decode(data), order="sorted")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    checksum = hashlib.sha256(ledger).hexdigest()
    for version in VERSIONS_READ:
        head = f'{{"format":"{FORMAT}","version":{version},"checksum":"{checksum}","ledger":'
        _check(head.encode() + ledger + b"}")


def _check(text: bytes) -> None:
    _path.write_bytes(text)
    try:
        views = _runner.run(_views())
    except (CallerFault, Broken) as error:
        _check_refusal(error)
        assert _path.read_bytes() == text, "what was refused is left as it was"
        return
    assert _runner.run(_views()) == views, "opened again it is the same"


def _check_refusal(error: CallerFault | Broken) -> None:
    assert str(_path) in error.message, error
    assert error.message.isprintable(), error


async def _views() -> dict[PartitionId, VersionedView]:
    coordinator = await LocalCoordinator.open(_path)
    try:
        return await coordinator.views()
    finally:
        await coordinator.close()
