r"""Bytes on a command line: keys from arguments, values from arguments, files and pipes, and bytes shown as text.

The rule: bytes stay what they are. An argument's bytes are those that the shell handed over, a value goes to
standard output without anything added. Only where a line stands for a record (`scan`) are bytes escaped, so that a
record can't break the line or command the terminal: `\t`, `\n`, `\r`, `\\`, and `\xNN` for what is not printable.
"""

import base64
import binascii
import os
import sys
from pathlib import Path
from typing import Annotated, BinaryIO, TypeAlias

import typer

from corecache.cli.exits import complain
from corecache.config import MIB
from corecache.errors import CallerFault

VALUE_BYTES_MAX = 256 * MIB
"""No node takes a longer value, however it is configured; reading stops here."""

STANDARD_INPUT = "-"
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}

KeyInBase64: TypeAlias = Annotated[
    bool, typer.Option("--key-base64", help="Keys are given in base64, for those that are no text.")
]


class ReaderGoneError(Exception):
    """Who read our standard output has stopped reading: `corecache scan | head`."""


def octets(argument: str, in_base64: bool = False) -> bytes:
    """Returns the bytes of an argument as they were typed, or that it encodes. Raises: CallerFault if it does not."""
    typed = os.fsencode(argument)
    if not in_base64:
        return typed
    try:
        return base64.b64decode(typed, validate=True)
    except binascii.Error as error:
        raise CallerFault(
            "bad_key", f"{argument!r} is not base64 ({error}); without --key-base64 keys are text"
        ) from error


def value_of(argument: str | None, file: str | None) -> bytes:
    """Returns a value: the argument, the content of a file, or standard input ("-", or nothing given and no terminal).

    Raises: CallerFault if there is none, if there are two, or if it can't be read.
    """
    if file is not None and argument is not None:
        raise CallerFault("two_values", "a value and --file exclude each other: give one of them")
    if argument not in (None, STANDARD_INPUT):
        assert argument is not None
        return octets(argument)
    if file not in (None, STANDARD_INPUT):
        assert file is not None
        try:
            with Path(file).open("rb") as source:
                return _read(source, file)
        except OSError as error:
            raise CallerFault("bad_file", f"can't read {file}: {error.strerror}; name a file with the value") from error
    if sys.stdin is None:
        raise _no_value()
    if sys.stdin.isatty():
        if argument is None and file is None:
            raise _no_value()
        complain("reading the value from the terminal; end it with Ctrl-D")
    return _read(sys.stdin.buffer, "standard input")


def say(line: str) -> None:
    """Writes a line of text to standard output."""
    write_out(line.encode() + b"\n")


def write_out(raw: bytes) -> None:
    """Writes bytes to standard output as they are. Raises: OSError, ReaderGoneError."""
    if sys.stdout is None:
        raise OSError("standard output is closed: there is nowhere to write to")
    try:
        sys.stdout.buffer.write(raw)
    except OSError as error:
        raise _unwritten(error) from error


def flush_out() -> None:
    """Hands to the system what is still buffered for standard output. Raises: OSError, ReaderGoneError."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            raise _unwritten(error) from error


def escaped(raw: bytes) -> str:
    """Returns bytes as printable text on one line, from which they can be told exactly."""
    # Surrogates stand for bytes that are no UTF-8; they are not printable, like control characters.
    return "".join(_shown(each) for each in raw.decode("utf-8", "surrogateescape"))


def _shown(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _unwritten(error: OSError) -> Exception:
    # A reader who has gone has a name of its own: typer would end the program with 1, which means "no" here.
    return ReaderGoneError() if isinstance(error, BrokenPipeError) else OSError(f"standard output: {error.strerror}")


def _no_value() -> CallerFault:
    return CallerFault("no_value", "no value: give it as an argument, with --file FILE, or through a pipe")


def _read(source: BinaryIO, name: str) -> bytes:
    raw = source.read(VALUE_BYTES_MAX + 1)
    if len(raw) > VALUE_BYTES_MAX:
        raise CallerFault(
            "value_too_large", f"{name} is longer than any value may be ({VALUE_BYTES_MAX:,} bytes): split it"
        )
    return raw
