"""Fuzzes `storage/directory.py`: the file that says in which format a data directory is.

A directory that is not ours, or of a newer program, must be refused and left as it is.
"""

import tempfile
from pathlib import Path

from corecache.errors import CallerFault
from corecache.storage.directory import FORMAT, DataDirectory

WORDS = (
    *(b"corecache data directory, format ", b"corecache", b"format ", b"1", b"2", b"01", b"999999999", b"9" * 5000),
    *(b"\n", b"\r\n", b" ", b"-", b"+1", b"1_0", b"\xef\xbb\xbf", b"\xd9\xa1", b"\x00", b"\xff", b"0x1"),
)

_LINE = b"corecache data directory, format "
_directory = tempfile.TemporaryDirectory(prefix="corecache-fuzz-")
_path = Path(_directory.name)


def target(data: bytes) -> None:
    """Whatever bytes the file has: the directory opens if they say a format up to ours, else `CallerFault`."""
    file = _path / "format"
    file.write_bytes(data)
    try:
        DataDirectory.open(_path).close()
    except CallerFault as error:
        _check_refusal(error, _number_in(data))
        assert file.read_bytes() == data, "the file is left as it was"
    else:
        assert (_number_in(data) or FORMAT + 1) <= FORMAT, data
        assert _number_in(file.read_bytes()) == FORMAT, "the directory is of our format now"


def _check_refusal(error: CallerFault, number: int | None) -> None:
    assert error.code in ("data_dir_foreign", "data_dir_newer"), error
    assert str(_path) in error.message, error
    assert error.message.isprintable(), error
    assert (error.code == "data_dir_newer") == (number is not None and number > FORMAT), error


def _number_in(data: bytes) -> int | None:
    """Returns the format that our line states, None if it is not our line."""
    line, number = data[: len(_LINE)], data[len(_LINE) :].removesuffix(b"\n").removesuffix(b"\r")
    return int(number) if line == _LINE and data.endswith(b"\n") and number.isdigit() and len(number) < 10 else None
