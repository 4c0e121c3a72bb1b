"""Where settings come from: one file, the environment, the options; the later overrides the earlier.

The file is `--config FILE`, or else `corecache.toml` in the current directory if there is one. A variable is called
`CORECACHE_SECTION__NAME`; every other `CORECACHE_` variable is refused as a typing error, but for the client's own
`CORECACHE_ENDPOINTS`.

Dynaconf lays the three over each other and reads the variables, which hold TOML values (`1_000`, `0x10`). All that it
would do unasked is off: it opens no file, looks into no environment of its own, and takes no string for a command
(`@format`, `@jinja`, `@merge`). So a value means what it says, wherever it stands, and nothing beside the file that
was named has a say (`.env`, `*.local.toml`, `DYNACONF_…` and `…_FOR_DYNACONF` variables).

Each source is judged by `config.check` before it is laid over another, so an error names the source it comes from.
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dynaconf import Dynaconf
from dynaconf.utils.parse_conf import parse_conf_data

from corecache.config import DECLARATIONS, LIKENESS_LEAST, Config, ConfigError, check, parse
from corecache.declaration import Declaration, shown

DEFAULT_FILE: Final = Path("corecache.toml")
PREFIX: Final = "CORECACHE_"

_CLIENT_VARIABLES: Final = frozenset({"CORECACHE_ENDPOINTS"})
_FILE_BYTES_MAX: Final = 1024 * 1024
_VARIABLES: Final[Mapping[str, Declaration]] = {declaration.variable: declaration for declaration in DECLARATIONS}

Settings = Mapping[str, Mapping[str, object]]


def load(file: Path | None, overrides: Settings, environ: Mapping[str, str]) -> Config:
    """Returns the configuration from a file (None: the default one, if there), variables, and options over both.

    Raises: ConfigError, with one line that names the source, the setting, its value and what is allowed.
    """
    check(overrides)
    return parse(_merged(_from_file(file), _from_variables(environ), overrides))


def _merged(*layers: Settings) -> dict[str, Any]:
    """Returns the layers, each over those before it."""
    dynaconf = Dynaconf(
        auto_cast=False,
        dotted_lookup=False,
        dynaconf_skip_loaders=True,
        environments=False,
        envvar_prefix=None,
        load_dotenv=False,
        merge_enabled=True,
    )
    for layer in layers:
        dynaconf.update({section: dict(settings) for section, settings in layer.items()}, merge=True)
    sections = dict.fromkeys(declaration.section for declaration in DECLARATIONS)
    return {section: dict(dynaconf.get(section, {})) for section in sections}


def _from_file(file: Path | None) -> Settings:
    path = file or DEFAULT_FILE
    try:
        with path.open("rb") as stream:
            content = stream.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        if file is None and isinstance(error, FileNotFoundError):
            return {}
        raise ConfigError(f"{path}: the configuration file can't be read: {error.strerror}") from error
    try:
        return _toml(content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _toml(content: bytes) -> Settings:
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigError(f"not a configuration file: more than {_FILE_BYTES_MAX:,} bytes")
    try:
        settings = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"not a configuration file: byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise ConfigError("not a configuration file: nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"not valid TOML: {' '.join(str(error).split())}") from error
    check(settings)
    return settings


def _from_variables(environ: Mapping[str, str]) -> Settings:
    settings: dict[str, dict[str, object]] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in _CLIENT_VARIABLES:
            continue
        declaration = _VARIABLES.get(variable)
        if declaration is None:
            raise ConfigError(_unknown_variable(variable, environ[variable]))
        layer = {declaration.section: {declaration.name: _value(declaration, environ[variable])}}
        try:
            check(layer)
        except ConfigError as error:
            raise ConfigError(f"{variable}: {error}") from error
        settings.setdefault(declaration.section, {}).update(layer[declaration.section])
    return settings


def _value(declaration: Declaration, text: str) -> object:
    """Returns what a variable's text means as TOML, or the text itself: a node may be called 1979-05-27, or true."""
    if not text.isprintable():
        return text
    value = parse_conf_data(text, tomlfy=True, box_settings={"AUTO_CAST_FOR_DYNACONF": False})
    return text if declaration.is_text and not isinstance(value, str) else value


def _unknown_variable(variable: str, text: str) -> str:
    if variable == "CORECACHE_CONFIG":
        return "CORECACHE_CONFIG: there is no such variable; name the configuration file with --config FILE"
    # Compared without the prefix, which would make everything alike.
    name = variable.upper().removeprefix(PREFIX)
    names = {known.removeprefix(PREFIX): known for known in _VARIABLES}
    elsewhere = [known for known in _VARIABLES if known.endswith(f"__{name}")]
    near = elsewhere or [names[like] for like in difflib.get_close_matches(name, names, n=1, cutoff=LIKENESS_LEAST)]
    hint = f"did you mean {near[0]}?" if near else "variables are called CORECACHE_SECTION__NAME"
    return f"{variable} = {shown(text)}: there is no such setting; {hint}"
