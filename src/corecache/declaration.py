"""A setting as it was declared: its name, unit, default, what it allows and why it is there, read off a struct's field.

`config/` declares settings as annotated fields; this module turns each into a `Declaration`, from which come the
verdict on a value and the words of the error, of the example file and of the documentation. So the four can't differ.

Rule 1: a value has the declared type or is refused. A bool is no int, "5" is no int, 5.0 is no int.
Rule 2: a unit is the end of the name, and nothing else says what it is.
Rule 3: an error is one line, whatever the value: long ones are cut, control characters escaped.

What belongs together among several settings is not known here; `config/` judges that.
"""

import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

_SHOWN_CHARACTERS = 60

_UNITS = (
    ("_bytes_per_second", "bytes per second"),
    ("_bytes", "bytes"),
    ("_bytes_max", "bytes"),
    ("_ms", "milliseconds"),
    ("_ms_max", "milliseconds"),
    ("_max_ms", "milliseconds"),
)
_BINARY_UNITS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


class Declaration(msgspec.Struct, frozen=True):
    """One setting. `choices` is empty unless only some words are allowed; the bounds are None where there is none."""

    section: str
    name: str
    default: object
    description: str
    kind: Any
    choices: tuple[str, ...]
    least: int | None
    most: int | None
    words: str

    @property
    def path(self) -> str:
        """Returns the full name, as errors show it: `storage.memory_bytes`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """Returns the name of the environment variable that sets it."""
        return f"CORECACHE_{self.section}__{self.name}".upper()

    @property
    def is_text(self) -> bool:
        """Says whether a value is a string."""
        return isinstance(self.default, str)

    @property
    def is_port(self) -> bool:
        """Says whether a value is a port: its digits are a name, and are not separated."""
        return "port" in self.name.split("_")

    @property
    def unit(self) -> str:
        """Returns what a number counts: "bytes", "milliseconds", or nothing."""
        return next((unit for ending, unit in _UNITS if self.name.endswith(ending)), "")

    @property
    def allowed(self) -> str:
        """Returns what may be set, in words: the choices, or the range with its unit."""
        if self.choices:
            return " or ".join(shown(choice) for choice in self.choices)
        if self.is_text:
            return self.words
        number = f"a whole number of {self.unit}" if self.unit else "a whole number"
        return f"{number} from {self.amount(self.least)} to {self.amount(self.most)}"

    def amount(self, number: object) -> str:
        """Returns a number for people: with separators and, for bytes, in the largest binary unit that divides it."""
        if not isinstance(number, int):
            return shown(number)
        if self.unit.startswith("bytes"):
            for unit, size in _BINARY_UNITS:
                if number and number % size == 0:
                    return f"{number:,} ({number // size:,} {unit})"
        return str(number) if self.is_port else f"{number:,}"

    def accepts(self, value: object) -> bool:
        """Says whether a value has the declared type and is within what is allowed."""
        try:
            msgspec.convert(value, self.kind)
        except msgspec.ValidationError:
            return False
        return True


def declarations(config: type[msgspec.Struct]) -> Iterator[Declaration]:
    """Returns the settings of a struct of sections, in the order of their declaration."""
    for section, section_type in typing.get_type_hints(config).items():
        kinds = typing.get_type_hints(section_type, include_extras=True)
        plain = typing.get_type_hints(section_type)
        info = inspect.type_info(section_type)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            assert isinstance(field.type, inspect.Metadata), f"{section}.{field.name} has no description"
            schema = field.type.extra_json_schema or {}
            bounds = field.type.type if isinstance(field.type.type, inspect.IntType) else inspect.IntType()
            yield Declaration(
                section=section,
                name=field.name,
                default=field.default,
                description=schema["description"],
                kind=kinds[field.name],
                choices=typing.get_args(plain[field.name]),
                least=bounds.ge,
                most=bounds.le,
                words=schema.get("title", ""),
            )


def shown(value: object) -> str:
    """Returns a value as one short line, much as a configuration file would say it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 4 * _SHOWN_CHARACTERS:
        return f"a number of {value.bit_length():,} bits"
    text = f'"{value}"' if isinstance(value, str) and value.isprintable() and '"' not in value else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
