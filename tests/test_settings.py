"""Where settings come from: the file, the variables, the options, their order, and all that must not have a say."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from corecache import reference
from corecache.config import DECLARATIONS, Config, ConfigError
from corecache.declaration import Declaration
from corecache.settings import load

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has an empty current directory of its own."""
    monkeypatch.chdir(tmp_path)


def written(content: str | bytes, name: str = "node.conf") -> Path:
    """Returns a file with a content, in the current directory."""
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(file: Path | None = None, environ: dict[str, str] | None = None) -> str:
    """Returns the error that loading fails with, which is one line."""
    with pytest.raises(ConfigError) as caught:
        load(file, {}, environ or {})
    message = str(caught.value)
    assert message.isprintable(), "an error is one line"
    return message


def test_without_any_source_all_is_default() -> None:
    """No file, no variable, no option: the defaults."""
    assert load(None, {}, {}) == Config()


def test_options_override_variables_override_the_file() -> None:
    """Each of the three sources wins over those before it, and leaves alone what it does not mention."""
    file = written("[http]\nport = 1001\nhost = 'file'\nconnections_max = 11\n[node]\nid = 'file'\n")
    environ = {"CORECACHE_HTTP__PORT": "1002", "CORECACHE_HTTP__HOST": "variable"}
    config = load(file, {"http": {"port": 1003}}, environ)
    assert (config.http.port, config.http.host, config.http.connections_max) == (1003, "variable", 11)
    assert config.node.id == "file"


def test_the_default_file_is_read_if_it_is_there() -> None:
    """`corecache.toml` in the current directory counts when no file is named, and only then."""
    written("[http]\nport = 1001\n", "corecache.toml")
    assert load(None, {}, {}).http.port == 1001
    assert load(written("", "other.toml"), {}, {}).http.port == 0


@pytest.mark.parametrize("declaration", DECLARATIONS, ids=lambda declaration: declaration.path)
def test_every_setting_can_be_set_by_its_variable(declaration: Declaration) -> None:
    """The default, written out in a variable, arrives as the default: no type is lost on the way."""
    assert load(None, {}, {declaration.variable: str(declaration.default)}) == Config()


@pytest.mark.parametrize("text", ["1979-05-27", "true", "0x10", "1e5", "null", "1_000"])
def test_a_name_that_looks_like_something_else_stays_a_name(text: str) -> None:
    """A text setting takes the variable's text even where TOML sees a date, a bool or a number in it."""
    assert load(None, {}, {"CORECACHE_NODE__ID": text}).node.id == text


@pytest.mark.parametrize(("text", "port"), [("8080", 8080), ("8_080", 8080), ("0x1F90", 8080), (" 8080 ", 8080)])
def test_a_number_in_a_variable_is_written_as_in_toml(text: str, port: int) -> None:
    """Separators and hexadecimal digits mean in a variable what they mean in the file."""
    assert load(None, {}, {"CORECACHE_HTTP__PORT": text}).http.port == port


@pytest.mark.parametrize("text", ["", "eighty", "8080.0", "true", '"8080"', "[8080]", "8080\nhost = 1", "@int 8080"])
def test_a_bad_number_in_a_variable_is_refused_by_the_variable(text: str) -> None:
    """The error names the variable, the setting and what is allowed."""
    message = refusal(environ={"CORECACHE_HTTP__PORT": text})
    assert message.startswith("CORECACHE_HTTP__PORT: http.port = ")
    assert message.endswith("must be a whole number from 0 to 65535")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("CORECACHE_STORAGE_MEMORY_BYTES", "CORECACHE_STORAGE__MEMORY_BYTES"),
        ("CORECACHE_STORAGE__MEMORY", "CORECACHE_STORAGE__MEMORY_BYTES"),
        ("CORECACHE_storage__memory_bytes", "CORECACHE_STORAGE__MEMORY_BYTES"),
        ("CORECACHE_PORT", "CORECACHE_HTTP__PORT"),
        ("CORECACHE_NODE_ID", "CORECACHE_NODE__ID"),
        ("CORECACHE_DATA_DIR", "CORECACHE_NODE__DATA_DIR"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest(variable: str, meant: str) -> None:
    """A misspelt variable is not a setting silently left out."""
    assert refusal(environ={variable: "5"}) == (f'{variable} = "5": there is no such setting; did you mean {meant}?')


@pytest.mark.parametrize("variable", ["CORECACHE_FOO", "CORECACHE_", "CORECACHE_HTTP__FOO", "CORECACHE_SERVICE_HOST"])
def test_a_variable_like_no_other_is_refused_without_a_guess(variable: str) -> None:
    """Where nothing is alike, the line says how variables are called and suggests none."""
    assert refusal(environ={variable: "5"}).endswith("no such setting; variables are called CORECACHE_SECTION__NAME")


def test_a_variable_for_the_file_is_refused_with_the_option() -> None:
    """CORECACHE_CONFIG names no file; the error says what does."""
    assert "--config FILE" in refusal(environ={"CORECACHE_CONFIG": "x"})


def test_variables_of_others_are_ignored() -> None:
    """The client's variable and those without our prefix are no settings."""
    environ = {"CORECACHE_ENDPOINTS": "http://a", "CORECACHED_HTTP__PORT": "1", "HTTP__PORT": "1", "corecache_x": "1"}
    assert load(None, {}, environ) == Config()


def test_a_bad_setting_in_the_file_is_refused_by_the_file() -> None:
    """The error names the file, and does so even if a variable would override the bad value."""
    file = written("[http]\nport = 70000\n")
    message = refusal(file, {"CORECACHE_HTTP__PORT": "80"})
    assert message == "node.conf: http.port = 70000: must be a whole number from 0 to 65535"


def test_settings_of_different_sources_must_fit_each_other() -> None:
    """What is judged together is the result, wherever its parts come from."""
    file = written("[http]\nport_range_last = 9000\n")
    assert load(file, {}, {"CORECACHE_HTTP__PORT_RANGE_FIRST": "8500"}).http.port_range_first == 8500
    assert "port_range_last, which is 9000" in refusal(file, {"CORECACHE_HTTP__PORT_RANGE_FIRST": "9001"})


def test_a_file_that_is_named_must_be_readable() -> None:
    """A missing file, a directory and a file that is not ours to read are refused with the system's reason."""
    assert refusal(Path("none.toml")) == "none.toml: the configuration file can't be read: No such file or directory"
    Path("directory").mkdir()
    assert refusal(Path("directory")) == "directory: the configuration file can't be read: Is a directory"
    if os.geteuid():
        written("").chmod(0)
        assert refusal(Path("node.conf")).endswith("can't be read: Permission denied")


def test_a_default_file_that_is_a_directory_is_refused() -> None:
    """What is there under the default name is not passed over."""
    Path("corecache.toml").mkdir()
    assert refusal().startswith("corecache.toml: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe[\x00h\x00", "byte 0 is not UTF-8"),
        (b"[node]\nid = '\xe9'\n", "byte 13 is not UTF-8"),
        (b"[http\nport = 1", "not valid TOML: "),
        (b"port = ", "not valid TOML: "),
        (b"[http]\nport = 1\nport = 2", "not valid TOML: "),
        (b"[http]\n[http]\n", "not valid TOML: "),
        (b"\x00", "not valid TOML: "),
        (b"x = " + b"[" * 100_000, "nested too deeply"),
        (b"[http]\nport = " + b"9" * 5000, "not valid TOML: "),
        (b"# " + b"x" * 1024 * 1024, "more than 1,048,576 bytes"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(content: bytes, reason: str) -> None:
    """Whatever a file holds instead of TOML, the error is one line with the file and the reason."""
    message = refusal(written(content))
    assert message.startswith("node.conf: ")
    assert reason in message


@hypothesis_settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever the bytes, there is a configuration or the one declared error."""
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(content)
    try:
        load(file, {}, {})
    except ConfigError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize(
    "text",
    ["@format {env[HOME]}", "@jinja {{ 1 + 1 }}", "@read_file /etc/passwd", "@merge x", "@reset x", "@none", "@del x"],
)
def test_dynaconfs_tokens_are_plain_text(text: str) -> None:
    """A value is what it says, in the file, in a variable and as an option: nothing is expanded or removed."""
    file = written(f"[node]\ndata_dir = '{text}'\n")
    assert load(file, {}, {}).node.data_dir == text
    assert load(None, {}, {"CORECACHE_NODE__DATA_DIR": text}).node.data_dir == text
    assert load(None, {"node": {"data_dir": text}}, {}).node.data_dir == text


@pytest.mark.parametrize(
    "content",
    [
        "dynaconf_include = ['other.toml']",
        "dynaconf_merge = true",
        "[node]\ndynaconf_merge = true",
        "[default.http]\nport = 1",
        "[development]\nport = 1",
        "[global]\nport = 1",
        "'http.port' = 1",
        "http__port = 1",
        "[HTTP]\nport = 1",
    ],
)
def test_dynaconfs_own_words_are_unknown_settings(content: str) -> None:
    """Includes, merge marks, environments and dotted names are no way around the names of the settings."""
    written("[http]\nport = 1\n", "other.toml")
    assert "there is no such setting" in refusal(written(content))


def test_nothing_beside_the_file_has_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynaconf's other sources, all present at once, change nothing and are not run."""
    evil = "[http]\nport = 666\n[default.http]\nport = 666\n"
    for name in ("corecache.local.toml", "settings.toml", "settings.local.toml", ".secrets.toml", "evil.toml"):
        written(evil, name)
    written("HTTP__PORT=666\nCORECACHE_HTTP__PORT=666\nDYNACONF_HTTP__PORT=666\n", ".env")
    for name in ("settings.py", "dynaconf_hooks.py", "evil.py"):
        written("raise SystemExit('this file was run')\n", name)
    for name in ("SETTINGS_FILE", "SECRETS", "PRELOAD", "INCLUDES", "SETTINGS_MODULE"):
        monkeypatch.setenv(f"{name}_FOR_DYNACONF", "evil.toml,evil.py")
    monkeypatch.setenv("LOADERS_FOR_DYNACONF", '["evil"]')
    monkeypatch.setenv("LOAD_DOTENV_FOR_DYNACONF", "true")
    monkeypatch.setenv("ENVIRONMENTS_FOR_DYNACONF", "true")
    monkeypatch.setenv("AUTO_CAST_FOR_DYNACONF", "true")
    monkeypatch.setenv("MERGE_ENABLED_FOR_DYNACONF", "false")
    monkeypatch.setenv("ENVVAR_PREFIX_FOR_DYNACONF", "EVIL")
    monkeypatch.setenv("EVIL_HTTP__PORT", "666")
    monkeypatch.setenv("DYNACONF_HTTP__PORT", "666")
    written("[http]\nhost = 'h'\nconnections_max = 5\n", "corecache.toml")
    config = load(None, {"http": {"host": "o"}}, dict(os.environ))
    assert (config.http.host, config.http.port, config.http.connections_max) == ("o", 0, 5)


def test_loading_leaves_its_arguments_alone() -> None:
    """The options that were handed in are not changed by being laid over the file."""
    overrides = {"http": {"port": 1}}
    load(written("[http]\nport = 2\nhost = 'x'\n"), overrides, {})
    assert overrides == {"http": {"port": 1}}


def test_the_example_file_is_fresh() -> None:
    """The example file is what the declarations say (scripts/write_reference.sh writes it anew)."""
    assert (DOCS / "corecache.example.toml").read_text() == reference.example()


def test_the_tables_are_fresh() -> None:
    """The tables of the documentation are what the declarations say."""
    assert (DOCS / "configuration.md").read_text().endswith(reference.table())


def test_the_example_file_sets_nothing_and_uncommented_the_defaults() -> None:
    """As it is the example file changes nothing; with every # before a name gone it says each default, once."""
    assert load(DOCS / "corecache.example.toml", {}, {}) == Config()
    lines = reference.example().splitlines()
    uncommented = "\n".join(line[1:] if line[:1] == "#" and line[1:2] != " " else line for line in lines)
    assert load(written(uncommented), {}, {}) == Config()
    tables = tomllib.loads(uncommented)
    assert [f"{section}.{name}" for section, table in tables.items() for name in table] == [
        declaration.path for declaration in DECLARATIONS
    ]


@pytest.mark.parametrize("arguments", [[], ["poem"], ["table", "example"]])
def test_the_reference_says_how_it_is_asked(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A page that does not exist is wrong usage."""
    assert reference.main(arguments) == 2
    assert "example|table" in capsys.readouterr().err
